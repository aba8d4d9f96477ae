import type { SeqRange } from '../message/receipt.ts'

/** Ascending seqs as the ranges that they make up. */
export function rangesOfSeqs(seqs: readonly number[]): SeqRange[] {
  const ranges: SeqRange[] = []
  let from = Number.NaN
  let to = Number.NaN
  for (const seq of seqs) {
    if (seq !== to) {
      if (to > from) ranges.push([from, to])
      from = seq
    }
    to = seq + 1
  }
  if (to > from) ranges.push([from, to])
  return ranges
}

/** The seqs from `fromSeq` to below `toSeq`, of which some are taken away one after the other. */
export class SeqSet {
  readonly #fromSeq: number
  readonly #isGone: Uint8Array

  constructor(fromSeq: number, toSeq: number) {
    this.#fromSeq = fromSeq
    this.#isGone = new Uint8Array(toSeq - fromSeq)
  }

  /** What of the range does not belong to it anyway does not matter. */
  take([fromSeq, toSeq]: SeqRange): void {
    const from = Math.max(0, fromSeq - this.#fromSeq)
    const to = Math.max(from, toSeq - this.#fromSeq)
    this.#isGone.fill(1, from, to)
  }

  /** What is left. */
  ranges(): SeqRange[] {
    const ranges: SeqRange[] = []
    for (let from = this.#isGone.indexOf(0); from !== -1;) {
      const end = this.#isGone.indexOf(1, from)
      const to = end === -1 ? this.#isGone.length : end
      ranges.push([this.#fromSeq + from, this.#fromSeq + to])
      from = this.#isGone.indexOf(0, to)
    }
    return ranges
  }
}
