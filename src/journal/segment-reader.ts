import type { Disk, DiskFile } from './disk.ts'
import type { BlockHeader, Footer, SegmentHeader } from './format.ts'
import {
  blockHeaderBytes,
  blockTrailerBytes,
  checkPayload,
  findBlockHeader,
  parseBlockHeader,
  parseFooter,
  parseSegmentHeader,
  parseTrailer,
  seedOf,
  segmentHeaderBytes,
  trailerBytes,
} from './format.ts'
import { JournalCorruptError, JournalUnsupportedError } from './journal-errors.ts'

/** A block as read; valid until its reader reads on. */
export class Block {
  readonly firstSeq: number
  readonly count: number
  /** Milliseconds since the epoch. */
  readonly writtenAt: number
  readonly #isGap: boolean
  readonly #payload: Buffer

  constructor({ firstSeq, count, writtenAt, isGap }: BlockHeader, payload: Buffer) {
    this.firstSeq = firstSeq
    this.count = count
    this.writtenAt = writtenAt
    this.#isGap = isGap
    this.#payload = payload
  }

  /** Calls `visit` for every record, in order, with the place of its bytes; for none of a gap, whose records are lost. */
  forEach(visit: (seq: number, bytes: Buffer, start: number, end: number) => void): void {
    if (this.#isGap) return
    const payload = this.#payload
    let at = 0
    for (let i = 0; i < this.count; i++) {
      const start = at + 4
      at = start + payload.readUInt32LE(at)
      visit(this.firstSeq + i, payload, start, at)
    }
  }
}

const chunkBytesMin = 8 * 1024
const chunkBytesMax = 1024 * 1024

/** Reads one segment's blocks in order, each checked: CRCs, the chain to the block before, the seq. */
export class SegmentReader {
  readonly path: string
  readonly header: SegmentHeader
  readonly #file: DiskFile
  readonly #seed: number
  #offset = segmentHeaderBytes
  #expectedSeq: number
  #previousCrc: number | null
  #number = 0
  #buffer: Buffer = Buffer.alloc(0)
  #chunk: Buffer = this.#buffer
  #chunkStart = 0
  /** A running guess, so that a read ahead fetches what is there and little more. */
  #recordBytes = 512

  private constructor(path: string, file: DiskFile, header: SegmentHeader, headerCrc: number) {
    this.path = path
    this.header = header
    this.#file = file
    this.#seed = seedOf(header.uuid)
    this.#expectedSeq = header.baseSeq
    this.#previousCrc = headerCrc
  }

  static async open(disk: Disk, path: string): Promise<SegmentReader> {
    const file = await disk.open(path, 'read')
    try {
      const bytes = Buffer.allocUnsafe(segmentHeaderBytes)
      const parsed = parseSegmentHeader(bytes.subarray(0, await file.read(bytes, 0)))
      if (parsed.ok) return new SegmentReader(path, file, parsed.header, parsed.crc)
      if (parsed.unsupported)
        throw new JournalUnsupportedError(`${path} ${parsed.problem}`, {
          hint: 'Run the version of Outrigger that wrote it, or a later one.',
        })
      throw new JournalCorruptError(`${path}: ${parsed.problem}`, { hint: corruptHint })
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** Where the next block begins. */
  get offset(): number {
    return this.#offset
  }

  /** The seq that the next block begins with. */
  get nextSeq(): number {
    return this.#expectedSeq
  }

  /** The CRC behind the block before the next one. */
  get previousCrc(): number | null {
    return this.#previousCrc
  }

  /**
   * The next block, or null when none is there that is whole, valid and next in line: the end of what was written here,
   * a torn tail, or rot. The caller knows which, from what should be there. `available`: how many records may be ahead.
   */
  async next(available: number): Promise<Block | null> {
    const offset = this.#offset
    const ahead = Math.min(Math.max(available * this.#recordBytes * 1.25, chunkBytesMin), chunkBytesMax) | 0
    let held = this.#held(offset)
    if (held === null || !this.#has(held, blockHeaderBytes) || !this.#header(held)) {
      // What was read ahead may be older than what was written since.
      await this.#fill(offset, ahead)
      held = this.#held(offset)
      if (held === null || !this.#has(held, blockHeaderBytes)) return null
    }
    let header = this.#header(held)
    if (header === null) return null
    const bytes = blockHeaderBytes + header.payloadBytes + blockTrailerBytes
    if (!this.#has(held, bytes)) {
      await this.#fill(offset, Math.max(bytes, ahead))
      held = 0
      header = this.#has(held, bytes) ? this.#header(held) : null
      if (header === null) return null
    }
    let crc = checkPayload(this.#chunk, held, header.payloadBytes)
    if (crc === null) {
      await this.#fill(offset, bytes)
      held = 0
      crc = this.#has(held, bytes) ? checkPayload(this.#chunk, held, header.payloadBytes) : null
      if (crc === null) return null
    }
    if (header.firstSeq !== this.#expectedSeq) return null
    if (this.#previousCrc !== null && (header.previousCrc !== this.#previousCrc || header.number !== this.#number))
      return null
    const start = held + blockHeaderBytes
    this.#offset += bytes
    this.#expectedSeq += header.count
    this.#previousCrc = crc
    this.#number = header.number + 1
    this.#recordBytes = this.#recordBytes * 0.8 + (bytes / header.count) * 0.2
    const payload = this.#chunk.subarray(start, start + header.payloadBytes)
    return new Block(header, payload)
  }

  /** The footer of a sealed segment, or null. */
  async footer(): Promise<Footer | null> {
    const size = await this.#file.size()
    const trailer = Buffer.allocUnsafe(trailerBytes)
    if (size < segmentHeaderBytes + trailerBytes) return null
    if ((await this.#file.read(trailer, size - trailerBytes)) < trailerBytes) return null
    const offset = parseTrailer(trailer, this.#seed)
    if (offset === null || offset < segmentHeaderBytes || offset > size - trailerBytes) return null
    const bytes = Buffer.allocUnsafe(size - trailerBytes - offset)
    await this.#file.read(bytes, offset)
    return parseFooter(bytes, this.#seed)
  }

  /** Goes on from a block that the footer's index names. Its link to the block before can't be checked. */
  jump(firstSeq: number, offset: number): void {
    this.#expectedSeq = firstSeq
    this.#offset = offset
    if (offset !== segmentHeaderBytes) this.#previousCrc = null
  }

  /** The offset of a later block's valid header anywhere behind where the next block should begin, or -1. */
  async findBlockBeyond(): Promise<number> {
    const chunk = Buffer.allocUnsafeSlow(chunkBytesMax)
    for (let start = this.#offset + 1; ; start += chunkBytesMax - blockHeaderBytes) {
      const bytes = await this.#file.read(chunk, start)
      const at = findBlockHeader(chunk.subarray(0, bytes), this.#number + 1, this.#seed)
      if (at !== -1) return start + at
      if (bytes < chunk.length) return -1
    }
  }

  close(): Promise<void> {
    return this.#file.close()
  }

  #held(offset: number): number | null {
    const at = offset - this.#chunkStart
    return at >= 0 && at < this.#chunk.length ? at : null
  }

  #has(at: number, bytes: number): boolean {
    return at + bytes <= this.#chunk.length
  }

  #header(at: number): ReturnType<typeof parseBlockHeader> {
    return parseBlockHeader(this.#chunk, at, this.#seed)
  }

  async #fill(offset: number, bytes: number): Promise<void> {
    if (this.#buffer.length < bytes) this.#buffer = Buffer.allocUnsafeSlow(bytes)
    const read = await this.#file.read(this.#buffer.subarray(0, bytes), offset)
    this.#chunk = this.#buffer.subarray(0, read)
    this.#chunkStart = offset
  }
}

export const corruptHint =
  'Outrigger stops rather than skip messages. Check the disk, and keep a copy of the directory. A copy of this file from before puts it right; docs/operations.md says how to go on without its messages.'
