import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DeadLetters, deadLetterCodec } from '../../src/forwarder/dead-letters.ts'
import type { StoredDeadLetter } from '../../src/forwarder/dead-letters.ts'
import type { Broker, BrokerError, OutgoingMessage } from '../../src/forwarder/broker.ts'
import type { ForwarderOptions } from '../../src/forwarder/forwarder.ts'
import { Forwarder } from '../../src/forwarder/forwarder.ts'
import type { DeadLetter, WritableJournal } from '../../src/forwarder/ports.ts'
import type { Receipt, SeqRange } from '../../src/message/receipt.ts'
import { decodeReceipt, receiptCodec } from '../../src/message/receipt.ts'
import { CursorFile } from '../../src/journal/cursor-file.ts'
import { JournalReader } from '../../src/journal/journal-reader.ts'
import { Journal } from '../../src/journal/journal.ts'
import type { RecordCodec } from '../../src/journal/record-codec.ts'
import { messageCodec } from '../../src/message/message-codec.ts'
import { parseMessageId } from '../../src/message/message-id.ts'
import type { Message } from '../../src/message/message.ts'
import { Life } from './life.ts'
import { plainMessage } from '../message/plain-message.ts'

const quickOptions: ForwarderOptions = {
  batchBytesMax: 900 * 1024,
  batchMessagesMax: 5000,
  laneBytesMax: 4 * 1024 * 1024,
  memoryBytesMax: 32 * 1024 * 1024,
  linger: 0,
  sendTimeout: 5000,
  retryDelay: 2,
  retryDelayMax: 20,
  breakerFailures: 5,
  breakerDelayMax: 20,
  receiptInterval: 2,
  receiptBytesMax: 64 * 1024 * 1024,
  checkpointInterval: 10,
}

export function message(topic: string, value: Buffer | string = '', parts: Partial<Message> = {}): Message {
  return plainMessage({ topic, value, ...parts })
}

export interface RigOptions extends Partial<ForwarderOptions> {
  readonly life?: Life
  /** Keeps finished messages in the journal, for tests that look. */
  readonly keepAll?: boolean
  readonly deadLetterBytesMax?: number
  readonly segmentBytes?: number
  readonly receiptSegmentBytes?: number
  readonly onPassed?: (seq: number) => void
}

/** The forwarder as `delivery.ts` composes it, on real journals in a directory; the broker is a fake. */
export class Rig {
  readonly life: Life
  readonly directory: string
  readonly messages: Journal<Message>
  readonly receipts: Journal<Receipt>
  readonly letterJournal: Journal<DeadLetter>
  readonly letters: DeadLetters
  readonly cursor: CursorFile
  readonly forwarder: Forwarder
  /** What the forwarder told its observer, and when which seq was passed. */
  readonly events: string[]
  readonly passed: number[]
  readonly retries: { topic: string; error: BrokerError; attempts: number; delayMs: number }[]
  /** Those that were acknowledged as durable in this run. */
  readonly durableReceipts: Receipt[]
  isClosed = false

  private constructor(
    parts: Omit<Rig, 'isClosed' | 'publish' | 'finished' | 'crash' | 'close' | 'allReceipts' | 'allLetters'>,
  ) {
    this.life = parts.life
    this.directory = parts.directory
    this.messages = parts.messages
    this.receipts = parts.receipts
    this.letterJournal = parts.letterJournal
    this.letters = parts.letters
    this.cursor = parts.cursor
    this.forwarder = parts.forwarder
    this.events = parts.events
    this.passed = parts.passed
    this.retries = parts.retries
    this.durableReceipts = parts.durableReceipts
  }

  /** Opens what is in the directory, but does not start the forwarder yet. */
  static async open(directory: string, broker: Broker, options: RigOptions = {}): Promise<Rig> {
    const life = options.life ?? new Life()
    const { disk, clock } = life
    const open = <T>(codec: RecordCodec<T>, folder: string, bytesMax: number, segmentBytes: number) => {
      const observer = { committed() {}, failed() {} }
      return Journal.open(disk, clock, codec, observer, { directory: join(directory, folder), bytesMax, segmentBytes })
    }
    const unlimited = Number.MAX_SAFE_INTEGER
    const segmentBytes = options.segmentBytes ?? 1024 * 1024
    const messages = await open(messageCodec, 'journal', unlimited, segmentBytes)
    const receipts = await open(receiptCodec, 'receipts', unlimited, options.receiptSegmentBytes ?? 512 * 1024)
    const letterJournal = await open(
      deadLetterCodec,
      'dead-letters',
      options.deadLetterBytesMax ?? unlimited,
      segmentBytes + 64 * 1024,
    )
    const letters = new DeadLetters(writable(letterJournal, life))
    const cursor = await CursorFile.open(disk, join(directory, 'forwarder.cursor'), messages.id, {
      seq: messages.firstSeq,
      mark: receipts.nextSeq,
    })
    const events: string[] = []
    const passed: number[] = []
    const retries: Rig['retries'] = []
    const durableReceipts: Receipt[] = []
    const receiptJournal = writable(receipts, life)
    const forwarder = new Forwarder(
      writable(messages, life),
      {
        ...receiptJournal,
        get bytes() {
          return receipts.bytes
        },
        get firstSeq() {
          return receipts.firstSeq
        },
        async append(records) {
          const seq = await receiptJournal.append(records)
          durableReceipts.push(...records)
          return seq
        },
      },
      cursor,
      life.broker(broker),
      letters,
      (seq) => {
        passed.push(seq)
        options.onPassed?.(seq)
        if (!options.keepAll) void messages.release(seq)
      },
      {
        delivered: (topic, count, acceptedAt) => void events.push(`delivered ${topic} ${count} ${acceptedAt}`),
        retrying: (topic, error, attempts, delayMs) => void retries.push({ topic, error, attempts, delayMs }),
        died: (topic, id, error) => void events.push(`died ${topic} ${parseMessageId(id)?.seq} ${error.reason}`),
        lost: ({ topic, reason }, count) => void events.push(`lost ${topic} ${count} ${reason}`),
        breakerChanged: (state) => void events.push(`breaker ${state}`),
        receiptsFailed: (error) => void events.push(`receipts failed ${String(error)}`),
      },
      clock,
      { ...quickOptions, ...options },
    )
    return new Rig({
      life,
      directory,
      messages,
      receipts,
      letterJournal,
      letters,
      cursor,
      forwarder,
      events,
      passed,
      retries,
      durableReceipts,
    })
  }

  /** Opens and starts. */
  static async start(directory: string, broker: Broker, options: RigOptions = {}): Promise<Rig> {
    const rig = await Rig.open(directory, broker, options)
    await rig.forwarder.start()
    return rig
  }

  /** Puts messages into the journal, in one append; returns the seq of the first. */
  publish(...messages: Message[]): Promise<number> {
    return this.messages.append(messages)
  }

  /** Resolves when everything is delivered or dead; fails when that takes too long, or when forwarding fails. */
  async finished(timeoutMs = 10_000): Promise<void> {
    const limit = AbortSignal.timeout(timeoutMs)
    await Promise.race([this.forwarder.drain(limit), this.forwarder.failed])
    if (limit.aborted) throw new Error(`not finished: ${JSON.stringify(this.forwarder.status())}`)
  }

  /** What the journal of receipts holds, in order; only what is durable. */
  async allReceipts(): Promise<Receipt[]> {
    const all: Receipt[] = []
    await readAll(this.receipts, this.life, (_, bytes, start, end) => all.push(decodeReceipt(bytes, start, end)))
    return all
  }

  allLetters<T>(show: (letter: StoredDeadLetter) => T): Promise<T[]> {
    return this.letters.list(0, Number.MAX_SAFE_INTEGER, show)
  }

  /** As SIGKILL would end it. */
  crash(): Promise<void> {
    return this.life.kill()
  }

  async close(graceMs?: number): Promise<void> {
    this.isClosed = true
    await this.forwarder.close(graceMs)
    await this.messages.close()
    await this.receipts.close()
    await this.letterJournal.close()
    await this.cursor.close()
  }
}

/** A temporary directory, for as long as `use` runs. */
export async function withDirectory<T>(use: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'outrigger-forwarder-'))
  try {
    return await use(directory)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

/** Starts a forwarder on an empty directory, for as long as `use` runs. */
export function withRig(broker: Broker, options: RigOptions, use: (rig: Rig) => Promise<void>): Promise<void> {
  return withDirectory(async (directory) => {
    const rig = await Rig.start(directory, broker, options)
    try {
      await use(rig)
    } finally {
      await rig.close(100)
    }
  })
}

/** Resolves when the condition holds; fails when it does not soon. */
export async function until(condition: () => boolean | Promise<boolean>, timeoutMs = 5000): Promise<void> {
  const limit = performance.now() + timeoutMs
  while (!(await condition())) {
    if (performance.now() > limit) throw new Error(`in ${timeoutMs} ms it did not come true: ${condition.toString()}`)
    await new Promise((resolve) => {
      setTimeout(resolve, 1)
    })
  }
}

/** The seq in the header that every message carries. */
export function seqOf(sent: Pick<OutgoingMessage, 'headers'>): number {
  const id = sent.headers.find(([name]) => name === 'outrigger-id')?.[1]
  return parseMessageId(String(id))?.seq ?? Number.NaN
}

/** The seqs of the messages that receipts say are finished. */
export function finishedBy(receipts: readonly Receipt[]): number[] {
  return receipts.flatMap((receipt) => {
    if (receipt.kind === 'checkpoint') return []
    if (receipt.kind === 'lost') return seqsIn(receipt.ranges)
    return receipt.kind === 'dead' ? [receipt.seq] : receipt.seqs
  })
}

/** The seqs of the messages that receipts say are lost. */
export function lostBy(receipts: readonly Receipt[]): number[] {
  return receipts.flatMap((receipt) => (receipt.kind === 'lost' ? seqsIn(receipt.ranges) : []))
}

function seqsIn(ranges: readonly SeqRange[]): number[] {
  return ranges.flatMap(([fromSeq, toSeq]) => Array.from({ length: toSeq - fromSeq }, (_, i) => fromSeq + i))
}

export function writable<T>(journal: Journal<T>, life: Life): WritableJournal<T> {
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
    reader: (fromSeq) => new JournalReader(life.disk, journal.directory, journal.end, fromSeq),
  }
}

async function readAll<T>(
  journal: Journal<T>,
  life: Life,
  visit: (seq: number, bytes: Buffer, start: number, end: number) => void,
): Promise<void> {
  const reader = new JournalReader(life.disk, journal.directory, journal.end, journal.firstSeq)
  for (let block = await reader.next(); block; block = await reader.next()) block.forEach(visit)
  await reader.close()
}
