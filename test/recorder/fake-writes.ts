import { StoreError } from '../../src/recorder/store-error.ts'

/**
 * What a rule makes of a write:
 * - an error: nothing is kept, and the write fails with it;
 * - `lost-answer`: everything is kept, and the write fails as if the connection had broken before the answer came;
 * - `hang`: nothing happens until `release()` (then it is kept) or the signal's abort;
 * - undefined: the next rule decides; without any, everything is kept.
 */
export type WriteVerdict = StoreError | 'lost-answer' | 'hang' | undefined
export type WriteRule<Item> = (items: readonly Item[]) => WriteVerdict

/** What a fake store is told to do with writes, and what it saw of them. */
export class FakeWrites<Item> {
  /** How many items each write brought, in order: those that failed, hung or were aborted too. */
  readonly sizes: number[] = []
  /** How many writes were kept; one whose answer was lost is not among them. */
  done = 0
  /** How many writes are under way now, and how many were at most. */
  inFlight = 0
  inFlightMax = 0
  #rules: WriteRule<Item>[] = []
  #held: (() => void)[] = []

  /** How many writes came. */
  get count(): number {
    return this.sizes.length
  }

  /** Adds a rule that holds until the returned function is called. */
  rule(rule: WriteRule<Item>): () => void {
    this.#rules.push(rule)
    return () => {
      this.#rules = this.#rules.filter((other) => other !== rule)
    }
  }

  /** The next `count` writes end so. */
  next(count: number, verdict: Exclude<WriteVerdict, undefined>): void {
    let left = count
    const lift = this.rule(() => {
      if (--left <= 0) lift()
      return verdict
    })
  }

  /** Every write fails so until the returned function is called. */
  fail(error: StoreError): () => void {
    return this.rule(() => error)
  }

  /** Every write hangs, until the returned function is called; those that hang by then want `release()`. */
  hang(): () => void {
    return this.rule(() => 'hang')
  }

  /** A write with such an item in it is refused for good. */
  refuse(isPoison: (item: Item) => boolean, reason = 'ER_DATA_TOO_LONG'): () => void {
    return this.rule((items) =>
      items.some(isPoison) ? new StoreError('permanent', reason, `refused: ${reason}`) : undefined,
    )
  }

  /** Lets the writes that hang go on. */
  release(): void {
    const held = this.#held
    this.#held = []
    for (const go of held) go()
  }

  /** One write, by the rules: `keep` is called when its items are to be kept. */
  async run(items: readonly Item[], signal: AbortSignal, keep: () => void): Promise<void> {
    this.sizes.push(items.length)
    this.inFlight++
    this.inFlightMax = Math.max(this.inFlight, this.inFlightMax)
    try {
      // Not before the next turn, as with any real server.
      await new Promise((resolve) => {
        setImmediate(resolve)
      })
      signal.throwIfAborted()
      const verdict = this.#verdict(items)
      if (verdict instanceof StoreError) throw verdict
      if (verdict === 'hang') await this.#hang(signal)
      keep()
      if (verdict === 'lost-answer') throw new StoreError('transient', 'ECONNRESET', 'the answer was lost')
      this.done++
    } finally {
      this.inFlight--
    }
  }

  #verdict(items: readonly Item[]): WriteVerdict {
    for (const rule of this.#rules) {
      const verdict = rule(items)
      if (verdict !== undefined) return verdict
    }
    return undefined
  }

  #hang(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
      this.#held.push(resolve)
    })
  }
}
