import type { Message } from '../message/message.ts'
import type { MessageSink } from './ports.ts'

/** Above this, what waits is handed on within the turn of the event loop. */
const waitingMax = 512

/** Waits for its message to be kept. */
export interface Waiter {
  /** The message is on stable storage, with this seq. */
  onAppended(seq: number): void
  onAppendFailed(error: unknown): void
}

/**
 * Hands messages to the sink in the order in which they came. Single ones that come in one turn of the event loop, each on
 * its own connection, go together: one promise and one call for all of them.
 */
export class Appender {
  readonly #sink: MessageSink
  #messages: Message[] = []
  #waiters: Waiter[] = []
  readonly #flushNow = (): void => this.flush()

  constructor(sink: MessageSink) {
    this.#sink = sink
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

  /** Appends messages after all those added before. Resolves and rejects as `MessageSink.append` does. */
  append(messages: readonly Message[]): Promise<number> {
    this.flush()
    return this.#sink.append(messages)
  }

  flush(): void {
    const waiters = this.#waiters
    if (waiters.length === 0) return
    const messages = this.#messages
    this.#messages = []
    this.#waiters = []
    void this.#sink.append(messages).then(
      (firstSeq) => {
        for (let i = 0; i < waiters.length; i++) (waiters[i] as Waiter).onAppended(firstSeq + i)
      },
      (error: unknown) => {
        for (const waiter of waiters) waiter.onAppendFailed(error)
      },
    )
  }
}
