const firstBytes = 4096

/**
 * Puts pieces together, up to a limit. Copies them at once: a piece may be a single byte, and a thousand Buffers of one byte
 * take a hundred times the memory of their content.
 */
export class GrowingBuffer {
  /** Bytes added so far; counts on when they are more than the limit. */
  length = 0
  readonly #lengthMax: number
  #buffer: Buffer | null = null

  constructor(lengthMax: number) {
    this.#lengthMax = lengthMax
  }

  add(piece: Buffer): void {
    const end = this.length + piece.length
    if (end > this.#lengthMax) this.#buffer = null
    else this.#room(end).set(piece, this.length)
    this.length = end
  }

  /** What was added, or null when it was more than the limit. It is the caller's; this is empty then. */
  take(): Buffer | null {
    const { length } = this
    const buffer = this.#buffer
    this.length = 0
    this.#buffer = null
    if (length > this.#lengthMax) return null
    return buffer === null ? Buffer.alloc(0) : buffer.subarray(0, length)
  }

  #room(bytes: number): Buffer {
    const old = this.#buffer
    if (old !== null && old.length >= bytes) return old
    const grown = Buffer.allocUnsafe(Math.min(this.#lengthMax, Math.max(bytes, firstBytes, (old?.length ?? 0) * 2)))
    if (old !== null) grown.set(old.subarray(0, this.length))
    this.#buffer = grown
    return grown
  }
}
