import type { Clock } from '../base/clock.ts'
import type { LogEntry, MessageLog } from '../recorder/message-log.ts'

const firstPageEntries = 16
const pageEntriesMax = 500
/** What the pages of all partitions may hold together, roughly. */
const pagesBytesMax = 32 * 1024 * 1024
/** A recorder has written everything that was delivered before, when it does not lag. */
const settledMs = 3000

/** The entries of one partition, page by page. */
export class LogPartition {
  readonly #log: MessageLog
  readonly #topic: string
  readonly #partition: number
  readonly #wanted: (entry: LogEntry) => boolean
  readonly #clock: Clock | null
  #fromOffset: number
  #page: readonly LogEntry[] = []
  #at = 0
  #pageEntries = firstPageEntries
  /** There was nothing more at the last look. */
  #atEnd = false
  #passedAny = false

  /**
   * `wanted` says which entries to give. With a clock, the partition is followed while it is written: its recorder's
   * writes may show up in any order, so an entry before which others may still be missing waits until it is old enough.
   */
  constructor(
    log: MessageLog,
    topic: string,
    partition: number,
    fromOffset: number,
    wanted: (entry: LogEntry) => boolean,
    clock: Clock | null,
  ) {
    this.#log = log
    this.#topic = topic
    this.#partition = partition
    this.#fromOffset = fromOffset
    this.#wanted = wanted
    this.#clock = clock
  }

  /** After `head` has given null: perhaps there is more by now. */
  lookAgain(): void {
    this.#atEnd = false
  }

  /** The next entry that is wanted, or null when there is none now. `partitions` share the memory. */
  async head(partitions: number, signal: AbortSignal): Promise<LogEntry | null> {
    for (;;) {
      const entry = this.#page[this.#at]
      if (entry === undefined) {
        if (this.#atEnd) return null
        await this.#nextPage(partitions, signal)
        this.#atEnd = this.#page.length === 0
      } else if (this.#mayMissSome(entry)) {
        // Looked up anew the next time, together with what is missing before it.
        this.#page = []
        this.#at = 0
        this.#atEnd = true
      } else if (this.#wanted(entry)) {
        return entry
      } else {
        this.shift()
      }
    }
  }

  /** Passes the entry that `head` gave. */
  shift(): void {
    const entry = this.#page[this.#at++]
    if (entry === undefined) return
    this.#fromOffset = entry.offset + 1
    this.#passedAny = true
  }

  #mayMissSome({ offset, deliveredAt }: LogEntry): boolean {
    if (this.#clock === null || !this.#passedAny || offset === this.#fromOffset) return false
    const age = this.#clock.now() - deliveredAt
    // An age below 0 is that of another machine's clock, and says nothing.
    return age >= 0 && age < settledMs
  }

  async #nextPage(partitions: number, signal: AbortSignal): Promise<void> {
    const limit = this.#pageEntries
    this.#page = await this.#log.list(this.#topic, this.#partition, this.#fromOffset, limit, signal)
    this.#at = 0
    if (this.#page.length === 0) return
    const bytes = this.#page.reduce((sum, { key, value }) => sum + 200 + (key?.length ?? 0) + (value?.length ?? 0), 0)
    const fitting = Math.floor(pagesBytesMax / partitions / (bytes / this.#page.length))
    // Doubled at most: what comes next may be larger than what came.
    this.#pageEntries = Math.max(1, Math.min(fitting, 2 * limit, pageEntriesMax))
  }
}
