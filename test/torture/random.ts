/** A small generator of repeatable numbers (mulberry32), so that a run can be told again by its seed. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** One of its own, decided by the given numbers alone. */
  static of(...numbers: readonly number[]): Random {
    const mixed = numbers.reduce((state, number) => Math.imul(state ^ number, 0x9e3779b1) ^ (state >>> 15), 0x243f6a88)
    return new Random(mixed)
  }

  /** From 0 to 1, 1 excluded. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  /** A whole number from `min` to `max`, both included. */
  between(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1))
  }

  pick<T>(items: readonly T[]): T {
    return items[this.between(0, items.length - 1)] as T
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length)
    for (let i = 0; i < length; i++) bytes[i] = this.next() * 256
    return bytes
  }

  shuffled<T>(items: readonly T[]): T[] {
    const result = [...items]
    for (let i = result.length - 1; i > 0; i--) {
      const other = this.between(0, i)
      const item = result[i] as T
      result[i] = result[other] as T
      result[other] = item
    }
    return result
  }
}
