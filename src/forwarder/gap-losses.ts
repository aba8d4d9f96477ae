import type { Clock } from '../base/clock.ts'
import type { RecordBlock } from '../base/record-reader.ts'
import type { LossReason, LostReceipt, SeqRange } from '../message/receipt.ts'
import type { ReceiptLog } from './receipt-log.ts'
import { SeqSet } from './seq-ranges.ts'

/** What is known of the messages that a gap stands for. */
export interface KnownMessages {
  /** Every message below it is finished. */
  lowSeq(): number
  /** From here on nothing is finished, and nothing in memory. */
  knownBelow(): number
  /** Calls `visit` for the seq of every message in memory. */
  forEachQueued(visit: (seq: number) => void): void
  /** Resolves when the receipt is durable. */
  record(receipt: LostReceipt): Promise<void>
}

/** Of a gap, so many messages are looked at together. */
const pieceMax = 1_000_000
/** What one receipt names at most. */
const rangesMax = 5000

/** Notes which messages are lost with what the journal can't give any more: those that were not finished before. */
export class GapLosses {
  readonly #receipts: Pick<ReceiptLog, 'finishedBetween'>
  readonly #clock: Clock
  readonly #signal: AbortSignal
  readonly #known: KnownMessages
  #losing: Promise<void> = Promise.resolve()

  constructor(receipts: Pick<ReceiptLog, 'finishedBetween'>, clock: Clock, signal: AbortSignal, known: KnownMessages) {
    this.#receipts = receipts
    this.#clock = clock
    this.#signal = signal
    this.#known = known
  }

  /** Resolves when it is noted, durably. One gap after the other, for lanes and head may come to the same, and it is noted once. */
  async lose({ firstSeq, count, lost }: RecordBlock): Promise<void> {
    // A journal that was restored goes on a long way behind: no message ever had those seqs.
    if (lost === null || lost.reason === 'skipped') return
    const reason = lost.reason === 'gone' ? 'missing' : lost.reason
    const losing = this.#losing.then(() => this.#loseUnfinished(firstSeq, firstSeq + count, reason))
    this.#losing = losing.catch(() => {}) // whoever has come to the gap has the failure
    await losing
  }

  async #loseUnfinished(fromSeq: number, toSeq: number, reason: LossReason): Promise<void> {
    const from = Math.max(fromSeq, this.#known.lowSeq())
    const known = Math.min(Math.max(from, this.#known.knownBelow()), toSeq)
    for (let at = from; at < known; at += pieceMax) {
      this.#signal.throwIfAborted()
      const ranges = await this.#unfinishedBetween(at, Math.min(at + pieceMax, known))
      for (let i = 0; i < ranges.length; i += rangesMax) await this.#note(ranges.slice(i, i + rangesMax), reason)
    }
    if (toSeq > known) await this.#note([[known, toSeq]], reason)
  }

  /** Nobody knows the topics of what stood in a gap. */
  #note(ranges: readonly SeqRange[], reason: LossReason): Promise<void> {
    return this.#known.record({ kind: 'lost', topic: null, lostAt: this.#clock.now(), reason, ranges })
  }

  /** Whose receipt is gone counts as unfinished: it can't be known any more. */
  async #unfinishedBetween(fromSeq: number, toSeq: number): Promise<SeqRange[]> {
    const unfinished = new SeqSet(fromSeq, toSeq)
    // Before the receipts are looked at, so that nothing slips through on its way from here to there.
    this.#known.forEachQueued((seq) => unfinished.take([seq, seq + 1]))
    await this.#receipts.finishedBetween(fromSeq, toSeq, (range) => unfinished.take(range))
    return unfinished.ranges()
  }
}
