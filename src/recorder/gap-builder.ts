import type { SeqRange } from '../message/receipt.ts'
import type { FinishedMessage } from './finished-message.ts'
import type { GapCause, LedgerGap, OffsetRange } from './ledger-exceptions.ts'

/** Above this a gap is written as several, so that each fits a record. */
const rangesMax = 1000

/** Sums up messages that are given up: neighbours in a partition become one range. */
export class GapBuilder {
  readonly #cause: GapCause
  readonly #at: number
  #gaps: LedgerGap[] = []
  #ranges: OffsetRange[] = []
  /** Where the newest range of each partition stands in `#ranges`. */
  readonly #newest = new Map<string, number>()
  #deadSeqs: number[] = []
  #lostSeqs: LedgerGap['lostSeqs'][number][] = []
  #messages = 0
  #fromSeq = Number.POSITIVE_INFINITY
  #toSeq = 0
  #total = 0

  constructor(cause: GapCause, at: number) {
    this.#cause = cause
    this.#at = at
  }

  /** How many messages there are in it. */
  get messages(): number {
    return this.#total
  }

  add({ seq, topic, partition, offset }: FinishedMessage): void {
    this.#count(seq, seq + 1)
    if (partition === null || offset === null) this.#deadSeqs.push(seq)
    else this.#addOffset(topic, partition, offset)
    this.#cutFull()
  }

  addLost([fromSeq, toSeq]: SeqRange): void {
    this.#count(fromSeq, toSeq)
    const last = this.#lostSeqs.at(-1)
    if (last?.toSeq === fromSeq) this.#lostSeqs[this.#lostSeqs.length - 1] = { fromSeq: last.fromSeq, toSeq }
    else this.#lostSeqs.push({ fromSeq, toSeq })
    this.#cutFull()
  }

  /** What is cut off already, once: a gap may be as large as the disk, and need not stay in memory. */
  take(): readonly LedgerGap[] {
    const cut = this.#gaps
    this.#gaps = []
    return cut
  }

  /** The rest. */
  build(): readonly LedgerGap[] {
    if (this.#messages > 0) this.#cut()
    return this.take()
  }

  #count(fromSeq: number, toSeq: number): void {
    this.#total += toSeq - fromSeq
    this.#messages += toSeq - fromSeq
    this.#fromSeq = Math.min(this.#fromSeq, fromSeq)
    this.#toSeq = Math.max(this.#toSeq, toSeq)
  }

  #cutFull(): void {
    if (this.#ranges.length + this.#deadSeqs.length + this.#lostSeqs.length >= rangesMax) this.#cut()
  }

  #addOffset(topic: string, partition: number, offset: number): void {
    const name = `${partition} ${topic}`
    const index = this.#newest.get(name)
    const range = index === undefined ? undefined : this.#ranges[index]
    if (index !== undefined && range?.toOffset === offset) {
      this.#ranges[index] = { ...range, toOffset: offset + 1 }
    } else {
      this.#newest.set(name, this.#ranges.length)
      this.#ranges.push({ topic, partition, fromOffset: offset, toOffset: offset + 1 })
    }
  }

  #cut(): void {
    this.#gaps.push({
      kind: 'gap',
      at: this.#at,
      cause: this.#cause,
      fromSeq: this.#fromSeq,
      toSeq: this.#toSeq,
      messages: this.#messages,
      ranges: this.#ranges,
      deadSeqs: this.#deadSeqs,
      lostSeqs: this.#lostSeqs,
    })
    this.#ranges = []
    this.#newest.clear()
    this.#deadSeqs = []
    this.#lostSeqs = []
    this.#messages = 0
    this.#fromSeq = Number.POSITIVE_INFINITY
    this.#toSeq = 0
  }
}
