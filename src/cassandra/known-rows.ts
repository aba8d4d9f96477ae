/**
 * Until when the rows of buckets (or of partitions) are known to be written. Bounded: what was used longest ago is
 * forgotten, and then written once more.
 */
export class KnownRows {
  readonly #entriesMax: number
  readonly #until = new Map<string, number>()

  constructor(entriesMax: number) {
    this.#entriesMax = entriesMax
  }

  covers(row: string, until: number): boolean {
    return (this.#until.get(row) ?? -Infinity) >= until
  }

  /** Call it when rows may have gone. */
  clear(): void {
    this.#until.clear()
  }

  /** Call it when the row is durable. */
  add(row: string, until: number): void {
    const known = this.#until.get(row) ?? -Infinity
    this.#until.delete(row)
    this.#until.set(row, Math.max(known, until))
    if (this.#until.size <= this.#entriesMax) return
    for (const oldest of this.#until.keys()) {
      this.#until.delete(oldest)
      break
    }
  }
}
