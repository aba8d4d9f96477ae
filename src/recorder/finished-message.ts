import type { Receipt } from '../message/receipt.ts'

/** What a receipt says of one message. Times are milliseconds since the epoch. */
export interface FinishedMessage {
  readonly seq: number
  readonly topic: string
  readonly status: 'delivered' | 'dead'
  /** Both null for a dead message. */
  readonly partition: number | null
  readonly offset: number | null
  readonly finishedAt: number
  readonly attempts: number
  /** Why it died; null for a delivered message. */
  readonly reason: string | null
}

/** The messages that a receipt is about; none for a checkpoint, and none that are lost: there is nothing to record of them. */
export function finishedMessages(receipt: Receipt): FinishedMessage[] {
  switch (receipt.kind) {
    case 'delivered': {
      const { topic, deliveredAt, attempts, partitions, offsets } = receipt
      return receipt.seqs.map((seq, i) => ({
        seq,
        topic,
        status: 'delivered',
        partition: partitions[i] as number,
        offset: offsets[i] as number,
        finishedAt: deliveredAt,
        attempts,
        reason: null,
      }))
    }
    case 'dead': {
      const { seq, topic, diedAt, attempts, reason } = receipt
      return [{ seq, topic, status: 'dead', partition: null, offset: null, finishedAt: diedAt, attempts, reason }]
    }
    case 'lost':
    case 'checkpoint':
      return []
  }
}
