import type { Clock } from '../base/clock.ts'
import { isDiskFailure } from '../base/errors.ts'
import type { ReadableJournal, RecordBlock } from '../base/record-reader.ts'
import type { BreakerState } from '../base/resilience.ts'
import { withTimeout } from '../base/resilience.ts'
import { decodeMessage } from '../message/message-codec.ts'
import { decodeReceipt } from '../message/receipt.ts'
import type { LostReceipt, Receipt } from '../message/receipt.ts'
import type { FinishedMessage } from './finished-message.ts'
import { finishedMessages } from './finished-message.ts'
import { GapBuilder } from './gap-builder.ts'
import type { LedgerExceptions, LedgerGap } from './ledger-exceptions.ts'
import type { MigrationStep } from './ledger-schema.ts'
import { MessageFetcher } from './message-fetcher.ts'
import { ReceiptsAhead } from './receipts-ahead.ts'
import type { RecordTarget, RecorderCursor, RecorderPosition } from './ports.ts'
import { StoreError } from './store-error.ts'
import type { MessageRow, StoreWriterObserver, StoreWriterOptions } from './store-writer.ts'
import { GivingUp, StoreWriter, storeErrorOf } from './store-writer.ts'

export interface RecorderOptions extends StoreWriterOptions {
  readonly batchMessagesMax: number
  readonly batchBytesMax: number
  /** For how long a store must have been failing before anything is given up that is not urgent. */
  readonly giveUpAfter: number
  /** Whether the recorder may bring the store's schema up to date; else it waits until somebody has. */
  readonly migrate: boolean
}

/** What a recorder tells about its work. */
export interface RecorderObserver extends StoreWriterObserver {
  gaveUp(messages: number): void
  /** Receipts are lost; what became of messages from `fromSeq` to below `toSeq` is not known, unless it is recorded. */
  receiptsLost(fromSeq: number, toSeq: number): void
  migrated(step: MigrationStep): void
  /** Deleting old entries, or the like, failed; it is tried again later. */
  maintenanceFailed(error: unknown): void
  /** The disk does not take the cursor; it is tried again. */
  cursorFailed(error: unknown): void
  /** The cursor has moved, durably: nothing before it is needed any more. */
  passed(position: RecorderPosition): void
}

export interface RecorderStatus {
  readonly breaker: BreakerState
  /** When the oldest message that is known and not recorded was finished (milliseconds since the epoch); null when there is none. */
  readonly oldestFinishedAt: number | null
  /** Messages that have a receipt and are not recorded; at least so many, when there are very many. */
  readonly lagMessages: number
  readonly failure: { readonly reason: string; readonly message: string; readonly hint: string; readonly attempts: number } | null // prettier-ignore
}

/** While a recorder has caught up, it lets receipts gather for so long: fewer and larger writes. */
const gatherMs = 200
const cursorIntervalMs = 1000
const maintenanceIntervalMs = 10 * 60_000
/** How often a schema that others have to bring up to date is looked at. */
const schemaIntervalMs = 2000

/** Consecutive receipts, and what is to be recorded of them. */
interface Window {
  readonly messages: FinishedMessage[]
  /** Those that say which messages are lost. */
  readonly lost: LostReceipt[]
  /** Some receipts among them are lost themselves. */
  hasGap: boolean
  /** The receipt behind the last. */
  mark: number
  /** By the last checkpoint among them: every message below it has its receipt before `mark`. */
  low: number
}

/**
 * Carries what became of messages from the receipts into one store of the ledger. It reads receipts in order from its
 * cursor, reads the messages back from their journal, and writes batches until the store has them. So the store may be
 * away for as long as the disk lasts; nobody waits for it.
 *
 * ```
 *   schema ──right──▶ recording ──▶ a window of receipts ──▶ fetch ──▶ write ──acknowledged──▶ next window
 *     ▲                  ▲                                             │ transient, fatal: again, with backoff
 *     └─ after `fatal` ──┤                                             │ permanent: halves; a single one is set aside
 *                        └──── gap noted, cursor moved ◀── giving up ◀─┘ (too much disk is held)
 * ```
 */
export class Recorder<Row> {
  readonly #target: RecordTarget<Row>
  readonly #receipts: ReadableJournal
  readonly #messages: ReadableJournal
  readonly #fetcher: MessageFetcher
  readonly #cursor: RecorderCursor
  readonly #writer: StoreWriter<Row>
  readonly #observer: RecorderObserver
  readonly #clock: Clock
  readonly #options: RecorderOptions
  readonly #ahead: ReceiptsAhead
  readonly #stop = new AbortController()
  /** Renewed after each giving up. */
  #turn = new AbortController()
  #giveUpSeq = 0
  #position: RecorderPosition
  #savedAt = Number.NEGATIVE_INFINITY
  /** Of the window in hand, those that are recorded or refused already. */
  readonly #done = new Set<number>()
  #oldestFinishedAt: number | null = null
  #caughtUp: number
  #schemaIsRight = false
  #loops: Promise<void>[] = []
  #closing: Promise<void> | null = null
  #fail: (error: unknown) => void = () => {}
  /** Never resolves; rejects when recording can't go on (a corrupt journal, a bug). */
  readonly failed: Promise<never>

  constructor(
    target: RecordTarget<Row>,
    receipts: ReadableJournal,
    messages: ReadableJournal,
    cursor: RecorderCursor,
    exceptions: LedgerExceptions,
    observer: RecorderObserver,
    clock: Clock,
    options: RecorderOptions,
  ) {
    this.#target = target
    this.#receipts = receipts
    this.#messages = messages
    this.#fetcher = new MessageFetcher(messages)
    this.#cursor = cursor
    this.#position = cursor.position
    this.#caughtUp = cursor.position.mark
    this.#writer = new StoreWriter(target, messages.id, exceptions, observer, clock, options)
    this.#ahead = new ReceiptsAhead(receipts, clock, cursor.position.mark)
    this.#observer = observer
    this.#clock = clock
    this.#options = options
    this.failed = new Promise((_, reject) => {
      this.#fail = reject
    })
    this.failed.catch(() => {}) // whoever composes it listens
  }

  start(): void {
    this.#loops = [this.#run(), this.#maintain()].map((loop) =>
      loop.catch((error: unknown) => {
        if (!this.#stop.signal.aborted) this.#fail(error)
      }),
    )
  }

  /**
   * Gives up messages below `seq` that are not recorded yet, and notes which they are; so that their disk space can go.
   * They must be finished, and their receipts durable. Unless it is urgent, only when the store has been failing for long:
   * one that works gets through with its backlog.
   */
  giveUpBelow(seq: number, isUrgent: boolean): void {
    if (seq <= Math.max(this.#giveUpSeq, this.#position.seq)) return
    if (!isUrgent && this.#writer.failingMs < this.#options.giveUpAfter) return
    this.#giveUpSeq = seq
    this.#turn.abort(new GivingUp())
  }

  async status(): Promise<RecorderStatus> {
    await this.#ahead.count()
    const { failure } = this.#writer
    return {
      breaker: this.#writer.breakerState,
      lagMessages: this.#ahead.messages,
      oldestFinishedAt: this.#ahead.messages === 0 ? null : (this.#oldestFinishedAt ?? this.#ahead.oldestFinishedAt),
      failure: failure && {
        reason: failure.error.reason,
        message: failure.error.message,
        hint: failure.error.hint,
        attempts: failure.attempts,
      },
    }
  }

  /** Resolves when what has a receipt now is recorded, or as soon as the signal aborts or the recorder is closed. */
  async drain(signal: AbortSignal): Promise<void> {
    const end = this.#receipts.end.nextSeq
    const either = AbortSignal.any([signal, this.#stop.signal])
    while (!either.aborted && this.#caughtUp < end) await this.#clock.sleep(drainPollMs, either).catch(() => {})
  }

  /** Ends; what is left stays in the journals. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#stop.abort(new Error('the recorder is closing'))
    await Promise.all(this.#loops)
    try {
      if (this.#loops.length > 0) await this.#saveCursor()
    } finally {
      await this.#ahead.close()
      await this.#fetcher.close()
      await this.#target.close()
    }
  }

  async #run(): Promise<void> {
    const stop = this.#stop.signal
    while (!stop.aborted) {
      const signal = AbortSignal.any([stop, this.#turn.signal])
      try {
        await this.#prepareSchema(signal)
        await this.#record(signal)
      } catch (error) {
        stop.throwIfAborted()
        // Whatever it was interrupted in, it may have ended by an error of its own.
        if (this.#turn.signal.aborted && (error instanceof GivingUp || error instanceof StoreError))
          await this.#giveUp()
        else if (!(error instanceof StoreError)) throw error
        // Somebody may have changed it.
        else this.#schemaIsRight = false
      }
    }
  }

  async #prepareSchema(signal: AbortSignal): Promise<void> {
    const { schema } = this.#target
    const { migrate, writeTimeout } = this.#options
    let reported: StoreError | null = null
    while (!this.#schemaIsRight) {
      try {
        let state = await withTimeout(writeTimeout, signal, (own) => schema.inspect(own))
        if (state.pending.length > 0 && migrate) {
          await schema.migrate(signal, (step) => this.#observer.migrated(step))
          state = await withTimeout(writeTimeout, signal, (own) => schema.inspect(own))
        }
        this.#schemaIsRight = state.pending.length === 0
        if (!this.#schemaIsRight) throw schemaMissing(state)
        // A write that failed may fail again, whatever the schema says: only a write that succeeds ends that.
        if (reported !== null && this.#writer.failure?.error === reported) this.#writer.succeeded()
      } catch (error) {
        signal.throwIfAborted()
        reported = storeErrorOf(error, writeTimeout)
        await this.#writer.failing(reported, signal, schemaIntervalMs)
      }
    }
  }

  async #record(signal: AbortSignal): Promise<void> {
    const reader = this.#receipts.reader(this.#position.mark)
    try {
      let wokenAt = Number.NEGATIVE_INFINITY
      let window = emptyWindow(this.#position.mark)
      const record = async (): Promise<void> => {
        const full = window
        window = emptyWindow(full.mark)
        await this.#recordWindow(full, signal)
      }
      for (;;) {
        signal.throwIfAborted()
        const block = await reader.next()
        if (block !== null) {
          if (block.lost !== null) {
            window.hasGap = true
            window.mark = block.firstSeq + block.count
          }
          // Blocks of receipts are small, so a window goes over as many as make a batch.
          for (const [at, receipt] of receiptsOf(block, this.#position.mark)) {
            addTo(window, at, receipt)
            const isFull = window.messages.length >= this.#options.batchMessagesMax
            if (isFull || window.lost.length >= lostReceiptsMax) await record()
          }
          continue
        }
        if (window.mark > this.#position.mark) await record()
        this.#caughtUp = reader.nextSeq
        this.#oldestFinishedAt = null
        await this.#saveCursor()
        if (this.#clock.monotonic() - wokenAt < gatherMs) await this.#clock.sleep(gatherMs, signal)
        await this.#receipts.end.wait(reader.nextSeq, signal)
        wokenAt = this.#clock.monotonic()
      }
    } finally {
      await reader.close()
    }
  }

  async #recordWindow(window: Window, signal: AbortSignal): Promise<void> {
    const { batchBytesMax, batchMessagesMax } = this.#options
    const messages = window.messages
      .filter(({ seq }) => seq >= this.#position.seq && !this.#done.has(seq))
      .toSorted((a, b) => a.seq - b.seq)
    this.#oldestFinishedAt = messages.reduce<number | null>(
      (oldest, { finishedAt }) => Math.min(oldest ?? finishedAt, finishedAt),
      null,
    )
    const done = (seq: number): void => void this.#done.add(seq)
    let batch: MessageRow<Row>[] = []
    let bytes = 0
    const flush = async (): Promise<void> => {
      const full = batch
      batch = []
      bytes = 0
      for (let from = 0; from < full.length; from += batchMessagesMax)
        await this.#writer.write(full.slice(from, from + batchMessagesMax), done, signal)
    }
    const gone = await this.#fetcher.fetch(
      messages,
      (message, record, start) => {
        const row = this.#target.rowOf(message, decodeMessage(record, start, message.seq))
        if (row === null) return
        batch.push({ message, row })
        bytes += this.#target.sizeOf(row)
      },
      async () => {
        if (bytes >= batchBytesMax || batch.length >= batchMessagesMax) await flush()
      },
    )
    await flush()
    if (gone.length > 0) await this.#noteGone(gone, signal)
    if (window.lost.length > 0) await this.#noteLost(window.lost, signal)
    if (window.hasGap) await this.#noteUnknown(signal)
    this.#ahead.passed(window.messages.length)
    this.#done.clear()
    this.#position = { mark: window.mark, seq: Math.max(this.#position.seq, window.low) }
    if (this.#clock.monotonic() - this.#savedAt >= cursorIntervalMs) await this.#saveCursor()
  }

  /** They are finished, but not in their journal any more. */
  async #noteGone(messages: readonly FinishedMessage[], signal: AbortSignal): Promise<void> {
    const gap = new GapBuilder('lost', this.#clock.now())
    for (const message of messages) if (this.#keeps(message)) gap.add(message)
    await this.#note(gap, signal)
  }

  /** Never delivered: there is nothing to record of them, and no store will ever hold them. */
  async #noteLost(receipts: readonly LostReceipt[], signal: AbortSignal): Promise<void> {
    const gaps = {
      lost: new GapBuilder('lost', this.#clock.now()),
      dropped: new GapBuilder('dropped', this.#clock.now()),
    }
    for (const { reason, ranges } of receipts)
      for (const [fromSeq, toSeq] of ranges)
        if (toSeq > this.#position.seq)
          gaps[reason === 'dropped' ? 'dropped' : 'lost'].addLost([Math.max(fromSeq, this.#position.seq), toSeq])
    await this.#note(gaps.lost, signal)
    await this.#note(gaps.dropped, signal)
  }

  async #note(gap: GapBuilder, signal: AbortSignal): Promise<void> {
    if (gap.messages === 0) return
    await this.#writer.keep(gap.build(), signal)
    this.#observer.gaveUp(gap.messages)
  }

  /** Of the messages from here on, nobody knows which were finished by the receipts that are lost; the forwarder may send them again. */
  async #noteUnknown(signal: AbortSignal): Promise<void> {
    const { seq: fromSeq } = this.#position
    const toSeq = this.#messages.end.nextSeq
    if (toSeq <= fromSeq) return
    const gap: LedgerGap = {
      kind: 'gap',
      at: this.#clock.now(),
      cause: 'receipts',
      fromSeq,
      toSeq,
      messages: null,
      ranges: [],
      deadSeqs: [],
      lostSeqs: [],
    }
    await this.#writer.keep([gap], signal)
    this.#observer.receiptsLost(fromSeq, toSeq)
  }

  #keeps({ status }: FinishedMessage): boolean {
    return status === 'delivered' || this.#target.keepsDead
  }

  /** Notes which messages below `#giveUpSeq` are not recorded, and goes on behind them. */
  async #giveUp(): Promise<void> {
    const { signal } = this.#stop
    const seq = this.#giveUpSeq
    const gap = new GapBuilder('backlog', this.#clock.now())
    let mark: number | null = null
    const reader = this.#receipts.reader(this.#position.mark)
    try {
      for (let block = await reader.next(); block; block = await reader.next()) {
        signal.throwIfAborted()
        if (block.lost !== null) await this.#noteUnknown(signal)
        const lost: LostReceipt[] = []
        block.forEach((at, bytes, start, end) => {
          if (at < this.#position.mark) return
          const receipt = decodeReceipt(bytes, start, end)
          // Behind `mark` it is come to once more, and noted twice.
          if (receipt.kind === 'lost' && mark === null) lost.push(receipt)
          for (const message of finishedMessages(receipt)) {
            if (message.seq < this.#position.seq || this.#done.has(message.seq)) continue
            if (message.seq >= seq) mark ??= at
            else if (this.#keeps(message)) gap.add(message)
          }
        })
        await this.#noteLost(lost, signal)
        const noted = gap.take()
        if (noted.length > 0) await this.#writer.keep(noted, signal)
      }
      mark ??= reader.nextSeq
    } finally {
      await reader.close()
    }
    const rest = gap.build()
    if (rest.length > 0) await this.#writer.keep(rest, signal)
    if (gap.messages > 0) this.#observer.gaveUp(gap.messages)
    // What of the rest is recorded already is written once more.
    this.#done.clear()
    this.#position = { mark, seq }
    this.#ahead.restart(mark)
    this.#turn = new AbortController()
    await this.#saveCursor()
    if (this.#giveUpSeq > seq) this.#turn.abort(new GivingUp())
  }

  async #saveCursor(): Promise<void> {
    const { mark, seq } = this.#cursor.position
    if (mark === this.#position.mark && seq === this.#position.seq) return
    const position = this.#position
    try {
      await this.#cursor.write(position)
    } catch (error) {
      if (!isDiskFailure(error)) throw error
      // It is tried again soon; until then more is kept than must be.
      this.#savedAt = this.#clock.monotonic()
      this.#observer.cursorFailed(error)
      return
    }
    this.#savedAt = this.#clock.monotonic()
    this.#observer.passed(position)
  }

  async #maintain(): Promise<void> {
    const { signal } = this.#stop
    for (;;) {
      if (this.#schemaIsRight) {
        try {
          await this.#target.maintain(signal)
        } catch (error) {
          signal.throwIfAborted()
          this.#observer.maintenanceFailed(error)
        }
        await this.#clock.sleep(maintenanceIntervalMs, signal)
      } else {
        await this.#clock.sleep(schemaIntervalMs, signal)
      }
    }
  }
}

const drainPollMs = 20
/** Each may name thousands of messages. */
const lostReceiptsMax = 16

function emptyWindow(mark: number): Window {
  return { messages: [], lost: [], hasGap: false, mark, low: 0 }
}

function addTo(window: Window, at: number, receipt: Receipt): void {
  for (const message of finishedMessages(receipt)) window.messages.push(message)
  if (receipt.kind === 'lost') window.lost.push(receipt)
  window.mark = at + 1
  if (receipt.kind === 'checkpoint') window.low = Math.min(receipt.head, ...receipt.positions.values())
}

/** The receipts of a block from `mark` on, each behind its seq. */
function receiptsOf(block: RecordBlock, mark: number): (readonly [at: number, receipt: Receipt])[] {
  const receipts: (readonly [number, Receipt])[] = []
  block.forEach((at, bytes, start, end) => {
    if (at >= mark) receipts.push([at, decodeReceipt(bytes, start, end)])
  })
  return receipts
}

function schemaMissing({ found, needed }: { found: number; needed: number }): StoreError {
  const text = `the schema has version ${found}, and version ${needed} is needed`
  return new StoreError('fatal', 'SCHEMA_OUTDATED', text, {
    hint: 'Run “outrigger migrate”, or set ledger.migrate: true.',
  })
}
