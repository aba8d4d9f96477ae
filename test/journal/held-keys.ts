import type { KeyRing, RingKey } from '../../src/journal/key-ring.ts'
import { readKeyList } from '../../src/security/key-list.ts'

/** A key that is the same in every run: `fill` is each of its bytes. */
export function keyOf(id: string, fill: number): RingKey {
  return readKeyList(`${id}:${Buffer.alloc(32, fill).toString('base64')}`)[0] as RingKey
}

/** A key ring that a test holds in its hands; the first key is the active one. */
export class HeldKeys implements KeyRing {
  acceptsUnencrypted = false
  keys: readonly RingKey[]

  constructor(...keys: readonly RingKey[]) {
    this.keys = keys
  }

  active(): RingKey {
    return this.keys[0] as RingKey
  }

  find(name: string): RingKey | null {
    return this.keys.find((key) => key.name === name) ?? null
  }
}
