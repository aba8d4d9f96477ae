import { crc32 } from 'node:zlib'

/** The byte layout stands at the top of journal.ts; this file encodes and checks it, and does no I/O. */

export const segmentHeaderBytes = 4096
export const blockHeaderBytes = 48
export const blockTrailerBytes = 4
const footerHeaderBytes = 24
const indexEntryBytes = 16
export const trailerBytes = 16

const formatVersion = 1
/** The payloads of all blocks are encrypted. */
const encryptedFeature = 1
/** Feature bits that this version understands. An unknown bit refuses the segment and leaves the file alone. */
const knownFeatures = encryptedFeature

const segmentMagic = 0x474a524f // "ORJG"
const blockMagic = 0x4b42524f // "ORBK"
const footerMagic = 0x5849524f // "ORIX"
const trailerMagic = 0x444e524f // "ORND"

const segmentSuffix = '.segment'

/** A segment's file name: its base seq in 16 digits, so that names sort by seq. */
export function segmentName(baseSeq: number): string {
  return String(baseSeq).padStart(16, '0') + segmentSuffix
}

/** Whether a file is no segment yet, or not any more: its name says nothing about what it holds. */
export function isSpareName(path: string): boolean {
  return path.endsWith('.spare')
}

/** The base seq in a segment's file name, or null for any other name. */
export function baseSeqOf(name: string): number | null {
  return /^[0-9]{16}\.segment$/.test(name) ? Number(name.slice(0, 16)) : null
}

export interface SegmentHeader {
  readonly journalId: string
  readonly uuid: Buffer
  /** Of the segment before, zeros when there is none: so a segment from elsewhere, or from the past, does not fit in. */
  readonly previousUuid: Buffer
  readonly baseSeq: number
  /** Milliseconds since the epoch. */
  readonly createdAt: number
  /** Null when the segment is not encrypted. */
  readonly encryption: SegmentEncryption | null
}

/** Under what a segment's blocks are encrypted. */
export interface SegmentEncryption {
  /** Of the key in the key ring. At most 62 ASCII characters. */
  readonly keyName: string
  /** The data key, encrypted under that key. At most 126 bytes. */
  readonly wrappedKey: Buffer
  /** 8 bytes. */
  readonly epoch: Buffer
}

export const noUuid = Buffer.alloc(16)

/** What the CRCs of a segment are seeded with, so that a recycled file's old bytes never validate. */
export function seedOf(uuid: Buffer): number {
  return crc32(uuid)
}

export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  const bytes = Buffer.alloc(segmentHeaderBytes)
  bytes.writeUInt32LE(segmentMagic, 0)
  bytes.writeUInt32LE(formatVersion, 4)
  header.uuid.copy(bytes, 16)
  bytes.write(header.journalId, 32, 16, 'latin1')
  writeUInt64(bytes, header.baseSeq, 48)
  writeUInt64(bytes, header.createdAt, 56)
  header.previousUuid.copy(bytes, 264)
  const { encryption } = header
  if (encryption !== null) {
    bytes.writeUInt32LE(encryptedFeature, 8)
    bytes.writeUInt16LE(bytes.write(encryption.keyName, 66, 62, 'latin1'), 64)
    bytes.writeUInt16LE(encryption.wrappedKey.copy(bytes, 130), 128)
    encryption.epoch.copy(bytes, 256)
  }
  bytes.writeUInt32LE(crc32(bytes.subarray(0, segmentHeaderBytes - 4)), segmentHeaderBytes - 4)
  return bytes
}

/** Everything in a segment header but the wrapped data key, which is bound to it, and the CRC. */
export function headerToAuthenticate(header: SegmentHeader): Buffer {
  const bytes = encodeSegmentHeader(header)
  bytes.fill(0, 128, 256)
  return bytes.subarray(0, segmentHeaderBytes - 4)
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
  const header: SegmentHeader = {
    uuid: Buffer.from(bytes.subarray(16, 32)),
    previousUuid: Buffer.from(bytes.subarray(264, 280)),
    journalId: bytes.toString('latin1', 32, 48).replace(/\0+$/, ''),
    baseSeq: readUInt64(bytes, 48),
    createdAt: readUInt64(bytes, 56),
    encryption: (bytes.readUInt32LE(8) & encryptedFeature) === 0 ? null : parseEncryption(bytes),
  }
  // What means nothing is not in `headerToAuthenticate` as it stands in the file; so it must be as it was written.
  if (header.encryption !== null && !encodeSegmentHeader(header).equals(bytes.subarray(0, segmentHeaderBytes)))
    return bad('segment header was changed by somebody: it holds more than is ever written')
  return { ok: true, crc, header }
}

function parseEncryption(bytes: Buffer): SegmentEncryption {
  const nameEnd = 66 + Math.min(bytes.readUInt16LE(64), 62)
  const keyEnd = 130 + Math.min(bytes.readUInt16LE(128), 126)
  return {
    keyName: bytes.toString('latin1', 66, nameEnd),
    wrappedKey: Buffer.from(bytes.subarray(130, keyEnd)),
    epoch: Buffer.from(bytes.subarray(256, 264)),
  }
}

const gapFlag = 1
const encryptedFlag = 2
const lostFlag = 4

export interface BlockHeader {
  readonly payloadBytes: number
  readonly firstSeq: number
  readonly count: number
  /** Its records are lost: it has no payload, and only says which they were. */
  readonly isGap: boolean
  /** Of a gap: its records were there, and could not be read any more. Else their seqs were left out. */
  readonly isLost?: true
  /** The payload is ciphertext, and an authentication tag. */
  readonly isEncrypted: boolean
  /** Position in its segment, from 0. */
  readonly number: number
  readonly previousCrc: number
  /** Milliseconds since the epoch. */
  readonly writtenAt: number
}

/** Writes a block's header before the payload, which need not be there yet. */
export function encodeBlockHeader(block: Buffer, header: BlockHeader, seed: number): void {
  block.writeUInt32LE(blockMagic, 0)
  block.writeUInt32LE(header.payloadBytes, 4)
  writeUInt64(block, header.firstSeq, 8)
  block.writeUInt32LE(header.count, 16)
  const lost = header.isLost === true ? lostFlag : 0
  block.writeUInt32LE((header.isGap ? gapFlag : 0) | (header.isEncrypted ? encryptedFlag : 0) | lost, 20)
  block.writeUInt32LE(header.number, 24)
  block.writeUInt32LE(header.previousCrc, 28)
  writeUInt64(block, header.writtenAt, 32)
  block.writeUInt32LE(0, 40)
  block.writeUInt32LE(crc32(block.subarray(0, 44), seed), 44)
}

/** Completes a block in place: header before the payload that already stands at `blockHeaderBytes`, CRC behind it. Returns that CRC. */
export function sealBlock(block: Buffer, header: BlockHeader, seed: number): number {
  encodeBlockHeader(block, header, seed)
  const end = blockHeaderBytes + header.payloadBytes
  const crc = crc32(block.subarray(blockHeaderBytes, end), block.readUInt32LE(44))
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
    isEncrypted: (bytes.readUInt32LE(at + 20) & encryptedFlag) !== 0,
    ...((bytes.readUInt32LE(at + 20) & lostFlag) !== 0 && { isLost: true as const }),
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

/** The footer with the trailer that ends the file. `mac` gives what authenticates it in an encrypted segment, and nothing in others. */
export function encodeFooter(footer: Footer, seed: number, mac: (footer: Buffer) => Buffer = noMac): Buffer {
  const indexEnd = footerHeaderBytes + footer.index.length * indexEntryBytes
  const head = Buffer.alloc(indexEnd)
  head.writeUInt32LE(footerMagic, 0)
  head.writeUInt32LE(footer.index.length, 4)
  writeUInt64(head, footer.nextSeq, 8)
  writeUInt64(head, footer.offset, 16)
  footer.index.forEach(([firstSeq, offset], i) => {
    writeUInt64(head, firstSeq, footerHeaderBytes + i * indexEntryBytes)
    writeUInt64(head, offset, footerHeaderBytes + i * indexEntryBytes + 8)
  })
  const authenticated = Buffer.concat([head, mac(head)])
  const tail = Buffer.alloc(4 + trailerBytes)
  tail.writeUInt32LE(crc32(authenticated, seed), 0)
  writeUInt64(tail, footer.offset, 4)
  tail.writeUInt32LE(trailerMagic, 12)
  tail.writeUInt32LE(crc32(tail.subarray(4, 16), seed), 16)
  return Buffer.concat([authenticated, tail])
}

function noMac(): Buffer {
  return Buffer.alloc(0)
}

/** What a footer takes, without the trailer. */
export function footerBytes({ index }: Footer, macBytes: number): number {
  return footerHeaderBytes + index.length * indexEntryBytes + macBytes + 4
}

/** Where the footer begins, from the file's last `trailerBytes`; null when the segment was not sealed. */
export function parseTrailer(bytes: Buffer, seed: number): number | null {
  if (bytes.length < trailerBytes || bytes.readUInt32LE(8) !== trailerMagic) return null
  return crc32(bytes.subarray(0, 12), seed) === bytes.readUInt32LE(12) ? readUInt64(bytes, 0) : null
}

/**
 * The footer in `bytes` (without the trailer), or null when it is not a valid one. Of an encrypted segment, `isMac` tells
 * whether the `macBytes` behind it authenticate it.
 */
export function parseFooter(
  bytes: Buffer,
  seed: number,
  macBytes = 0,
  isMac: (footer: Buffer, mac: Buffer) => boolean = () => true,
): Footer | null {
  if (bytes.length < footerHeaderBytes + macBytes + 4 || bytes.readUInt32LE(0) !== footerMagic) return null
  const indexEnd = footerHeaderBytes + bytes.readUInt32LE(4) * indexEntryBytes
  const end = indexEnd + macBytes
  if (bytes.length < end + 4 || crc32(bytes.subarray(0, end), seed) !== bytes.readUInt32LE(end)) return null
  if (!isMac(bytes.subarray(0, indexEnd), bytes.subarray(indexEnd, end))) return null
  const index: IndexEntry[] = []
  for (let at = footerHeaderBytes; at < indexEnd; at += indexEntryBytes)
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
