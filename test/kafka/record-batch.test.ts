import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { codecs } from '../../src/kafka/compression.ts'
import { crc32c } from '../../src/kafka/crc32c.ts'
import { lz4Compress, lz4Decompress, xxh32 } from '../../src/kafka/lz4.ts'
import type { AbortedTransaction } from '../../src/kafka/record-batch.ts'
import { decodeRecordBatches, noProducer, RecordEncoder } from '../../src/kafka/record-batch.ts'
import { outgoing } from '../forwarder/broker-contract.ts'

const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array))
const message = fc.record({
  key: fc.option(bytes),
  value: fc.option(bytes),
  headers: fc.array(fc.tuple(fc.string({ unit: 'grapheme' }), fc.oneof(bytes, fc.string({ unit: 'grapheme' }))), {
    maxLength: 4,
  }),
  partition: fc.constant(null),
  timestamp: fc.oneof(
    fc.integer({ min: 0, max: 2 ** 45 }),
    fc.integer({ min: 1_700_000_000_000, max: 1_700_000_001_000 }),
  ),
})
const compression = fc.constantFrom('none', 'gzip', 'snappy', 'lz4', 'zstd')

describe('record batches', () => {
  test('are decoded to what was encoded, whatever it was and however compressed', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(message, { minLength: 1, maxLength: 40 }), compression, async (messages, how) => {
        const batch = await new RecordEncoder().encode(messages).compressed(how)
        const { records, nextOffset } = decodeRecordBatches(Buffer.from(batch.stampedWith(noProducer)), 0, [])
        expect(nextOffset).toBe(messages.length)
        expect(records).toEqual(
          messages.map(({ key, value, headers, timestamp }, offset) => ({
            offset,
            timestamp,
            key,
            value,
            headers: headers.map(([name, content]) => [name, Buffer.from(content as Buffer)]),
          })),
        )
      }),
      { numRuns: 300 },
    )
  })

  test('of the same messages have one digest, whatever their stamp and compression; of others another', async () => {
    const encoder = new RecordEncoder()
    const messages = [outgoing({ value: Buffer.from('a') }), outgoing({ value: Buffer.from('b') })]
    const batch = encoder.encode(messages)
    const digest = batch.digest()
    batch.stampedWith({ producerId: 7n, epoch: 1, sequence: 100 })
    const compressed = await encoder.encode(messages).compressed('zstd')
    expect([batch.digest(), compressed.digest()]).toEqual([digest, digest])
    expect(encoder.encode(messages.toReversed()).digest()).not.toBe(digest)
    expect(encoder.encode(messages.map((m) => ({ ...m, timestamp: 5 }))).digest()).not.toBe(digest)
  })

  test('that are cut off at the end of a response, or begin before the offset asked for, give what is whole and new', () => {
    const [first, second] = [batchAt(10, ['a', 'b', 'c']), batchAt(13, ['d', 'e'])]
    const response = Buffer.concat([first, second.subarray(0, second.length - 3)])
    const { records, nextOffset } = decodeRecordBatches(response, 11, [])
    expect(records.map(({ offset, value }) => [offset, String(value)])).toEqual([[11, 'b'], [12, 'c']]) // prettier-ignore
    expect(nextOffset).toBe(13)
  })

  test('of an aborted transaction are left out, and so are the marks of its end', () => {
    const response = Buffer.concat([
      batchAt(0, ['aborted'], { producerId: 5n, attributes: 0x10 }),
      batchAt(1, ['plain'], { producerId: 5n }),
      batchAt(2, ['other'], { producerId: 6n, attributes: 0x10 }),
      batchAt(3, ['mark'], { producerId: 5n, attributes: 0x30 }),
      batchAt(4, ['committed'], { producerId: 5n, attributes: 0x10 }),
      batchAt(5, ['mark'], { producerId: 5n, attributes: 0x30 }),
    ])
    const aborted: AbortedTransaction[] = [{ producerId: 5n, firstOffset: 0 }]
    const { records, nextOffset } = decodeRecordBatches(response, 0, aborted)
    expect(records.map(({ value }) => String(value))).toEqual(['plain', 'other', 'committed'])
    expect(nextOffset).toBe(6)
  })

  test('that were damaged are an error, not records', () => {
    const response = batchAt(0, ['a'])
    response[response.length - 3] = (response[response.length - 3] as number) ^ 1
    expect(() => decodeRecordBatches(response, 0, [])).toThrow(/checksum/)
  })
})

/** A batch as the broker gives it out. */
function batchAt(offset: number, values: string[], more: { producerId?: bigint; attributes?: number } = {}): Buffer {
  const batch = new RecordEncoder().encode(values.map((value) => outgoing({ value: Buffer.from(value) })))
  const data = Buffer.from(batch.stampedWith({ producerId: more.producerId ?? -1n, epoch: 0, sequence: 0 }))
  data.writeBigInt64BE(BigInt(offset), 0)
  data.writeInt16BE(more.attributes ?? 0, 21)
  data.writeUInt32BE(crc32c(data, 21), 17)
  return data
}

test('CRC-32C is that of RFC 3720', () => {
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283)
  expect(crc32c(Buffer.alloc(32))).toBe(0x8a9136aa)
  expect(crc32c(Buffer.alloc(32, 0xff))).toBe(0x62a8ab43)
  expect(crc32c(Buffer.from('xx123456789x'), 2, 11)).toBe(0xe3069283)
})

test('XXH32 is that of its specification', () => {
  expect(xxh32(Buffer.alloc(0))).toBe(0x02cc5d05)
  expect(xxh32(Buffer.from('a'))).toBe(0x550d7456)
  expect(xxh32(Buffer.from('abc'))).toBe(0x32d153ff)
})

describe('LZ4', () => {
  test('gives back what was compressed: repetitive, random, longer than a block', () => {
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 2000 }).map((array) => Buffer.from(array)),
      fc
        .tuple(fc.uint8Array({ minLength: 1, maxLength: 20 }), fc.integer({ min: 1, max: 10_000 }))
        .map(([array, times]) => Buffer.alloc(array.length * times, Buffer.from(array))),
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
        const data = Buffer.concat(pieces)
        expect(lz4Decompress(lz4Compress(data)).equals(data)).toBe(true)
      }),
      { numRuns: 300 },
    )
  })

  test('makes repetitive data much smaller, and random data hardly larger', () => {
    const text = Buffer.from(
      JSON.stringify(Array.from({ length: 2000 }, (_, id) => ({ id, name: 'a name', tags: [] }))),
    )
    expect(lz4Compress(text).length).toBeLessThan(text.length / 3)
    const random = Buffer.from(Array.from({ length: 100_000 }, () => Math.floor(Math.random() * 256)))
    expect(lz4Compress(random).length).toBeLessThan(random.length + 40)
  })

  test('ends a block in five literals, without which the reference refuses it', () => {
    const frame = lz4Compress(Buffer.alloc(1000, 'a'))
    // The last sequence of the block, and the end mark of the frame.
    expect(frame.subarray(-10).toString('latin1')).toBe('\x50aaaaa\0\0\0\0')
  })

  test.each([
    ['nothing', Buffer.from('')],
    ['something else', Buffer.from('hello, world')],
    ['a frame that is cut off', lz4Compress(Buffer.alloc(1000, 'abc')).subarray(0, 12)],
    ['a match from before the beginning', Buffer.from('04224d18604082050000001061ffff000000000000', 'hex')],
  ])('refuses %s', (_, data) => {
    expect(() => lz4Decompress(data)).toThrow(RangeError)
  })
})

test('snappy reads also a bare block, as some producers write it', () => {
  const framed = codecs.snappy.compress(Buffer.from('hello hello hello')) as Buffer
  expect(String(codecs.snappy.decompress(framed))).toBe('hello hello hello')
  expect(String(codecs.snappy.decompress(framed.subarray(20)))).toBe('hello hello hello')
})
