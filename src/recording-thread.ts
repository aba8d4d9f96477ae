import type { LedgerStatus } from './admin/status.ts'
import type { Clock } from './base/clock.ts'
import { UnavailableError, messageOf } from './base/errors.ts'
import type { LogOutput } from './base/log-output.ts'
import type { Revealed } from './base/secret.ts'
import { Backoff } from './base/resilience.ts'
import { revealSecrets } from './base/secret.ts'
import type { Config } from './config/schema.ts'
import type { DeliveryStart, JournalHandle } from './delivery.ts'
import type { ReserveHandle } from './journal/disk-reserve.ts'
import type { MessageFate } from './message/message-fate.ts'
import type { MessagePosition } from './message/message-id.ts'
import type { GiveUpRequest } from './recorder/backlog-limit.ts'
import type { NumberedException } from './recorder/ledger-exceptions.ts'
import type { LogEntry } from './recorder/message-log.ts'
import type { MetadataQuery, MetadataRow } from './recorder/metadata-store.ts'
import type { StoreName } from './recorder/store-name.ts'
import type { LedgerAnswer, RecorderMoved, RecordingStatus } from './recording.ts'
import type { ThreadPorts } from './worker-thread.ts'
import { ThreadEndedError, WorkerThread } from './worker-thread.ts'

/** What the recording thread is started with. */
export interface RecordingThreadData {
  readonly role: 'recording'
  readonly config: Revealed<Config>
  readonly journal: JournalHandle
  readonly delivery: DeliveryStart
  /** What it may use when the disk is full. */
  readonly reserve: ReserveHandle
}

/** What the recording thread answers; see `runRecording`. */
export type RecordingCalls = {
  started: (nothing: null) => Promise<readonly RecorderMoved[]>
  status: (nothing: null) => Promise<readonly RecordingStatus[]>
  giveUpBelow: (request: GiveUpRequest) => Promise<void>
  find: (position: MessagePosition) => Promise<LedgerAnswer<MetadataRow | null>>
  list: (query: MetadataQuery) => Promise<LedgerAnswer<readonly MetadataRow[]>>
  content: (position: MessagePosition) => Promise<LedgerAnswer<LogEntry | null>>
  exceptions: (query: { store: StoreName; after: number; limit: number }) => Promise<readonly NumberedException[]>
  drain: (deadlineMs: number) => Promise<void>
  close: (nothing: null) => Promise<void>
}

/** What the thread finds as its `workerData`. */
export type RecordingWorkerData = RecordingThreadData & ThreadPorts

/** What the recording thread tells. */
export interface RecordingThreadObserver {
  moved(position: RecorderMoved): void
  /** The thread has ended by itself; another one begins after `delayMs`. */
  restarting(error: unknown, delayMs: number): void
}

/** One that has run for so long was all right. */
const soundAfterMs = 60_000

/**
 * The recording half as the accepting half sees it: the same, but in a thread of its own. When that ends by itself, as by an
 * error that a store's driver throws where nobody catches it, another one begins: a ledger must not stop publishing. Nothing
 * is lost by it, for all that recorders know is on disk.
 */
export class RecordingThread {
  readonly #begin: () => WorkerThread<RecordingCalls, RecorderMoved>
  readonly #observer: RecordingThreadObserver
  readonly #clock: Clock
  readonly #stop = new AbortController()
  readonly #backoff = new Backoff({ initialMs: 500, maxMs: 60_000 })
  #thread: WorkerThread<RecordingCalls, RecorderMoved>
  /** Why there is no thread now. */
  #failure: unknown = null
  #keeping: Promise<void> = Promise.resolve()

  /** `entry` is the program's main module; in this thread it calls `runRecording`. */
  constructor(
    entry: URL,
    config: Config,
    journal: JournalHandle,
    delivery: DeliveryStart,
    reserve: ReserveHandle,
    observer: RecordingThreadObserver,
    clock: Clock,
    output: LogOutput,
  ) {
    const data: RecordingThreadData = { role: 'recording', config: revealSecrets(config), journal, delivery, reserve }
    const moved = (position: RecorderMoved): void => observer.moved(position)
    this.#begin = () => new WorkerThread(entry, 'recording', data, moved, output)
    this.#observer = observer
    this.#clock = clock
    this.#thread = this.#begin()
  }

  /** Resolves when it has time to answer, or is not there. */
  async ping(): Promise<void> {
    await this.#thread.ping().catch((error: unknown) => this.#unlessEnded(error))
  }

  /** Resolves when it records for the first time; rejects when it could not start. */
  async started(): Promise<void> {
    await this.#start()
    this.#keeping = this.#keepRunning()
  }

  async #start(): Promise<void> {
    for (const position of await this.#thread.callOrFail('started', null)) this.#observer.moved(position)
  }

  async #keepRunning(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      const startedAt = this.#clock.monotonic()
      this.#failure = await this.#thread.failed.catch((error: unknown) => error)
      if (this.#clock.monotonic() - startedAt >= soundAfterMs) this.#backoff.reset()
      const delayMs = this.#backoff.nextDelayMs()
      if (signal.aborted) return
      this.#observer.restarting(this.#failure, delayMs)
      await this.#clock.sleep(delayMs, signal).catch(() => {})
      if (signal.aborted) return
      this.#thread = this.#begin()
      // Why it could not start, it says by its end.
      await this.#start().then(
        () => (this.#failure = null),
        () => {},
      )
    }
  }

  /** `pendingReceipts` were asked for before: recorders learn of them when they are durable. */
  async status(pendingReceipts: number): Promise<LedgerStatus> {
    const recorders =
      (await this.#thread.call('status', null).catch((error: unknown) => this.#unlessEnded(error))) ?? []
    return {
      failure: this.#failure === null ? null : messageOf(this.#failure),
      recorders: recorders.map(({ recorder, kind, lagMessages, oldestFinishedAt, breaker, ...rest }) => ({
        store: recorder,
        kind,
        breaker,
        lagMessages: lagMessages + pendingReceipts,
        oldestFinishedAt,
        exceptions: rest.exceptions,
        failure: rest.failure,
        counts: rest.counts,
      })),
    }
  }

  giveUpBelow(request: GiveUpRequest): Promise<void> {
    return this.#ask('giveUpBelow', request)
  }

  /** What the ledger knows became of a message. As all look-ups, it rejects with an `UnavailableError` while the store is away. */
  async fateOf(position: MessagePosition): Promise<MessageFate | null> {
    const row = await this.find(position)
    return row && fateIn(row)
  }

  async find(position: MessagePosition): Promise<MetadataRow | null> {
    return foundIn(await this.#ask('find', position))
  }

  async list(query: MetadataQuery): Promise<readonly MetadataRow[]> {
    return foundIn(await this.#ask('list', query))
  }

  async content(position: MessagePosition): Promise<LogEntry | null> {
    return foundIn(await this.#ask('content', position))
  }

  exceptions(store: StoreName, after: number, limit: number): Promise<readonly NumberedException[]> {
    return this.#ask('exceptions', { store, after, limit })
  }

  /** Records what has a receipt now, for at most so long. */
  async drain(deadlineMs: number): Promise<void> {
    await this.#thread.call('drain', deadlineMs).catch((error: unknown) => this.#unlessEnded(error))
  }

  /** Ends the thread; what is left stays in the journals. */
  async close(): Promise<void> {
    this.#stop.abort(new Error('recording is closing'))
    const closing = this.#thread.close()
    await Promise.all([closing, this.#failure === null ? null : this.#keeping])
  }

  async #ask<N extends keyof RecordingCalls>(
    name: N,
    argument: Parameters<RecordingCalls[N]>[0],
  ): Promise<Awaited<ReturnType<RecordingCalls[N]>>> {
    try {
      return await this.#thread.call(name, argument)
    } catch (error) {
      this.#unlessEnded(error)
      throw ledgerUnavailable(`recording begins anew, because ${messageOf(error)}`)
    }
  }

  /** That it has ended is told elsewhere, and mended. */
  #unlessEnded(error: unknown): void {
    if (!(error instanceof ThreadEndedError)) throw error
  }
}

/** The ledger can't be asked now, and why. */
export function ledgerUnavailable(why: string, hint = ''): UnavailableError {
  return new UnavailableError('ledger_unavailable', `the ledger can't be asked: ${why}`, { retryAfterSeconds: 5, hint })
}

function foundIn<T>(answer: LedgerAnswer<T>): T {
  if (answer.ok) return answer.found
  throw ledgerUnavailable(answer.message, answer.hint)
}

function fateIn({ status, topic, partition, offset, finishedAt, attempts, reason }: MetadataRow): MessageFate {
  return status === 'dead' || partition === null || offset === null
    ? { state: 'dead', topic, reason: reason ?? '', diedAt: finishedAt, attempts }
    : { state: 'delivered', topic, partition, offset, deliveredAt: finishedAt, attempts }
}
