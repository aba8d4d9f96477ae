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
import type { DeadLetter, ReadableJournal, WritableJournal } from './forwarder/ports.ts'
import type { Receipt } from './forwarder/receipt.ts'
import { receiptCodec } from './forwarder/receipt.ts'
import { CursorFile } from './journal/cursor-file.ts'
import type { Disk } from './journal/disk.ts'
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

const receiptSegmentBytes = 32 * 1024 * 1024

/**
 * The delivering half: composes the forwarder with its broker, receipts, cursor and dead letters. It shares nothing with
 * the accepting half but the journal's files and how far they are durable, so it runs in a thread of its own.
 */
export class Delivery {
  readonly #config: Config
  readonly #counts: DeliveryCounts
  readonly #receipts: Journal<Receipt>
  readonly #letterJournal: Journal<DeadLetter>
  readonly #letters: DeadLetters
  readonly #cursor: CursorFile
  readonly #forwarder: Forwarder

  private constructor(
    config: Config,
    counts: DeliveryCounts,
    receipts: Journal<Receipt>,
    letterJournal: Journal<DeadLetter>,
    letters: DeadLetters,
    cursor: CursorFile,
    forwarder: Forwarder,
  ) {
    this.#config = config
    this.#counts = counts
    this.#receipts = receipts
    this.#letterJournal = letterJournal
    this.#letters = letters
    this.#cursor = cursor
    this.#forwarder = forwarder
  }

  /** Starts delivering. `passed` is told below which seq every message is finished, durably. */
  static async start(
    config: Config,
    handle: JournalHandle,
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
    const letterJournal = await openJournal(disk, clock, log, deadLetterCodec, {
      directory: join(directory, 'dead-letters'),
      bytesMax: config.deadLetters.bytesMax,
      segmentBytes: config.journal.segmentBytes + deadLetterOverheadBytes,
    })
    const letters = new DeadLetters(readable(letterJournal, disk))
    const cursor = await CursorFile.open(disk, join(directory, 'forwarder.cursor'), handle.id, {
      seq: handle.firstSeq,
      mark: receipts.nextSeq,
    })
    const end = new JournalEnd(handle.end)
    const messages: ReadableJournal = {
      id: handle.id,
      end,
      reader: (fromSeq) => new JournalReader(disk, handle.directory, end, fromSeq),
    }
    const forwarder = new Forwarder(
      messages,
      readable(receipts, disk),
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
    await forwarder.start()
    return new Delivery(config, counts, receipts, letterJournal, letters, cursor, forwarder)
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
  options: { directory: string; bytesMax: number; segmentBytes: number },
): Promise<Journal<T>> {
  const observer = {
    committed() {},
    failed: (error: unknown) => log.error({ directory: options.directory, error }, 'a write to disk failed'),
  }
  return Journal.open(disk, clock, codec, observer, options)
}

function readable<T>(journal: Journal<T>, disk: Disk): WritableJournal<T> {
  return {
    id: journal.id,
    end: journal.end,
    get bytes() {
      return journal.bytes
    },
    get firstSeq() {
      return journal.firstSeq
    },
    append: (records) => journal.append(records),
    release: (seq) => journal.release(seq),
    reader: (fromSeq) => new JournalReader(disk, journal.directory, journal.end, fromSeq),
  }
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
