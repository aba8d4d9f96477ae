import { expect, test } from 'vitest'
import { readNdjsonMessage } from '../../src/intake/ndjson-message.ts'
import { formats, lineOf, messageOf, tagOf } from './traffic.ts'

test('the torture’s messages are of every kind, the same each time, and lines stand for their bytes', () => {
  const limits = { bodyBytesMax: 1 << 20, headersMax: 64, headerBytesMax: 1 << 14 }
  const shared = { topic: '', partition: null, producer: null, traceparent: null, tracestate: null }
  const kinds = new Set<string>()
  for (let count = 0; count < 200; count++) {
    const tag = tagOf(3, count, formats.counted)
    const message = messageOf(1, tag)
    expect(messageOf(1, tag)).toEqual(message)
    if (message === null) throw new Error(`there is no message ${tag}`)
    kinds.add(message.kind)
    const read = readNdjsonMessage(lineOf(message).trimEnd(), { ...shared, topic: message.topic }, 0, limits)
    expect(bytes(read.value)).toEqual(message.value)
    expect(bytes(read.key)).toEqual(message.key)
  }
  expect(kinds).toEqual(new Set(['text', 'json', 'bytes', 'tombstone']))
  expect(messageOf(1, 'nonsense')).toBeNull()
})

function bytes(value: Uint8Array | string | null): Buffer | null {
  return value === null ? null : Buffer.from(value as string)
}
