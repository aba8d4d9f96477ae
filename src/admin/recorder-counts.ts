/** What one recorder has counted since it started; plain data, for the way to the thread that shows it. */
export interface RecorderCountsData {
  readonly recorded: number
  readonly writes: number
  readonly writeSeconds: number
  /** Failed writes, by reason; they are tried again. */
  readonly failures: Readonly<Record<string, number>>
  /** Messages that the store refused for good. */
  readonly refused: number
  /** Messages that were given up. */
  readonly givenUp: number
}

/** Counts in the recording thread. */
export class RecorderCounts {
  readonly #failures = new Map<string, number>()
  #recorded = 0
  #writes = 0
  #writeSeconds = 0
  #refused = 0
  #givenUp = 0

  get data(): RecorderCountsData {
    return {
      recorded: this.#recorded,
      writes: this.#writes,
      writeSeconds: this.#writeSeconds,
      failures: Object.fromEntries(this.#failures),
      refused: this.#refused,
      givenUp: this.#givenUp,
    }
  }

  recorded(messages: number, durationMs: number): void {
    this.#recorded += messages
    this.#writes++
    this.#writeSeconds += durationMs / 1000
  }

  failing(reason: string): void {
    this.#failures.set(reason, (this.#failures.get(reason) ?? 0) + 1)
  }

  refused(): void {
    this.#refused++
  }

  gaveUp(messages: number): void {
    this.#givenUp += messages
  }
}
