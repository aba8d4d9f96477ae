import type { DeliveryCountsData } from './delivery-counts.ts'
import type { LossReason } from '../message/receipt.ts'
import type { RecorderCountsData } from './recorder-counts.ts'

/** What the delivering half tells the operator's side. Times are milliseconds since the epoch. */
export interface DeliveryStatus {
  readonly broker: string
  readonly breaker: BrokerState
  readonly backlogMessages: number
  readonly oldestAcceptedAt: number | null
  readonly memoryBytes: number
  /** Finished messages whose receipts are not durable yet. */
  readonly pendingReceipts: number
  readonly deadLetters: number
  readonly deadLetterBytes: number
  readonly receiptBytes: number
  /** Since the start, by reason. */
  readonly lostMessages: Readonly<Record<LossReason, number>>
  /** What is damaged in any journal, as long as its reports are there. */
  readonly quarantine: {
    readonly reports: number
    /** Places that are damaged. */
    readonly damages: number
    /** Of the reports, and of the files that are kept. */
    readonly bytes: number
  }
  /** The topics that have messages to deliver; at most 100 of them, those in trouble first. */
  readonly lanes: readonly {
    readonly topic: string
    readonly queuedMessages: number
    readonly failure: {
      readonly reason: string
      readonly message: string
      readonly hint: string
      readonly attempts: number
    } | null
  }[]
  readonly busyLanes: number
  readonly failingLanes: number
}

export type BrokerState = 'closed' | 'half-open' | 'open'

/** A dead letter as it is listed: all but the value. */
export interface DeadLetterSummary {
  readonly number: number
  readonly id: string
  readonly topic: string
  readonly partition: number | null
  /** The key's text, or its Base64 when it is not UTF-8; null without a key. */
  readonly key: string | null
  readonly keyBase64: string | null
  readonly valueBytes: number | null
  readonly headers: readonly string[]
  readonly reason: string
  readonly detail: string
  readonly attempts: number
  readonly acceptedAt: number
  readonly diedAt: number
}

/** The delivering half, as the operator's side and the publishers' look-ups need it. */
export interface DeliveryView {
  status(): Promise<DeliveryStatus>
  counts(): Promise<DeliveryCountsData>
  deadLetters(query: { after: number; limit: number }): Promise<readonly DeadLetterSummary[]>
}

/** What the recording half tells the operator's side. */
export interface LedgerStatus {
  /** Why nothing is recorded at all now, or null: the recording half has failed, and begins anew. */
  readonly failure: string | null
  readonly recorders: readonly RecorderView[]
}

export interface RecorderView {
  /** What the store keeps: `metadata` or `log`. */
  readonly store: string
  /** Which store it is, such as `mysql`. */
  readonly kind: string
  readonly breaker: BrokerState
  readonly lagMessages: number
  readonly oldestFinishedAt: number | null
  /** Gaps and refused messages that are noted. */
  readonly exceptions: number
  readonly failure: {
    readonly reason: string
    readonly message: string
    readonly hint: string
    readonly attempts: number
  } | null
  readonly counts: RecorderCountsData
}
