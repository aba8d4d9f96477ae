import { parseMessageId } from '../message/message-id.ts'
import type { StoredMessage } from '../message/message.ts'
import type { FinishedMessage } from './finished-message.ts'

/** A record as the broker gives it back. */
export interface BrokerRecord {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** Milliseconds since the epoch. */
  readonly timestamp: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly (readonly [name: string, value: Buffer])[]
}

/** A message as it can be told from its record. */
export interface DeliveredMessage {
  readonly journalId: string
  readonly finished: FinishedMessage
  readonly message: StoredMessage
}

/**
 * The message that a record is, by the headers that the forwarder puts in front of the message's own; null when Outrigger
 * did not send it. Who published it and how often it was sent is not known any more: `producer` is null, `attempts` 0, and
 * `finishedAt` is the time of acceptance. A message without a content type whose own first header has that name can't be
 * told from one with; the same goes for `traceparent` and `tracestate`.
 */
export function deliveredMessage(record: BrokerRecord): DeliveredMessage | null {
  const { topic, partition, offset, timestamp, key, value, headers } = record
  let at = headers.findIndex(([name]) => name === 'outrigger-id')
  const id = parseMessageId(String(headers[at]?.[1] ?? ''))
  if (id === null) return null
  at++
  const take = (name: string): string | null => (headers[at]?.[0] === name ? String(headers[at++]?.[1]) : null)
  const accepted = Number(take('outrigger-accepted-at') ?? Number.NaN)
  const acceptedAt = Number.isSafeInteger(accepted) ? accepted : timestamp
  const contentType = take('content-type')
  const traceparent = take('traceparent')
  const tracestate = take('tracestate')
  const { journalId, seq } = id
  const message = {
    seq,
    topic,
    partition: null,
    key,
    value,
    headers: headers.slice(at),
    timestamp,
    acceptedAt,
    producer: null,
    contentType,
    traceparent,
    tracestate,
    idempotencyKey: null,
  }
  const finished = { seq, topic, status: 'delivered', partition, offset, finishedAt: acceptedAt, attempts: 0, reason: null } as const // prettier-ignore
  return { journalId, finished, message }
}
