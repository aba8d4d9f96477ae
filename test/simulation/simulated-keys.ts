import { createSecretKey } from 'node:crypto'
import type { KeyRing, RingKey } from '../../src/journal/key-ring.ts'

/** A key ring that is rotated again and again: every fourth time it is asked, another key is active. */
export class SimulatedKeys implements KeyRing {
  readonly acceptsUnencrypted = false
  readonly #keys: readonly RingKey[] = [1, 2, 3].map((number) => ({
    name: `k${number}/0000000${number}`,
    secret: createSecretKey(Buffer.alloc(32, number)),
  }))
  #asked = 0

  active(): RingKey {
    return this.#keys[Math.floor(this.#asked++ / 4) % this.#keys.length] as RingKey
  }

  find(name: string): RingKey | null {
    return this.#keys.find((key) => key.name === name) ?? null
  }
}
