/**
 * How far a journal is durable, shared between threads: the writer publishes, readers look and wait. A reader never
 * reads beyond it, so it never sees what is not on stable storage yet.
 */
export class JournalEnd {
  /** Hand this to another thread to make its own `JournalEnd` of. */
  readonly shared: SharedArrayBuffer
  readonly #seqs: BigInt64Array
  readonly #changes: Int32Array

  constructor(shared: SharedArrayBuffer = new SharedArrayBuffer(24)) {
    this.shared = shared
    this.#seqs = new BigInt64Array(shared, 0, 2)
    this.#changes = new Int32Array(shared, 16, 1)
  }

  /** One past the last durable seq. */
  get nextSeq(): number {
    return Number(Atomics.load(this.#seqs, 0))
  }

  /**
   * The base seq of the segment that holds the last durable block. Look at it after `nextSeq`: then it is no older.
   * Whatever stands in another segment at or beyond the next segment's base was never answered.
   */
  get activeBase(): number {
    return Number(Atomics.load(this.#seqs, 1))
  }

  publish(nextSeq: number, activeBase: number): void {
    Atomics.store(this.#seqs, 1, BigInt(activeBase))
    Atomics.store(this.#seqs, 0, BigInt(nextSeq))
    Atomics.add(this.#changes, 0, 1)
    Atomics.notify(this.#changes, 0)
  }

  /**
   * Resolves as soon as `nextSeq` is greater than `seq`; rejects with the signal's reason. Waiting does not keep a thread
   * alive.
   */
  async wait(seq: number, signal: AbortSignal): Promise<void> {
    let onAbort = (): void => {}
    const aborted = new Promise<never>((_, reject) => {
      onAbort = () => reject(signal.reason as Error)
      signal.addEventListener('abort', onAbort, { once: true })
    })
    aborted.catch(() => {}) // nobody listens once the wait is over
    try {
      for (;;) {
        signal.throwIfAborted()
        const changes = Atomics.load(this.#changes, 0)
        if (this.nextSeq > seq) return
        const changed = Atomics.waitAsync(this.#changes, 0, changes)
        if (changed.async) await Promise.race([changed.value, aborted])
      }
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }
}
