import { isUtf8 } from 'node:buffer'
import { join } from 'node:path'
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
import { Forwarder } from './forwarder/forwarder.ts'
import type { ReadableJournal } from './base/record-reader.ts'
import type { DeadLetter } from './forwarder/ports.ts'
import type { Receipt } from './message/receipt.ts'
import { receiptCodec } from './message/receipt.ts'
import { CursorFile } from './journal/cursor-file.ts'
import type { Disk } from './journal/disk.ts'
import type { JournalOptions } from './journal/journal.ts'
import { Journal } from './journal/journal.ts'
import { JournalEnd } from './journal/journal-end.ts'
import { JournalReader } from './journal/journal-reader.ts'
import type { RecordCodec } from './journal/record-codec.ts'
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
}

/** A reader of the receipts, and from which of them on it needs them. */
export interface ReceiptsHold {
  readonly reader: string
  readonly from: number
}

const receiptSegmentBytes = 32 * 1024 * 1024

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

  private constructor(
    startedWith: DeliveryStart,
    config: Config,
    counts: DeliveryCounts,
    receipts: Journal<Receipt>,
    letterJournal: Journal<DeadLetter>,
    letters: DeadLetters,
    cursor: CursorFile,
    forwarder: Forwarder,
  ) {
    this.startedWith = startedWith
    this.#config = config
    this.#counts = counts
    this.#receipts = receipts
    this.#letterJournal = letterJournal
    this.#letters = letters
    this.#cursor = cursor
    this.#forwarder = forwarder
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
    const counts = new DeliveryCounts()
    const receipts = await openJournal(disk, clock, log, receiptCodec, {
      directory: join(directory, 'receipts'),
      bytesMax: Number.MAX_SAFE_INTEGER, // bounded by trimming to what is needed and receiptBytesMax
      segmentBytes: receiptSegmentBytes,
    })
    // Before anything is trimmed.
    for (const reader of receiptReaders) await receipts.hold(reader, 0)
    const letterJournal = await openJournal(disk, clock, log, deadLetterCodec, {
      directory: join(directory, 'dead-letters'),
      bytesMax: config.deadLetters.bytesMax,
      full: { setting: 'deadLetters.bytesMax', hint: 'Raise it. Their topics wait until there is room for them.' },
      segmentBytes: config.journal.segmentBytes + deadLetterOverheadBytes,
    })
    const letters = new DeadLetters(letterJournal)
    const cursor = await CursorFile.open(disk, join(directory, 'forwarder.cursor'), handle.id, {
      seq: handle.firstSeq,
      mark: receipts.nextSeq,
    })
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
    const end = new JournalEnd(handle.end)
    const messages: ReadableJournal = {
      id: handle.id,
      end,
      reader: (fromSeq) => new JournalReader(disk, handle.directory, end, fromSeq),
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
    return new Delivery(
      { ...startedWith, finishedSeq },
      config,
      counts,
      receipts,
      letterJournal,
      letters,
      cursor,
      forwarder,
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

  status(): DeliveryStatus {
    const { lanes, ...status } = this.#forwarder.status()
    const failing = lanes.filter((lane) => lane.failure !== null)
    const others = lanes.filter((lane) => lane.failure === null)
    return {
      ...status,
      broker: this.#config.broker,
      deadLetters: this.#letters.count,
      deadLetterBytes: this.#letters.bytes,
      receiptBytes: this.#receipts.bytes,
      lanes: [...failing, ...others].slice(0, 100),
      busyLanes: lanes.length,
      failingLanes: failing.length,
    }
  }

  get counts(): DeliveryCountsData {
    return this.#counts.data
  }

  deadLetters(query: { after: number; limit: number }): Promise<readonly DeadLetterSummary[]> {
    return this.#letters.list(query.after, query.limit, summaryOf)
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
    try {
      await this.#forwarder.close()
    } finally {
      await Promise.all([this.#receipts.close(), this.#letterJournal.close(), this.#cursor.close()])
    }
  }
}

/** A dead letter is its message and some words about its death. */
const deadLetterOverheadBytes = 64 * 1024

function openJournal<T>(
  disk: Disk,
  clock: Clock,
  log: Log,
  codec: RecordCodec<T>,
  options: JournalOptions,
): Promise<Journal<T>> {
  const observer = {
    committed() {},
    failed: (error: unknown) => log.error({ directory: options.directory, error }, 'a write to disk failed'),
  }
  return Journal.open(disk, clock, codec, observer, options)
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
