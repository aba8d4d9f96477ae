import type { LossReason } from '../message/receipt.ts'

/** Topics beyond this many share one name, so that publishers can't make the metrics grow without bound. */
const topicsMax = 1000
const otherTopics = '(other)'

/** Upper bounds of the buckets of `seconds`; a last one takes what is beyond. */
export const deliverySecondsBuckets = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 600, 3600,
]

/** What the delivering half has counted since it started; plain data, for the way to the thread that shows it. */
export interface DeliveryCountsData {
  readonly delivered: ReadonlyMap<string, number>
  /** Batches that are sent again, by topic and reason. */
  readonly retried: ReadonlyMap<string, ReadonlyMap<string, number>>
  readonly dead: ReadonlyMap<string, ReadonlyMap<string, number>>
  /** From accepting the oldest message of a batch to its acknowledgement: batches by bucket, and their sum. */
  readonly seconds: { readonly buckets: readonly number[]; readonly sum: number }
  readonly receiptFailures: number
  /** Messages that are lost, by reason. */
  readonly lost: Readonly<Record<LossReason, number>>
}

/** Counts in the delivering thread, where a metrics library would cost memory a second time. */
export class DeliveryCounts {
  readonly #delivered = new Map<string, number>()
  readonly #retried = new Map<string, Map<string, number>>()
  readonly #dead = new Map<string, Map<string, number>>()
  readonly #buckets: number[] = Array.from({ length: deliverySecondsBuckets.length + 1 }, () => 0)
  readonly #topics = new Set<string>()
  #secondsSum = 0
  #receiptFailures = 0
  readonly #lost: Record<LossReason, number> = { corrupt: 0, missing: 0, dropped: 0 }

  get data(): DeliveryCountsData {
    return {
      delivered: this.#delivered,
      retried: this.#retried,
      dead: this.#dead,
      seconds: { buckets: this.#buckets, sum: this.#secondsSum },
      receiptFailures: this.#receiptFailures,
      lost: this.#lost,
    }
  }

  delivered(topic: string, messages: number, seconds: number): void {
    add(this.#delivered, this.#nameOf(topic), messages)
    const bucket = deliverySecondsBuckets.findIndex((bound) => seconds <= bound)
    const index = bucket === -1 ? deliverySecondsBuckets.length : bucket
    this.#buckets[index] = (this.#buckets[index] ?? 0) + 1
    this.#secondsSum += seconds
  }

  retrying(topic: string, reason: string): void {
    addUnder(this.#retried, this.#nameOf(topic), reason)
  }

  died(topic: string, reason: string): void {
    addUnder(this.#dead, this.#nameOf(topic), reason)
  }

  lost(reason: LossReason, messages: number): void {
    this.#lost[reason] += messages
  }

  receiptsFailed(): void {
    this.#receiptFailures++
  }

  #nameOf(topic: string): string {
    if (this.#topics.has(topic)) return topic
    if (this.#topics.size >= topicsMax) return otherTopics
    this.#topics.add(topic)
    return topic
  }
}

function add(counts: Map<string, number>, name: string, count: number): void {
  counts.set(name, (counts.get(name) ?? 0) + count)
}

function addUnder(counts: Map<string, Map<string, number>>, topic: string, reason: string): void {
  const reasons = counts.get(topic) ?? new Map<string, number>()
  counts.set(topic, reasons)
  add(reasons, reason, 1)
}
