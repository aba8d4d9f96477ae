import type { Clock } from '../base/clock.ts'
import type { Message } from '../message/message.ts'
import type { MessageSink } from './ports.ts'
import { WaitingRoom } from './waiting-room.ts'

/** Above this, what waits is handed on within the turn of the event loop. */
const waitingMax = 512

/** Waits for its message to be kept. */
export interface Waiter {
  /** Nobody is there any more to be answered. */
  readonly isGone: boolean
  /** The message is on stable storage, with this seq. */
  onAppended(seq: number): void
  onAppendFailed(error: unknown): void
}

/**
 * Hands messages to the sink in the order in which they came. Single ones that come in one turn of the event loop, each on
 * its own connection, go together: one promise and one call for all of them. When the sink has no room, and lets publishers
 * wait for it, they wait here.
 */
export class Appender {
  readonly #sink: MessageSink
  readonly #room: WaitingRoom
  #messages: Message[] = []
  #waiters: Waiter[] = []
  readonly #flushNow = (): void => this.flush()

  constructor(sink: MessageSink, clock: Clock) {
    this.#sink = sink
    this.#room = new WaitingRoom(sink, clock)
  }

  /** The id of the journal that the messages go to. */
  get journalId(): string {
    return this.#sink.id
  }

  add(message: Message, waiter: Waiter): void {
    const count = this.#messages.push(message)
    this.#waiters.push(waiter)
    // After all sockets that have something to read were read.
    if (count === 1) setImmediate(this.#flushNow)
    else if (count >= waitingMax) this.flush()
  }

  /**
   * Appends messages after all those added before. Resolves and rejects as `MessageSink.append` does; while they wait for
   * room, `isGone` says whether there is still somebody to be answered.
   */
  append(messages: readonly Message[], isGone: () => boolean): Promise<number> {
    this.flush()
    if (!this.#room.isEmpty) return this.#room.wait(messages, isGone)
    const appended = this.#sink.append(messages)
    if (this.#sink.roomWaitMs === 0) return appended
    return appended.catch((error: unknown) => {
      if (this.#room.admits(error)) return this.#room.wait(messages, isGone)
      throw error
    })
  }

  flush(): void {
    const waiters = this.#waiters
    if (waiters.length === 0) return
    const messages = this.#messages
    this.#messages = []
    this.#waiters = []
    if (!this.#room.isEmpty) {
      this.#waitEach(messages, waiters)
      return
    }
    void this.#sink.append(messages).then(
      (firstSeq) => {
        for (let i = 0; i < waiters.length; i++) (waiters[i] as Waiter).onAppended(firstSeq + i)
      },
      (error: unknown) => {
        if (this.#room.admits(error)) this.#waitEach(messages, waiters)
        else for (const waiter of waiters) waiter.onAppendFailed(error)
      },
    )
  }

  /** Nobody waits for room any more. */
  close(): void {
    this.#room.close()
  }

  /** Each by itself: one may be gone before another. */
  #waitEach(messages: readonly Message[], waiters: readonly Waiter[]): void {
    for (const [i, message] of messages.entries()) {
      const waiter = waiters[i] as Waiter
      void this.#room
        .wait([message], () => waiter.isGone)
        .then(
          (seq) => waiter.onAppended(seq),
          (error: unknown) => waiter.onAppendFailed(error),
        )
    }
  }
}
