import { isUtf8 } from 'node:buffer'
import { basename, join } from 'node:path'
import { openBroker } from './adapters.ts'
import type { DeadLetterSummary, DeliveryStatus } from './admin/status.ts'
import type { DeliveryCountsData } from './admin/delivery-counts.ts'
import { DeliveryCounts } from './admin/delivery-counts.ts'
import type { Clock } from './base/clock.ts'
import type { Log } from './base/log.ts'
import type { BreakerState } from './base/resilience.ts'
import type { Config } from './config/schema.ts'
import { DeadLetters, deadLetterCodec } from './forwarder/dead-letters.ts'
import type { StoredDeadLetter } from './forwarder/dead-letters.ts'
import type { ForwarderProgress } from './forwarder/forwarder.ts'
import { Forwarder } from './forwarder/forwarder.ts'
import type { SizesQuery, TopicSizes } from './forwarder/topic-sizes.ts'
import { measureTopics } from './forwarder/topic-sizes.ts'
import type { ReadableJournal } from './base/record-reader.ts'
import type { DeadLetter } from './forwarder/ports.ts'
import type { Receipt } from './message/receipt.ts'
import { receiptCodec } from './message/receipt.ts'
import { CursorFile, badSlot } from './journal/cursor-file.ts'
import { damageLog } from './journal/damage-log.ts'
import type { Disk } from './journal/disk.ts'
import type { JournalOptions } from './journal/journal.ts'
import { Journal } from './journal/journal.ts'
import { JournalEnd } from './journal/journal-end.ts'
import { JournalReader } from './journal/journal-reader.ts'
import { PatientReader, readFailed } from './journal/patient-reader.ts'
import { Quarantine } from './journal/quarantine.ts'
import { QuarantineCount } from './journal/quarantine-contents.ts'
import type { KeyRing } from './journal/key-ring.ts'
import type { RecordCodec } from './journal/record-codec.ts'
import { openSettingAside } from './journal/set-aside.ts'
import { openKeyRing } from './security/configured-key-ring.ts'
import type { MessageFate } from './message/message-fate.ts'

/** What the delivering half is told about the journal of messages, which the accepting half writes. */
export interface JournalHandle {
  readonly id: string
  readonly directory: string
  readonly firstSeq: number
  readonly end: SharedArrayBuffer
}

/** What recorders need to begin with: the receipts, and where the forwarder stood. */
export interface DeliveryStart {
  readonly receipts: JournalHandle
  /** Below `seq` every message is finished, and has its receipt before `mark`; so may others have. */
  readonly position: { readonly seq: number; readonly mark: number }
  /** One past the highest seq that receipts know of. */
  readonly finishedSeq: number
  /** So far the journal was durable, as the forwarder has noted: about the newest second is not. */
  readonly reach: number
}

/** A reader of the receipts, and from which of them on it needs them. */
export interface ReceiptsHold {
  readonly reader: string
  readonly from: number
}

const receiptSegmentBytes = 32 * 1024 * 1024

/** Each may have a quarantine, also those that others write. */
const journals = ['journal', 'receipts', 'dead-letters', 'ledger/metadata-exceptions', 'ledger/log-exceptions']

/**
 * The delivering half: composes the forwarder with its broker, receipts, cursor and dead letters. It shares nothing with
 * the accepting half but the journal's files and how far they are durable, so it runs in a thread of its own.
 */
export class Delivery {
  readonly startedWith: DeliveryStart
  readonly #config: Config
  readonly #counts: DeliveryCounts
  readonly #receipts: Journal<Receipt>
  readonly #letterJournal: Journal<DeadLetter>
  readonly #letters: DeadLetters
  readonly #cursor: CursorFile
  readonly #forwarder: Forwarder
  readonly #messages: ReadableJournal
  /** Of all journals. */
  readonly #quarantines: readonly QuarantineCount[]
  /** Ends waiting for a disk that can't be read. */
  readonly #reading: AbortController

  private constructor(
    startedWith: DeliveryStart,
    config: Config,
    disk: Disk,
    counts: DeliveryCounts,
    receipts: Journal<Receipt>,
    letterJournal: Journal<DeadLetter>,
    letters: DeadLetters,
    cursor: CursorFile,
    forwarder: Forwarder,
    messages: ReadableJournal,
    reading: AbortController,
  ) {
    this.startedWith = startedWith
    this.#config = config
    this.#counts = counts
    this.#receipts = receipts
    this.#letterJournal = letterJournal
    this.#letters = letters
    this.#cursor = cursor
    this.#forwarder = forwarder
    this.#messages = messages
    this.#quarantines = journals.map((name) => new QuarantineCount(disk, join(config.journal.directory, name)))
    this.#reading = reading
  }

  /** Starts delivering. Receipts are kept until their readers hold on to later ones. `passed` is told below which seq every message is finished, durably. */
  static async start(
    config: Config,
    handle: JournalHandle,
    receiptReaders: readonly string[],
    disk: Disk,
    clock: Clock,
    log: Log,
    passed: (seq: number) => void,
  ): Promise<Delivery> {
    const { directory } = config.journal
    const keys = openKeyRing(config.encryption, clock)
    const counts = new DeliveryCounts()
    const receipts = await openJournal(disk, clock, log, receiptCodec, 'unique', {
      directory: join(directory, 'receipts'),
      bytesMax: Number.MAX_SAFE_INTEGER, // bounded by trimming to what is needed and receiptBytesMax
      segmentBytes: receiptSegmentBytes,
      keys,
    })
    // Before anything is trimmed.
    for (const reader of receiptReaders) await receipts.hold(reader, 0)
    const letterJournal = await openJournal(disk, clock, log, deadLetterCodec, 'repeated', {
      directory: join(directory, 'dead-letters'),
      bytesMax: config.deadLetters.bytesMax,
      full: { setting: 'deadLetters.bytesMax', hint: 'Raise it. Their topics wait until there is room for them.' },
      segmentBytes: config.journal.segmentBytes + deadLetterOverheadBytes,
      keys,
    })
    const letters = new DeadLetters(letterJournal)
    const cursor = await openCursor(disk, join(directory, 'forwarder.cursor'), handle, receipts, keys, log)
    const { firstSeq, directory: receiptDirectory } = receipts
    if (cursor.position.seq < handle.firstSeq)
      log.error(
        { fromSeq: cursor.position.seq, toSeq: handle.firstSeq },
        'the beginning of the journal is missing: what was not delivered of these messages is lost',
      )
    const startedWith = {
      receipts: { id: receipts.id, firstSeq, directory: receiptDirectory, end: receipts.end.shared },
      position: cursor.position,
    }
    const reading = new AbortController()
    const end = new JournalEnd(handle.end)
    const quarantine = new Quarantine(disk, handle.directory, clock, damageLog(log, 'journal'))
    const messages: ReadableJournal = {
      id: handle.id,
      end,
      reader: (fromSeq) =>
        new PatientReader(
          new JournalReader(disk, handle.directory, end, fromSeq, keys, quarantine),
          clock,
          reading.signal,
          (error) => log.error({ error }, readFailed),
        ),
    }
    const forwarder = new Forwarder(
      messages,
      receipts,
      cursor,
      await openBroker(config, clock, log),
      letters,
      passed,
      {
        delivered: (topic, count, acceptedAt) =>
          counts.delivered(topic, count, Math.max(0, clock.now() - acceptedAt) / 1000),
        retrying(topic, error, attempts, delayMs) {
          counts.retrying(topic, error.reason)
          // The first failure tells the news; later ones only now and then.
          if (attempts === 1 || attempts % 20 === 0)
            log.warn(
              {
                topic,
                reason: error.reason,
                attempts,
                retryInMs: Math.round(delayMs),
                hint: error.hint || undefined,
                error,
              },
              'a batch was not delivered and will be sent again',
            )
        },
        died(topic, id, error) {
          counts.died(topic, error.reason)
          log.error(
            { topic, id, reason: error.reason, error },
            'the broker refuses a message for good; it is a dead letter now',
          )
        },
        lost({ topic, reason, ranges }, count) {
          counts.lost(reason, count)
          // Of those that are dropped the owner of the journal tells, all topics together.
          if (reason === 'dropped') return
          const [fromSeq, toSeq] = [ranges[0]?.[0], ranges.at(-1)?.[1]]
          log.error(
            { topic, reason, fromSeq, toSeq, messages: count },
            'messages are lost: they are not in the journal any more, or can not be read',
          )
        },
        breakerChanged: breakerLog(log),
        receiptsFailed(error) {
          counts.receiptsFailed()
          log.error({ error }, 'receipts can not be written; trying again')
        },
      },
      clock,
      { ...config.forwarder, receiptBytesMax: 64 * 1024 * 1024 },
    )
    const finishedSeq = await forwarder.start()
    if (forwarder.checkpointsAtStart > 2)
      log.warn(
        { checkpoints: forwarder.checkpointsAtStart },
        'the forwarder’s cursor is older than the receipts: it could not be written, or somebody has put an older one in its place',
      )
    return new Delivery(
      { ...startedWith, finishedSeq, reach: cursor.position.reach ?? 0 },
      config,
      disk,
      counts,
      receipts,
      letterJournal,
      letters,
      cursor,
      forwarder,
      messages,
      reading,
    )
  }

  /** Never resolves; rejects when delivering can't go on. */
  get failed(): Promise<never> {
    return this.#forwarder.failed
  }

  /** What became of a message of this journal. */
  find(seq: number): Promise<MessageFate | null> {
    return this.#forwarder.find(seq)
  }

  async status(): Promise<DeliveryStatus> {
    const { lanes, ...status } = this.#forwarder.status()
    const failing = lanes.filter((lane) => lane.failure !== null)
    const others = lanes.filter((lane) => lane.failure === null)
    return {
      ...status,
      broker: this.#config.broker,
      deadLetters: this.#letters.count,
      deadLetterBytes: this.#letters.bytes,
      receiptBytes: this.#receipts.bytes,
      lostMessages: this.#counts.data.lost,
      quarantine: await this.#quarantine(),
      lanes: [...failing, ...others].slice(0, 100),
      busyLanes: lanes.length,
      failingLanes: failing.length,
    }
  }

  async #quarantine(): Promise<DeliveryStatus['quarantine']> {
    const contents = await Promise.all(this.#quarantines.map((quarantine) => quarantine.contents()))
    return contents.reduce((sum, { reports, damages, bytes }) => ({
      reports: sum.reports + reports,
      damages: sum.damages + damages,
      bytes: sum.bytes + bytes,
    }))
  }

  get counts(): DeliveryCountsData {
    return this.#counts.data
  }

  deadLetters(query: { after: number; limit: number }): Promise<readonly DeadLetterSummary[]> {
    return this.#letters.list(query.after, query.limit, summaryOf)
  }

  /** Gives up the oldest messages: see `Forwarder.giveUpBelow`. */
  giveUpBelow(seq: number): Promise<void> {
    return this.#forwarder.giveUpBelow(seq)
  }

  /** How far it is in each topic. */
  progress(): ForwarderProgress {
    return this.#forwarder.progress()
  }

  /** What a part of the journal of messages holds of each topic. */
  measure(query: SizesQuery): Promise<TopicSizes> {
    return measureTopics(this.#messages, query)
  }

  async holdReceipts({ reader, from }: ReceiptsHold): Promise<void> {
    await this.#receipts.hold(reader, from)
  }

  /** Delivers what is in the journal now, until the signal aborts. */
  drain(signal: AbortSignal): Promise<void> {
    return this.#forwarder.drain(signal)
  }

  /** Ends; what is left stays in the journal. Idempotent. */
  async close(): Promise<void> {
    const closing = this.#forwarder.close()
    // After it knows that it is closing: what could not be read is no failure then.
    this.#reading.abort(new Error('delivering is closing'))
    try {
      await closing
    } finally {
      await Promise.all([this.#receipts.close(), this.#letterJournal.close(), this.#cursor.close()])
    }
  }
}

/** Opens the forwarder's cursor, and tells what is wrong with it. Whatever that is, no message is lost by it. */
async function openCursor(
  disk: Disk,
  path: string,
  { id, firstSeq }: JournalHandle,
  receipts: Journal<Receipt>,
  keys: KeyRing | null,
  log: Log,
): Promise<CursorFile> {
  const initial = { seq: firstSeq, mark: receipts.nextSeq }
  const cursor = await CursorFile.open(disk, path, id, initial, keys, receipts.id)
  const { seq, mark, reach } = cursor.position
  if (cursor.isNew && receipts.nextSeq > 1)
    log.warn({}, 'the forwarder’s cursor is missing: all that the journal still holds is delivered again')
  if (cursor.hasBadSlot) log.warn({ cursor: path }, badSlot)
  if (cursor.isMarkForeign) {
    log.error(
      { receipts: receipts.id },
      'the receipts are others than those that the forwarder’s cursor was written with: they are not believed, and what they may tell of is delivered again',
    )
    await cursor.write({ seq, mark: receipts.nextSeq, ...(reach !== undefined && { reach }) })
  } else if (mark > receipts.nextSeq) {
    log.error(
      { fromReceipt: receipts.nextSeq, toReceipt: mark },
      'the end of the receipts is missing: what they told of is delivered again',
    )
    await receipts.skipTo(mark)
  }
  return cursor
}

/** A dead letter is its message and some words about its death. */
const deadLetterOverheadBytes = 64 * 1024

function openJournal<T>(
  disk: Disk,
  clock: Clock,
  log: Log,
  codec: RecordCodec<T>,
  seqs: 'unique' | 'repeated',
  options: JournalOptions,
): Promise<Journal<T>> {
  const observer = {
    committed() {},
    failed: (error: unknown) => log.error({ directory: options.directory, error }, 'a write to disk failed'),
  }
  const damage = damageLog(log, basename(options.directory))
  const open = (): Promise<Journal<T>> => Journal.open(disk, clock, codec, observer, { ...options, damage })
  return openSettingAside(open, disk, options.directory, seqs, clock, damage)
}

function summaryOf({ number, id, reason, detail, attempts, diedAt, message }: StoredDeadLetter): DeadLetterSummary {
  const key = message.key === null ? null : Buffer.from(message.key)
  const isText = key !== null && isUtf8(key)
  return {
    number,
    id,
    topic: message.topic,
    partition: message.partition,
    key: isText ? key.toString() : null,
    keyBase64: key !== null && !isText ? key.toString('base64') : null,
    valueBytes: message.value?.length ?? null,
    headers: message.headers.map(([name]) => name),
    reason,
    detail,
    attempts,
    acceptedAt: message.acceptedAt,
    diedAt,
  }
}

/** A broker that is away is news, and that it is back; that it was asked in between is not. */
function breakerLog(log: Log): (state: BreakerState) => void {
  let isAway = false
  return (state) => {
    if (state === 'open' && !isAway)
      log.warn({}, 'the broker is away; messages wait on disk, and it is asked again and again')
    if (state === 'closed' && isAway) log.info({}, 'the broker is back')
    if (state !== 'half-open') isAway = state === 'open'
  }
}
