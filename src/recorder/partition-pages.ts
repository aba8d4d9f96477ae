import type { LogEntry, MessageLog } from './message-log.ts'
import { logEntryBytes } from './log-entry.ts'
import type { MetadataRow, MetadataStore } from './metadata-store.ts'

/** Something that stands at an offset of a partition. */
interface Placed {
  readonly offset: number | null
}

/** Goes through what has ascending offsets, page by page, and keeps no more than a page. */
export class PartitionPages<T extends Placed> {
  readonly #load: (fromOffset: number) => Promise<readonly T[]>
  readonly #toOffset: number
  #page: readonly T[] = []
  #at = 0
  #nextOffset: number
  #isLast = false

  constructor(fromOffset: number, toOffset: number, load: (fromOffset: number) => Promise<readonly T[]>) {
    this.#nextOffset = fromOffset
    this.#toOffset = toOffset
    this.#load = load
  }

  /** What comes next; null at the end. */
  async peek(): Promise<T | null> {
    if (this.#at === this.#page.length && !this.#isLast) {
      this.#page = this.#nextOffset < this.#toOffset ? await this.#load(this.#nextOffset) : []
      this.#at = 0
      this.#isLast = this.#page.length === 0
      this.#nextOffset = offsetOf(this.#page.at(-1)) + 1
    }
    const next = this.#page[this.#at]
    return next !== undefined && offsetOf(next) < this.#toOffset ? next : null
  }

  skip(): void {
    this.#at++
  }
}

const rowsPerPage = 500
const entriesPerPageMax = 500
const pageBytes = 4 * 1024 * 1024

export function rowPages(
  store: MetadataStore,
  topic: string,
  partition: number,
  fromOffset: number,
  toOffset: number,
  signal: AbortSignal,
): PartitionPages<MetadataRow> {
  return new PartitionPages(fromOffset, toOffset, (from) =>
    store.listOffsets(topic, partition, from, toOffset, rowsPerPage, signal),
  )
}

/** Pages are as long as entries are small, going by the page before. */
export function entryPages(
  log: MessageLog,
  topic: string,
  partition: number,
  fromOffset: number,
  toOffset: number,
  signal: AbortSignal,
): PartitionPages<LogEntry> {
  let limit = 8
  return new PartitionPages(fromOffset, toOffset, async (from) => {
    const entries = await log.list(topic, partition, from, Math.min(limit, toOffset - from), signal)
    const largest = entries.reduce((most, entry) => Math.max(most, logEntryBytes(entry)), 1)
    limit = Math.max(1, Math.min(entriesPerPageMax, limit * 4, Math.floor(pageBytes / largest)))
    return entries
  })
}

function offsetOf(placed: Placed | undefined): number {
  return placed?.offset ?? Number.NEGATIVE_INFINITY
}
