import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { BlockHeader, Footer, SegmentHeader } from '../../src/journal/format.ts'
import {
  baseSeqOf,
  blockHeaderBytes,
  blockTrailerBytes,
  checkPayload,
  encodeFooter,
  encodeSegmentHeader,
  parseBlockHeader,
  parseFooter,
  parseSegmentHeader,
  parseTrailer,
  readUInt64,
  sealBlock,
  seedOf,
  segmentHeaderBytes,
  segmentName,
  trailerBytes,
  writeUInt64,
} from '../../src/journal/format.ts'

const seqs = fc.maxSafeNat()
const uint32s = fc.nat({ max: 0xffff_ffff })
const uuids = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes))
const headers: fc.Arbitrary<SegmentHeader> = fc.record({
  journalId: fc.stringMatching(/^[0-9a-z]{1,16}$/),
  uuid: uuids,
  previousUuid: uuids,
  baseSeq: seqs,
  createdAt: seqs,
  encryption: fc.option(
    fc.record({
      keyName: fc.stringMatching(/^[0-9a-zA-Z./-]{1,62}$/),
      wrappedKey: fc.uint8Array({ maxLength: 126 }).map((bytes) => Buffer.from(bytes)),
      epoch: fc.uint8Array({ minLength: 8, maxLength: 8 }).map((bytes) => Buffer.from(bytes)),
    }),
  ),
})
const footers: fc.Arbitrary<Footer> = fc.record({
  nextSeq: seqs,
  offset: seqs,
  index: fc.array(fc.tuple(seqs, seqs), { maxLength: 20 }),
})
const blocks = fc.record({
  payload: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
  firstSeq: seqs,
  count: uint32s,
  isGap: fc.boolean(),
  isEncrypted: fc.boolean(),
  number: uint32s,
  previousCrc: uint32s,
  writtenAt: seqs,
})

function seal({ payload, ...rest }: Omit<BlockHeader, 'payloadBytes'> & { payload: Buffer }, seed: number): Buffer {
  const bytes = Buffer.alloc(blockHeaderBytes + payload.length + blockTrailerBytes)
  payload.copy(bytes, blockHeaderBytes)
  sealBlock(bytes, { ...rest, payloadBytes: payload.length }, seed)
  return bytes
}

function isValidBlock(bytes: Buffer, seed: number): boolean {
  const header = parseBlockHeader(bytes, 0, seed)
  return (
    header !== null &&
    blockHeaderBytes + header.payloadBytes + blockTrailerBytes === bytes.length &&
    checkPayload(bytes, 0, header.payloadBytes) !== null
  )
}

/** Whether no bytes with one bit changed are taken for valid. */
function everyFlipIsNoticed(bytes: Buffer, isValid: (bytes: Buffer) => boolean): void {
  expect(isValid(bytes)).toBe(true)
  const unnoticed: string[] = []
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const at = bit >> 3
    const was = bytes[at] as number
    bytes[at] = was ^ (1 << (bit & 7))
    if (isValid(bytes)) unnoticed.push(`bit ${bit & 7} of byte ${at}`)
    bytes[at] = was
  }
  expect(unnoticed).toEqual([])
}

test('numbers up to 2^53 - 1 come back', () => {
  fc.assert(
    fc.property(seqs, (value) => {
      const bytes = Buffer.alloc(8)
      writeUInt64(bytes, value, 0)
      expect(readUInt64(bytes, 0)).toBe(value)
      expect(bytes.readBigUInt64LE()).toBe(BigInt(value))
    }),
    { examples: [[0], [0xffff_ffff], [0x1_0000_0000], [Number.MAX_SAFE_INTEGER]] },
  )
})

test('names of segments come back, sort by seq, and no other name is taken for one', () => {
  fc.assert(
    fc.property(seqs, seqs, (a, b) => {
      expect(baseSeqOf(segmentName(a))).toBe(a)
      expect(Math.sign(a - b)).toBe(segmentName(a) < segmentName(b) ? -1 : segmentName(a) > segmentName(b) ? 1 : 0)
    }),
  )
  const others = ['1.segment', '0000000000000001.spare', 'x0000000000000001.segment', '0000000000000001.segment~', '']
  for (const name of others) expect(baseSeqOf(name)).toBeNull()
})

test('a segment header comes back', () => {
  fc.assert(
    fc.property(headers, (header) => {
      const bytes = encodeSegmentHeader(header)
      expect(bytes.length).toBe(segmentHeaderBytes)
      expect(parseSegmentHeader(bytes)).toEqual({ ok: true, header, crc: bytes.readUInt32LE(segmentHeaderBytes - 4) })
    }),
  )
})

test('a block comes back', () => {
  fc.assert(
    fc.property(blocks, uuids, (block, uuid) => {
      const seed = seedOf(uuid)
      const bytes = seal(block, seed)
      const { payload, ...rest } = block
      expect(parseBlockHeader(bytes, 0, seed)).toEqual({ ...rest, payloadBytes: payload.length })
      expect(checkPayload(bytes, 0, payload.length)).toBe(bytes.readUInt32LE(bytes.length - 4))
      expect(bytes.subarray(blockHeaderBytes, blockHeaderBytes + payload.length)).toEqual(payload)
    }),
  )
})

test('a footer comes back', () => {
  fc.assert(
    fc.property(footers, uuids, (footer, uuid) => {
      const bytes = encodeFooter(footer, seedOf(uuid))
      expect(parseTrailer(bytes.subarray(bytes.length - trailerBytes), seedOf(uuid))).toBe(footer.offset)
      expect(parseFooter(bytes.subarray(0, bytes.length - trailerBytes), seedOf(uuid))).toEqual(footer)
    }),
  )
})

test('every single flipped bit of a segment header is noticed', () => {
  expect.hasAssertions()
  fc.assert(
    fc.property(headers, (header) => {
      everyFlipIsNoticed(encodeSegmentHeader(header), (bytes) => parseSegmentHeader(bytes).ok)
    }),
    { numRuns: 1 },
  )
})

test('every single flipped bit of a block is noticed', () => {
  expect.hasAssertions()
  fc.assert(
    fc.property(blocks, uuids, (block, uuid) => {
      everyFlipIsNoticed(seal(block, seedOf(uuid)), (bytes) => isValidBlock(bytes, seedOf(uuid)))
    }),
    { numRuns: 10 },
  )
})

test('every single flipped bit of a footer is noticed', () => {
  expect.hasAssertions()
  fc.assert(
    fc.property(footers, uuids, (footer, uuid) => {
      const seed = seedOf(uuid)
      const bytes = encodeFooter(footer, seed)
      const end = bytes.length - trailerBytes
      everyFlipIsNoticed(bytes, () => {
        const trailer = parseTrailer(bytes.subarray(end), seed)
        return trailer === footer.offset && parseFooter(bytes.subarray(0, end), seed) !== null
      })
    }),
    { numRuns: 10 },
  )
})

test('bytes of another segment never validate, however they were made', () => {
  fc.assert(
    fc.property(blocks, footers, uuids, uuids, (block, footer, old, uuid) => {
      fc.pre(!old.equals(uuid))
      const [oldSeed, seed] = [seedOf(old), seedOf(uuid)]
      expect(parseBlockHeader(seal(block, oldSeed), 0, seed)).toBeNull()
      const bytes = encodeFooter(footer, oldSeed)
      expect(parseTrailer(bytes.subarray(bytes.length - trailerBytes), seed)).toBeNull()
      expect(parseFooter(bytes.subarray(0, bytes.length - trailerBytes), seed)).toBeNull()
    }),
  )
})

test('arbitrary bytes are refused without a fault', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: blockHeaderBytes, maxLength: 300 }), uint32s, (random, seed) => {
      const bytes = Buffer.from(random)
      expect(parseSegmentHeader(bytes).ok).toBe(false)
      expect(parseBlockHeader(bytes, 0, seed)).toBeNull()
      expect(parseFooter(bytes, seed)).toBeNull()
      expect(parseTrailer(bytes.subarray(0, trailerBytes), seed)).toBeNull()
    }),
  )
})
