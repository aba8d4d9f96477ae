/** A record as it stands in the broker. */
export interface ConsumedRecord {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** Milliseconds since the epoch. */
  readonly timestamp: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly (readonly [name: string, value: Buffer])[]
}

/** The records of one `read`, to be iterated over once. */
export interface RecordStream extends AsyncIterable<ConsumedRecord> {
  /**
   * Resolves when the position is fixed: from then on, nothing that is produced is missed. Rejects with what iterating
   * would throw; a rejection that nobody looks at is not reported as unhandled.
   */
  readonly ready: Promise<void>
}

/** The port through which records come back from the broker. */
export interface Consumer {
  /**
   * The records of all partitions of a topic, each partition in order, from its beginning or from its end at the time
   * of the call (reading starts at once, not with the first iteration); goes on for ever, until the signal aborts (then
   * it ends, without an error) or the broker fails (then it throws a `BrokerError`). A topic that does not exist yet is
   * waited for, and then read from its beginning. Joins no group and commits nothing.
   */
  read(topic: string, from: 'beginning' | 'latest', signal: AbortSignal): RecordStream
  /** Ends all reads and disconnects. Idempotent. */
  close(): Promise<void>
}
