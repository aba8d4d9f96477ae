import { MessageChannel, Worker } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import { OutriggerError, messageOf } from './base/errors.ts'
import type { LogChannel, LogOutput } from './base/log-output.ts'
import type { Calls } from './base/remote-calls.ts'
import { RemoteCaller, answerCalls } from './base/remote-calls.ts'

/** What each thread is started with, beside its own data. */
export interface ThreadPorts {
  /** Where it answers calls. */
  readonly calls: MessagePort
  /** Where it tells what nobody asked for. */
  readonly events: MessagePort
  /** Where its log lines go. */
  readonly log: LogChannel
}

/** What every thread answers. */
export type ThreadCalls = Calls & { close: (nothing: null) => Promise<void> }

/** A thread of Outrigger is gone, or could not start: the message and the hint are those of what happened in it. */
export class ThreadEndedError extends OutriggerError {
  override readonly name = 'ThreadEndedError'
  override readonly code = 'thread_ended'
}

/** How long a thread has to fail as a whole, when it could not close. */
const failingMs = 500

/** A part of Outrigger in a thread of its own: it is called, tells events, and fails as a whole. */
export class WorkerThread<C extends ThreadCalls, Event> {
  readonly #worker: Worker
  readonly #calls: RemoteCaller<C>
  readonly #ended: Promise<void>
  #closing: Promise<void> | null = null
  /** It has closed all that it had. */
  #isOver = false
  /** Why it has ended, when it should not have. */
  #failure: ThreadEndedError | null = null
  /** Never resolves; rejects when the thread ends without having been told to. */
  readonly failed: Promise<never>

  /** `entry` is the program's main module, which finds `data` and the ports as its `workerData`. */
  constructor(entry: URL, name: string, data: object, onEvent: (event: Event) => void, output: LogOutput) {
    const calls = new MessageChannel()
    const events = new MessageChannel()
    const log = output.open()
    const ports: ThreadPorts = { calls: calls.port2, events: events.port2, log: log.channel }
    this.#worker = new Worker(entry, {
      workerData: { ...data, ...ports },
      transferList: [calls.port2, events.port2, log.channel.port],
      name,
    })
    this.#calls = new RemoteCaller<C>(calls.port1)
    events.port1.on('message', onEvent)
    let error: unknown
    this.#worker.on('error', (thrown) => {
      error = thrown
    })
    let fail: (reason: Error) => void
    this.failed = new Promise((_, reject) => {
      fail = reject
    })
    this.failed.catch(() => {}) // whoever composes it listens
    this.#ended = new Promise((resolve) => {
      this.#worker.once('exit', (code) => {
        log.closed()
        calls.port1.close()
        events.port1.close()
        const ending = endedError(name, code, error)
        if (this.#closing === null || (code !== 0 && !this.#isOver) || error !== undefined) {
          this.#failure = ending
          fail(ending)
        }
        this.#calls.end(ending)
        resolve()
      })
    })
  }

  call<N extends keyof C & string>(name: N, argument: Parameters<C[N]>[0]): ReturnType<C[N]> {
    return this.#calls.call(name, argument)
  }

  /** Resolves when the thread has time to answer. */
  ping(): Promise<unknown> {
    return this.#calls.ping()
  }

  /** Like `call`, but rejects with the thread's own failure when it ends meanwhile. */
  callOrFail<N extends keyof C & string>(name: N, argument: Parameters<C[N]>[0]): Promise<Awaited<ReturnType<C[N]>>> {
    return Promise.race([this.call(name, argument), this.failed])
  }

  /** Ends the thread, unless it has ended. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    try {
      await this.call('close', null)
      await this.#end(0)
    } catch (error) {
      await this.#end(failingMs)
      // Why it has ended is told by `failed`; that it can't be closed then is no news.
      if (this.#failure === null) throw error
    }
  }

  /** Ends it, unless it does so by itself: what it had is closed, and a connection that a driver still holds must not keep it. */
  async #end(graceMs: number): Promise<void> {
    const late = setTimeout(() => {
      this.#isOver = true
      void this.#worker.terminate()
    }, graceMs)
    await this.#ended
    clearTimeout(late)
  }
}

function endedError(name: string, code: number, cause: unknown): ThreadEndedError {
  if (cause === undefined) return new ThreadEndedError(`the ${name} thread has ended with code ${code}`)
  // An error from another thread keeps its fields, but not its class.
  const hint = typeof cause === 'object' && cause !== null && 'hint' in cause ? String(cause.hint) : ''
  return new ThreadEndedError(`the ${name} thread has ended: ${messageOf(cause)}`, { cause, hint })
}

/** What runs in a thread of its own. */
interface ThreadPart {
  /** Never resolves; rejects when it can't go on. */
  readonly failed: Promise<never>
  close(): Promise<void>
}

/**
 * The inside of a `WorkerThread`: answers calls, which wait for the part's start. Resolves when it was told to close; rejects
 * when the part can't start, or can't go on.
 */
export async function servePart<Part extends ThreadPart, C extends ThreadCalls>(
  { calls, events }: Pick<ThreadPorts, 'calls' | 'events'>,
  starting: Promise<Part>,
  answers: Omit<C, 'close'>,
): Promise<void> {
  const closed = new Promise<void>((resolve) => {
    answerCalls(calls, {
      ...answers,
      close: async () => {
        try {
          await (await starting).close()
        } finally {
          // The answer goes out before the ports close.
          setImmediate(resolve)
        }
      },
    })
  })
  const part = await starting
  await Promise.race([closed, part.failed])
  calls.close()
  events.close()
}
