import { basename, join } from 'node:path'
import type { RecorderCountsData } from './admin/recorder-counts.ts'
import { RecorderCounts } from './admin/recorder-counts.ts'
import type { Clock } from './base/clock.ts'
import { messageOf } from './base/errors.ts'
import type { Log } from './base/log.ts'
import type { ReadableJournal, RecordReader } from './base/record-reader.ts'
import { withTimeout } from './base/resilience.ts'
import type { Config } from './config/schema.ts'
import type { DeliveryStart, JournalHandle } from './delivery.ts'
import { CursorFile, badSlot } from './journal/cursor-file.ts'
import { damageLog } from './journal/damage-log.ts'
import type { Disk } from './journal/disk.ts'
import { Journal } from './journal/journal.ts'
import { JournalEnd } from './journal/journal-end.ts'
import { JournalReader } from './journal/journal-reader.ts'
import type { KeyRing } from './journal/key-ring.ts'
import { PatientReader, readFailed } from './journal/patient-reader.ts'
import { Quarantine } from './journal/quarantine.ts'
import { openSettingAside } from './journal/set-aside.ts'
import { openMessageLog, openMetadataStore } from './ledgers.ts'
import type { GiveUpRequest } from './recorder/backlog-limit.ts'
import { exceptionCodec, LedgerExceptions } from './recorder/ledger-exceptions.ts'
import type { LedgerException, NumberedException } from './recorder/ledger-exceptions.ts'
import { logEntry, logEntryBytes } from './recorder/log-entry.ts'
import type { LogEntry, MessageLog } from './recorder/message-log.ts'
import { metadataRow, metadataRowBytes } from './recorder/metadata-row.ts'
import type { MetadataQuery, MetadataRow, MetadataStore } from './recorder/metadata-store.ts'
import type { RecordTarget, RecorderPosition } from './recorder/ports.ts'
import type { RecorderObserver, RecorderStatus } from './recorder/recorder.ts'
import { Recorder } from './recorder/recorder.ts'
import { StoreError } from './recorder/store-error.ts'
import type { StoreName } from './recorder/store-name.ts'
import { storeNames } from './recorder/store-name.ts'
import { openKeyRing } from './security/configured-key-ring.ts'

/** The recorders that the configuration asks for. */
export function configuredRecorders({ ledger }: Config): StoreName[] {
  return storeNames.filter((name) => ledger[name] !== 'none')
}

/** Where a recorder stands, durably. */
export interface RecorderMoved extends RecorderPosition {
  readonly recorder: StoreName
}

export interface RecordingStatus extends RecorderStatus {
  readonly recorder: StoreName
  readonly kind: string
  readonly exceptions: number
  readonly counts: RecorderCountsData
}

/** What a look into the ledger has found, or why it could not be made. Goes from thread to thread. */
export type LedgerAnswer<T> =
  { readonly ok: true; readonly found: T } | { readonly ok: false; readonly message: string; readonly hint: string }

/** A store that fails for so long counts as away. */
const giveUpAfterMs = 10_000
const exceptionBytesMax = 1024 * 1024 * 1024
const exceptionSegmentBytes = 16 * 1024 * 1024
/** How long somebody who looks into the ledger waits. */
const lookUpTimeoutMs = 10_000

interface Part {
  readonly name: StoreName
  readonly recorder: Pick<Recorder<unknown>, 'failed' | 'giveUpBelow' | 'status' | 'drain' | 'close' | 'start'>
  readonly exceptions: LedgerExceptions
  readonly counts: RecorderCounts
  /** Where it stood at the start. */
  readonly position: RecorderPosition
  close(): Promise<void>
}

/** What every recorder is composed of. */
interface Surroundings {
  readonly config: Config
  readonly disk: Disk
  readonly clock: Clock
  readonly log: Log
  readonly keys: KeyRing | null
  readonly messages: ReadableJournal
  /** With where they began and ended at the start. */
  readonly receipts: ReadableJournal & { readonly firstSeq: number; readonly endSeq: number }
  /** Where the forwarder stood: what is before is finished, and of no concern to a recorder that is new. */
  readonly forwarderPosition: RecorderPosition
  /** One past the highest seq that has a receipt. */
  readonly finishedSeq: number
  moved(position: RecorderMoved): void
}

/**
 * The recording half: composes the recorders with their stores, cursors and exceptions. It shares nothing with the others
 * but the files of two journals and how far they are durable, so it runs in a thread of its own.
 */
export class Recording {
  readonly #config: Config
  readonly #parts: readonly Part[]
  readonly #metadata: MetadataStore | null
  readonly #log: MessageLog | null
  /** Ends waiting for a disk that can't be read. */
  readonly #reading: AbortController
  /** Never resolves; rejects when recording can't go on. */
  readonly failed: Promise<never>

  private constructor(
    config: Config,
    parts: readonly Part[],
    metadata: MetadataStore | null,
    messageLog: MessageLog | null,
    reading: AbortController,
  ) {
    this.#config = config
    this.#parts = parts
    this.#metadata = metadata
    this.#log = messageLog
    this.#reading = reading
    this.failed = Promise.race(parts.map(({ recorder }) => recorder.failed))
    this.failed.catch(() => {}) // whoever composes it listens
  }

  /** Starts recording. `moved` is told how far each recorder is, durably. */
  static async start(
    config: Config,
    messages: JournalHandle,
    { receipts, position, finishedSeq }: DeliveryStart,
    disk: Disk,
    clock: Clock,
    log: Log,
    moved: (position: RecorderMoved) => void,
  ): Promise<Recording> {
    const keys = openKeyRing(config.encryption, clock)
    const reading = new AbortController()
    const readable = (journal: JournalHandle): ReadableJournal => {
      const end = new JournalEnd(journal.end)
      const quarantine = new Quarantine(disk, journal.directory, clock, damageLog(log, basename(journal.directory)))
      const reader = (fromSeq: number): RecordReader =>
        new PatientReader(
          new JournalReader(disk, journal.directory, end, fromSeq, keys, quarantine),
          clock,
          reading.signal,
          (error) => log.error({ error }, readFailed),
        )
      return { id: journal.id, end, reader }
    }
    const readableReceipts = readable(receipts)
    const surroundings: Surroundings = {
      config,
      disk,
      clock,
      log,
      keys,
      messages: readable(messages),
      receipts: { ...readableReceipts, firstSeq: receipts.firstSeq, endSeq: readableReceipts.end.nextSeq },
      forwarderPosition: position,
      finishedSeq,
      moved,
    }
    const metadata = await openMetadataStore(config, clock, log)
    const messageLog = await openMessageLog(config, clock, log)
    const parts: Part[] = []
    if (metadata !== null) parts.push(await openPart('metadata', metadataTarget(metadata, messages.id, clock), surroundings)) // prettier-ignore
    if (messageLog !== null) parts.push(await openPart('log', logTarget(messageLog, messages.id, clock), surroundings))
    for (const { recorder } of parts) recorder.start()
    return new Recording(config, parts, metadata, messageLog, reading)
  }

  /** Where each recorder stood at the start. */
  get positions(): readonly RecorderMoved[] {
    return this.#parts.map(({ name, position }) => ({ recorder: name, ...position }))
  }

  status(): Promise<readonly RecordingStatus[]> {
    return Promise.all(this.#parts.map((part) => this.#statusOf(part)))
  }

  async #statusOf({ name, recorder, exceptions, counts }: Part): Promise<RecordingStatus> {
    return {
      ...(await recorder.status()),
      recorder: name,
      kind: this.#config.ledger[name],
      exceptions: exceptions.count,
      counts: counts.data,
    }
  }

  /** Each recorder gives up what it has not recorded of the messages below `seq`, and notes that. */
  giveUpBelow({ seq, isUrgent }: GiveUpRequest): void {
    for (const { recorder } of this.#parts) recorder.giveUpBelow(seq, isUrgent)
  }

  /** What the metadata store knows of a message, of this or of any other journal. */
  find(journalId: string, seq: number): Promise<LedgerAnswer<MetadataRow | null>> {
    return answerOf((signal) => this.#metadata?.find(journalId, seq, signal) ?? Promise.resolve(null))
  }

  list(query: MetadataQuery): Promise<LedgerAnswer<readonly MetadataRow[]>> {
    return answerOf((signal) => this.#metadata?.list(query, signal) ?? Promise.resolve([]))
  }

  /** A message as the log has it; null when it has none, or when nothing says where it stands. */
  content(journalId: string, seq: number): Promise<LedgerAnswer<LogEntry | null>> {
    return answerOf(async (signal) => {
      const row = (await this.#metadata?.find(journalId, seq, signal)) ?? null
      if (row === null || row.partition === null || row.offset === null) return null
      const entry = (await this.#log?.read(row.topic, row.partition, row.offset, signal)) ?? null
      // A topic that was made anew has given the same place to another message.
      return entry?.journalId === journalId && entry.seq === seq ? entry : null
    })
  }

  /** What a store does not hold although it should. */
  async exceptions(name: StoreName, after: number, limit: number): Promise<readonly NumberedException[]> {
    const part = this.#parts.find((candidate) => candidate.name === name)
    return (await part?.exceptions.list(after, limit)) ?? []
  }

  /** Records what has a receipt now, until the signal aborts. */
  async drain(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#parts.map(({ recorder }) => recorder.drain(signal)))
  }

  /** Ends; what is left stays in the journals. Idempotent. */
  async close(): Promise<void> {
    const closing = Promise.all(this.#parts.map((part) => part.close()))
    // After they know that they are closing: what could not be read is no failure then.
    this.#reading.abort(new Error('recording is closing'))
    await closing
  }
}

async function openPart<Row>(name: StoreName, target: RecordTarget<Row>, around: Surroundings): Promise<Part> {
  const { config, disk, clock, log, keys, messages, receipts, forwarderPosition } = around
  const directory = join(config.journal.directory, 'ledger')
  const exceptionDirectory = join(directory, `${name}-exceptions`)
  const damage = damageLog(log, `ledger/${name}-exceptions`)
  const openExceptions = (): Promise<Journal<LedgerException>> =>
    Journal.open(
      disk,
      clock,
      exceptionCodec,
      { committed() {}, failed: (error) => log.error({ store: name, error }, 'a write to disk failed') },
      {
        directory: exceptionDirectory,
        bytesMax: exceptionBytesMax,
        segmentBytes: exceptionSegmentBytes,
        keys,
        damage,
      },
    )
  const exceptionJournal = await openSettingAside(openExceptions, disk, exceptionDirectory, 'repeated', clock, damage)
  const exceptions = new LedgerExceptions(exceptionJournal, (count) =>
    log.error({ store: name, count }, 'too many gaps and refused messages are noted: the oldest notes were dropped'),
  )
  const cursorPath = join(directory, `${name}.cursor`)
  const cursor = await CursorFile.open(disk, cursorPath, messages.id, forwarderPosition, keys, receipts.id)
  if (cursor.hasBadSlot) log.warn({ store: name, cursor: cursorPath }, badSlot)
  const { mark, seq } = cursor.position
  if (mark < receipts.firstSeq || mark > receipts.endSeq || cursor.isMarkForeign) {
    // While this store was not configured, nobody kept the receipts for it.
    const gap = { kind: 'gap', at: clock.now(), cause: 'off', fromSeq: seq, toSeq: around.finishedSeq } as const
    if (gap.toSeq > gap.fromSeq) {
      await exceptions.add([{ ...gap, messages: null, ranges: [], deadSeqs: [], lostSeqs: [] }])
      const { fromSeq, toSeq } = gap
      log.warn({ store: name, fromSeq, toSeq }, 'the ledger was off; it goes on from here, and the gap is noted')
    }
    await cursor.write(forwarderPosition)
  }
  const counts = new RecorderCounts()
  const observer = observerOf(name, counts, log, (position) => around.moved({ recorder: name, ...position }))
  const recorder = new Recorder(target, receipts, messages, cursor, exceptions, observer, clock, {
    ...config.ledger,
    giveUpAfter: giveUpAfterMs,
  })
  const close = async (): Promise<void> => {
    try {
      await recorder.close()
    } finally {
      await Promise.all([cursor.close(), exceptionJournal.close()])
    }
  }
  return { name, recorder, exceptions, counts, position: cursor.position, close }
}

function observerOf(
  store: StoreName,
  counts: RecorderCounts,
  log: Log,
  passed: (position: RecorderPosition) => void,
): RecorderObserver {
  return {
    recorded: (messages, durationMs) => counts.recorded(messages, durationMs),
    failing(error, attempts, delayMs) {
      counts.failing(error.reason)
      // The first failure tells the news; later ones only now and then.
      if (attempts === 1 || attempts % 20 === 0)
        log.warn(
          {
            store,
            reason: error.reason,
            attempts,
            retryInMs: Math.round(delayMs),
            hint: error.hint || undefined,
            error,
          },
          'the ledger could not be written and will be tried again; messages are delivered meanwhile',
        )
    },
    refused(id, error) {
      counts.refused()
      log.error({ store, id, reason: error.reason, error }, 'the ledger refuses a message for good; it is set aside')
    },
    gaveUp(messages) {
      counts.gaveUp(messages)
      log.error({ store, messages }, 'messages are missing in the ledger; the gap is noted')
    },
    cursorFailed: (error) => log.error({ store, error }, 'how far the ledger is can not be written; it is tried again'),
    receiptsLost: (fromSeq, toSeq) =>
      log.error(
        { store, fromSeq, toSeq },
        'receipts are lost: some of these messages may be missing in the ledger; the gap is noted',
      ),
    migrated: ({ version, title }) => log.info({ store, version, title }, 'the schema of the ledger was brought on'),
    breakerChanged(state) {
      if (state === 'open') log.warn({ store }, 'the ledger is away; it is asked again and again')
      else if (state === 'closed') log.info({ store }, 'the ledger is back')
    },
    maintenanceFailed: (error) =>
      log.warn({ store, error }, 'old entries of the ledger could not be deleted; later again'),
    passed,
  }
}

function metadataTarget(store: MetadataStore, journalId: string, clock: Clock): RecordTarget<MetadataRow> {
  return {
    schema: store.schema,
    keepsDead: true,
    rowOf: (finished, message) => metadataRow(journalId, finished, message, clock.now()),
    sizeOf: metadataRowBytes,
    write: (rows, signal) => store.write(rows, signal),
    maintain: (signal) => store.maintain(clock.now(), signal),
    close: () => store.close(),
  }
}

function logTarget(store: MessageLog, journalId: string, clock: Clock): RecordTarget<LogEntry> {
  return {
    schema: store.schema,
    keepsDead: false,
    rowOf: (finished, message) => logEntry(journalId, finished, message),
    sizeOf: logEntryBytes,
    write: (entries, signal) => store.write(entries, clock.now(), signal),
    maintain: (signal) => store.maintain(clock.now(), signal),
    close: () => store.close(),
  }
}

async function answerOf<T>(look: (signal: AbortSignal) => Promise<T>): Promise<LedgerAnswer<T>> {
  try {
    const found = await withTimeout(lookUpTimeoutMs, new AbortController().signal, look)
    return { ok: true, found }
  } catch (error) {
    return { ok: false, message: messageOf(error), hint: error instanceof StoreError ? error.hint : '' }
  }
}
