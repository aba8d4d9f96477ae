import { isDiskFailure } from '../base/errors.ts'
import { noUuid } from './format.ts'
import { JournalKeyMissingError } from './journal-errors.ts'

/** Which segment a header belongs to, and behind which one it was begun. */
export interface SegmentLink {
  readonly journalId: string
  readonly uuid: Buffer
  /** Zeros: not known. */
  readonly previousUuid: Buffer
}

/** What the chain needs to know of the files. */
export interface LinkSource {
  /** Null when the segment's header can't be read. */
  link(base: number): Promise<SegmentLink | null>
  /** One past the last record that the segment holds. */
  end(base: number): Promise<number>
}

/** So many headers are read at once. */
const linksAtOnce = 8

/**
 * Tells a segment that is not of this journal's history: swapped by somebody, or brought back from the past. Each header names
 * the segment before it, and the newest one is what the writer goes on behind; so from there backwards each vouches for
 * the one before.
 */
export class SegmentChain {
  /** Of all but the newest: that one may be replaced by another, as long as it has no records. */
  readonly #known = new Map<number, SegmentLink | null>()

  /**
   * Whether the segment at `base`, whose header says `own`, is foreign. It is, when it is of another journal than the newest one;
   * when the next one was begun behind another though it begins where this one ends; and when it goes with a next one that is
   * foreign. `bases`: of all segments, ascending.
   */
  async isForeign(
    base: number,
    { uuid, journalId }: Pick<SegmentLink, 'uuid' | 'journalId'>,
    bases: readonly number[],
    source: LinkSource,
  ): Promise<boolean> {
    const later = bases.filter((candidate) => candidate > base)
    if (later.length === 0) return false
    const links = await this.#links(later, source)
    if (journalId !== (links.at(-1)?.journalId ?? journalId)) return true
    for (const known of this.#known.keys()) if (known < (bases[0] as number)) this.#known.delete(known)
    let isNextForeign = false
    for (let i = later.length - 1; i >= 0; i--) {
      const next = links[i] ?? null
      const before = i === 0 ? base : (later[i - 1] as number)
      const own = i === 0 ? uuid : (links[i - 1]?.uuid ?? null)
      const names = next !== null && own !== null && next.previousUuid.equals(own)
      if (isNextForeign) isNextForeign = names
      else if (next !== null && own !== null && !names && !next.previousUuid.equals(noUuid))
        // When it ends before the next one begins, one in between is missing.
        isNextForeign = (await source.end(before)) >= (later[i] as number)
    }
    return isNextForeign
  }

  async #links(bases: readonly number[], source: LinkSource): Promise<(SegmentLink | null)[]> {
    const newest = bases.at(-1) as number
    const unknown = bases.filter((base) => base === newest || !this.#known.has(base))
    const found = new Map<number, SegmentLink | null>()
    for (let i = 0; i < unknown.length; i += linksAtOnce)
      await Promise.all(
        unknown.slice(i, i + linksAtOnce).map(async (base) => {
          const link = await linkOrUnreadable(base, source)
          if (link !== 'unreadable') found.set(base, link)
        }),
      )
    for (const [base, link] of found) if (base !== newest) this.#known.set(base, link)
    return bases.map((base) => found.get(base) ?? this.#known.get(base) ?? null)
  }
}

/** What can't be read now is for whoever comes to that segment: those before it must get through. */
async function linkOrUnreadable(base: number, source: LinkSource): Promise<SegmentLink | null | 'unreadable'> {
  try {
    return await source.link(base)
  } catch (error) {
    if (isDiskFailure(error) || error instanceof JournalKeyMissingError) return 'unreadable'
    throw error
  }
}
