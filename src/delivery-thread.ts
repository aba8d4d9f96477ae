import type { DeliveryCountsData } from './admin/delivery-counts.ts'
import type { DeadLetterSummary, DeliveryStatus, DeliveryView } from './admin/status.ts'
import type { LogOutput } from './base/log-output.ts'
import type { Revealed } from './base/secret.ts'
import { revealSecrets } from './base/secret.ts'
import type { Config } from './config/schema.ts'
import type { DeliveryStart, JournalHandle, ReceiptsHold } from './delivery.ts'
import type { ForwarderProgress } from './forwarder/forwarder.ts'
import type { SizesQuery, TopicSizes } from './forwarder/topic-sizes.ts'
import type { ReserveHandle } from './journal/disk-reserve.ts'
import type { MessageFate } from './message/message-fate.ts'
import type { ThreadPorts } from './worker-thread.ts'
import { WorkerThread } from './worker-thread.ts'

/** What the accepting half gives the delivering thread to start with. */
export interface DeliveryThreadData {
  readonly role: 'delivery'
  readonly config: Revealed<Config>
  readonly journal: JournalHandle
  /** Who reads receipts, and must not lose any. */
  readonly receiptReaders: readonly string[]
  /** What it may use when the disk is full. */
  readonly reserve: ReserveHandle
}

/** What the delivering thread answers; see `runDelivery`. */
export type DeliveryCalls = {
  started: (nothing: null) => Promise<DeliveryStart>
  find: (seq: number) => Promise<MessageFate | null>
  status: (nothing: null) => Promise<DeliveryStatus>
  counts: (nothing: null) => Promise<DeliveryCountsData>
  deadLetters: (query: { after: number; limit: number }) => Promise<readonly DeadLetterSummary[]>
  holdReceipts: (hold: ReceiptsHold) => Promise<void>
  giveUpBelow: (seq: number) => Promise<void>
  progress: (nothing: null) => Promise<ForwarderProgress>
  measure: (query: SizesQuery) => Promise<TopicSizes>
  drain: (deadlineMs: number) => Promise<void>
  close: (nothing: null) => Promise<void>
}

/** Below this seq every message is finished, durably. */
export type PassedEvent = number

/** The delivering half as the accepting half sees it: the same, but in a thread of its own. */
export class DeliveryThread implements DeliveryView {
  readonly #thread: WorkerThread<DeliveryCalls, PassedEvent>

  /** `entry` is the program's main module; in this thread it calls `runDelivery`. */
  constructor(
    entry: URL,
    config: Config,
    journal: JournalHandle,
    receiptReaders: readonly string[],
    reserve: ReserveHandle,
    passed: (seq: number) => void,
    output: LogOutput,
  ) {
    const data: DeliveryThreadData = {
      role: 'delivery',
      config: revealSecrets(config),
      journal,
      receiptReaders,
      reserve,
    }
    this.#thread = new WorkerThread(entry, 'delivery', data, passed, output)
  }

  /** Never resolves; rejects when the thread ends without having been told to. */
  get failed(): Promise<never> {
    return this.#thread.failed
  }

  /** Resolves when it has time to answer. */
  ping(): Promise<unknown> {
    return this.#thread.ping()
  }

  /** Resolves when it delivers; rejects when it could not start. */
  started(): Promise<DeliveryStart> {
    return this.#thread.callOrFail('started', null)
  }

  find(seq: number): Promise<MessageFate | null> {
    return this.#thread.call('find', seq)
  }

  status(): Promise<DeliveryStatus> {
    return this.#thread.call('status', null)
  }

  counts(): Promise<DeliveryCountsData> {
    return this.#thread.call('counts', null)
  }

  deadLetters(query: { after: number; limit: number }): Promise<readonly DeadLetterSummary[]> {
    return this.#thread.call('deadLetters', query)
  }

  /** From now on, a reader of the receipts needs nothing before its hold. */
  holdReceipts(hold: ReceiptsHold): Promise<void> {
    return this.#thread.call('holdReceipts', hold)
  }

  /**
   * Gives up every message below `seq` that is not finished. Resolves when receipts say which, durably, and it was told that
   * the journal may let them go. It may take as long as a batch that is being sent (`forwarder.sendTimeout`).
   */
  giveUpBelow(seq: number): Promise<void> {
    return this.#thread.call('giveUpBelow', seq)
  }

  /** How far it is in each topic. */
  progress(): Promise<ForwarderProgress> {
    return this.#thread.call('progress', null)
  }

  /** What a part of the journal of messages holds of each topic. */
  measure(query: SizesQuery): Promise<TopicSizes> {
    return this.#thread.call('measure', query)
  }

  /** Delivers what is in the journal now, for at most so long. */
  drain(deadlineMs: number): Promise<void> {
    return this.#thread.call('drain', deadlineMs)
  }

  /** Ends the thread; what is left stays in the journal. */
  close(): Promise<void> {
    return this.#thread.close()
  }
}

/** What the thread finds as its `workerData`. */
export type DeliveryWorkerData = DeliveryThreadData & ThreadPorts
