/**
 * LZ4 frames (https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md) as Kafka wants them: independent blocks of
 * at most 64 KiB, no content checksum. Own code, because the small packages that write frames write dependent blocks,
 * which Java's `Lz4BlockInputStream` refuses.
 *
 *     ┌──────────────┬─────┬────┬─────────────────┐┌────────────┬───────┐     ┌──────────┐
 *     │ magic u32 LE │ FLG │ BD │ header checksum ││ length u32 │ block │  …  │ 0 u32 LE │
 *     └──────────────┴─────┴────┴─────────────────┘└────────────┴───────┘     └──────────┘
 */
const magic = 0x184d2204
/** Version 1, independent blocks; blocks of 64 KiB. */
const flags = 0x60
const blockDescriptor = 0x40
const blockBytes = 0x10000
const uncompressedBit = 0x80000000

const versionMask = 0xc0
const blockChecksumFlag = 0x10
const contentSizeFlag = 0x08
const contentChecksumFlag = 0x04
const dictionaryFlag = 0x01

export function lz4Compress(data: Buffer): Buffer {
  const blocks = Math.ceil(data.length / blockBytes)
  const out = Buffer.allocUnsafe(7 + data.length + blocks * (4 + blockBytes / 255 + 16) + 4)
  out.writeUInt32LE(magic, 0)
  out[4] = flags
  out[5] = blockDescriptor
  out[6] = (xxh32(out.subarray(4, 6)) >>> 8) & 0xff
  let at = 7
  const table = new Uint16Array(1 << hashBits)
  for (let start = 0; start < data.length; start += blockBytes) {
    const block = data.subarray(start, start + blockBytes)
    const length = compressBlock(block, out, at + 4, table)
    if (length < block.length) {
      out.writeUInt32LE(length, at)
      at += 4 + length
    } else {
      out.writeUInt32LE((uncompressedBit | block.length) >>> 0, at)
      at += 4 + block.copy(out, at + 4)
    }
  }
  out.writeUInt32LE(0, at)
  return out.subarray(0, at + 4)
}

export function lz4Decompress(frame: Buffer): Buffer {
  if (frame.readUInt32LE(0) !== magic) throw new RangeError('not an LZ4 frame')
  const flg = frame.readUInt8(4)
  if ((flg & versionMask) !== (flags & versionMask) || flg & dictionaryFlag) {
    throw new RangeError('an LZ4 frame of an unknown kind')
  }
  let at = 7 + (flg & contentSizeFlag ? 8 : 0)
  const out = new Growing(frame.length * 4)
  for (;;) {
    const header = frame.readUInt32LE(at)
    at += 4
    if (header === 0) break
    const length = header & ~uncompressedBit
    const block = frame.subarray(at, at + length)
    if (block.length < length) throw new RangeError('a cut-off LZ4 frame')
    if (header & uncompressedBit) out.literals(block, 0, length)
    else decompressBlock(block, out)
    at += length + (flg & blockChecksumFlag ? 4 : 0)
  }
  if (flg & contentChecksumFlag) at += 4
  return out.bytes()
}

const hashBits = 13
const matchMin = 4
/** By the format's rules, a block's last five bytes are literals, and no match begins in its last twelve. */
const literalTail = 5
const matchTail = 12

/** Writes `src` as one block, and returns its length: at worst a little more than that of `src`. */
function compressBlock(src: Buffer, out: Buffer, start: number, table: Uint16Array): number {
  table.fill(0)
  const end = src.length
  const lastMatchStart = end - matchTail
  const lastMatchEnd = end - literalTail
  let at = start
  let anchor = 0
  let i = 1
  let misses = 1 << 6
  while (i <= lastMatchStart) {
    const sequence = word(src, i)
    const hash = Math.imul(sequence, 0x9e3779b1) >>> (32 - hashBits)
    const candidate = table[hash] as number
    table[hash] = i
    if (candidate >= i || word(src, candidate) !== sequence) {
      // The longer nothing is found, the larger the steps: incompressible data costs little.
      i += misses++ >> 6
      continue
    }
    misses = 1 << 6
    let length = matchMin
    while (i + length < lastMatchEnd && src[candidate + length] === src[i + length]) length++
    at = writeSequence(src, anchor, i - anchor, out, at, i - candidate, length)
    i += length
    anchor = i
  }
  return writeSequence(src, anchor, end - anchor, out, at, 0, 0) - start
}

/** Literals and then a match; no match (distance 0) at the end of the block. */
function writeSequence(
  src: Buffer,
  anchor: number,
  literals: number,
  out: Buffer,
  start: number,
  distance: number,
  length: number,
): number {
  const extra = distance === 0 ? 0 : length - matchMin
  let at = start + 1
  out[start] = (Math.min(literals, 15) << 4) | Math.min(extra, 15)
  if (literals >= 15) at = writeLength(out, at, literals - 15)
  if (literals > 32) at += src.copy(out, at, anchor, anchor + literals)
  else for (let i = 0; i < literals; i++) out[at++] = src[anchor + i] as number
  if (distance === 0) return at
  out[at++] = distance & 0xff
  out[at++] = distance >>> 8
  return extra >= 15 ? writeLength(out, at, extra - 15) : at
}

function writeLength(out: Buffer, start: number, length: number): number {
  let at = start
  let left = length
  for (; left >= 255; left -= 255) out[at++] = 255
  out[at++] = left
  return at
}

function decompressBlock(block: Buffer, out: Growing): void {
  let at = 0
  const length = (short: number): number => {
    let total = short
    if (short < 15) return total
    for (;;) {
      const more = block[at++]
      if (more === undefined) throw new RangeError('a corrupt LZ4 block')
      total += more
      if (more !== 255) return total
    }
  }
  while (at < block.length) {
    const token = block[at++] as number
    const literals = length(token >>> 4)
    if (at + literals > block.length) throw new RangeError('a corrupt LZ4 block')
    out.literals(block, at, literals)
    at += literals
    if (at >= block.length) return
    const distance = block.readUInt16LE(at)
    at += 2
    out.match(distance, length(token & 15) + matchMin)
  }
}

/** What was decompressed so far; matches may reach back into earlier blocks. */
class Growing {
  #buffer: Buffer
  #length = 0

  constructor(size: number) {
    this.#buffer = Buffer.allocUnsafe(size)
  }

  bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length)
  }

  literals(source: Buffer, start: number, count: number): void {
    this.#reserve(count)
    source.copy(this.#buffer, this.#length, start, start + count)
    this.#length += count
  }

  match(distance: number, count: number): void {
    if (distance === 0 || distance > this.#length) throw new RangeError('a corrupt LZ4 block')
    this.#reserve(count)
    const buffer = this.#buffer
    let to = this.#length
    // Byte by byte: a match may overlap what it writes.
    for (let from = to - distance, end = to + count; to < end;) buffer[to++] = buffer[from++] as number
    this.#length = to
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#buffer.length) return
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#length + count))
    this.#buffer.copy(larger, 0, 0, this.#length)
    this.#buffer = larger
  }
}

function word(data: Buffer, at: number): number {
  return (
    (data[at] as number) |
    ((data[at + 1] as number) << 8) |
    ((data[at + 2] as number) << 16) |
    ((data[at + 3] as number) << 24)
  )
}

/** XXH32 of less than 16 bytes with seed 0, which is all that a frame's header needs. */
export function xxh32(data: Uint8Array): number {
  const [prime1, prime2, prime3, prime4, prime5] = [0x9e3779b1, 0x85ebca77, 0xc2b2ae3d, 0x27d4eb2f, 0x165667b1]
  if (data.length >= 16) throw new RangeError('xxh32 is for headers only')
  let hash = prime5 + data.length
  let i = 0
  for (; i + 4 <= data.length; i += 4) {
    hash += Math.imul(word(Buffer.from(data), i), prime3)
    hash = Math.imul((hash << 17) | (hash >>> 15), prime4)
  }
  for (; i < data.length; i++) {
    hash += Math.imul(data[i] as number, prime5)
    hash = Math.imul((hash << 11) | (hash >>> 21), prime1)
  }
  hash ^= hash >>> 15
  hash = Math.imul(hash, prime2)
  hash ^= hash >>> 13
  hash = Math.imul(hash, prime3)
  return (hash ^ (hash >>> 16)) >>> 0
}
