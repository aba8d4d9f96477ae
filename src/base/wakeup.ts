import type { Clock } from './clock.ts'

/** Given as reason, because the one that is made otherwise costs more than all the rest. */
const woken = new Error('woken')

/** Lets loops wait until something has changed that they look at. */
export class Wakeup {
  readonly #clock: Clock
  readonly #waiting = new Set<() => void>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** How many wait. */
  get waiting(): number {
    return this.#waiting.size
  }

  /** Wakes all that wait now. */
  wake(): void {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const wake of waiting) wake()
  }

  /** Resolves at the next `wake`, after `ms`, or when the signal aborts, whichever comes first; leaves nothing behind. */
  async wait(signal: AbortSignal, ms: number): Promise<void> {
    if (signal.aborted) return
    const awake = new AbortController()
    const wake = (): void => awake.abort(woken)
    this.#waiting.add(wake)
    signal.addEventListener('abort', wake, { once: true })
    try {
      await this.#clock.sleep(ms, awake.signal)
    } catch (error) {
      if (!awake.signal.aborted) throw error
    } finally {
      this.#waiting.delete(wake)
      signal.removeEventListener('abort', wake)
    }
  }
}
