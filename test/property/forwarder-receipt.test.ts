import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Receipt, SeqRange } from '../../src/message/receipt.ts'
import { decodeReceipt, lossReasons, receiptCodec } from '../../src/message/receipt.ts'

/** Also the edges: 0, the bounds of one byte and of 31 bits, and the largest there is. */
const edges = [0, 1, 127, 128, 16_383, 16_384, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 52, Number.MAX_SAFE_INTEGER]
const number = fc.oneof(fc.constantFrom(...edges), fc.maxSafeNat(), fc.nat(300))
const topic = fc.string({ unit: fc.constantFrom('a', 'Z', '0', '.', '_', '-'), minLength: 1, maxLength: 249 })
const reason = fc.string({ unit: fc.constantFrom('A', '_', 'ä', '€', '\u{1f600}'), maxLength: 30 })

const delivered = fc
  .record({
    topic,
    deliveredAt: number,
    attempts: number,
    entries: fc.uniqueArray(fc.tuple(number, fc.oneof(fc.nat(3), fc.nat(2 ** 31 - 1)), offset()), {
      minLength: 1,
      maxLength: 60,
      selector: ([seq]) => seq,
    }),
  })
  .map(({ entries, ...rest }): Receipt => {
    const sorted = entries.toSorted(([a], [b]) => a - b)
    const column = (i: 0 | 1 | 2) => sorted.map((entry) => entry[i])
    return { kind: 'delivered', ...rest, seqs: column(0), partitions: column(1), offsets: column(2) }
  })
const dead = fc
  .record({ topic, diedAt: number, attempts: number, seq: number, reason })
  .map((parts): Receipt => ({ kind: 'dead', ...parts }))
const checkpoint = fc
  .record({ head: number, positions: fc.array(fc.tuple(topic, number), { maxLength: 30 }) })
  .map(({ head, positions }): Receipt => ({ kind: 'checkpoint', head, positions: new Map(positions) }))
const lost = fc
  .record({
    topic: fc.option(topic),
    lostAt: number,
    reason: fc.constantFrom(...lossReasons),
    seqs: fc.uniqueArray(number, { minLength: 2, maxLength: 60 }),
  })
  .map(({ seqs, ...rest }): Receipt => {
    const sorted = seqs.toSorted((a, b) => a - b)
    const ranges = sorted.flatMap((from, i): SeqRange[] => (i % 2 === 1 ? [[sorted[i - 1] as number, from]] : []))
    return { kind: 'lost', ...rest, ranges }
  })
const anyReceipt = fc.oneof(delivered, dead, checkpoint, lost)

/** In any order, up and down; zigzag doubles distances, so they stay below 2^51. */
function offset(): fc.Arbitrary<number> {
  return fc.oneof(
    fc.nat(20),
    fc.nat(2 ** 31 - 1),
    fc.maxSafeNat().map((n) => n % 2 ** 51),
    fc.constant(2 ** 51),
  )
}

test('property: a receipt comes back as it was, from any place, and takes no more room than it said', () => {
  fc.assert(
    fc.property(anyReceipt, fc.nat(40), (given, start) => {
      const sizeMax = receiptCodec.sizeMax(given)
      const bytes = Buffer.alloc(start + sizeMax + 8, 0xee)
      const end = receiptCodec.encode(given, bytes, start)
      expect(end - start).toBeLessThanOrEqual(sizeMax)
      expect(bytes.subarray(end).every((byte) => byte === 0xee)).toBe(true)
      expect(decodeReceipt(bytes, start, end)).toEqual(given)
    }),
    { numRuns: 500 },
  )
})

test('a batch that stands in a row in a few partitions takes 3 bytes a message', () => {
  const seqs = Array.from({ length: 5000 }, (_, i) => 1_000_000 + 3 * i)
  const receipt: Receipt = {
    kind: 'delivered',
    topic: 'orders',
    deliveredAt: 1_700_000_000_000,
    attempts: 1,
    seqs,
    partitions: seqs.map((_, i) => i % 12),
    offsets: seqs.map((_, i) => 5_000_000 + Math.floor(i / 12)),
  }
  const bytes = Buffer.alloc(receiptCodec.sizeMax(receipt))
  expect(receiptCodec.encode(receipt, bytes, 0)).toBeLessThan(5000 * 3 + 100)
})

test('property: a receipt that is cut short is an error, never a wrong receipt and never an endless loop', () => {
  fc.assert(
    fc.property(anyReceipt, fc.double({ min: 0, max: 1, noNaN: true }), (given, part) => {
      const bytes = Buffer.alloc(receiptCodec.sizeMax(given))
      const end = receiptCodec.encode(given, bytes, 0)
      expect(() => decodeReceipt(bytes, 0, 2 + Math.floor((end - 2) * part * 0.999))).toThrow('ends too early')
    }),
    { numRuns: 200 },
  )
})

test('a receipt of an unknown version or kind is refused', () => {
  expect(() => decodeReceipt(Buffer.from([2, 1, 0]), 0, 3)).toThrow('version 2')
  expect(() => decodeReceipt(Buffer.from([1, 9, 0]), 0, 3)).toThrow('kind 9')
  expect(() => decodeReceipt(Buffer.from([1, 4, 0, 1, 9, 0]), 0, 6)).toThrow('reason 9')
})
