import type { ProducerIdentity } from './kafka-cluster.ts'
import type { ProducerStamp, RecordBatch } from './record-batch.ts'

/**
 * The sequence numbers of one partition (KIP-98). The broker takes a batch whose number it has seen for a repetition,
 * and answers as if it had been written. So:
 *
 * - A batch whose outcome is unknown keeps its number: sent again it can't be written twice.
 * - *Another* batch never gets that number, for it would be lost without a trace; nor the next one, which the broker
 *   would refuse if the first was never written. It begins anew, as a new producer.
 *
 * Numbers are counted by producer *and* partition, so all partitions may share one producer, as long as none ever goes
 * back to one that it has used before.
 *
 * ```
 *            stamp            acknowledge
 *   settled ───────▶ under way ─────────▶ settled, next number
 *      ▲ refuse          │ doubt
 *      └─────────────────┤                         same batch: same number
 *                        ▼                       ┌──────────────────────────▶ under way
 *                     doubtful ── next batch is ─┤ another: new producer
 *                                                └──────────────────────────▶ under way
 * ```
 */
export class PartitionSequence {
  #producer: ProducerIdentity | undefined
  /** The last one, also when it is forgotten. */
  #used: ProducerIdentity | undefined
  #next = 0
  #doubtful: { readonly digest: string; readonly stamp: ProducerStamp } | undefined
  /** The last batch, when it was written although its send failed as a whole. */
  #kept: { readonly digest: string; readonly offset: number } | undefined

  /** The offset at which this very batch is known to stand already. */
  offsetOf(batch: RecordBatch): number | undefined {
    if (!this.#kept) return undefined
    const { digest, offset } = this.#kept
    this.#kept = undefined
    return batch.digest() === digest ? offset : undefined
  }

  /** The number for a batch. `enlist` finds a producer when one is needed: one that is younger than the one that was used. */
  async stampFor(
    batch: RecordBatch,
    enlist: (used: ProducerIdentity | undefined) => Promise<ProducerIdentity>,
  ): Promise<ProducerStamp> {
    if (this.#doubtful) {
      if (this.#doubtful.digest === batch.digest()) return this.#doubtful.stamp
      this.renew()
    }
    while (!this.#producer) {
      const used = this.#used
      const enlisted = await enlist(used)
      if (enlisted.producerId === used?.producerId) throw new Error('a producer must not number a partition twice')
      // Unless a later batch was quicker, when this one's send is over.
      if (this.#producer || this.#used !== used) continue
      this.#producer = this.#used = enlisted
      this.#next = 0
    }
    return { ...this.#producer, sequence: this.#next }
  }

  /** The batch with this number is written. */
  acknowledge(batch: RecordBatch, stamp: ProducerStamp): void {
    if (!this.#isCurrent(stamp)) return
    this.#doubtful = undefined
    // Numbers wrap around within 31 bits, as Java's `DefaultRecordBatch.incrementSequence` has it.
    this.#next = (stamp.sequence + batch.count) % 2 ** 31
  }

  /** Whether the batch with this number is written is not known, and may turn out later or never. */
  doubt(batch: RecordBatch, stamp: ProducerStamp): void {
    if (this.#isCurrent(stamp)) this.#doubtful ??= { digest: batch.digest(), stamp }
  }

  /** The batch stands at this offset, but it will be sent again, because others of its send did not get through. */
  keep(batch: RecordBatch, offset: number): void {
    this.#kept = { digest: batch.digest(), offset }
  }

  /** Forgets the producer: the next batch is sent by a new one. */
  renew(): void {
    this.#producer = undefined
    this.#doubtful = undefined
  }

  /** False for what comes back late, when another producer has taken over or the number is done with. */
  #isCurrent(stamp: ProducerStamp): boolean {
    return this.#producer?.producerId === stamp.producerId && this.#next === stamp.sequence
  }
}
