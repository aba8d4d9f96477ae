import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeMessage, messageCodec, topicOf } from '../../src/message/message-codec.ts'
import type { Bytes, Message, StoredMessage } from '../../src/message/message.ts'
import { isTopicName } from '../../src/message/message.ts'
import { plainMessage } from './plain-message.ts'

/** Text of any code units: ASCII, beyond the BMP, surrogates that stand alone, and so long that it is measured. */
const texts = fc.oneof(
  fc.string({ maxLength: 30 }),
  fc.string({ unit: 'binary', maxLength: 30 }),
  fc.array(fc.nat({ max: 0xffff }), { maxLength: 30 }).map((units) => String.fromCharCode(...units)),
  fc
    .tuple(fc.constantFrom('a', 'é', '漢', '🦀', '\ud800', '\udc00'), fc.nat({ max: 6000 }))
    .map(([unit, n]) => unit.repeat(n)),
)
const bytes: fc.Arbitrary<Bytes> = fc.oneof(texts, fc.uint8Array({ maxLength: 200 }))
const times = fc.oneof(fc.maxSafeNat(), fc.constantFrom(0, -1, Date.now(), Number.MAX_SAFE_INTEGER))
const orNull = <T>(values: fc.Arbitrary<T>): fc.Arbitrary<T | null> => fc.option(values, { nil: null })

const messages: fc.Arbitrary<Message> = fc.record({
  topic: fc.stringMatching(/^[a-zA-Z0-9._-]{1,249}$/).filter(isTopicName),
  partition: orNull(fc.nat({ max: 2 ** 31 - 1 })),
  key: orNull(bytes),
  value: orNull(bytes),
  headers: fc.array(fc.tuple(texts, bytes), { maxLength: 8 }),
  timestamp: orNull(times),
  acceptedAt: times,
  producer: orNull(texts),
  contentType: orNull(texts),
  traceparent: orNull(texts),
  tracestate: orNull(texts),
  idempotencyKey: orNull(texts),
})

const plain = plainMessage({ topic: 'orders' })

/** What is expected back: text as UTF-8, in which a lone surrogate can only be U+FFFD. */
function stored(message: Message, seq: number): StoredMessage {
  const bytesOf = (value: Bytes): Buffer => Buffer.from(value as string)
  const textOf = (text: string | null): string | null => text?.toWellFormed() ?? null
  return {
    ...message,
    seq,
    key: message.key === null ? null : bytesOf(message.key),
    value: message.value === null ? null : bytesOf(message.value),
    headers: message.headers.map(([name, value]) => [name.toWellFormed(), bytesOf(value)]),
    producer: textOf(message.producer),
    contentType: textOf(message.contentType),
    traceparent: textOf(message.traceparent),
    tracestate: textOf(message.tracestate),
    idempotencyKey: textOf(message.idempotencyKey),
  }
}

/** Encodes at some place of a buffer with just the room that was asked for, and decodes. */
function roundTrip(message: Message, seq = 1, start = 0): StoredMessage {
  const sizeMax = messageCodec.sizeMax(message)
  const into = Buffer.alloc(start + sizeMax + 8, 0xa5)
  const end = messageCodec.encode(message, into.subarray(0, start + sizeMax), start)
  expect(end - start).toBeLessThanOrEqual(sizeMax)
  // Nothing outside its room.
  expect(into.subarray(0, start).every((byte) => byte === 0xa5)).toBe(true)
  expect(into.subarray(start + sizeMax).every((byte) => byte === 0xa5)).toBe(true)
  expect(topicOf(into, start)).toBe(message.topic)
  return decodeMessage(into, start, seq)
}

describe('a message as a journal record', () => {
  test('comes back as it was, and needs no more room than was asked for', () => {
    fc.assert(
      fc.property(messages, fc.maxSafeNat(), fc.nat({ max: 100 }), (message, seq, start) => {
        expect(roundTrip(message, seq, start)).toEqual(stored(message, seq))
      }),
      { numRuns: 500 },
    )
  })

  test('does not ask for more than three times its size and some', () => {
    fc.assert(
      fc.property(messages, (message) => {
        const into = Buffer.alloc(messageCodec.sizeMax(message))
        const size = messageCodec.encode(message, into, 0)
        expect(messageCodec.sizeMax(message)).toBeLessThanOrEqual(size * 3 + 100)
      }),
    )
    // Large values are measured: a limit by what is asked for must not refuse what would fit.
    const large = { ...plain, value: 'x'.repeat(1_000_000) }
    expect(messageCodec.sizeMax(large)).toBeLessThan(1_000_200)
  })

  test('tells nothing from the empty string and the empty bytes from null', () => {
    const none = roundTrip(plain)
    expect([none.key, none.value, none.producer, none.headers]).toEqual([null, null, null, []])
    const empty = roundTrip({ ...plain, key: '', value: new Uint8Array(0), producer: '', headers: [['', '']] })
    expect([empty.key, empty.value]).toEqual([Buffer.alloc(0), Buffer.alloc(0)])
    expect([empty.producer, empty.headers]).toEqual(['', [['', Buffer.alloc(0)]]])
  })

  test('is the same whether its text is given as text or as its UTF-8', () => {
    fc.assert(
      fc.property(texts, (text) => {
        const asText = roundTrip({ ...plain, key: text, value: text, headers: [['h', text]] })
        const utf8 = Buffer.from(text)
        expect(asText).toEqual(roundTrip({ ...plain, key: utf8, value: utf8, headers: [['h', utf8]] }))
      }),
    )
  })

  test('keeps headers of one name in their order', () => {
    const headers = [['a', '1'], ['b', '2'], ['a', '3'], ['a', '1']] as const // prettier-ignore
    expect(roundTrip({ ...plain, headers }).headers.map(([name, value]) => [name, value.toString()])).toEqual(headers)
  })

  test('holds the longest topic, the highest partition, and as many headers as may be', () => {
    const headers = Array.from({ length: 1000 }, (_, i): [string, string] => [`name ${i}`, `${i}`])
    const message = { ...plain, topic: 't'.repeat(249), partition: 2 ** 31 - 1, headers }
    expect(roundTrip(message)).toEqual(stored(message, 1))
  })

  test('read back is a view of the bytes that were read, not a copy', () => {
    const into = Buffer.alloc(1000)
    messageCodec.encode({ ...plain, key: 'k', value: 'value', headers: [['h', 'header']] }, into, 0)
    const { key, value, headers } = decodeMessage(into, 0, 1)
    for (const view of [key, value, headers[0]?.[1]]) expect(view?.buffer).toBe(into.buffer)
  })

  test('of another version is refused', () => {
    const into = Buffer.alloc(1000)
    messageCodec.encode(plain, into, 0)
    into[0] = 2
    expect(() => decodeMessage(into, 0, 1)).toThrow('record version 2 is not known')
  })
})
