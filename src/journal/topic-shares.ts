import type { JournalStretch, RecordTally, TopicProgress } from './topic-backlogs.ts'
import { TopicBacklogs } from './topic-backlogs.ts'
import { hysteresis } from './watermarks.ts'

export interface TopicShareOptions {
  readonly journalBytesMax: number
  /** What one topic may have waiting, of all that the journal may hold: from 0 to 1. */
  readonly shareMax: number
  /** Topics with a share of their own. */
  readonly shares: Readonly<Record<string, number>>
}

/**
 * Which topics have more waiting in the journal than they may. A topic is found to be over its share when delivering has
 * told how far it is, and never before: what was delivered in the meantime doesn't count.
 */
export class TopicShares<T extends { readonly topic: string }> {
  readonly #options: TopicShareOptions
  readonly #shares: ReadonlyMap<string, number>
  readonly #over = new Set<string>()
  readonly #backlogs: TopicBacklogs<T>

  /** `ask` is called when a topic seems to be over its share, so that somebody asks how far delivering is, and calls `settle`. */
  constructor(options: TopicShareOptions, ask: () => void) {
    this.#options = options
    this.#shares = new Map(Object.entries(options.shares))
    this.#backlogs = new TopicBacklogs(options.journalBytesMax, (topic, bytes) => {
      if (bytes >= this.limitOf(topic) && !this.#over.has(topic)) ask()
    })
  }

  /** For the journal. */
  get tally(): RecordTally<T> {
    return this.#backlogs
  }

  /** Whether topics wait for something, as far as is known. */
  get isEmpty(): boolean {
    return this.#backlogs.size === 0
  }

  isOver(topic: string): boolean {
    // For almost every message this is all.
    return this.#over.size !== 0 && this.#over.has(topic)
  }

  /** In bytes; Infinity when it has all. */
  limitOf(topic: string): number {
    const share = this.#shares.get(topic) ?? this.#options.shareMax
    return share >= 1 ? Number.POSITIVE_INFINITY : share * this.#options.journalBytesMax
  }

  /** How many topics are over their share now. */
  get overCount(): number {
    return this.#over.size
  }

  /** The topics that are over their share now, with what they have waiting. */
  get over(): { topic: string; bytes: number; bytesMax: number }[] {
    return [...this.#over].map((topic) => ({
      topic,
      bytes: Math.round(this.#backlogs.bytesOf(topic)),
      bytesMax: this.limitOf(topic),
    }))
  }

  addOlder(stretch: JournalStretch): void {
    this.#backlogs.addOlder(stretch)
  }

  settle(progress: TopicProgress): void {
    this.#backlogs.settle(progress)
    for (const [topic, bytes] of this.#backlogs.entries) if (bytes >= this.limitOf(topic)) this.#over.add(topic)
    for (const topic of this.#over)
      if (this.#backlogs.bytesOf(topic) < this.limitOf(topic) * (1 - 2 * hysteresis)) this.#over.delete(topic)
  }
}
