import type { Clock } from '../../src/base/clock.ts'
import type { Random } from '../torture/random.ts'

/** Something under way that takes a while. */
export interface Flight {
  /** It ends as it should. */
  land(): void
  /** What it belongs to is dead: whatever of it happens, nobody hears of it. */
  crash(): void
}

/** Time that passes only when something happens. */
class SimulatedClock implements Clock {
  #ms = 0
  #sleepers: { readonly at: number; readonly wake: () => void }[] = []

  now(): number {
    return 1_700_000_000_000 + Math.floor(this.#ms)
  }

  monotonic(): number {
    return this.#ms
  }

  pass(ms: number): void {
    this.#ms += ms
    const due = this.#sleepers.filter(({ at }) => at <= this.#ms)
    this.#sleepers = this.#sleepers.filter(({ at }) => at > this.#ms)
    for (const { wake } of due) wake()
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) reject(signal.reason as Error)
      signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
      this.#sleepers.push({ at: this.#ms + ms, wake: resolve })
    })
  }
}

/**
 * Decides in which order operations end that are under way at the same time, and lets time pass. It uses no timer and no
 * real I/O: everything that happens is a microtask or an immediate, and node runs those in the order in which they were
 * asked for. So a seed decides all, and a turn costs about a microsecond.
 */
export class Schedule {
  readonly clock = new SimulatedClock()
  random: Random
  #flights: Flight[] = []

  constructor(random: Random) {
    this.random = random
  }

  get isIdle(): boolean {
    return this.#flights.length === 0
  }

  start(flight: Flight): void {
    this.#flights.push(flight)
    setImmediate(this.#turn)
  }

  /** Ends everything that is under way, in any order, heard by nobody. */
  crash(): void {
    const flights = this.random.shuffled(this.#flights)
    this.#flights = []
    for (const flight of flights) flight.crash()
  }

  /** Lets so many turns of the event loop pass. */
  async turns(count: number): Promise<void> {
    for (let i = 0; i < count; i++) await new Promise<void>((resolve) => setImmediate(resolve))
  }

  /** Each flight has a turn, but not each turn is that of its flight: the later one may land first. */
  readonly #turn = (): void => {
    const { length } = this.#flights
    if (length === 0) return
    if (this.random.next() < 0.15) {
      setImmediate(this.#turn)
      return
    }
    const at = this.random.between(0, length - 1)
    const [flight] = this.#flights.splice(at, 1)
    this.clock.pass(this.random.next() * 4)
    flight?.land()
  }
}
