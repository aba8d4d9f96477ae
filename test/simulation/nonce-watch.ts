import crypto from 'node:crypto'
import { syncBuiltinESMExports } from 'node:module'
import { Violation } from './faults.ts'

/**
 * Sees every nonce that anything is encrypted with, by standing before `createCipheriv`: so it need know nothing of what the
 * files look like, and it sees what was encrypted and never written, too. Two texts under one key and one nonce give
 * away both, and the means to forge more (NIST SP 800-38D, section 8).
 */
class NonceWatch {
  readonly #seen = new Set<string>()
  /** The first nonce that came twice. */
  violation: Violation | null = null

  /** Forgets what it has seen. */
  begin(): void {
    this.#seen.clear()
    this.violation = null
  }

  see(key: Parameters<typeof crypto.createCipheriv>[1], nonce: NodeJS.ArrayBufferView): void {
    const bytes = key instanceof crypto.KeyObject ? key.export() : Buffer.from(key as Buffer)
    const pair = `${bytes.toString('hex')} ${Buffer.from(nonce.buffer, nonce.byteOffset, nonce.byteLength).toString('hex')}`
    if (this.#seen.has(pair)) this.violation ??= new Violation('a nonce was used twice with one key')
    this.#seen.add(pair)
  }
}

/** Of all that is encrypted in this process. */
export const nonceWatch = new NonceWatch()

const { createCipheriv } = crypto

crypto.createCipheriv = ((...given: Parameters<typeof createCipheriv>) => {
  const [, key, nonce] = given
  if (ArrayBuffer.isView(nonce)) nonceWatch.see(key, nonce)
  return createCipheriv(...given)
}) as typeof createCipheriv
// So that those who have imported it by name call this one.
syncBuiltinESMExports()
