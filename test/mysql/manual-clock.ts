import type { Clock } from '../../src/base/clock.ts'

/** Time that passes only while somebody sleeps, and then at once. */
export class ManualClock implements Clock {
  #now = 0
  readonly slept: number[] = []

  now(): number {
    return this.#now
  }

  monotonic(): number {
    return this.#now
  }

  pass(ms: number): void {
    this.#now += ms
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    this.slept.push(ms)
    this.#now += ms
  }
}
