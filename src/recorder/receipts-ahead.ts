import type { Clock } from '../base/clock.ts'
import type { ReadableJournal, RecordReader } from '../base/record-reader.ts'
import { decodeReceipt } from '../message/receipt.ts'
import { finishedMessages } from './finished-message.ts'

/** How long one `count` may take; the next one goes on. */
const budgetMs = 50

/** How many messages have a receipt that the recorder has not come to: counted when somebody asks. */
export class ReceiptsAhead {
  readonly #receipts: ReadableJournal
  readonly #clock: Clock
  #reader: RecordReader | null = null
  #mark: number
  #counted = 0
  #passed = 0
  #oldestFinishedAt: number | null = null
  #counting: Promise<void> | null = null

  constructor(receipts: ReadableJournal, clock: Clock, mark: number) {
    this.#receipts = receipts
    this.#clock = clock
    this.#mark = mark
  }

  get messages(): number {
    return Math.max(0, this.#counted - this.#passed)
  }

  /** Of the first message from `mark` on (milliseconds since the epoch), while nothing of them has passed. */
  get oldestFinishedAt(): number | null {
    return this.#passed === 0 ? this.#oldestFinishedAt : null
  }

  /** The recorder is done with so many more. */
  passed(messages: number): void {
    this.#passed += messages
  }

  /** The recorder goes on at another receipt. */
  restart(mark: number): void {
    this.#mark = mark
    this.#counted = 0
    this.#passed = 0
    this.#oldestFinishedAt = null
    const reader = this.#reader
    this.#reader = null
    void (this.#counting ?? Promise.resolve()).then(() => reader?.close())
  }

  /** Counts what has come since the last time. */
  count(): Promise<void> {
    this.#counting ??= this.#count().finally(() => {
      this.#counting = null
    })
    return this.#counting
  }

  async close(): Promise<void> {
    await this.#counting?.catch(() => {}) // whoever asked has the failure
    await this.#reader?.close()
    this.#reader = null
  }

  async #count(): Promise<void> {
    const reader = (this.#reader ??= this.#receipts.reader(this.#mark))
    const startedAt = this.#clock.monotonic()
    while (this.#clock.monotonic() - startedAt < budgetMs) {
      const block = await reader.next()
      // The recorder may have gone on elsewhere meanwhile.
      if (block === null || reader !== this.#reader) return
      block.forEach((at, bytes, start, end) => {
        if (at < this.#mark) return
        const messages = finishedMessages(decodeReceipt(bytes, start, end))
        this.#counted += messages.length
        this.#oldestFinishedAt ??= messages[0]?.finishedAt ?? null
      })
    }
  }
}
