import type { LedgerSchema } from './ledger-schema.ts'

/** What became of one message, and what is known of it beside its value. Times are milliseconds since the epoch. */
export interface MetadataRow {
  /** Together they are the message's id; see message/message-id.ts. */
  readonly journalId: string
  readonly seq: number
  readonly status: 'delivered' | 'dead'
  readonly topic: string
  /** Both null for a dead message. */
  readonly partition: number | null
  readonly offset: number | null
  /** The key's first `keyBytesMax` bytes; null without a key. */
  readonly key: Buffer | null
  readonly producer: string | null
  readonly contentType: string | null
  /** Null for a tombstone. */
  readonly valueBytes: number | null
  /**
   * The message's own headers as JSON text of at most `headersBytesMax` bytes: an array of `{"name","value"}` or
   * `{"name","valueBase64"}`, in order; the last ones are left out when they don't fit. Null without headers.
   */
  readonly headers: string | null
  /** 32 hexadecimal digits of the message's `traceparent` (W3C Trace Context), or null. */
  readonly traceId: string | null
  readonly acceptedAt: number
  /** When it was delivered, or died. */
  readonly finishedAt: number
  readonly recordedAt: number
  readonly attempts: number
  /** Why it died; null for a delivered message. */
  readonly reason: string | null
}

export const keyBytesMax = 255
export const headersBytesMax = 4096
/** Longest `topic`, by Kafka's rules; `producer`, `contentType` and `reason` are cut to as many characters. */
export const textMax = 249

/** All conditions hold together. `from` and `to` are about `acceptedAt`: from ≤ acceptedAt < to. */
export interface MetadataQuery {
  readonly topic?: string
  readonly partition?: number
  readonly key?: Buffer
  readonly status?: MetadataRow['status']
  readonly from?: number
  readonly to?: number
  /** 1 to 1,000. */
  readonly limit: number
  /** Where the page before ended: its `next`. */
  readonly after?: MetadataPosition
}

/** A row's place in the order of listing: newest `acceptedAt` first, then journal id and seq, descending. */
export interface MetadataPosition {
  readonly acceptedAt: number
  readonly journalId: string
  readonly seq: number
}

/**
 * The port to the store of metadata: one row a message. Implementations connect lazily and never at construction. All
 * methods reject with a `StoreError`, or with the signal's reason when that aborts.
 */
export interface MetadataStore {
  readonly schema: LedgerSchema
  /**
   * Resolves when all rows are durable. Rows are written anew by (journalId, seq), so that writing them twice leaves one.
   * When it rejects, any of them may have been written. `permanent` says that some row of these can never be written.
   */
  write(rows: readonly MetadataRow[], signal: AbortSignal): Promise<void>
  find(journalId: string, seq: number, signal: AbortSignal): Promise<MetadataRow | null>
  /** Newest first. */
  list(query: MetadataQuery, signal: AbortSignal): Promise<readonly MetadataRow[]>
  /** Delivered rows of one partition with offsets from `fromOffset` to below `toOffset`, ascending, at most `limit`. */
  listOffsets(
    topic: string,
    partition: number,
    fromOffset: number,
    toOffset: number,
    limit: number,
    signal: AbortSignal,
  ): Promise<readonly MetadataRow[]>
  /**
   * Deletes what was accepted before `now` minus the retention (as coarsely as the store needs, but never anything younger),
   * and prepares what is coming. Called now and then by every sidecar; does nothing while another one is at it.
   */
  maintain(now: number, signal: AbortSignal): Promise<void>
  /** Idempotent. */
  close(): Promise<void>
}
