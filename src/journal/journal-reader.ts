import type { RecordBlock } from '../base/record-reader.ts'
import type { Disk } from './disk.ts'
import { baseSeqOf, segmentName } from './format.ts'
import type { JournalEnd } from './journal-end.ts'
import { JournalCorruptError } from './journal-errors.ts'
import { JournalGap } from './journal-gap.ts'
import type { KeyRing } from './key-ring.ts'
import type { JournalDamage, Quarantine } from './quarantine.ts'
import { SegmentChain } from './segment-chain.ts'
import type { SegmentFiles, SegmentLimit } from './segment-walk.ts'
import { SegmentWalk, surveySegment } from './segment-walk.ts'

/**
 * Reads a journal from its files, in order, never beyond its durable end. Any number of readers may work beside the
 * writer, in its thread or in another; what they read was just written, so it comes from the page cache.
 *
 * Where records are damaged, or a file is missing, it gives a gap in their place, and goes on behind it. What can't be read
 * because of an I/O error, of a key that is missing, or of a format that is not known, is no damage: that is thrown.
 */
export class JournalReader {
  readonly #files: SegmentFiles
  readonly #end: JournalEnd
  readonly #quarantine: Quarantine | null
  #walk: SegmentWalk | null = null
  /** Where the next segment begins, once there is one. */
  #limit: number | null = null
  #nextSeq: number

  /**
   * Starts at `fromSeq`, or at the oldest message still there when that one is gone. Without a quarantine, damage is not
   * reported.
   */
  constructor(
    disk: Disk,
    directory: string,
    end: JournalEnd,
    fromSeq: number,
    keys: KeyRing | null = null,
    quarantine: Quarantine | null = null,
  ) {
    this.#files = { disk, directory, keys, chain: quarantine?.chain ?? new SegmentChain() }
    this.#end = end
    this.#quarantine = quarantine
    this.#nextSeq = fromSeq
  }

  /** The lowest seq that the next block may hold. */
  get nextSeq(): number {
    return this.#nextSeq
  }

  /**
   * The next block, or a gap, or null at the durable end. The first one after a seek may begin before the seq that was asked
   * for.
   */
  async next(): Promise<RecordBlock | null> {
    for (;;) {
      const endSeq = this.#end.nextSeq
      if (endSeq <= this.#nextSeq) return null
      const walk = this.#walk
      if (walk === null) {
        // It may have moved on, over what is gone: look again whether anything is available there.
        await this.#seek()
        continue
      }
      if (this.#limit === null && this.#end.activeBase !== walk.base) this.#limit = await this.#baseAfter(walk.base)
      if (this.#limit !== null && Math.max(walk.nextSeq, this.#nextSeq) >= this.#limit) {
        await this.#roll(walk, this.#limit)
        continue
      }
      const limit: SegmentLimit =
        this.#limit === null ? { kind: 'end', seq: endSeq } : { kind: 'next', base: this.#limit }
      const block = await this.#read(walk, limit)
      if (block === null || block.firstSeq + block.count <= this.#nextSeq) continue
      this.#nextSeq = block.firstSeq + block.count
      return block
    }
  }

  async close(): Promise<void> {
    const walk = this.#walk
    this.#walk = null
    await walk?.close()
  }

  /** What the segment gives next; null when that is nothing, or when the segment was released meanwhile. */
  async #read(walk: SegmentWalk, limit: SegmentLimit): Promise<RecordBlock | null> {
    try {
      const read = await walk.next(limit)
      if (read === null || !('reason' in read)) return read
      // Its file may hold a new segment since, or have been taken away while it was looked at.
      if (!(await this.#isGone(walk.base))) return await this.#gap(walk, read, limit)
    } catch (error) {
      if (!(await this.#isGone(walk.base))) throw error
    }
    await this.close()
    return null
  }

  /** What stands for a damage; null when nothing is lost that was not passed already. */
  async #gap(walk: SegmentWalk, damage: JournalDamage, limit: SegmentLimit): Promise<JournalGap | null> {
    const { reason, fromSeq, toSeq } = damage
    if (toSeq < this.#nextSeq) return null
    await this.#report(walk.base, damage, limit)
    return toSeq > fromSeq ? new JournalGap(fromSeq, toSeq, reason) : null
  }

  async #report(base: number, damage: JournalDamage, limit: SegmentLimit): Promise<void> {
    const { reason, fromSeq, toSeq } = damage
    if (reason === 'missing') {
      await this.#quarantine?.report(segmentName(fromSeq), fromSeq, toSeq, async () => [damage])
    } else {
      const until = limit.kind === 'next' ? limit.base : limit.seq
      await this.#quarantine?.report(segmentName(base), fromSeq, until, async () =>
        surveySegment(this.#files, base, await this.#bases(), limit),
      )
    }
  }

  /**
   * Opens the segment that holds the next seq, as near before it as the index of a sealed segment allows; or the oldest
   * one when that seq is gone.
   */
  async #seek(): Promise<void> {
    const bases = await this.#bases()
    const base = bases.findLast((candidate) => candidate <= this.#nextSeq) ?? bases[0]
    if (base === undefined)
      throw new JournalCorruptError(`${this.#files.directory} has no segment that could hold message ${this.#nextSeq}`)
    const walk = await this.#open(base, bases)
    if (walk === null) return
    this.#walk = walk
    this.#limit = null
    this.#nextSeq = Math.max(this.#nextSeq, base)
    await walk.seek(this.#nextSeq)
  }

  async #roll(ended: SegmentWalk, base: number): Promise<void> {
    this.#walk = await this.#open(base, await this.#bases())
    this.#limit = null
    await ended.close()
  }

  /** The segment, or null when it was released meanwhile. */
  async #open(base: number, bases: readonly number[]): Promise<SegmentWalk | null> {
    try {
      return await SegmentWalk.open(this.#files, base, bases)
    } catch (error) {
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
    const names = await this.#files.disk.list(this.#files.directory)
    return names.flatMap((name) => baseSeqOf(name) ?? []).toSorted((a, b) => a - b)
  }
}
