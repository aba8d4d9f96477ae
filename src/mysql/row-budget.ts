import type { Clock } from '../base/clock.ts'

/** What was not used in the last second may be used up at once. */
const burstSeconds = 1

/**
 * A token bucket. Whoever asks first has all that he asks for, and leaves debts for the next to wait out: so a batch that
 * is larger than the bucket goes through, too.
 */
export class RowBudget {
  readonly #clock: Clock
  readonly #rowsPerMs: number
  readonly #rowsMax: number
  #rows: number
  #countedAt: number

  constructor(clock: Clock, rowsPerSecond: number) {
    this.#clock = clock
    this.#rowsPerMs = rowsPerSecond / 1000
    this.#rowsMax = rowsPerSecond * burstSeconds
    this.#rows = this.#rowsMax
    this.#countedAt = clock.monotonic()
  }

  /** Resolves when so many rows may be written. */
  async take(rows: number, signal: AbortSignal): Promise<void> {
    const now = this.#clock.monotonic()
    this.#rows = Math.min(this.#rowsMax, this.#rows + (now - this.#countedAt) * this.#rowsPerMs)
    this.#countedAt = now
    const waitMs = Math.ceil(Math.max(0, -this.#rows / this.#rowsPerMs))
    this.#rows -= rows
    if (waitMs === 0) return
    try {
      await this.#clock.sleep(waitMs, signal)
    } catch (error) {
      this.#rows += rows
      throw error
    }
  }
}
