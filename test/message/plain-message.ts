import type { Message } from '../../src/message/message.ts'

/** A message with nothing but what a test is about. */
export function plainMessage(parts: Partial<Message> & Pick<Message, 'topic'>): Message {
  return {
    partition: null,
    key: null,
    value: null,
    headers: [],
    timestamp: null,
    acceptedAt: 1_700_000_000_000,
    producer: null,
    contentType: null,
    traceparent: null,
    tracestate: null,
    idempotencyKey: null,
    ...parts,
  }
}
