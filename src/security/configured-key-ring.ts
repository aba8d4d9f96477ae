import { readFileSync } from 'node:fs'
import type { Clock } from '../base/clock.ts'
import type { Secret } from '../base/secret.ts'
import type { KeyRing, RingKey } from '../journal/key-ring.ts'
import { readKeyList } from './key-list.ts'

/** The configuration's `encryption`. At most one of `keys` and `keysFile` is there. */
export interface EncryptionSettings {
  readonly keys?: Secret | undefined
  readonly keysFile?: string | undefined
  readonly acceptUnencrypted: boolean
}

/** What is told of a file of keys that changes while it is used. */
export interface KeyRingObserver {
  /** Another key is the active one. */
  rotated(keyName: string): void
  /** It can't be read any more, or is no list of keys: the keys that are known go on. Told once, until it can be read again. */
  unreadable(error: unknown): void
}

/** How often a file of keys is looked at, so that a rotation needs no restart. */
const rereadMs = 10_000

/** The keys that the configuration names; a file of them is read again when it may have changed. */
class ConfiguredKeyRing implements KeyRing {
  readonly acceptsUnencrypted: boolean
  readonly #read: () => string
  readonly #clock: Clock
  readonly #observer: KeyRingObserver | null
  #isUnreadable = false
  #keys: readonly RingKey[]
  #text: string
  #readAt: number

  constructor(read: () => string, acceptsUnencrypted: boolean, clock: Clock, observer: KeyRingObserver | null) {
    this.acceptsUnencrypted = acceptsUnencrypted
    this.#read = read
    this.#clock = clock
    this.#observer = observer
    this.#text = read()
    this.#readAt = clock.monotonic()
    this.#keys = readKeyList(this.#text)
  }

  active(): RingKey {
    if (this.#clock.monotonic() - this.#readAt >= rereadMs) this.#readAgain()
    return this.#keys[0] as RingKey
  }

  find(name: string): RingKey | null {
    const known = this.#named(name)
    if (known !== null) return known
    this.#readAgain()
    return this.#named(name)
  }

  #named(name: string): RingKey | null {
    return this.#keys.find((key) => key.name === name) ?? null
  }

  #readAgain(): void {
    this.#readAt = this.#clock.monotonic()
    try {
      const text = this.#read()
      const before = this.#keys[0]?.name
      if (text !== this.#text) this.#keys = readKeyList(text)
      this.#text = text
      this.#isUnreadable = false
      const active = this.#keys[0] as RingKey
      if (active.name !== before) this.#observer?.rotated(active.name)
    } catch (error) {
      // The keys that are known go on; one that is missing is told by whoever needs it.
      if (!this.#isUnreadable) this.#observer?.unreadable(error)
      this.#isUnreadable = true
    }
  }
}

/** The keys of a configuration, the active one first; none when nothing is to be encrypted. Throws when they can't be read. */
export function configuredKeys({ keys, keysFile }: EncryptionSettings): readonly RingKey[] {
  if (keysFile !== undefined) return readKeyList(readFileSync(keysFile, 'utf8'))
  return keys === undefined ? [] : readKeyList(keys.reveal())
}

/** The key ring of a configuration, or null when nothing is to be encrypted. Throws when the keys can't be read. */
export function openKeyRing(
  { keys, keysFile, acceptUnencrypted }: EncryptionSettings,
  clock: Clock,
  observer: KeyRingObserver | null = null,
): KeyRing | null {
  if (keysFile !== undefined)
    return new ConfiguredKeyRing(() => readFileSync(keysFile, 'utf8'), acceptUnencrypted, clock, observer)
  if (keys !== undefined) return new ConfiguredKeyRing(() => keys.reveal(), acceptUnencrypted, clock, observer)
  return null
}
