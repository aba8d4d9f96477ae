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
import type { KeyRing } from './key-ring.ts'
import type { SegmentCipher } from './segment-cipher.ts'
import { footerMacBytes, segmentCipher } from './segment-cipher.ts'

/** A block as read; valid until its reader reads on. */
export class Block {
  readonly firstSeq: number
  readonly count: number
  /** Milliseconds since the epoch. */
  readonly writtenAt: number
  /** Not null when its records are lost, and it only says which they were. */
  readonly lost: { readonly reason: 'skipped' | 'corrupt' } | null
  readonly #payload: Buffer

  constructor({ firstSeq, count, writtenAt, isGap, isLost }: BlockHeader, payload: Buffer) {
    this.firstSeq = firstSeq
    this.count = count
    this.writtenAt = writtenAt
    this.lost = isGap ? { reason: isLost ? 'corrupt' : 'skipped' } : null
    this.#payload = payload
  }

  /** Calls `visit` for every record, in order, with the place of its bytes; for none of a gap, whose records are lost. */
  forEach(visit: (seq: number, bytes: Buffer, start: number, end: number) => void): void {
    if (this.lost !== null) return
    const payload = this.#payload
    let at = 0
    for (let i = 0; i < this.count; i++) {
      const start = at + 4
      at = start + payload.readUInt32LE(at)
      visit(this.firstSeq + i, payload, start, at)
    }
  }
}

/** Bytes in the midst of a segment that are no valid blocks, and the records that were lost with them. */
export interface Damage {
  readonly fromOffset: number
  /** Where the next valid block begins. */
  readonly toOffset: number
  readonly fromSeq: number
  /** The next valid block's first. */
  readonly toSeq: number
  /** What was found in place of the block that should have been there. */
  readonly found: string
}

const chunkBytesMin = 8 * 1024
const chunkBytesMax = 1024 * 1024
const scanBytesMin = 64 * 1024

/** Reads one segment's blocks in order, each checked: CRCs, the chain to the block before, the seq. */
export class SegmentReader {
  readonly path: string
  readonly header: SegmentHeader
  readonly #file: DiskFile
  readonly #seed: number
  readonly #cipher: SegmentCipher | null
  /** The last block as it stands in the file; valid until the next is read. */
  blockBytes: Buffer = Buffer.alloc(0)
  #offset = segmentHeaderBytes
  #expectedSeq: number
  #previousCrc: number | null
  #number = 0
  #buffer: Buffer = Buffer.alloc(0)
  #chunk: Buffer = this.#buffer
  #chunkStart = 0
  /** A running guess, so that a read ahead fetches what is there and little more. */
  #recordBytes = 512
  #fault = ''
  /** What is searched for a block header; kept from one damage to the next. */
  #scanned: Buffer = this.#buffer

  private constructor(
    path: string,
    file: DiskFile,
    header: SegmentHeader,
    headerCrc: number,
    cipher: SegmentCipher | null,
  ) {
    this.path = path
    this.#cipher = cipher
    this.header = header
    this.#file = file
    this.#seed = seedOf(header.uuid)
    this.#expectedSeq = header.baseSeq
    this.#previousCrc = headerCrc
  }

  /** For reading records. `keys` decrypt them; null when there are none. */
  static open(disk: Disk, path: string, keys: KeyRing | null): Promise<SegmentReader> {
    return SegmentReader.#open(disk, path, (header) => segmentCipher(header, keys, path))
  }

  /** For checking blocks and not for reading what is in them, which may be encrypted under a key that is not at hand. */
  static openUnread(disk: Disk, path: string): Promise<SegmentReader> {
    return SegmentReader.#open(disk, path, () => null)
  }

  static async #open(
    disk: Disk,
    path: string,
    cipherOf: (header: SegmentHeader) => SegmentCipher | null,
  ): Promise<SegmentReader> {
    const file = await disk.open(path, 'read')
    try {
      const bytes = Buffer.allocUnsafe(segmentHeaderBytes)
      const parsed = parseSegmentHeader(bytes.subarray(0, await file.read(bytes, 0)))
      if (parsed.ok) return new SegmentReader(path, file, parsed.header, parsed.crc, cipherOf(parsed.header))
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

  /** Why `next` gave no block the last time: what it has found in its place. */
  get fault(): string {
    return this.#fault
  }

  /**
   * The next block, or null when none is there that is whole, valid and next in line: the end of what was written here,
   * a torn tail, or damage. The caller knows which, from what should be there. `available`: how many records may be ahead.
   */
  async next(available: number): Promise<Block | null> {
    const read = await this.#blockAt(this.#offset, available)
    if (read === null) return null
    const { header, crc, payload } = read
    const { firstSeq, number, previousCrc } = header
    if (firstSeq !== this.#expectedSeq)
      return this.#none(`block ${number} with record ${firstSeq}, where record ${this.#expectedSeq} should be`)
    if (this.#previousCrc !== null && (previousCrc !== this.#previousCrc || number !== this.#number))
      return this.#none(`block ${number}, which does not follow the block before`)
    this.#takeIn(header, crc)
    return new Block(header, payload)
  }

  /**
   * After `next` gave no block though there should be one: goes to the next block of this segment that is whole and valid
   * and comes later, and tells what lies in between, which may be no record. Null when there is none; reading does not go on
   * then.
   */
  async skipDamage(): Promise<Damage | null> {
    const from = { fromOffset: this.#offset, fromSeq: this.#expectedSeq, found: this.#fault }
    for (let start = this.#offset; ;) {
      const at = await this.#findHeader(start, this.#number)
      if (at === -1) return null
      start = at + 1
      const read = await this.#blockAt(at, 1)
      if (read === null) continue
      // A lower seq is a message's own content: a copy of this very segment. The one that was due did not fit in.
      const isEarlier = read.header.firstSeq < this.#expectedSeq
      if (isEarlier || (at === this.#offset && read.header.firstSeq === this.#expectedSeq)) continue
      const { firstSeq, number } = read.header
      this.#offset = at
      this.#expectedSeq = firstSeq
      this.#number = number
      this.#previousCrc = null
      return { ...from, toOffset: at, toSeq: firstSeq }
    }
  }

  #takeIn(header: BlockHeader, crc: number): void {
    const bytes = blockHeaderBytes + header.payloadBytes + blockTrailerBytes
    this.#offset += bytes
    this.#expectedSeq += header.count
    this.#previousCrc = crc
    this.#number = header.number + 1
    this.#recordBytes = this.#recordBytes * 0.8 + (bytes / header.count) * 0.2
  }

  /** The block at an offset, when it is whole and valid by itself. */
  async #blockAt(
    offset: number,
    available: number,
  ): Promise<{ readonly header: BlockHeader; readonly crc: number; readonly payload: Buffer } | null> {
    const ahead = Math.min(Math.max(available * this.#recordBytes * 1.25, chunkBytesMin), chunkBytesMax) | 0
    let held = this.#held(offset)
    if (held === null || !this.#has(held, blockHeaderBytes) || !this.#header(held)) {
      // What was read ahead may be older than what was written since.
      await this.#fill(offset, ahead)
      held = this.#held(offset)
      if (held === null || !this.#has(held, blockHeaderBytes)) return this.#none('the end of the file')
    }
    let header = this.#header(held)
    if (header === null) return this.#none('no block header')
    const bytes = blockHeaderBytes + header.payloadBytes + blockTrailerBytes
    if (!this.#has(held, bytes)) {
      if (bytes > chunkBytesMax && offset + bytes > (await this.#file.size()))
        return this.#none(`a block that ends behind the end of the file`)
      await this.#fill(offset, Math.max(bytes, ahead))
      held = 0
      if (!this.#has(held, bytes)) return this.#none('a block that ends behind the end of the file')
      header = this.#header(held)
      if (header === null) return this.#none('no block header')
    }
    let crc = checkPayload(this.#chunk, held, header.payloadBytes)
    if (crc === null) {
      await this.#fill(offset, bytes)
      held = 0
      crc = this.#has(held, bytes) ? checkPayload(this.#chunk, held, header.payloadBytes) : null
      if (crc === null) return this.#none('a block with other bytes than were written (CRC differs)')
    }
    const payload = this.#payload(held, header)
    return payload === null ? this.#none('a block that somebody has changed (it does not authenticate)') : { header, crc, payload } // prettier-ignore
  }

  #payload(held: number, header: BlockHeader): Buffer | null {
    const start = held + blockHeaderBytes
    this.blockBytes = this.#chunk.subarray(held, start + header.payloadBytes + blockTrailerBytes)
    const payload = this.#chunk.subarray(start, start + header.payloadBytes)
    if (header.isEncrypted !== (this.header.encryption !== null)) return null
    if (this.#cipher === null) return payload
    return this.#cipher.open(payload, header.number, this.#chunk.subarray(held, start))
  }

  #none(found: string): null {
    this.#fault = found
    return null
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
    const cipher = this.#cipher
    if (cipher !== null) return parseFooter(bytes, this.#seed, footerMacBytes, (head, mac) => cipher.isFooterMac(head, mac)) // prettier-ignore
    return parseFooter(bytes, this.#seed, this.header.encryption === null ? 0 : footerMacBytes)
  }

  /** Goes on from a block that the footer's index names. Its link to the block before can't be checked. */
  jump(firstSeq: number, offset: number): void {
    this.#expectedSeq = firstSeq
    this.#offset = offset
    if (offset !== segmentHeaderBytes) this.#previousCrc = null
  }

  /** The offset of a valid block header at `from` or later, of a block numbered `numberMin` or higher; or -1. */
  async #findHeader(from: number, numberMin: number): Promise<number> {
    // Most damage is short, and there may be much of it; behind a long one, it goes on in large steps.
    for (let [start, wanted] = [from, scanBytesMin]; ; wanted = chunkBytesMax) {
      if (this.#scanned.length < wanted) this.#scanned = Buffer.allocUnsafeSlow(wanted)
      const chunk = this.#scanned.subarray(0, wanted)
      const bytes = await this.#file.read(chunk, start)
      const at = findBlockHeader(chunk.subarray(0, bytes), numberMin, this.#seed)
      if (at !== -1) return start + at
      if (bytes < chunk.length) return -1
      start += chunk.length - (blockHeaderBytes - 1)
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
