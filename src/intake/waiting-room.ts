import type { Clock } from '../base/clock.ts'
import { UnavailableError } from '../base/errors.ts'
import type { Message } from '../message/message.ts'
import { isFull, type MessageSink } from './ports.ts'

/** How often it is looked whether there is room, and who is gone. */
const lookMs = 25

interface Waiting {
  readonly messages: readonly Message[]
  readonly until: number
  readonly isGone: () => boolean
  readonly resolve: (firstSeq: number) => void
  readonly reject: (error: unknown) => void
}

/**
 * Where publishers wait for room in the journal, in their order. What is held for them is counted where it was received
 * (`publish.pendingBytesMax`); whoever goes away is let go.
 */
export class WaitingRoom {
  readonly #sink: MessageSink
  readonly #clock: Clock
  #waiting: Waiting[] = []
  #isLooking = false
  #isClosed = false

  constructor(sink: MessageSink, clock: Clock) {
    this.#sink = sink
    this.#clock = clock
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0
  }

  /** Whether messages that were rejected with this error may wait. */
  admits(error: unknown): boolean {
    return this.#sink.roomWaitMs > 0 && !this.#isClosed && isFull(error)
  }

  /**
   * Appends messages after all that wait already, as soon as there is room. Rejects when there is none in time, and when
   * nobody is there any more to be answered.
   */
  wait(messages: readonly Message[], isGone: () => boolean): Promise<number> {
    if (this.#isClosed) return Promise.reject(drainingError())
    const until = this.#clock.monotonic() + this.#sink.roomWaitMs
    const appended = new Promise<number>((resolve, reject) => {
      this.#waiting.push({ messages, until, isGone, resolve, reject })
    })
    if (!this.#isLooking) void this.#look()
    return appended
  }

  /** From now on nobody waits. */
  close(): void {
    this.#isClosed = true
    const waiting = this.#waiting
    this.#waiting = []
    for (const { reject } of waiting) reject(drainingError())
  }

  /** Runs for as long as somebody waits. */
  async #look(): Promise<void> {
    this.#isLooking = true
    while (this.#waiting.length > 0) {
      await this.#clock.sleep(lookMs)
      this.#letGo()
      await this.#letIn()
    }
    this.#isLooking = false
  }

  #letGo(): void {
    const waiting = this.#waiting
    this.#waiting = []
    let error: UnavailableError | null = null
    for (const each of waiting)
      if (each.isGone()) each.reject((error ??= goneError()))
      else this.#waiting.push(each)
  }

  /** Those in front, until there is no more room; of those behind, nobody waits beyond their time. */
  async #letIn(): Promise<void> {
    let error: unknown = null
    for (let first = this.#waiting[0]; first && error === null; first = this.#waiting[0]) {
      error = await this.#tryIn(first)
      if (error === null && this.#waiting[0] === first) this.#waiting.shift()
    }
    const now = this.#clock.monotonic()
    const late = this.#waiting.filter((each) => each.until <= now)
    this.#waiting = this.#waiting.filter((each) => each.until > now)
    for (const { reject } of late) reject(error)
  }

  /** Resolves with null when there is room, with what is missing when there is none; does not wait for the disk. */
  async #tryIn({ messages, resolve, reject }: Waiting): Promise<unknown> {
    const appended = this.#sink.append(messages)
    const refused = appended.then(
      () => null,
      (error: unknown) => (isFull(error) ? error : null),
    )
    // Want of room is told at once.
    const error = await Promise.race([refused, nextTurn()])
    if (error === null) appended.then(resolve, reject)
    return error
  }
}

function nextTurn(): Promise<null> {
  return new Promise((resolve) => {
    setImmediate(() => resolve(null))
  })
}

function goneError(): UnavailableError {
  const text = 'there is no room, and a client that has closed its side of the connection does not wait for any'
  return new UnavailableError('journal_full', text, { retryAfterSeconds: 5 })
}

function drainingError(): UnavailableError {
  return new UnavailableError('draining', 'Outrigger is shutting down', { retryAfterSeconds: 1 })
}
