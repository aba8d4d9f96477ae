import type { KeyObject } from 'node:crypto'

/** A key of the key ring: it never encrypts a record, only the data keys of segments, and cursors. */
export interface RingKey {
  /** The id that people gave it, `/`, and a check value that tells keys with the same id apart. At most 62 ASCII characters. */
  readonly name: string
  /** 32 bytes, for AES-256-GCM. */
  readonly secret: KeyObject
}

/** The port to the keys that a journal is encrypted with. */
export interface KeyRing {
  /** What new segments and cursors are encrypted under. Asked for each of them, so a rotation needs no restart. */
  active(): RingKey
  /** The key of this name, or null when the ring does not hold it. */
  find(name: string): RingKey | null
  /**
   * Whether what is not encrypted is read all the same: while a journal from before encryption was turned on is drained.
   * Else it is taken for what somebody else has put there.
   */
  readonly acceptsUnencrypted: boolean
}
