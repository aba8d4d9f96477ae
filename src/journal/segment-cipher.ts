import type { KeyObject } from 'node:crypto'
import { createCipheriv, createDecipheriv, createHmac, createSecretKey, timingSafeEqual } from 'node:crypto'
import type { SegmentHeader } from './format.ts'
import { headerToAuthenticate } from './format.ts'
import { JournalCorruptError, JournalKeyMissingError, JournalUnencryptedError } from './journal-errors.ts'
import type { KeyRing, RingKey } from './key-ring.ts'

/** AES-256-GCM (NIST SP 800-38D). */
const algorithm = 'aes-256-gcm'
const blockNonceBytes = 12
/** What is random about something that is wrapped. */
const nonceBytes = 24
export const wrapNonceBytes = nonceBytes
const epochBytes = 8
/** The authentication tag behind a block's ciphertext. */
export const tagBytes = 16
/** The HMAC-SHA-256 behind the footer of an encrypted segment. */
export const footerMacBytes = 32
const dataKeyBytes = 32

/**
 * Encrypts the blocks of one segment under a data key of its own. A nonce is the segment's epoch and the block's number.
 * A number is used once: after a failed write, and after a restart, what follows goes to a new segment with a new key. So
 * no nonce is ever used twice under one key.
 */
export class SegmentCipher {
  readonly #dataKey: KeyObject
  readonly #nonce: Buffer

  /** `dataKey`: 32 bytes; `epoch`: 8 bytes. */
  constructor(dataKey: Buffer, epoch: Buffer) {
    this.#dataKey = createSecretKey(dataKey)
    this.#nonce = Buffer.alloc(blockNonceBytes)
    epoch.copy(this.#nonce)
  }

  /** Writes ciphertext and tag of `plain` into `into` at `at`. `about` is authenticated with it. */
  seal(plain: Buffer, blockNumber: number, about: Buffer, into: Buffer, at: number): void {
    const cipher = createCipheriv(algorithm, this.#dataKey, this.#nonceOf(blockNumber), { authTagLength: tagBytes })
    cipher.setAAD(about)
    cipher.update(plain).copy(into, at)
    cipher.final()
    cipher.getAuthTag().copy(into, at + plain.length)
  }

  /** What was sealed, or null when it, or what was said about it, is not as it was. */
  open(sealed: Buffer, blockNumber: number, about: Buffer): Buffer | null {
    return openSealed(this.#dataKey, this.#nonceOf(blockNumber), sealed, about)
  }

  /** A footer holds no content, so it is authenticated and not encrypted. */
  footerMac(footer: Buffer): Buffer {
    // Its key is derived, so that the data key has one use only.
    const key = createHmac('sha256', this.#dataKey).update('outrigger footer').digest()
    return createHmac('sha256', key).update(footer).digest()
  }

  isFooterMac(footer: Buffer, mac: Buffer): boolean {
    return mac.length === footerMacBytes && timingSafeEqual(this.footerMac(footer), mac)
  }

  #nonceOf(blockNumber: number): Buffer {
    this.#nonce.writeUInt32LE(blockNumber, epochBytes)
    return this.#nonce
  }
}

/**
 * Encrypts something small under a key of the ring, with a random nonce of 24 bytes: nonce, ciphertext, tag. A thousand sidecars
 * may share a key for years, and each wraps a few things a second. So many random nonces of 12 bytes would repeat some day
 * (SP 800-38D allows 2^32); hence one half of the nonce derives a key, and the other half is the nonce under that.
 */
export function wrap(key: RingKey, plain: Buffer, about: Buffer, nonce: Buffer): Buffer {
  const half = nonce.subarray(blockNonceBytes)
  const cipher = createCipheriv(algorithm, wrappingKey(key, nonce), half, { authTagLength: tagBytes })
  cipher.setAAD(about)
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
}

/** The reverse of `wrap`; null when it, or what was said about it, is not as it was. */
export function unwrap(key: RingKey, wrapped: Buffer, about: Buffer): Buffer | null {
  if (wrapped.length < nonceBytes + tagBytes) return null
  const nonce = wrapped.subarray(0, nonceBytes)
  return openSealed(wrappingKey(key, nonce), nonce.subarray(blockNonceBytes), wrapped.subarray(nonceBytes), about)
}

function wrappingKey({ secret }: RingKey, nonce: Buffer): KeyObject {
  const derived = createHmac('sha256', secret).update('outrigger wrap').update(nonce.subarray(0, blockNonceBytes))
  return createSecretKey(derived.digest())
}

/** Encrypts a new segment under a data key of its own, which its header keeps under the ring's active key. */
export function encryptSegment(
  plain: SegmentHeader,
  keys: KeyRing,
  random: (bytes: number) => Buffer,
): { readonly header: SegmentHeader; readonly cipher: SegmentCipher } {
  const key = keys.active()
  const dataKey = random(dataKeyBytes)
  const epoch = random(epochBytes)
  const withKey = (wrappedKey: Buffer): SegmentHeader => ({
    ...plain,
    encryption: { keyName: key.name, wrappedKey, epoch },
  })
  const about = headerToAuthenticate(withKey(Buffer.alloc(0)))
  const header = withKey(wrap(key, dataKey, about, random(nonceBytes)))
  return { header, cipher: new SegmentCipher(dataKey, epoch) }
}

/**
 * The cipher of a segment that is there, or null when it is not encrypted and need not be. Throws when its key is missing,
 * when it should be encrypted and is not, and a `JournalCorruptError` when its header is not as it was written.
 */
export function segmentCipher(header: SegmentHeader, keys: KeyRing | null, path: string): SegmentCipher | null {
  const { encryption } = header
  if (encryption === null) {
    refuseUnencrypted(keys, path)
    return null
  }
  const dataKey = unwrap(ringKey(keys, encryption.keyName, path), encryption.wrappedKey, headerToAuthenticate(header))
  if (dataKey === null)
    throw new JournalCorruptError(`${path}: its header was changed by somebody: it does not fit its encrypted data key`)
  return new SegmentCipher(dataKey, encryption.epoch)
}

/** Throws a `JournalUnencryptedError` unless what is not encrypted may be read. */
export function refuseUnencrypted(keys: KeyRing | null, path: string): void {
  if (keys === null || keys.acceptsUnencrypted) return
  throw new JournalUnencryptedError(`${path} is not encrypted, but there are keys to encrypt with`, {
    hint: 'When it is from before encryption was turned on, set encryption.acceptUnencrypted until the journal is drained. Else somebody has put it there.',
  })
}

/** The ring's key of this name; throws a `JournalKeyMissingError` that says what is encrypted under it. */
export function ringKey(keys: KeyRing | null, name: string, path: string): RingKey {
  const key = keys?.find(name) ?? null
  if (key !== null) return key
  const [id] = name.split('/')
  throw new JournalKeyMissingError(
    keys === null
      ? `${path} is encrypted under the key ${name}, and no keys are configured`
      : `${path} is encrypted under the key ${name}, which is not among the keys`,
    {
      hint: `Nothing was changed. Put the key ${id} back into encryption.keys or encryption.keysFile; what stands behind the slash tells it from other keys with the same id.`,
    },
  )
}

function openSealed(key: KeyObject, nonce: Buffer, sealed: Buffer, about: Buffer): Buffer | null {
  const end = sealed.length - tagBytes
  if (end < 0) return null
  const decipher = createDecipheriv(algorithm, key, nonce, { authTagLength: tagBytes })
  decipher.setAAD(about)
  decipher.setAuthTag(sealed.subarray(end))
  const plain = decipher.update(sealed.subarray(0, end))
  try {
    decipher.final()
  } catch {
    return null // it says only that the tag does not match
  }
  return plain
}
