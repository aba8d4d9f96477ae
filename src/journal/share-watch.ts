import type { Clock } from '../base/clock.ts'
import type { JournalStretch, TopicProgress } from './topic-backlogs.ts'
import type { TopicShareOptions } from './topic-shares.ts'
import { TopicShares } from './topic-shares.ts'

/** How far delivering is, and when the oldest unfinished message was accepted; null when there is none, or it isn't known. */
export interface DeliveryProgress extends TopicProgress {
  readonly oldestAcceptedAt?: number | null
}

/** Who knows what is finished, and can read the journal. */
export interface ProgressSource {
  progress(): Promise<DeliveryProgress>
  /** Measures a part of the journal, or the beginning of it. */
  measure(query: { fromSeq: number; toSeq: number; bytesMax: number }): Promise<JournalStretch>
}

/** So much of the journal is measured at once; then there is a pause, some times as long as that took. */
const pieceBytes = 4 * 1024 * 1024
const pauseFactor = 4
/** Between two questions how far delivering is. */
const askMs = 20

/**
 * Keeps `TopicShares` current: asks how far delivering is, every second and as soon as a topic seems to be over its share;
 * and has measured, bit by bit, what was in the journal at the start. Until that is done, older messages count for nobody.
 */
export class ShareWatch<T extends { readonly topic: string }> {
  readonly shares: TopicShares<T>
  readonly #clock: Clock
  readonly #settled: () => void
  #source: ProgressSource | null = null
  #asking: Promise<DeliveryProgress | null> | null = null
  #askedAt = Number.NEGATIVE_INFINITY
  /** Below it everything is finished, as far as was told. */
  #low = 0
  #isMeasured = false

  /** `settled` is called when it may have changed which topics are over their share. */
  constructor(options: TopicShareOptions, clock: Clock, settled: () => void) {
    this.#clock = clock
    this.#settled = settled
    this.shares = new TopicShares(options, () => {
      if (this.#clock.monotonic() - this.#askedAt >= askMs) void this.ask()
    })
  }

  /** Whether all that was in the journal at the start counts. */
  get isMeasured(): boolean {
    return this.#isMeasured
  }

  /** Begins with what is in the journal from `fromSeq` to `toSeq`. Resolves when that is measured; rejects when it can't be. */
  async begin(source: ProgressSource, fromSeq: number, toSeq: number, signal: AbortSignal): Promise<void> {
    this.#source = source
    let at = fromSeq
    while (at < toSeq && !signal.aborted) {
      const startedAt = this.#clock.monotonic()
      const stretch = await source.measure({ fromSeq: at, toSeq, bytesMax: pieceBytes })
      this.shares.addOlder(stretch)
      if (stretch.toSeq <= at) break
      at = Math.max(stretch.toSeq, Math.min(this.#low, toSeq))
      await this.#clock.sleep(1 + pauseFactor * (this.#clock.monotonic() - startedAt), signal).catch(() => {}) // the loop looks
    }
    if (signal.aborted) return
    await this.ask()
    this.#isMeasured = true
  }

  /** Asks how far delivering is. Null when it does not say: it ends, and with it everything. */
  ask(): Promise<DeliveryProgress | null> {
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = null
    })
    return this.#asking
  }

  async #ask(): Promise<DeliveryProgress | null> {
    if (this.#source === null) return null
    this.#askedAt = this.#clock.monotonic()
    let progress: DeliveryProgress
    try {
      progress = await this.#source.progress()
    } catch {
      return null
    }
    this.#low = progress.positions.reduce((low, [, seq]) => Math.min(low, seq), progress.head)
    this.shares.settle(progress)
    this.#settled()
    return progress
  }
}
