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

/** A place in one partition of a topic. */
export interface PartitionOffset {
  readonly partition: number
  readonly offset: number
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
  /**
   * For each partition, ascending, the offset of its first record whose timestamp is not before `time` (milliseconds since
   * the epoch), or of its end when it has none; or of the oldest record that the broker still holds, or of its end. No
   * partitions when there is no such topic. Rejects with a `BrokerError`.
   */
  offsetsAt(topic: string, time: number | 'beginning' | 'end', signal: AbortSignal): Promise<readonly PartitionOffset[]>
  /**
   * The records of one partition with offsets from `fromOffset` to below `toOffset`, which must not be beyond its end, in
   * order; then it ends. Records that the broker does not hold any more are left out. Throws and aborts as `read` does.
   */
  readRange(
    topic: string,
    partition: number,
    fromOffset: number,
    toOffset: number,
    signal: AbortSignal,
  ): AsyncIterable<ConsumedRecord>
  /** The names of all topics that may be seen, but the broker's own internal ones. Rejects with a `BrokerError`. */
  topics(signal: AbortSignal): Promise<readonly string[]>
  /** Ends all reads and disconnects. Idempotent. */
  close(): Promise<void>
}
