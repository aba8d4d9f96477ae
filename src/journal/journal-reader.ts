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

interface FoundDamage {
  readonly walk: SegmentWalk
  readonly damage: JournalDamage
  readonly limit: SegmentLimit
}

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
  /** A damage that was come to, and not given yet. */
  #found: FoundDamage | null = null
  /** Where a second look saw no damage. */
  #doubtedSeq = -1

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
        const gap = await this.#seek(endSeq)
        if (gap !== null) return gap
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
    this.#found = null
    await walk?.close()
  }

  /** What the segment gives next; null when that is nothing, or when the segment was released meanwhile. */
  async #read(walk: SegmentWalk, limit: SegmentLimit): Promise<RecordBlock | null> {
    // A failure in its midst must not lose it: the walk is behind it already.
    if (this.#found !== null) return this.#giveFound(this.#found)
    try {
      const read = await walk.next(limit)
      if (read === null || !('reason' in read)) return read
      this.#found = { walk, damage: read, limit }
    } catch (error) {
      if (!(await this.#isGone(walk.base))) throw error
      await this.close()
      return null
    }
    return this.#giveFound(this.#found)
  }

  /** What stands for a damage; null when nothing is lost that was not passed already, or when it is none. */
  async #giveFound({ walk, damage, limit }: FoundDamage): Promise<JournalGap | null> {
    const { reason, fromSeq, toSeq } = damage
    // Its file may hold a new segment since, or have been taken away while it was looked at.
    const isReal = !(await this.#isGone(walk.base)) && (await this.#report(walk.base, damage, limit))
    this.#found = null
    if (!isReal) {
      await this.close()
      return null
    }
    return toSeq > fromSeq ? new JournalGap(fromSeq, toSeq, reason) : null
  }

  /** False when a second look, with new eyes, does not see the damage: then it is none. */
  async #report(base: number, damage: JournalDamage, limit: SegmentLimit): Promise<boolean> {
    const { reason, fromSeq, toSeq } = damage
    if (reason === 'missing') {
      await this.#quarantine?.report(segmentName(fromSeq), fromSeq, toSeq, async () => [damage])
      return true
    }
    const until = limit.kind === 'next' ? limit.base : limit.seq
    let isSeen = true
    await this.#quarantine?.report(segmentName(base), fromSeq, until, async () => {
      const damages = await surveySegment(this.#files, base, await this.#bases(), limit)
      isSeen = damages.length > 0
      return damages
    })
    if (isSeen || this.#doubtedSeq === fromSeq) return true
    this.#doubtedSeq = fromSeq
    return false
  }

  /**
   * Opens the segment that holds the next seq, as near before it as the index of a sealed segment allows. When that seq is
   * gone, gives what stands for all that is, and the oldest segment is next.
   */
  async #seek(endSeq: number): Promise<JournalGap | null> {
    const bases = await this.#bases()
    const base = bases.findLast((candidate) => candidate <= this.#nextSeq)
    if (base === undefined) {
      const [oldest] = bases
      if (oldest === undefined)
        throw new JournalCorruptError(`${this.#files.directory} has no segment that could hold message ${this.#nextSeq}`) // prettier-ignore
      // One without records begins where the durable end is; it may still be replaced, and must not be opened.
      const fromSeq = this.#nextSeq
      this.#nextSeq = Math.min(oldest, endSeq)
      return new JournalGap(fromSeq, this.#nextSeq, 'gone')
    }
    const walk = await this.#open(base, bases)
    if (walk === null) return null
    this.#walk = walk
    this.#limit = null
    await walk.seek(this.#nextSeq)
    return null
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
