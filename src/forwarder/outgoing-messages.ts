import { decodeMessage } from '../message/message-codec.ts'
import { formatMessageId } from '../message/message-id.ts'
import type { StoredMessage } from '../message/message.ts'
import type { OutgoingMessage } from './broker.ts'
import type { QueuedRecord } from './lane-queue.ts'

/** A class, not a literal: V8 would take literals that outlive a young collection for long-lived ones, and never get rid of them cheaply. */
class StoredOutgoing implements OutgoingMessage {
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: OutgoingMessage['headers']
  readonly partition: number | null
  readonly timestamp: number

  constructor(message: StoredMessage, headers: OutgoingMessage['headers']) {
    this.key = message.key
    this.value = message.value
    this.headers = headers
    this.partition = message.partition
    this.timestamp = message.timestamp ?? message.acceptedAt
  }
}

/** What is sent of queued records: the messages, with the headers that Outrigger adds. */
export function outgoingMessages(batch: readonly QueuedRecord[], journalId: string): OutgoingMessage[] {
  const messages: OutgoingMessage[] = []
  let acceptedAt = Number.NaN
  let accepted: readonly [string, string] = ['', '']
  for (const { bytes, start, seq } of batch) {
    const message = decodeMessage(bytes, start, seq)
    if (message.acceptedAt !== acceptedAt) {
      acceptedAt = message.acceptedAt
      accepted = ['outrigger-accepted-at', String(acceptedAt)]
    }
    const headers: (readonly [string, Buffer | string])[] = [
      ['outrigger-id', formatMessageId(journalId, seq)],
      accepted, // many were accepted in the same millisecond
    ]
    if (message.contentType !== null) headers.push(['content-type', message.contentType])
    if (message.traceparent !== null) headers.push(['traceparent', message.traceparent])
    if (message.tracestate !== null) headers.push(['tracestate', message.tracestate])
    for (const header of message.headers) headers.push(header)
    messages.push(new StoredOutgoing(message, headers))
  }
  return messages
}
