import type { Clock } from '../base/clock.ts'

/** A journal whose files are held for recorders after everybody else is done with them. */
export interface HeldJournal {
  readonly bytes: number
  /** Bytes that nobody but recorders needs any more, or that they had no time yet to let go. */
  readonly heldBytes: number
  /** Where the first segment begins that has so many bytes of others before it. */
  seqAfter(bytes: number): number
}

export interface BacklogLimitOptions {
  /** What may be held for recorders. */
  readonly backlogBytesMax: number
  /** What the journal may take in all. */
  readonly journalBytesMax: number
}

/** Below which seq recorders should give up what they have not recorded. */
export interface GiveUpRequest {
  readonly seq: number
  /** Also recorders whose store works, but is slow: else the journal would be full soon, and publishers refused. */
  readonly isUrgent: boolean
}

/** So much more than must be is given up at once, so that it is not done again for every segment. */
const slack = 0.1
/** Above this share of what the journal may take, it is urgent. */
const urgentShare = 0.8
/** Whatever was just let go by others looks as if it were held, until recorders have come by. */
const patienceMs = 10_000

/** Decides when recorders hold too much disk. */
export class BacklogLimit {
  readonly #journal: HeldJournal
  readonly #clock: Pick<Clock, 'monotonic'>
  readonly #options: BacklogLimitOptions
  #overSince: number | null = null

  constructor(journal: HeldJournal, clock: Pick<Clock, 'monotonic'>, options: BacklogLimitOptions) {
    this.#journal = journal
    this.#clock = clock
    this.#options = options
  }

  /** To be asked now and then, about once a second. Null while there is nothing to give up. */
  check(): GiveUpRequest | null {
    const { bytes, heldBytes } = this.#journal
    const { backlogBytesMax, journalBytesMax } = this.#options
    const excess = heldBytes - backlogBytesMax
    if (excess <= 0) {
      this.#overSince = null
      return null
    }
    const now = this.#clock.monotonic()
    this.#overSince ??= now
    if (now - this.#overSince < patienceMs) return null
    const seq = this.#journal.seqAfter(Math.min(excess + backlogBytesMax * slack, heldBytes))
    return { seq, isUrgent: bytes > journalBytesMax * urgentShare }
  }
}
