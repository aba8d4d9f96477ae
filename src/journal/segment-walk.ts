import { join } from 'node:path'
import type { Disk } from './disk.ts'
import { noUuid, segmentName } from './format.ts'
import { JournalCorruptError } from './journal-errors.ts'
import type { KeyRing } from './key-ring.ts'
import type { JournalDamage } from './quarantine.ts'
import type { LinkSource, SegmentChain, SegmentLink } from './segment-chain.ts'
import type { Block } from './segment-reader.ts'
import { SegmentReader } from './segment-reader.ts'

/** The files of a journal, as a walk through one of them needs them. */
export interface SegmentFiles {
  readonly disk: Disk
  readonly directory: string
  readonly keys: KeyRing | null
  readonly chain: SegmentChain
}

/** How far a segment goes: up to the next one's base, or to the durable end while there is no next one. */
export type SegmentLimit =
  { readonly kind: 'next'; readonly base: number } | { readonly kind: 'end'; readonly seq: number }

/**
 * Goes through one segment: gives its blocks, and between them what is damaged. All that it gives adds up to what should be
 * there, and every walk through the same file gives the same.
 */
export class SegmentWalk {
  readonly base: number
  readonly path: string
  readonly #files: SegmentFiles
  readonly #reader: SegmentReader | null
  /** Why nothing of it can be read; empty when it can. */
  readonly #unreadable: string
  #position: number
  /** What is left of a damage that ends beyond the durable end as it was known. */
  #skipped: JournalDamage | null = null
  /** Behind what is read there is nothing readable. */
  #isOver = false

  private constructor(files: SegmentFiles, base: number, reader: SegmentReader | null, unreadable: string) {
    this.base = base
    this.path = join(files.directory, segmentName(base))
    this.#files = files
    this.#reader = reader
    this.#unreadable = unreadable
    this.#position = base
  }

  /**
   * Opens a segment; one that is damaged as a whole, or belongs to another history, too. `bases`: all segments that there are,
   * ascending. Throws when the file can't be read at all, and what only a person can mend: a missing key, an unknown format.
   */
  static async open(files: SegmentFiles, base: number, bases: readonly number[]): Promise<SegmentWalk> {
    const opened = await openSegment(files, base)
    if (typeof opened === 'string') return new SegmentWalk(files, base, null, opened)
    try {
      if (!(await files.chain.isForeign(base, opened.header, bases, linksOf(files))))
        return new SegmentWalk(files, base, opened, '')
    } catch (error) {
      await opened.close()
      throw error
    }
    await opened.close()
    const found = `a segment that the next one does not follow: somebody has swapped it, or brought it back from the past`
    return new SegmentWalk(files, base, null, found)
  }

  /** All records below it were given, or are lost. */
  get nextSeq(): number {
    return this.#position
  }

  /** Goes as near before a seq as the index of a sealed segment allows. */
  async seek(seq: number): Promise<void> {
    const footer = await this.#reader?.footer()
    const entry = footer?.index.findLast(([firstSeq]) => firstSeq <= seq)
    if (entry === undefined) return
    this.#reader?.jump(entry[0], entry[1])
    this.#position = entry[0]
  }

  /** The next block; or the next damage, if there is no block where one should be; or null at the limit. */
  async next(limit: SegmentLimit): Promise<Block | JournalDamage | null> {
    const until = limit.kind === 'next' ? limit.base : limit.seq
    if (this.#position >= until) return null
    const reader = this.#reader
    if (reader === null) return this.#rest(limit, until)
    if (this.#skipped === null && !this.#isOver) {
      const { offset: fromOffset } = reader
      const block = await reader.next(until - this.#position)
      if (block !== null && block.firstSeq + block.count <= until) {
        this.#position = block.firstSeq + block.count
        return block
      }
      if (block !== null) {
        this.#isOver = true
        const found = `a block that runs into the next segment, which begins with record ${until}`
        return this.#lost({ reason: 'corrupt', found, bytes: { fromOffset, toOffset: reader.offset }, fromSeq: block.firstSeq, toSeq: until }) // prettier-ignore
      }
      const damage = await reader.skipDamage()
      if (damage !== null) {
        const { found, toOffset, fromSeq, toSeq } = damage
        this.#skipped = { reason: 'corrupt', found, bytes: { fromOffset, toOffset }, fromSeq, toSeq }
      }
    }
    const skipped = this.#skipped
    this.#skipped = null
    if (skipped !== null && limit.kind === 'end' && skipped.toSeq > until) {
      // It has grown since, and so has what is durable: the rest of it comes next.
      this.#skipped = { ...skipped, fromSeq: until }
      return this.#lost({ ...skipped, toSeq: until })
    }
    if (skipped !== null && (skipped.toSeq < until || limit.kind === 'end')) return this.#lost(skipped)
    this.#isOver = limit.kind === 'next'
    return this.#rest(limit, until)
  }

  async close(): Promise<void> {
    await this.#reader?.close()
  }

  /** What should be here up to the limit, and is not. */
  async #rest(limit: SegmentLimit, until: number): Promise<JournalDamage> {
    const reader = this.#reader
    const fromSeq = this.#position
    if (reader === null) {
      const toOffset = (await this.#files.disk.sizeOf(this.path)) ?? 0
      const bytes = { fromOffset: 0, toOffset }
      return this.#lost({ reason: 'corrupt', found: this.#unreadable, bytes, fromSeq, toSeq: until })
    }
    const footer = await reader.footer()
    const endOfFile = (await this.#files.disk.sizeOf(this.path)) ?? reader.offset
    const end = footer?.nextSeq ?? ((await this.#isFollowedBy(reader, limit)) ? until : fromSeq)
    if (end > fromSeq) {
      const bytes = { fromOffset: reader.offset, toOffset: footer?.offset ?? endOfFile }
      return this.#lost({ reason: 'corrupt', found: reader.fault, bytes, fromSeq, toSeq: Math.min(end, until) })
    }
    return this.#lost({ reason: 'missing', found: 'no segment', bytes: null, fromSeq, toSeq: until })
  }

  /** Whether the next segment was begun behind this one. As far as is known: then this one is damaged, and none is missing. */
  async #isFollowedBy(reader: SegmentReader, limit: SegmentLimit): Promise<boolean> {
    if (limit.kind === 'end') return true
    const next = await linkOf(this.#files, limit.base)
    return next === null || next.previousUuid.equals(noUuid) || next.previousUuid.equals(reader.header.uuid)
  }

  #lost(damage: JournalDamage): JournalDamage {
    this.#position = damage.toSeq
    return damage
  }
}

/** All damages of a segment up to the limit. */
export async function surveySegment(
  files: SegmentFiles,
  base: number,
  bases: readonly number[],
  limit: SegmentLimit,
): Promise<JournalDamage[]> {
  const walk = await SegmentWalk.open(files, base, bases)
  const damages: JournalDamage[] = []
  try {
    for (let read = await walk.next(limit); read !== null; read = await walk.next(limit))
      if ('reason' in read && read.reason === 'corrupt') damages.push(read)
    return damages
  } finally {
    await walk.close()
  }
}

/** The segment, or in words why nothing in it can be read. */
async function openSegment({ disk, directory, keys }: SegmentFiles, base: number): Promise<SegmentReader | string> {
  let reader: SegmentReader
  try {
    reader = await SegmentReader.open(disk, join(directory, segmentName(base)), keys)
  } catch (error) {
    if (error instanceof JournalCorruptError) return error.message
    throw error
  }
  const { baseSeq } = reader.header
  if (baseSeq === base) return reader
  await reader.close()
  return `a segment that begins with record ${baseSeq}, by its header`
}

function linksOf(files: SegmentFiles): LinkSource {
  return { link: (base) => linkOf(files, base), end: (base) => endOf(files, base) }
}

async function linkOf(files: SegmentFiles, base: number): Promise<SegmentLink | null> {
  const reader = await openSegment(files, base)
  if (typeof reader === 'string') return null
  await reader.close()
  const { journalId, uuid, previousUuid } = reader.header
  return { journalId, uuid, previousUuid }
}

/** One past the last record that a segment holds. */
async function endOf(files: SegmentFiles, base: number): Promise<number> {
  const reader = await openSegment(files, base)
  if (typeof reader === 'string') return base
  try {
    const footer = await reader.footer()
    if (footer !== null) return footer.nextSeq
    for (;;)
      if ((await reader.next(Number.MAX_SAFE_INTEGER)) === null && (await reader.skipDamage()) === null)
        return reader.nextSeq
  } finally {
    await reader.close()
  }
}
