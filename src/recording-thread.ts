import type { LedgerStatus } from './admin/status.ts'
import { UnavailableError } from './base/errors.ts'
import type { LogOutput } from './base/log-output.ts'
import type { Revealed } from './base/secret.ts'
import { revealSecrets } from './base/secret.ts'
import type { Config } from './config/schema.ts'
import type { DeliveryStart, JournalHandle } from './delivery.ts'
import type { MessageFate } from './message/message-fate.ts'
import type { MessagePosition } from './message/message-id.ts'
import type { GiveUpRequest } from './recorder/backlog-limit.ts'
import type { NumberedException } from './recorder/ledger-exceptions.ts'
import type { LogEntry } from './recorder/message-log.ts'
import type { MetadataQuery, MetadataRow } from './recorder/metadata-store.ts'
import type { StoreName } from './recorder/store-name.ts'
import type { LedgerAnswer, RecorderMoved, RecordingStatus } from './recording.ts'
import type { ThreadPorts } from './worker-thread.ts'
import { WorkerThread } from './worker-thread.ts'

/** What the recording thread is started with. */
export interface RecordingThreadData {
  readonly role: 'recording'
  readonly config: Revealed<Config>
  readonly journal: JournalHandle
  readonly delivery: DeliveryStart
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

/** The recording half as the accepting half sees it: the same, but in a thread of its own. */
export class RecordingThread {
  readonly #thread: WorkerThread<RecordingCalls, RecorderMoved>

  /** `entry` is the program's main module; in this thread it calls `runRecording`. */
  constructor(
    entry: URL,
    config: Config,
    journal: JournalHandle,
    delivery: DeliveryStart,
    moved: (position: RecorderMoved) => void,
    output: LogOutput,
  ) {
    const data: RecordingThreadData = { role: 'recording', config: revealSecrets(config), journal, delivery }
    this.#thread = new WorkerThread(entry, 'recording', data, moved, output)
  }

  /** Never resolves; rejects when the thread ends without having been told to. */
  get failed(): Promise<never> {
    return this.#thread.failed
  }

  /** Resolves when it has time to answer. */
  ping(): Promise<unknown> {
    return this.#thread.ping()
  }

  /** Resolves when it records, with where each recorder stands; rejects when it could not start. */
  started(): Promise<readonly RecorderMoved[]> {
    return this.#thread.callOrFail('started', null)
  }

  /** `pendingReceipts` were asked for before: recorders learn of them when they are durable. */
  async status(pendingReceipts: number): Promise<LedgerStatus> {
    const recorders = await this.#thread.call('status', null)
    return {
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
    return this.#thread.call('giveUpBelow', request)
  }

  /** What the ledger knows became of a message. As all look-ups, it rejects with an `UnavailableError` while the store is away. */
  async fateOf(position: MessagePosition): Promise<MessageFate | null> {
    const row = await this.find(position)
    return row && fateIn(row)
  }

  async find(position: MessagePosition): Promise<MetadataRow | null> {
    return foundIn(await this.#thread.call('find', position))
  }

  async list(query: MetadataQuery): Promise<readonly MetadataRow[]> {
    return foundIn(await this.#thread.call('list', query))
  }

  async content(position: MessagePosition): Promise<LogEntry | null> {
    return foundIn(await this.#thread.call('content', position))
  }

  exceptions(store: StoreName, after: number, limit: number): Promise<readonly NumberedException[]> {
    return this.#thread.call('exceptions', { store, after, limit })
  }

  /** Records what has a receipt now, for at most so long. */
  drain(deadlineMs: number): Promise<void> {
    return this.#thread.call('drain', deadlineMs)
  }

  /** Ends the thread; what is left stays in the journals. */
  close(): Promise<void> {
    return this.#thread.close()
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
