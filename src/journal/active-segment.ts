import { isSpaceExhausted } from '../base/errors.ts'
import type { DiskFile } from './disk.ts'
import type { BlockHeader, Footer, IndexEntry, SegmentHeader } from './format.ts'
import {
  blockHeaderBytes,
  blockTrailerBytes,
  encodeBlockHeader,
  encodeFooter,
  sealBlock,
  seedOf,
  segmentHeaderBytes,
} from './format.ts'
import type { PendingBlock } from './pending-block.ts'
import type { SegmentCipher } from './segment-cipher.ts'
import { tagBytes } from './segment-cipher.ts'

/** Space is taken in steps of this size ahead of what is written, so that most syncs change no metadata. */
const allocationStep = 1024 * 1024
const zeros = Buffer.alloc(allocationStep)
/** From this size on, writing zeros in a block's place first costs more than the metadata of a file that grows. */
const largeBlockBytes = 256 * 1024
/** Blocks so far apart get an entry in a segment's index. */
export const indexSpacing = 64 * 1024

/** The segment that is being written. */
export class ActiveSegment {
  readonly baseSeq: number
  readonly path: string
  readonly file: DiskFile
  readonly uuid: Buffer
  /** Null when it is not encrypted. */
  readonly cipher: SegmentCipher | null
  /** Where the next block goes. */
  offset = segmentHeaderBytes
  nextSeq: number
  readonly index: IndexEntry[] = []
  readonly #seed: number
  readonly #segmentBytes: number
  /** For ciphertext. */
  #sealed: Buffer = Buffer.alloc(0)
  #allocated: number
  #blocks = 0
  #previousCrc: number

  constructor(
    path: string,
    file: DiskFile,
    header: SegmentHeader,
    headerCrc: number,
    cipher: SegmentCipher | null,
    segmentBytes: number,
    allocated: number,
  ) {
    this.path = path
    this.file = file
    this.baseSeq = header.baseSeq
    this.nextSeq = header.baseSeq
    this.uuid = header.uuid
    this.cipher = cipher
    this.#seed = seedOf(header.uuid)
    this.#previousCrc = headerCrc
    this.#segmentBytes = segmentBytes
    this.#allocated = allocated
  }

  hasRoomFor(block: PendingBlock): boolean {
    return this.offset === segmentHeaderBytes || this.offset + blockBytes(block, this.cipher) <= this.#segmentBytes
  }

  /** Writes a block behind the last and syncs it. After a failure this segment must not be written to again. */
  async write(block: PendingBlock, now: number): Promise<void> {
    const bytes = blockBytes(block, this.cipher)
    const header: BlockHeader = {
      payloadBytes: bytes - blockHeaderBytes - blockTrailerBytes,
      firstSeq: block.firstSeq,
      count: block.count,
      isGap: block.isGap,
      ...(block.isLost && { isLost: true as const }),
      isEncrypted: this.cipher !== null,
      number: this.#blocks,
      previousCrc: this.#previousCrc,
      writtenAt: now,
    }
    const whole = this.cipher === null ? block.buffer : this.#encrypted(block, header, this.cipher, bytes)
    const crc = sealBlock(whole, header, this.#seed)
    if (bytes < largeBlockBytes) await this.#allocate(this.offset + bytes)
    await this.file.writeDurably(whole.subarray(0, bytes), this.offset)
    const indexed = this.index.at(-1)
    if (indexed === undefined || this.offset - indexed[1] >= indexSpacing)
      this.index.push([block.firstSeq, this.offset])
    this.offset += bytes
    this.#allocated = Math.max(this.#allocated, this.offset)
    this.nextSeq = block.firstSeq + block.count
    this.#previousCrc = crc
    this.#blocks++
  }

  /** Beside the block, which another segment's key may still have to encrypt. */
  #encrypted(block: PendingBlock, header: BlockHeader, cipher: SegmentCipher, bytes: number): Buffer {
    if (this.#sealed.length < bytes) this.#sealed = Buffer.allocUnsafeSlow(Math.max(bytes, block.buffer.length))
    const whole = this.#sealed
    encodeBlockHeader(whole, header, this.#seed)
    const plain = block.buffer.subarray(blockHeaderBytes, block.bytes)
    cipher.seal(plain, header.number, whole.subarray(0, blockHeaderBytes), whole, blockHeaderBytes)
    return whole
  }

  async #allocate(end: number): Promise<void> {
    while (this.#allocated < end && this.#allocated < this.#segmentBytes) {
      const bytes = Math.min(allocationStep, this.#segmentBytes - this.#allocated)
      try {
        await this.file.write(zeros.subarray(0, bytes), this.#allocated)
      } catch (error) {
        if (!isSpaceExhausted(error)) throw error
        // What is left of the disk goes to the block itself. What this file has already, it keeps.
        this.#allocated = this.#segmentBytes
        return
      }
      this.#allocated += bytes
    }
  }
}

/** What a block takes in a segment. */
function blockBytes(block: PendingBlock, cipher: SegmentCipher | null): number {
  return block.bytes + (cipher === null ? 0 : tagBytes) + blockTrailerBytes
}

/** Ends a segment's file with its footer, durably. */
export async function writeFooter(
  file: DiskFile,
  footer: Footer,
  uuid: Buffer,
  cipher: SegmentCipher | null,
): Promise<void> {
  const bytes = encodeFooter(footer, seedOf(uuid), cipher === null ? undefined : (head) => cipher.footerMac(head))
  await file.write(bytes, footer.offset)
  await file.truncate(footer.offset + bytes.length)
  await file.sync()
}
