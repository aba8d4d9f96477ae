import type { LedgerSchema } from './ledger-schema.ts'

/** A delivered message, whole, as it stands in the log. Times are milliseconds since the epoch. */
export interface LogEntry {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** Together they are the message's id; see message/message-id.ts. */
  readonly journalId: string
  readonly seq: number
  readonly key: Buffer | null
  /** Null is a tombstone. */
  readonly value: Buffer | null
  /** In order; a name may repeat. When read back, every value is a buffer. */
  readonly headers: readonly (readonly [name: string, value: Buffer | string])[]
  readonly contentType: string | null
  readonly timestamp: number
  readonly acceptedAt: number
  readonly deliveredAt: number
}

/** Where one partition's entries begin that were delivered since some time; there may be older ones behind it too. */
export interface LogPosition {
  readonly partition: number
  readonly offset: number
}

/**
 * The port to the message log, which keeps every delivered message for the retention. Implementations connect lazily and
 * never at construction. All methods reject with a `StoreError`, or with the signal's reason when that aborts.
 */
export interface MessageLog {
  readonly schema: LedgerSchema
  /**
   * Resolves when all entries are durable. They are written anew by (topic, partition, offset), so that writing them twice
   * leaves one. When it rejects, any of them may have been written. `permanent` says that some entry of these can never
   * be written. `now` is what the retention counts from `deliveredAt` against.
   */
  write(entries: readonly LogEntry[], now: number, signal: AbortSignal): Promise<void>
  read(topic: string, partition: number, offset: number, signal: AbortSignal): Promise<LogEntry | null>
  /** One partition's entries with offsets from `fromOffset` on, ascending, at most `limit`. */
  list(
    topic: string,
    partition: number,
    fromOffset: number,
    limit: number,
    signal: AbortSignal,
  ): Promise<readonly LogEntry[]>
  /** For each partition that has entries: an offset below which nothing was delivered since `since`. By partition. */
  positions(topic: string, since: number, signal: AbortSignal): Promise<readonly LogPosition[]>
  /** Deletes what was delivered before `now` minus the retention, when the store does not do it alone. */
  maintain(now: number, signal: AbortSignal): Promise<void>
  /** Idempotent. */
  close(): Promise<void>
}
