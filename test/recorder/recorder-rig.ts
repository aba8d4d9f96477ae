import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import { CursorFile } from '../../src/journal/cursor-file.ts'
import { Journal } from '../../src/journal/journal.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import type { RecordCodec } from '../../src/journal/record-codec.ts'
import { messageCodec } from '../../src/message/message-codec.ts'
import type { Message } from '../../src/message/message.ts'
import type { LossReason, Receipt, SeqRange } from '../../src/message/receipt.ts'
import { receiptCodec } from '../../src/message/receipt.ts'
import type { GapCause, LedgerException } from '../../src/recorder/ledger-exceptions.ts'
import { exceptionCodec, LedgerExceptions } from '../../src/recorder/ledger-exceptions.ts'
import type { LedgerSchema } from '../../src/recorder/ledger-schema.ts'
import type { RecordTarget, RecorderPosition } from '../../src/recorder/ports.ts'
import type { RecorderOptions } from '../../src/recorder/recorder.ts'
import { Recorder } from '../../src/recorder/recorder.ts'
import type { StoreError } from '../../src/recorder/store-error.ts'
import { message } from '../forwarder/rig.ts'

/** What the target keeps of a message. */
export interface TestRow {
  readonly seq: number
  readonly value: string
  readonly offset: number | null
}

/** A store in memory that fails as told. */
export class FakeTarget implements RecordTarget<TestRow> {
  readonly rows = new Map<number, TestRow>()
  /** How many rows each write had, failed ones included. */
  readonly writes: number[] = []
  /** What each write ends with; undefined lets it through, and `hang` never answers. */
  verdict: (rows: readonly TestRow[]) => StoreError | 'hang' | undefined = () => undefined
  version = 1
  migrations = 0
  inspections = 0
  maintained = 0
  closed = false
  readonly keepsDead = true

  readonly schema: LedgerSchema = {
    inspect: async () => {
      this.inspections++
      const pending = this.version === 1 ? [] : [{ version: 1, title: 'make it' }]
      return { found: this.version, needed: 1, pending }
    },
    migrate: async (_signal, taken) => {
      this.migrations++
      this.version = 1
      taken({ version: 1, title: 'make it' })
    },
  }

  rowOf: RecordTarget<TestRow>['rowOf'] = ({ seq, offset }, { value }) => ({ seq, value: String(value), offset })

  sizeOf(row: TestRow): number {
    return row.value.length
  }

  async write(rows: readonly TestRow[], signal: AbortSignal): Promise<void> {
    this.writes.push(rows.length)
    const verdict = this.verdict(rows)
    if (verdict === 'hang') {
      await new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
      })
    } else if (verdict !== undefined) {
      throw verdict
    }
    for (const row of rows) this.rows.set(row.seq, row)
  }

  async maintain(): Promise<void> {
    this.maintained++
  }

  async close(): Promise<void> {
    this.closed = true
  }
}

const quickOptions: RecorderOptions = {
  batchMessagesMax: 10,
  batchBytesMax: 1000,
  writeTimeout: 1000,
  retryDelay: 1,
  retryDelayMax: 5,
  breakerFailures: 3,
  giveUpAfter: 0,
  migrate: true,
}

/** A recorder as `recording.ts` composes it, on real journals; the store is a fake. */
export class RecorderRig {
  readonly directory: string
  readonly target: FakeTarget
  readonly messages: Journal<Message>
  readonly receipts: Journal<Receipt>
  readonly exceptionJournal: Journal<LedgerException>
  readonly exceptions: LedgerExceptions
  readonly events: string[] = []
  readonly passed: RecorderPosition[] = []
  readonly #options: Partial<RecorderOptions>
  cursor: CursorFile
  recorder: Recorder<TestRow>
  #offset = 0

  private constructor(
    directory: string,
    target: FakeTarget,
    messages: Journal<Message>,
    receipts: Journal<Receipt>,
    exceptionJournal: Journal<LedgerException>,
    cursor: CursorFile,
    options: Partial<RecorderOptions>,
  ) {
    this.directory = directory
    this.target = target
    this.messages = messages
    this.receipts = receipts
    this.exceptionJournal = exceptionJournal
    this.exceptions = new LedgerExceptions(exceptionJournal, () => {})
    this.cursor = cursor
    this.#options = options
    this.recorder = this.#compose()
  }

  static async open(directory: string, options: Partial<RecorderOptions>): Promise<RecorderRig> {
    const open = <T>(codec: RecordCodec<T>, folder: string): Promise<Journal<T>> =>
      Journal.open(
        nodeDisk,
        systemClock,
        codec,
        { committed() {}, failed() {} },
        { directory: join(directory, folder), bytesMax: 1e9, segmentBytes: 64 * 1024 },
      )
    const messages = await open(messageCodec, 'journal')
    return new RecorderRig(
      directory,
      new FakeTarget(),
      messages,
      await open(receiptCodec, 'receipts'),
      await open(exceptionCodec, 'exceptions'),
      await openCursor(directory, messages.id),
      options,
    )
  }

  #compose(): Recorder<TestRow> {
    const { events } = this
    return new Recorder(
      this.target,
      this.receipts,
      this.messages,
      this.cursor,
      this.exceptions,
      {
        recorded: () => {},
        failing: (error) => events.push(`failing ${error.reason}`),
        refused: (id, error) => events.push(`refused ${id} ${error.reason}`),
        gaveUp: (count) => events.push(`gave up ${count}`),
        cursorFailed: (error) => events.push(`cursor failed ${String(error)}`),
        receiptsLost: (fromSeq, toSeq) => events.push(`receipts lost ${fromSeq} ${toSeq}`),
        migrated: ({ version }) => events.push(`migrated ${version}`),
        breakerChanged: (state) => events.push(`breaker ${state}`),
        maintenanceFailed: () => events.push('maintenance failed'),
        passed: (position) => this.passed.push(position),
      },
      systemClock,
      { ...quickOptions, ...this.#options },
    )
  }

  /** Ends the recorder, as at a SIGTERM, and begins with another one where the cursor stands. */
  async restart(): Promise<void> {
    await this.recorder.close()
    await this.cursor.close()
    this.cursor = await openCursor(this.directory, this.messages.id)
    this.recorder = this.#compose()
    this.recorder.start()
  }

  /** Accepts messages, each with its number as value. Returns their seqs. */
  async accept(count: number, topic = 't'): Promise<number[]> {
    const first = this.messages.nextSeq
    await this.messages.append(Array.from({ length: count }, (_, i) => message(topic, `value ${first + i}`)))
    return Array.from({ length: count }, (_, i) => first + i)
  }

  /** Writes the receipt of a batch that was delivered. */
  async finish(seqs: readonly number[], topic = 't'): Promise<void> {
    await this.receipts.append([
      {
        kind: 'delivered',
        topic,
        deliveredAt: systemClock.now(),
        attempts: 1,
        seqs,
        partitions: seqs.map(() => 0),
        offsets: seqs.map(() => this.#offset++),
      },
    ])
  }

  /** Writes the receipt of messages that are lost. */
  async lose(reason: LossReason, ...ranges: SeqRange[]): Promise<void> {
    await this.receipts.append([{ kind: 'lost', topic: null, lostAt: systemClock.now(), reason, ranges }])
  }

  /** Damages the block that holds a receipt, when each stands in a block of its own. */
  async spoilReceipt(seq: number): Promise<void> {
    const path = join(this.directory, 'receipts', '0000000000000001.segment')
    const bytes = await readFile(path)
    let at = 4096
    for (let i = 1; i < seq; i++) at += 52 + bytes.readUInt32LE(at + 4)
    bytes[at + 50] = (bytes[at + 50] as number) ^ 1
    await writeFile(path, bytes)
  }

  /** Which messages the gaps of a cause say to be lost. */
  async lostSeqs(cause: GapCause): Promise<number[]> {
    const gaps = (await this.exceptions.list(0, 1000)).filter((exception) => exception.kind === 'gap')
    return gaps
      .filter((gap) => gap.cause === cause)
      .flatMap(({ lostSeqs }) => lostSeqs)
      .flatMap(({ fromSeq, toSeq }) => Array.from({ length: toSeq - fromSeq }, (_, i) => fromSeq + i))
  }

  /** Accepted and delivered, in batches. */
  async deliver(count: number, batch = count, topic = 't'): Promise<number[]> {
    const seqs = await this.accept(count, topic)
    for (let from = 0; from < count; from += batch) await this.finish(seqs.slice(from, from + batch), topic)
    return seqs
  }

  async checkpoint(head: number, positions: Record<string, number> = {}): Promise<void> {
    await this.receipts.append([{ kind: 'checkpoint', head, positions: new Map(Object.entries(positions)) }])
  }

  /** Waits until everything that has a receipt is dealt with. */
  async caughtUp(): Promise<void> {
    await Promise.race([this.recorder.drain(AbortSignal.timeout(5000)), this.recorder.failed])
  }

  /** Which messages the gaps name, by offset. */
  async missingOffsets(): Promise<number[]> {
    const gaps = (await this.exceptions.list(0, 1000)).filter((exception) => exception.kind === 'gap')
    return gaps.flatMap(({ ranges }) =>
      ranges.flatMap(({ fromOffset, toOffset }) =>
        Array.from({ length: toOffset - fromOffset }, (_, i) => fromOffset + i),
      ),
    )
  }

  async close(): Promise<void> {
    await this.recorder.close()
    await Promise.all([
      this.cursor.close(),
      this.messages.close(),
      this.receipts.close(),
      this.exceptionJournal.close(),
    ])
  }
}

function openCursor(directory: string, journalId: string): Promise<CursorFile> {
  return CursorFile.open(nodeDisk, join(directory, 'recorder.cursor'), journalId, { seq: 1, mark: 1 })
}

/** Starts a recorder in a temporary directory, and cleans up. */
export async function withRecorder(
  options: Partial<RecorderOptions>,
  use: (rig: RecorderRig) => Promise<void>,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'outrigger-recorder-'))
  try {
    const rig = await RecorderRig.open(directory, options)
    try {
      await use(rig)
    } finally {
      await rig.close()
    }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}
