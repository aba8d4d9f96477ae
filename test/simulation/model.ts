import { Violation } from './faults.ts'
import { identify } from './record.ts'

/**
 * What may come of an append or of a gap that was asked for:
 * - `open`: nobody knows yet. It may be kept or not.
 * - `answered`: it must be kept.
 * - `failed`: it was rejected in the midst, or its process died. What of it is kept, the next start decides.
 * - `void`: it was refused at once, or a start found that it is not kept. It must never be seen.
 */
type State = 'open' | 'answered' | 'failed' | 'void'

/** What was given to the journal to keep, in the order in which it was given. */
export interface Promised {
  readonly order: number
  state: State
  /** How many of its seqs are settled. */
  seen: number
  readonly content:
    | { readonly kind: 'records'; readonly records: readonly Buffer[] }
    | { readonly kind: 'gap'; readonly from: number; readonly to: number }
}

interface Kept {
  readonly promised: Promised
  readonly index: number
}

/**
 * The journal as it should be: a map in memory. What a seq holds is settled as soon as it was answered or seen by any reader;
 * from then on it must neither change nor go, until all readers are durably past it.
 */
export class Model {
  readonly #given: Promised[] = []
  readonly #kept = new Map<number, Kept>()
  /** Damaged on purpose: from where to where records may be lost. */
  readonly #damaged: { readonly from: number; readonly to: number }[] = []
  /** One past the greatest seq that is settled. */
  nextSeq = 1
  answered = 0
  readonly #holesBelow: () => number

  /** `holesBelow`: below it, deleted files may come back one by one, and not all of them. */
  constructor(holesBelow: () => number) {
    this.#holesBelow = holesBelow
  }

  get settled(): number {
    return this.#kept.size
  }

  give(content: Promised['content']): Promised {
    const promised: Promised = { order: this.#given.length, state: 'open', seen: 0, content }
    this.#given.push(promised)
    return promised
  }

  /** What the next one that is given will be. */
  get nextOrder(): number {
    return this.#given.length
  }

  answer(promised: Promised, firstSeq: number): void {
    promised.state = 'answered'
    this.answered++
    const count = countOf(promised)
    for (let index = 0; index < count; index++) this.#settle(firstSeq + index, { promised, index })
  }

  fail(promised: Promised, isRefused: boolean): void {
    if (isRefused && promised.seen > 0) throw new Violation(`${nameOf(promised)} was refused, but a part was seen`)
    promised.state = isRefused ? 'void' : 'failed'
  }

  /** The process is dead, and with it all that was open. */
  crash(): void {
    for (const promised of this.#given) if (promised.state === 'open') promised.state = 'failed'
  }

  /** Somebody has read all there is: what failed and was not seen is not kept. It must not come back. */
  allSeen(): void {
    for (const promised of this.#given) if (promised.state === 'failed' && promised.seen === 0) promised.state = 'void'
  }

  see(seq: number, bytes: Buffer): void {
    const found = identify(bytes)
    const promised = found === null ? undefined : this.#given[found.append]
    if (found === null || promised?.content.kind !== 'records')
      throw new Violation(`seq ${seq} holds ${bytes.length} bytes that nobody has appended`)
    const record = promised.content.records[found.index]
    if (record === undefined || !record.equals(bytes))
      throw new Violation(`seq ${seq} holds record ${found.index} of ${nameOf(promised)}, but its bytes differ`)
    this.#settle(seq, { promised, index: found.index })
  }

  /** Records that are reported as lost: a gap that was asked for, as a whole, or what was damaged. */
  seeLost(from: number, count: number): void {
    const to = from + count
    const promised = this.#given.findLast(
      ({ content, state }) => content.kind === 'gap' && content.from === from && content.to === to && state !== 'void',
    )
    // A gap that could not be written may have had the same numbers as what was damaged later.
    const others = promised !== undefined && this.isDamaged(from) && this.#kept.get(from)?.promised !== promised
    if (promised !== undefined && !others) {
      for (let index = 0; index < count; index++) this.#settle(from + index, { promised, index })
      return
    }
    for (let seq = from; seq < to; seq++)
      if (seq >= this.#holesBelow() && !this.isDamaged(seq))
        throw new Violation(`seq ${seq} is reported as lost, but nobody has damaged it`)
  }

  /** Everything settled between the two must have been seen: they were read one behind the other. */
  demand(from: number, to: number, seen: (seq: number) => boolean): void {
    for (let seq = from; seq < to; seq++)
      if (this.#kept.has(seq) && !seen(seq) && !this.isDamaged(seq))
        throw new Violation(`seq ${seq} is lost: it was ${nameOf((this.#kept.get(seq) as Kept).promised)}`)
  }

  damage(from: number, to: number): void {
    this.#damaged.push({ from, to })
  }

  isDamaged(seq: number): boolean {
    return this.#damaged.some(({ from, to }) => seq >= from && seq < to)
  }

  get hasDamage(): boolean {
    return this.#damaged.length > 0
  }

  #settle(seq: number, kept: Kept): void {
    const before = this.#kept.get(seq)
    if (before !== undefined) {
      if (before.promised === kept.promised && before.index === kept.index) return
      throw new Violation(
        `seq ${seq} holds record ${kept.index} of ${nameOf(kept.promised)}, but held ${before.index} of ${nameOf(before.promised)}`,
      )
    }
    if (kept.promised.state === 'void')
      throw new Violation(`seq ${seq} holds ${nameOf(kept.promised)}, which was refused or is gone`)
    this.#kept.set(seq, kept)
    kept.promised.seen++
    this.nextSeq = Math.max(this.nextSeq, seq + 1)
    this.#follows(this.#kept.get(seq - 1), kept, seq)
    const next = this.#kept.get(seq + 1)
    if (next !== undefined) this.#follows(kept, next, seq + 1)
  }

  #follows(before: Kept | undefined, kept: Kept, seq: number): void {
    if (before === undefined) return
    const isNext = before.promised === kept.promised && before.index + 1 === kept.index
    const isLater = before.promised.order < kept.promised.order && kept.index === 0
    if (!isNext && !isLater)
      throw new Violation(
        `seq ${seq} holds record ${kept.index} of ${nameOf(kept.promised)} behind ${before.index} of ${nameOf(before.promised)}`,
      )
    if (isLater && before.promised.state === 'answered' && before.index + 1 < countOf(before.promised))
      throw new Violation(`seq ${seq} holds ${nameOf(kept.promised)} in the midst of ${nameOf(before.promised)}`)
  }
}

function countOf({ content }: Promised): number {
  return content.kind === 'gap' ? content.to - content.from : content.records.length
}

function nameOf({ order, content, state }: Promised): string {
  return content.kind === 'gap' ? `gap ${order} (${state})` : `append ${order} (${state})`
}
