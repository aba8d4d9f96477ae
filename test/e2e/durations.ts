/** Durations in milliseconds, and what stands out of them. */
export class Durations {
  #all: number[] = []
  #isSorted = true

  get count(): number {
    return this.#all.length
  }

  add(ms: number): void {
    this.#all.push(ms)
    this.#isSorted = false
  }

  /** The value that the given share of them (0 to 1) does not exceed; NaN when there are none. */
  quantile(share: number): number {
    if (!this.#isSorted) this.#all.sort((a, b) => a - b)
    this.#isSorted = true
    return this.#all[Math.max(0, Math.ceil(this.#all.length * share) - 1)] ?? NaN
  }
}

/** `1.23 ms`, or a dash when there is nothing to show. */
export function formatMs(ms: number): string {
  return Number.isNaN(ms) ? '–' : `${ms.toFixed(ms < 100 ? 2 : 0)} ms`
}
