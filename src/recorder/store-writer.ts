import type { Clock } from '../base/clock.ts'
import { UnavailableError } from '../base/errors.ts'
import type { BreakerState } from '../base/resilience.ts'
import { Backoff, Breaker, CircuitOpenError, TimeoutError, withTimeout } from '../base/resilience.ts'
import { formatMessageId } from '../message/message-id.ts'
import type { FinishedMessage } from './finished-message.ts'
import type { LedgerException, LedgerExceptions } from './ledger-exceptions.ts'
import type { RecordTarget } from './ports.ts'
import { StoreError } from './store-error.ts'
import { writeOrHalve } from './write-or-halve.ts'

export interface StoreWriterOptions {
  readonly writeTimeout: number
  readonly retryDelay: number
  readonly retryDelayMax: number
  readonly breakerFailures: number
}

/** What a writer tells about its work. */
export interface StoreWriterObserver {
  recorded(messages: number, durationMs: number): void
  /** Something failed and is tried again; `attempts` counts from the last success. */
  failing(error: StoreError, attempts: number, delayMs: number): void
  refused(id: string, error: StoreError): void
  breakerChanged(state: BreakerState): void
}

/** A message, and what the store keeps of it. */
export interface MessageRow<Row> {
  readonly message: FinishedMessage
  readonly row: Row
}

/** Interrupts whatever waits, because messages are to be given up. */
export class GivingUp extends Error {
  override readonly name = 'GivingUp'
}

const refusedInRowMax = 100

/** Writes batches into one store until it has them: with retries, a breaker, and halves of what it refuses for good. */
export class StoreWriter<Row> {
  readonly #target: RecordTarget<Row>
  readonly #journalId: string
  readonly #exceptions: LedgerExceptions
  readonly #observer: StoreWriterObserver
  readonly #clock: Clock
  readonly #options: StoreWriterOptions
  readonly #breaker: Breaker
  readonly #backoff: Backoff
  #attempts = 0
  #failure: StoreError | null = null
  #failingSince: number | null = null
  /** Messages that were refused one after another, without one that was taken. */
  #refusedInRow = 0

  constructor(
    target: RecordTarget<Row>,
    journalId: string,
    exceptions: LedgerExceptions,
    observer: StoreWriterObserver,
    clock: Clock,
    options: StoreWriterOptions,
  ) {
    this.#target = target
    this.#journalId = journalId
    this.#exceptions = exceptions
    this.#observer = observer
    this.#clock = clock
    this.#options = options
    this.#breaker = new Breaker(clock, {
      failures: options.breakerFailures,
      delayMs: options.retryDelay,
      delayMaxMs: options.retryDelayMax,
      // An attempt that was interrupted says nothing good of the store.
      counts: (error) => (error instanceof StoreError ? error.failure !== 'permanent' : error instanceof GivingUp),
      onStateChange: (state) => observer.breakerChanged(state),
    })
    this.#backoff = new Backoff({ initialMs: options.retryDelay, maxMs: options.retryDelayMax })
  }

  get breakerState(): BreakerState {
    return this.#breaker.state
  }

  /** What keeps it from writing, or null; and how often it was tried. */
  get failure(): { readonly error: StoreError; readonly attempts: number } | null {
    return this.#failure && { error: this.#failure, attempts: this.#attempts }
  }

  /** For how long it has been failing; 0 when it is not. */
  get failingMs(): number {
    return this.#failingSince === null ? 0 : this.#clock.monotonic() - this.#failingSince
  }

  /** Resolves when each row is in the store, or set aside; `done` hears of each message. Throws what is `fatal`. */
  write(batch: readonly MessageRow<Row>[], done: (seq: number) => void, signal: AbortSignal): Promise<void> {
    return writeOrHalve(
      batch,
      async (part) => {
        await this.#writeUntilKept(part, signal)
        for (const { message } of part) done(message.seq)
      },
      async ({ message }, error) => {
        await this.#setAside(message, error, signal)
        done(message.seq)
      },
    )
  }

  /** Resolves when exceptions are on disk: before the cursor passes what they are about. */
  async keep(exceptions: readonly LedgerException[], signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        await this.#exceptions.add(exceptions)
        return
      } catch (error) {
        if (!(error instanceof UnavailableError)) throw error
        const text = `what the store does not hold can't be noted on disk: ${error.message}`
        const failure = new StoreError('transient', 'EXCEPTIONS_UNAVAILABLE', text, { cause: error, hint: error.hint })
        await this.failing(failure, signal)
      }
    }
  }

  /** The store has done what it was asked. */
  succeeded(): void {
    this.#attempts = 0
    this.#failure = null
    this.#failingSince = null
    this.#backoff.reset()
  }

  /** The store has failed: resolves when it is time to try again. */
  async failing(error: StoreError, signal: AbortSignal, delayMsMin = 0): Promise<void> {
    this.#failure = error
    this.#failingSince ??= this.#clock.monotonic()
    this.#attempts++
    const delayMs = Math.max(delayMsMin, this.#backoff.nextDelayMs())
    this.#observer.failing(error, this.#attempts, delayMs)
    await this.#clock.sleep(delayMs, signal)
  }

  /** Throws what trying again does not help: `permanent`, and `fatal`, for what is wrong may be the schema, and that is looked at first. */
  async #writeUntilKept(batch: readonly MessageRow<Row>[], signal: AbortSignal): Promise<void> {
    const rows = batch.map(({ row }) => row)
    for (;;) {
      const startedAt = this.#clock.monotonic()
      try {
        await this.#breaker.execute(() => this.#tryToWrite(rows, signal))
        this.succeeded()
        this.#refusedInRow = 0
        this.#observer.recorded(batch.length, this.#clock.monotonic() - startedAt)
        return
      } catch (error) {
        signal.throwIfAborted()
        if (error instanceof CircuitOpenError) {
          await this.#breaker.untilNextTry(signal)
          continue
        }
        if (!(error instanceof StoreError)) throw error
        if (error.failure === 'permanent') {
          this.succeeded()
          throw error
        }
        await this.failing(error, signal)
        if (error.failure === 'fatal') throw error
      }
    }
  }

  async #tryToWrite(rows: readonly Row[], signal: AbortSignal): Promise<void> {
    const { writeTimeout } = this.#options
    try {
      await withTimeout(writeTimeout, signal, (own) => this.#target.write(rows, own))
    } catch (error) {
      signal.throwIfAborted()
      throw storeErrorOf(error, writeTimeout)
    }
  }

  async #setAside(
    { seq, topic, partition, offset }: FinishedMessage,
    error: StoreError,
    signal: AbortSignal,
  ): Promise<void> {
    if (this.#refusedInRow >= refusedInRowMax) {
      // It is not the messages.
      const text = `the store refused ${this.#refusedInRow} messages in a row; the last one: ${error.message}`
      const hint =
        'Its table may have been changed, or Outrigger has a bug. Nothing more is set aside until a write succeeds.'
      const failure = new StoreError('fatal', error.reason, text, { cause: error, hint })
      await this.failing(failure, signal)
      throw failure
    }
    this.#refusedInRow++
    const id = formatMessageId(this.#journalId, seq)
    const { reason, message: detail } = error
    await this.keep([{ kind: 'refused', at: this.#clock.now(), id, topic, partition, offset, reason, detail }], signal)
    this.#observer.refused(id, error)
  }
}

/** An attempt that took too long is the store's failure, too; whatever else it is that was thrown is thrown on. */
export function storeErrorOf(error: unknown, timeoutMs: number): StoreError {
  if (error instanceof StoreError) return error
  if (error instanceof TimeoutError)
    return new StoreError('transient', 'TIMEOUT', `the store did not answer within ${timeoutMs} ms`, { cause: error })
  throw error
}
