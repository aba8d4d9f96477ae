import { MessageChannel, Worker } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import type { DeliveryCountsData } from './admin/delivery-counts.ts'
import type { DeadLetterSummary, DeliveryStatus, DeliveryView } from './admin/status.ts'
import { OutriggerError } from './base/errors.ts'
import { RemoteCaller } from './base/remote-calls.ts'
import type { Revealed } from './base/secret.ts'
import { revealSecrets } from './base/secret.ts'
import type { Config } from './config/schema.ts'
import type { JournalHandle } from './delivery.ts'
import type { MessageFate } from './message/message-fate.ts'

/** What the accepting half gives the delivering thread to start with. */
export interface DeliveryThreadData {
  readonly role: 'delivery'
  readonly config: Revealed<Config>
  readonly journal: JournalHandle
  readonly calls: MessagePort
  readonly events: MessagePort
}

/** What the delivering thread answers; see `runDelivery`. */
export type DeliveryCalls = {
  started: (nothing: null) => Promise<void>
  find: (seq: number) => Promise<MessageFate | null>
  status: (nothing: null) => Promise<DeliveryStatus>
  counts: (nothing: null) => Promise<DeliveryCountsData>
  deadLetters: (query: { after: number; limit: number }) => Promise<readonly DeadLetterSummary[]>
  drain: (deadlineMs: number) => Promise<void>
  close: (nothing: null) => Promise<void>
}

/** The delivering thread is gone, or could not start. Its own log lines say why. */
class DeliveryThreadError extends OutriggerError {
  override readonly name = 'DeliveryThreadError'
  override readonly code = 'delivery_ended'
}

/** The delivering half as the accepting half sees it: the same, but in a thread of its own. */
export class DeliveryThread implements DeliveryView {
  readonly #worker: Worker
  readonly #calls: RemoteCaller<DeliveryCalls>
  readonly #ended: Promise<void>
  #closing = false
  /** Never resolves; rejects when the thread ends without having been told to. */
  readonly failed: Promise<never>

  /** `entry` is the program's main module; in this thread it calls `runDelivery`. */
  constructor(entry: URL, config: Config, journal: JournalHandle, passed: (seq: number) => void) {
    const calls = new MessageChannel()
    const events = new MessageChannel()
    const data: DeliveryThreadData = {
      role: 'delivery',
      config: revealSecrets(config),
      journal,
      calls: calls.port2,
      events: events.port2,
    }
    this.#worker = new Worker(entry, {
      workerData: data,
      transferList: [calls.port2, events.port2],
      name: 'delivery',
    })
    this.#calls = new RemoteCaller<DeliveryCalls>(calls.port1)
    events.port1.on('message', (seq: number) => passed(seq))
    let error: unknown
    this.#worker.on('error', (thrown) => {
      error = thrown
    })
    let fail: (reason: Error) => void
    this.failed = new Promise((_, reject) => {
      fail = reject
    })
    this.failed.catch(() => {}) // whoever composes it listens
    this.#ended = new Promise((resolve) => {
      this.#worker.once('exit', (code) => {
        calls.port1.close()
        events.port1.close()
        this.#calls.end('the delivering thread has ended')
        if (!this.#closing)
          fail(new DeliveryThreadError(`the delivering thread has ended with code ${code}`, { cause: error }))
        resolve()
      })
    })
  }

  /** Resolves when it delivers; rejects when it could not start. */
  started(): Promise<void> {
    return Promise.race([this.#calls.call('started', null), this.failed])
  }

  find(seq: number): Promise<MessageFate | null> {
    return this.#calls.call('find', seq)
  }

  status(): Promise<DeliveryStatus> {
    return this.#calls.call('status', null)
  }

  counts(): Promise<DeliveryCountsData> {
    return this.#calls.call('counts', null)
  }

  deadLetters(query: { after: number; limit: number }): Promise<readonly DeadLetterSummary[]> {
    return this.#calls.call('deadLetters', query)
  }

  /** Delivers what is in the journal now, for at most so long. */
  drain(deadlineMs: number): Promise<void> {
    return this.#calls.call('drain', deadlineMs)
  }

  /** Ends the thread; what is left stays in the journal. */
  async close(): Promise<void> {
    if (this.#closing) return this.#ended
    this.#closing = true
    await this.#calls.call('close', null)
    await this.#ended
  }
}
