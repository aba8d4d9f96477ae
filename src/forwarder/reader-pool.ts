import type { ReadableJournal, RecordReader } from '../base/record-reader.ts'

/**
 * The readers of the lanes that read the journal back. Each holds a buffer and an open file, which no limit of memory
 * counts, so there are few: lanes take turns, in the order in which they ask, and a reader that stands idle between the
 * turns of its lane is closed when another lane needs one.
 */
export class ReaderPool {
  readonly #journal: ReadableJournal
  readonly #readersMax: number
  #busy = 0
  /** Oldest first. */
  readonly #idle = new Map<object, RecordReader>()
  readonly #waiting: (() => void)[] = []

  constructor(journal: ReadableJournal, readersMax: number) {
    this.#journal = journal
    this.#readersMax = readersMax
  }

  /** Whether others wait for their turn. */
  get isContended(): boolean {
    return this.#waiting.length > 0
  }

  /** Resolves when it is the owner's turn, with a reader that stands at `seq`. The turn ends with `give`. */
  async take(owner: object, seq: number): Promise<RecordReader> {
    if (this.#busy < this.#readersMax) this.#busy++
    else
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve)
      })
    const idle = this.#idle.get(owner)
    this.#idle.delete(owner)
    if (idle?.nextSeq === seq) return idle
    const reader = this.#journal.reader(seq)
    await idle?.close()
    await this.#evict()
    return reader
  }

  /** Ends a turn. The reader is kept for the owner's next one, if it may be. */
  async give(owner: object, reader: RecordReader): Promise<void> {
    this.#idle.set(owner, reader)
    const next = this.#waiting.shift()
    if (next) next()
    else this.#busy--
    await this.#evict()
  }

  /** The owner reads no more for now. */
  async drop(owner: object): Promise<void> {
    const reader = this.#idle.get(owner)
    this.#idle.delete(owner)
    await reader?.close()
  }

  async #evict(): Promise<void> {
    for (const [owner, reader] of this.#idle) {
      if (this.#idle.size + this.#busy <= this.#readersMax) return
      this.#idle.delete(owner)
      await reader.close()
    }
  }
}
