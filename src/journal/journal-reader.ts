import { join } from 'node:path'
import type { Disk } from './disk.ts'
import { baseSeqOf, segmentName } from './format.ts'
import type { JournalEnd } from './journal-end.ts'
import { JournalCorruptError } from './journal-errors.ts'
import type { Block } from './segment-reader.ts'
import { SegmentReader, corruptHint } from './segment-reader.ts'

/**
 * Reads a journal from its files, in order, never beyond its durable end. Any number of readers may work beside the
 * writer, in its thread or in another; what they read was just written, so it comes from the page cache.
 */
export class JournalReader {
  readonly #disk: Disk
  readonly #directory: string
  readonly #end: JournalEnd
  #segment: SegmentReader | null = null
  /** Where the next segment begins, once there is one. */
  #limit: number | null = null
  #nextSeq: number

  /** Starts at `fromSeq`, or at the oldest message still there when that one is gone. */
  constructor(disk: Disk, directory: string, end: JournalEnd, fromSeq: number) {
    this.#disk = disk
    this.#directory = directory
    this.#end = end
    this.#nextSeq = fromSeq
  }

  /** The lowest seq that the next block may hold. */
  get nextSeq(): number {
    return this.#nextSeq
  }

  /**
   * The next block, or null at the durable end. The first block after a seek may begin before the seq that was asked
   * for. Throws a `JournalCorruptError` where a block should be and is not.
   */
  async next(): Promise<Block | null> {
    for (;;) {
      const available = this.#end.nextSeq - this.#nextSeq
      if (available <= 0) return null
      if (this.#segment === null) {
        // It may have moved on, over what is gone: look again whether anything is available there.
        await this.#seek()
        continue
      }
      if (this.#limit === null && this.#end.activeBase !== this.#segment.header.baseSeq)
        this.#limit = await this.#baseAfter(this.#segment.header.baseSeq)
      if (this.#limit !== null && this.#segment.nextSeq >= this.#limit) {
        await this.#roll(this.#segment, this.#limit)
        continue
      }
      const block = await this.#segment.next(available)
      if (block === null && (await this.#isGone(this.#segment.header.baseSeq))) {
        await this.close()
        continue
      }
      if (block === null)
        throw new JournalCorruptError(
          `${this.#segment.path} is corrupt at byte ${this.#segment.offset}: message ${this.#segment.nextSeq} should begin there`,
          { hint: corruptHint },
        )
      if (block.firstSeq + block.count <= this.#nextSeq) continue
      this.#nextSeq = block.firstSeq + block.count
      return block
    }
  }

  async close(): Promise<void> {
    const segment = this.#segment
    this.#segment = null
    await segment?.close()
  }

  /**
   * Opens the segment that holds the next seq, as near before it as the index of a sealed segment allows; or the oldest
   * one when that seq is gone.
   */
  async #seek(): Promise<void> {
    const bases = await this.#bases()
    const base = bases.findLast((candidate) => candidate <= this.#nextSeq) ?? bases[0]
    if (base === undefined)
      throw new JournalCorruptError(`${this.#directory} has no segment that could hold message ${this.#nextSeq}`)
    const segment = await this.#open(base)
    if (segment === null) return
    this.#segment = segment
    this.#limit = null
    this.#nextSeq = Math.max(this.#nextSeq, base)
    const footer = await segment.footer()
    const entry = footer?.index.findLast(([firstSeq]) => firstSeq <= this.#nextSeq)
    if (entry) segment.jump(entry[0], entry[1])
  }

  async #roll(ended: SegmentReader, base: number): Promise<void> {
    if (ended.nextSeq > base)
      throw new JournalCorruptError(`${ended.path} runs into the next segment, which begins with message ${base}`)
    const next = await this.#open(base)
    this.#segment = next
    this.#limit = null
    await ended.close()
  }

  /** The segment, or null when it was released meanwhile. */
  async #open(base: number): Promise<SegmentReader | null> {
    const path = join(this.#directory, segmentName(base))
    let segment: SegmentReader | null = null
    try {
      segment = await SegmentReader.open(this.#disk, path)
      if (segment.header.baseSeq === base) return segment
      throw new JournalCorruptError(`${path} begins with message ${segment.header.baseSeq}`, { hint: corruptHint })
    } catch (error) {
      await segment?.close()
      if (await this.#isGone(base)) return null
      throw error
    }
  }

  /** Whether a segment was released; its file may hold a new segment since. Readers that must not miss anything never see it. */
  async #isGone(base: number): Promise<boolean> {
    return !(await this.#bases()).includes(base)
  }

  async #baseAfter(base: number): Promise<number | null> {
    return (await this.#bases()).find((candidate) => candidate > base) ?? null
  }

  async #bases(): Promise<number[]> {
    const names = await this.#disk.list(this.#directory)
    return names.flatMap((name) => baseSeqOf(name) ?? []).toSorted((a, b) => a - b)
  }
}
