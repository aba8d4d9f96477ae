import type { Clock } from './clock.ts'

/** Tells for how long something has not answered. It asks when it is looked at, so it costs nothing while nobody looks. */
export class Pulse {
  readonly #ask: () => Promise<unknown>
  readonly #clock: Clock
  /** When the question was asked that is not answered yet. */
  #askedAt: number | null = null

  /** That `ask` rejects is an answer too. */
  constructor(ask: () => Promise<unknown>, clock: Clock) {
    this.#ask = ask
    this.#clock = clock
  }

  /** Milliseconds since the question that is still not answered; 0 when there was none, and then one is asked. */
  silentMs(): number {
    if (this.#askedAt !== null) return this.#clock.monotonic() - this.#askedAt
    this.#askedAt = this.#clock.monotonic()
    const answered = (): void => {
      this.#askedAt = null
    }
    this.#ask().then(answered, answered)
    return 0
  }
}
