import { crc32 } from 'node:zlib'
import { blockHeaderBytes, blockTrailerBytes, parseBlockHeader, segmentHeaderBytes, trailerBytes } from '../../src/journal/format.ts' // prettier-ignore

/** A block of a segment: where it begins, and one past its end. */
export interface BlockPlace {
  readonly start: number
  readonly end: number
}

/**
 * Somebody who can write to the disk, knows the format, and does not have the keys: makes every CRC of a segment right again,
 * and the links from block to block. `blocks`: where they are, or should be taken to be.
 */
export function forgeCrcs(segment: Buffer, blocks: readonly BlockPlace[]): Buffer {
  const bytes = Buffer.from(segment)
  const seed = crc32(bytes.subarray(16, 32))
  let previous = crc32(bytes.subarray(0, segmentHeaderBytes - 4))
  bytes.writeUInt32LE(previous, segmentHeaderBytes - 4)
  for (const { start, end } of blocks) {
    // Only what was changed: a link that nobody has touched is authenticated, and must stay.
    if (bytes.readUInt32LE(start + 28) !== previous) bytes.writeUInt32LE(previous, start + 28)
    bytes.writeUInt32LE(crc32(bytes.subarray(start, start + 44), seed), start + 44)
    previous = crc32(bytes.subarray(start + blockHeaderBytes, end - 4), bytes.readUInt32LE(start + 44))
    bytes.writeUInt32LE(previous, end - 4)
  }
  const footer = blocks.at(-1)?.end ?? segmentHeaderBytes
  const trailer = bytes.length - trailerBytes
  if (footer < trailer) {
    bytes.writeUInt32LE(crc32(bytes.subarray(footer, trailer - 4), seed), trailer - 4)
    bytes.writeUInt32LE(crc32(bytes.subarray(trailer, trailer + 12), seed), trailer + 12)
  }
  return bytes
}

/** As `forgeCrcs`, and leaves the links alone: those of blocks that stay in their order are right as they are. */
export function forgeOwnCrcs(segment: Buffer, blocks: readonly BlockPlace[]): Buffer {
  const forged = forgeCrcs(segment, blocks)
  const seed = crc32(forged.subarray(16, 32))
  for (const { start, end } of blocks) {
    segment.copy(forged, start + 28, start + 28, start + 32)
    forged.writeUInt32LE(crc32(forged.subarray(start, start + 44), seed), start + 44)
    const payload = forged.subarray(start + blockHeaderBytes, end - 4)
    forged.writeUInt32LE(crc32(payload, forged.readUInt32LE(start + 44)), end - 4)
  }
  return forged
}

/** Where the blocks of a segment are that is as it was written. */
export function blocksOf(segment: Buffer): BlockPlace[] {
  const seed = crc32(segment.subarray(16, 32))
  const blocks: BlockPlace[] = []
  for (let start = segmentHeaderBytes; start + blockHeaderBytes <= segment.length;) {
    const header = parseBlockHeader(segment, start, seed)
    if (header === null) break
    const end = start + blockHeaderBytes + header.payloadBytes + blockTrailerBytes
    blocks.push({ start, end })
    start = end
  }
  return blocks
}

/**
 * Chooses the four bytes at `at` so that the CRC-32 of all comes out as wished. A CRC is linear: flipping one bit always flips
 * the same bits of it. So whoever may choose four bytes of anything chooses its CRC.
 */
export function forceCrc(bytes: Buffer, at: number, wanted: number): Buffer {
  const forced = Buffer.from(bytes)
  const crc = crc32(forced)
  const flips = Array.from({ length: 32 }, (_, bit) => {
    const flipped = Buffer.from(forced)
    flipped[at + (bit >> 3)] = (flipped[at + (bit >> 3)] as number) ^ (1 << (bit & 7))
    return { crc: (crc32(flipped) ^ crc) >>> 0, bits: (1 << bit) >>> 0 }
  })
  // Gauss: of the bits that are to be flipped, the highest first.
  let open = (crc ^ wanted) >>> 0
  let bits = 0
  for (let column = 31; column >= 0; column--) {
    const mask = (1 << column) >>> 0
    const pivot = flips.findIndex((flip) => (flip.crc & mask) !== 0)
    if (pivot === -1) continue
    const [chosen] = flips.splice(pivot, 1) as [(typeof flips)[number]]
    for (const flip of flips)
      if ((flip.crc & mask) !== 0) {
        flip.crc = (flip.crc ^ chosen.crc) >>> 0
        flip.bits = (flip.bits ^ chosen.bits) >>> 0
      }
    if ((open & mask) !== 0) {
      open = (open ^ chosen.crc) >>> 0
      bits = (bits ^ chosen.bits) >>> 0
    }
  }
  forced.writeUInt32LE((forced.readUInt32LE(at) ^ bits) >>> 0, at)
  return forced
}
