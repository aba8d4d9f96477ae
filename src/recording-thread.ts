import type { LogOutput } from './base/log-output.ts'
import type { Revealed } from './base/secret.ts'
import { revealSecrets } from './base/secret.ts'
import type { Config } from './config/schema.ts'
import type { DeliveryStart, JournalHandle } from './delivery.ts'
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

/** The recording half in a thread of its own. */
export function startRecordingThread(
  entry: URL,
  config: Config,
  journal: JournalHandle,
  delivery: DeliveryStart,
  moved: (position: RecorderMoved) => void,
  output: LogOutput,
): WorkerThread<RecordingCalls, RecorderMoved> {
  const data: RecordingThreadData = { role: 'recording', config: revealSecrets(config), journal, delivery }
  return new WorkerThread(entry, 'recording', data, moved, output)
}
