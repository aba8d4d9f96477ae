import { crc32 } from 'node:zlib'

/** The byte layout stands at the top of journal.ts; this file encodes and checks it, and does no I/O. */

export const segmentHeaderBytes = 4096
export const blockHeaderBytes = 48
export const blockTrailerBytes = 4
const footerHeaderBytes = 24
const indexEntryBytes = 16
export const trailerBytes = 16

const formatVersion = 1
/** Feature bits that this version understands. An unknown bit refuses the segment and leaves the file alone. */
const knownFeatures = 0

const segmentMagic = 0x474a524f // "ORJG"
const blockMagic = 0x4b42524f // "ORBK"
const footerMagic = 0x5849524f // "ORIX"
const trailerMagic = 0x444e524f // "ORND"

const segmentSuffix = '.segment'

/** A segment's file name: its base seq in 16 digits, so that names sort by seq. */
export function segmentName(baseSeq: number): string {
  return String(baseSeq).padStart(16, '0') + segmentSuffix
}

/** The base seq in a segment's file name, or null for any other name. */
export function baseSeqOf(name: string): number | null {
  return /^[0-9]{16}\.segment$/.test(name) ? Number(name.slice(0, 16)) : null
}

export interface SegmentHeader {
  readonly journalId: string
  readonly uuid: Buffer
  readonly baseSeq: number
  /** Milliseconds since the epoch. */
  readonly createdAt: number
}

/** What the CRCs of a segment are seeded with, so that a recycled file's old bytes never validate. */
export function seedOf(uuid: Buffer): number {
  return crc32(uuid)
}

export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  const bytes = Buffer.alloc(segmentHeaderBytes)
  bytes.writeUInt32LE(segmentMagic, 0)
  bytes.writeUInt32LE(formatVersion, 4)
  bytes.writeUInt32LE(knownFeatures, 8)
  header.uuid.copy(bytes, 16)
  bytes.write(header.journalId, 32, 16, 'latin1')
  writeUInt64(bytes, header.baseSeq, 48)
  writeUInt64(bytes, header.createdAt, 56)
  bytes.writeUInt32LE(crc32(bytes.subarray(0, segmentHeaderBytes - 4)), segmentHeaderBytes - 4)
  return bytes
}

export type ParsedHeader =
  | { readonly ok: true; readonly header: SegmentHeader; readonly crc: number }
  | { readonly ok: false; readonly unsupported: boolean; readonly problem: string }

export function parseSegmentHeader(bytes: Buffer): ParsedHeader {
  const bad = (problem: string, unsupported = false): ParsedHeader => ({ ok: false, unsupported, problem })
  if (bytes.length < segmentHeaderBytes) return bad('shorter than a segment header')
  if (bytes.readUInt32LE(0) !== segmentMagic) return bad('not a journal segment (magic bytes differ)')
  const crc = bytes.readUInt32LE(segmentHeaderBytes - 4)
  if (crc32(bytes.subarray(0, segmentHeaderBytes - 4)) !== crc) return bad('segment header is corrupt (CRC differs)')
  const version = bytes.readUInt32LE(4)
  if (version !== formatVersion)
    return bad(`format version ${version} is not known to this Outrigger (it knows ${formatVersion})`, true)
  const unknown = (bytes.readUInt32LE(8) & ~knownFeatures) >>> 0
  if (unknown !== 0)
    return bad(`uses features that this Outrigger does not know (bits 0x${unknown.toString(16)})`, true)
  return {
    ok: true,
    crc,
    header: {
      uuid: Buffer.from(bytes.subarray(16, 32)),
      journalId: bytes.toString('latin1', 32, 48).replace(/\0+$/, ''),
      baseSeq: readUInt64(bytes, 48),
      createdAt: readUInt64(bytes, 56),
    },
  }
}

const gapFlag = 1

export interface BlockHeader {
  readonly payloadBytes: number
  readonly firstSeq: number
  readonly count: number
  /** Its records are lost: it has no payload, and only says which they were. */
  readonly isGap: boolean
  /** Position in its segment, from 0. */
  readonly number: number
  readonly previousCrc: number
  /** Milliseconds since the epoch. */
  readonly writtenAt: number
}

/** Completes a block in place: header before the payload that already stands at `blockHeaderBytes`, CRC behind it. Returns that CRC. */
export function sealBlock(block: Buffer, header: BlockHeader, seed: number): number {
  block.writeUInt32LE(blockMagic, 0)
  block.writeUInt32LE(header.payloadBytes, 4)
  writeUInt64(block, header.firstSeq, 8)
  block.writeUInt32LE(header.count, 16)
  block.writeUInt32LE(header.isGap ? gapFlag : 0, 20)
  block.writeUInt32LE(header.number, 24)
  block.writeUInt32LE(header.previousCrc, 28)
  writeUInt64(block, header.writtenAt, 32)
  block.writeUInt32LE(0, 40)
  const headerCrc = crc32(block.subarray(0, 44), seed)
  block.writeUInt32LE(headerCrc, 44)
  const end = blockHeaderBytes + header.payloadBytes
  const crc = crc32(block.subarray(blockHeaderBytes, end), headerCrc)
  block.writeUInt32LE(crc, end)
  return crc
}

/** The block header at `at`, or null when there is no valid one. The caller makes sure that `blockHeaderBytes` are there. */
export function parseBlockHeader(bytes: Buffer, at: number, seed: number): BlockHeader | null {
  if (bytes.readUInt32LE(at) !== blockMagic) return null
  if (crc32(bytes.subarray(at, at + 44), seed) !== bytes.readUInt32LE(at + 44)) return null
  return {
    payloadBytes: bytes.readUInt32LE(at + 4),
    firstSeq: readUInt64(bytes, at + 8),
    count: bytes.readUInt32LE(at + 16),
    isGap: (bytes.readUInt32LE(at + 20) & gapFlag) !== 0,
    number: bytes.readUInt32LE(at + 24),
    previousCrc: bytes.readUInt32LE(at + 28),
    writtenAt: readUInt64(bytes, at + 32),
  }
}

/** The CRC behind the payload of the block at `at` when it is right, else null. */
export function checkPayload(bytes: Buffer, at: number, payloadBytes: number): number | null {
  const end = at + blockHeaderBytes + payloadBytes
  const crc = crc32(bytes.subarray(at + blockHeaderBytes, end), bytes.readUInt32LE(at + 44))
  return crc === bytes.readUInt32LE(end) ? crc : null
}

/**
 * Where in `bytes` the valid header of a block with at least this number stands, or -1: the proof that a bad block before
 * it is rot, not a torn tail. A lower number is a message's own content: a copy of this very segment.
 */
export function findBlockHeader(bytes: Buffer, numberMin: number, seed: number): number {
  const magic = Buffer.alloc(4)
  magic.writeUInt32LE(blockMagic)
  for (let at = bytes.indexOf(magic); at !== -1; at = bytes.indexOf(magic, at + 1)) {
    if (at + blockHeaderBytes > bytes.length) break
    const header = parseBlockHeader(bytes, at, seed)
    if (header !== null && header.number >= numberMin) return at
  }
  return -1
}

/** Where blocks begin: one entry about every 64 KiB, ascending. */
export type IndexEntry = readonly [firstSeq: number, offset: number]

export interface Footer {
  /** One past the last seq of the segment. */
  readonly nextSeq: number
  /** Where the blocks end and the footer begins. */
  readonly offset: number
  readonly index: readonly IndexEntry[]
}

/** The footer with the trailer that ends the file. */
export function encodeFooter(footer: Footer, seed: number): Buffer {
  const footerBytes = footerHeaderBytes + footer.index.length * indexEntryBytes + 4
  const bytes = Buffer.alloc(footerBytes + trailerBytes)
  bytes.writeUInt32LE(footerMagic, 0)
  bytes.writeUInt32LE(footer.index.length, 4)
  writeUInt64(bytes, footer.nextSeq, 8)
  writeUInt64(bytes, footer.offset, 16)
  footer.index.forEach(([firstSeq, offset], i) => {
    writeUInt64(bytes, firstSeq, footerHeaderBytes + i * indexEntryBytes)
    writeUInt64(bytes, offset, footerHeaderBytes + i * indexEntryBytes + 8)
  })
  bytes.writeUInt32LE(crc32(bytes.subarray(0, footerBytes - 4), seed), footerBytes - 4)
  writeUInt64(bytes, footer.offset, footerBytes)
  bytes.writeUInt32LE(trailerMagic, footerBytes + 8)
  bytes.writeUInt32LE(crc32(bytes.subarray(footerBytes, footerBytes + 12), seed), footerBytes + 12)
  return bytes
}

/** Where the footer begins, from the file's last `trailerBytes`; null when the segment was not sealed. */
export function parseTrailer(bytes: Buffer, seed: number): number | null {
  if (bytes.length < trailerBytes || bytes.readUInt32LE(8) !== trailerMagic) return null
  return crc32(bytes.subarray(0, 12), seed) === bytes.readUInt32LE(12) ? readUInt64(bytes, 0) : null
}

/** The footer in `bytes` (without the trailer), or null when it is not a valid one. */
export function parseFooter(bytes: Buffer, seed: number): Footer | null {
  if (bytes.length < footerHeaderBytes + 4 || bytes.readUInt32LE(0) !== footerMagic) return null
  const entries = bytes.readUInt32LE(4)
  const end = footerHeaderBytes + entries * indexEntryBytes
  if (bytes.length < end + 4 || crc32(bytes.subarray(0, end), seed) !== bytes.readUInt32LE(end)) return null
  const index: IndexEntry[] = []
  for (let at = footerHeaderBytes; at < end; at += indexEntryBytes)
    index.push([readUInt64(bytes, at), readUInt64(bytes, at + 8)])
  return { nextSeq: readUInt64(bytes, 8), offset: readUInt64(bytes, 16), index }
}

/** 64-bit little-endian; values stay below 2^53 (at a million messages a second, for 285 years). */
export function writeUInt64(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32LE(value % 0x1_0000_0000, at)
  bytes.writeUInt32LE(Math.floor(value / 0x1_0000_0000), at + 4)
}

export function readUInt64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 0x1_0000_0000
}
