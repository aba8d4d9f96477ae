import { expect, test } from 'vitest'
import { messageCodec, decodeMessage } from '../../src/message/message-codec.ts'
import type { Message, StoredMessage } from '../../src/message/message.ts'
import type { FinishedMessage } from '../../src/recorder/finished-message.ts'
import { logEntry } from '../../src/recorder/log-entry.ts'
import { metadataRow, metadataRowBytes } from '../../src/recorder/metadata-row.ts'
import { headersBytesMax, keyBytesMax } from '../../src/recorder/metadata-store.ts'
import { message } from '../forwarder/rig.ts'

const finished: FinishedMessage = {
  seq: 9,
  topic: 'orders',
  status: 'delivered',
  partition: 3,
  offset: 77,
  finishedAt: 2000,
  attempts: 2,
  reason: null,
}

/** As it is read from a journal, and the bytes that it is a view of. */
function stored(parts: Partial<Message>): { message: StoredMessage; bytes: Buffer } {
  const whole = message('orders', 'value', { acceptedAt: 1000, ...parts })
  const bytes = Buffer.alloc(messageCodec.sizeMax(whole))
  messageCodec.encode(whole, bytes, 0)
  return { message: decodeMessage(bytes, 0, 9), bytes }
}

const rowOf = (parts: Partial<Message>) => metadataRow('0123456789abc', finished, stored(parts).message, 3000)

test('a row says what is known of a message', () => {
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  expect(
    rowOf({
      key: 'k',
      producer: 'shop',
      contentType: 'text/plain',
      traceparent,
      headers: [
        ['a', 'ü'],
        ['b', Buffer.from([255])],
      ],
    }),
  ).toEqual({
    // prettier-ignore
    journalId: '0123456789abc',
    seq: 9,
    status: 'delivered',
    topic: 'orders',
    partition: 3,
    offset: 77,
    key: Buffer.from('k'),
    producer: 'shop',
    contentType: 'text/plain',
    valueBytes: 5,
    headers: '[{"name":"a","value":"ü"},{"name":"b","valueBase64":"/w=="}]',
    traceId: '0af7651916cd43dd8448eb211c80319c',
    acceptedAt: 1000,
    finishedAt: 2000,
    recordedAt: 3000,
    attempts: 2,
    reason: null,
  })
})

test('what is missing is null, and an empty key is a key', () => {
  expect(rowOf({ value: null })).toMatchObject({ key: null, valueBytes: null, headers: null, traceId: null })
  expect(rowOf({ key: '' }).key).toEqual(Buffer.alloc(0))
  expect(rowOf({ traceparent: 'nonsense' }).traceId).toBeNull()
})

test('keys, headers and texts are bounded', () => {
  const headers = Array.from({ length: 60 }, (_, i) => [`name-${i}`, 'ü'.repeat(100)] as const)
  const row = rowOf({ key: 'k'.repeat(1000), producer: 'p'.repeat(1000), headers: [...headers, ['huge', 'x'.repeat(10_000)]] }) // prettier-ignore
  expect(row.key).toHaveLength(keyBytesMax)
  expect(row.producer).toHaveLength(249)
  expect(Buffer.byteLength(row.headers ?? '')).toBeLessThanOrEqual(headersBytesMax)
  expect(JSON.parse(row.headers ?? '')).toEqual(
    headers.slice(0, (JSON.parse(row.headers ?? '') as []).length).map(([name, value]) => ({ name, value })),
  )
  expect(metadataRowBytes(row)).toBeGreaterThan(2500)
})

test('neither a row nor an entry changes when the bytes of the message are used again', () => {
  const { message: view, bytes } = stored({ key: 'key', headers: [['a', Buffer.from([1, 2])]] })
  const row = metadataRow('0123456789abc', finished, view, 3000)
  const entry = logEntry('0123456789abc', finished, view)
  bytes.fill(0)
  expect(String(row.key)).toBe('key')
  expect(entry).toMatchObject({ key: Buffer.from('key'), value: Buffer.from('value'), headers: [['a', Buffer.from([1, 2])]] }) // prettier-ignore
})

test('a dead message has a row and no entry', () => {
  const dead = { ...finished, status: 'dead', partition: null, offset: null, reason: 'r'.repeat(500) } as const
  const { message: view } = stored({})
  expect(metadataRow('0123456789abc', dead, view, 3000)).toMatchObject({ status: 'dead', partition: null, reason: 'r'.repeat(249) }) // prettier-ignore
  expect(logEntry('0123456789abc', dead, view)).toBeNull()
})
