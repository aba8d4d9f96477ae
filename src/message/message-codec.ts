/**
 * A message as a journal record. Numbers are little-endian; text is UTF-8. The topic stands first, so that a reader can
 * tell whose message it is without decoding the rest.
 *
 * ```
 *   0  1  record version, 1
 *   1  1  topic length, t
 *   2  t  topic
 *   +  2  flags, see below
 *   +  8  accepted at, milliseconds since the epoch (float64)
 *  [+  4  partition (int32)                               if flag 0]
 *  [+  8  the publisher's timestamp (float64)             if flag 1]
 *  [+4+n  key: length and bytes                           if flag 2]
 *  [+4+n  value: length and bytes                         if flag 3]
 *  [+2+n  producer                                        if flag 4]
 *  [+2+n  content type                                    if flag 5]
 *  [+2+n  traceparent                                     if flag 6]
 *  [+2+n  tracestate                                      if flag 7]
 *  [+2+n  idempotency key                                 if flag 8]
 *  [+  2  number of headers, then for each: 2+n name, 4+n value   if flag 9]
 * ```
 */
import type { Bytes, Message, StoredMessage } from './message.ts'

const recordVersion = 1

const flags = {
  partition: 1 << 0,
  timestamp: 1 << 1,
  key: 1 << 2,
  value: 1 << 3,
  producer: 1 << 4,
  contentType: 1 << 5,
  traceparent: 1 << 6,
  tracestate: 1 << 7,
  idempotencyKey: 1 << 8,
  headers: 1 << 9,
} as const

/** Above this, text is measured exactly; below, three bytes a character are assumed. */
const measuredLength = 256

function bytesMax(bytes: Bytes): number {
  if (typeof bytes !== 'string') return bytes.length
  return bytes.length > measuredLength ? Buffer.byteLength(bytes) : bytes.length * 3
}

function textMax(text: string | null): number {
  return text === null ? 0 : 2 + bytesMax(text)
}

/** Writes messages as journal records. */
export const messageCodec = {
  sizeMax(message: Message): number {
    let size = 2 + message.topic.length + 2 + 8 + 4 + 8 + 4 + 4 + 2
    if (message.key !== null) size += bytesMax(message.key)
    if (message.value !== null) size += bytesMax(message.value)
    size += textMax(message.producer) + textMax(message.contentType)
    size += textMax(message.traceparent) + textMax(message.tracestate) + textMax(message.idempotencyKey)
    for (const [name, value] of message.headers) size += 6 + bytesMax(name) + bytesMax(value)
    return size
  },

  encode(message: Message, into: Buffer, start: number): number {
    into[start] = recordVersion
    let at = start + 2 + into.write(message.topic, start + 2, 'latin1')
    into[start + 1] = at - start - 2
    const flagsAt = at
    let set = 0
    at = into.writeDoubleLE(message.acceptedAt, at + 2)
    if (message.partition !== null) {
      set |= flags.partition
      at = into.writeInt32LE(message.partition, at)
    }
    if (message.timestamp !== null) {
      set |= flags.timestamp
      at = into.writeDoubleLE(message.timestamp, at)
    }
    if (message.key !== null) {
      set |= flags.key
      at = writeBytes(into, message.key, at)
    }
    if (message.value !== null) {
      set |= flags.value
      at = writeBytes(into, message.value, at)
    }
    if (message.producer !== null) {
      set |= flags.producer
      at = writeText(into, message.producer, at)
    }
    if (message.contentType !== null) {
      set |= flags.contentType
      at = writeText(into, message.contentType, at)
    }
    if (message.traceparent !== null) {
      set |= flags.traceparent
      at = writeText(into, message.traceparent, at)
    }
    if (message.tracestate !== null) {
      set |= flags.tracestate
      at = writeText(into, message.tracestate, at)
    }
    if (message.idempotencyKey !== null) {
      set |= flags.idempotencyKey
      at = writeText(into, message.idempotencyKey, at)
    }
    if (message.headers.length > 0) {
      set |= flags.headers
      at = into.writeUInt16LE(message.headers.length, at)
      for (const [name, value] of message.headers) at = writeBytes(into, value, writeText(into, name, at))
    }
    into.writeUInt16LE(set, flagsAt)
    return at
  },
}

function writeBytes(into: Buffer, bytes: Bytes, at: number): number {
  let length: number
  if (typeof bytes === 'string') {
    length = into.write(bytes, at + 4)
  } else {
    into.set(bytes, at + 4)
    length = bytes.length
  }
  into.writeUInt32LE(length, at)
  return at + 4 + length
}

function writeText(into: Buffer, text: string, at: number): number {
  const length = into.write(text, at + 2)
  into.writeUInt16LE(length, at)
  return at + 2 + length
}

/** The topic of the record at `start`, without decoding the rest. */
export function topicOf(record: Buffer, start: number): string {
  return record.toString('latin1', start + 2, start + 2 + (record[start + 1] as number))
}

/** Whether the records at `start` and at `other` have the same topic. */
export function isSameTopic(record: Buffer, start: number, other: number): boolean {
  // From the last byte of the topic to its length, backwards: names differ in their ends.
  for (let i = (record[start + 1] as number) + 1; i >= 1; i--) if (record[start + i] !== record[other + i]) return false
  return true
}

/** The record between `start` and `end`; key, value and header values are views of its bytes. */
export function decodeMessage(record: Buffer, start: number, seq: number): StoredMessage {
  const version = record[start]
  if (version !== recordVersion) throw new Error(`record version ${version} is not known`)
  const topic = topicOf(record, start)
  let at = start + 2 + (record[start + 1] as number)
  const set = record.readUInt16LE(at)
  const acceptedAt = record.readDoubleLE(at + 2)
  at += 10
  let partition: number | null = null
  if (set & flags.partition) {
    partition = record.readInt32LE(at)
    at += 4
  }
  let timestamp: number | null = null
  if (set & flags.timestamp) {
    timestamp = record.readDoubleLE(at)
    at += 8
  }
  const readBytes = (): Buffer => {
    const from = at + 4
    at = from + record.readUInt32LE(at)
    return record.subarray(from, at)
  }
  const readText = (): string => {
    const from = at + 2
    at = from + record.readUInt16LE(at)
    return record.toString('utf8', from, at)
  }
  const key = set & flags.key ? readBytes() : null
  const value = set & flags.value ? readBytes() : null
  const producer = set & flags.producer ? readText() : null
  const contentType = set & flags.contentType ? readText() : null
  const traceparent = set & flags.traceparent ? readText() : null
  const tracestate = set & flags.tracestate ? readText() : null
  const idempotencyKey = set & flags.idempotencyKey ? readText() : null
  let headers: (readonly [string, Buffer])[] = noHeaders
  if (set & flags.headers) {
    const count = record.readUInt16LE(at)
    at += 2
    headers = []
    for (let i = 0; i < count; i++) headers.push([readText(), readBytes()])
  }
  return {
    seq,
    topic,
    partition,
    key,
    value,
    headers,
    timestamp,
    acceptedAt,
    producer,
    contentType,
    traceparent,
    tracestate,
    idempotencyKey,
  }
}

const noHeaders: (readonly [string, Buffer])[] = []
