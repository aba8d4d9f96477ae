/** What a request takes in memory beside the bytes of its body: its head, and the objects that stand for it. */
export const requestOverheadBytes = 1024

/** Keeps the bytes of messages that are received and not yet on disk within a bound. */
export class Admission {
  readonly #bytesMax: number
  #bytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  get bytes(): number {
    return this.#bytes
  }

  get isFull(): boolean {
    return this.#bytes >= this.#bytesMax
  }

  /** Takes room for bytes; false when there is none. A single message always finds room when nothing else is held. */
  reserve(bytes: number): boolean {
    if (this.#bytes > 0 && this.#bytes + bytes > this.#bytesMax) return false
    this.#bytes += bytes
    return true
  }

  release(bytes: number): void {
    this.#bytes -= bytes
  }
}
