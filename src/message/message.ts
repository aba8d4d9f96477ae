/** Text stands for its UTF-8 bytes; it is encoded only once, straight into the journal's block. */
export type Bytes = Uint8Array | string

/** A header's name and its value's bytes. Names may repeat; order is kept. */
export type MessageHeader = readonly [name: string, value: Bytes]

/** A message as intake accepts it. Its id is given by the journal. */
export interface Message {
  /** By Kafka's rules: 1 to 249 characters of `[a-zA-Z0-9._-]`, neither `.` nor `..`. */
  readonly topic: string
  /** The partition that the publisher asked for, or null: the broker's partitioner decides. */
  readonly partition: number | null
  readonly key: Bytes | null
  /** null is a tombstone. */
  readonly value: Bytes | null
  readonly headers: readonly MessageHeader[]
  /** The publisher's own time, in milliseconds since the epoch, or null: the time of acceptance stands. */
  readonly timestamp: number | null
  /** When intake took it, in milliseconds since the epoch. */
  readonly acceptedAt: number
  /** Who published it, as far as intake knows. */
  readonly producer: string | null
  readonly contentType: string | null
  /** W3C trace context, carried on as it came. */
  readonly traceparent: string | null
  readonly tracestate: string | null
  readonly idempotencyKey: string | null
}

/** A message read back from a journal: all bytes are views of the block that was read. */
export interface StoredMessage extends Message {
  readonly seq: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly (readonly [name: string, value: Buffer])[]
}

const topicPattern = /^[a-zA-Z0-9._-]{1,249}$/

/** Kafka's rules for topic names (`org.apache.kafka.common.internals.Topic`). */
export function isTopicName(name: string): boolean {
  return topicPattern.test(name) && name !== '.' && name !== '..'
}

const reservedHeaders: ReadonlySet<string> = new Set(['outrigger-id', 'outrigger-accepted-at'])

/** Whether Outrigger alone may set this header of a message: consumers tell duplicates by it. */
export function isReservedHeader(name: string): boolean {
  return reservedHeaders.has(name.toLowerCase())
}
