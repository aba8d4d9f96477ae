import type { MessagePort } from 'node:worker_threads'
import { OutriggerError, messageOf } from './errors.ts'

/** What can be called in another thread: each takes one argument and gives one result, both structured-cloneable. */
export type Calls = Record<string, (argument: never) => Promise<unknown>>

type Port = Pick<MessagePort, 'postMessage' | 'on'>

interface Request {
  readonly call: number
  readonly name: string
  readonly argument: unknown
}

type Response =
  | { readonly call: number; readonly ok: true; readonly result: unknown }
  | { readonly call: number; readonly ok: false; readonly message: string; readonly hint: string }

/** Answered by every thread that gets to it. */
const pingName = 'ping'

/** A call in the other thread failed, or the other thread is gone. */
class RemoteCallError extends OutriggerError {
  override readonly name = 'RemoteCallError'
  override readonly code = 'remote_call_failed'
}

/** Answers what a `RemoteCaller` at the other end of the port asks. Whatever goes wrong here is told there. */
export function answerCalls(port: Port, calls: Calls): void {
  const answer = async ({ call, name, argument }: Request): Promise<void> => {
    try {
      if (name === pingName) {
        port.postMessage({ call, ok: true, result: null } satisfies Response)
        return
      }
      const callee = calls[name]
      if (callee === undefined) throw new Error(`there is no call named ${name}`)
      port.postMessage({ call, ok: true, result: await callee(argument as never) } satisfies Response)
    } catch (error) {
      const hint = error instanceof OutriggerError ? error.hint : ''
      port.postMessage({ call, ok: false, message: messageOf(error), hint } satisfies Response)
    }
  }
  port.on('message', (request: Request) => void answer(request))
}

/** Calls what `answerCalls` offers at the other end of the port. */
export class RemoteCaller<C extends Calls> {
  readonly #port: Port
  readonly #waiting = new Map<number, { resolve: (result: never) => void; reject: (error: Error) => void }>()
  #calls = 0
  #gone: Error | null = null

  constructor(port: Port) {
    this.#port = port
    port.on('message', (response: Response) => {
      const waiting = this.#waiting.get(response.call)
      this.#waiting.delete(response.call)
      if (response.ok) waiting?.resolve(response.result as never)
      else waiting?.reject(new RemoteCallError(response.message, { hint: response.hint }))
    })
  }

  call<N extends keyof C & string>(name: N, argument: Parameters<C[N]>[0]): ReturnType<C[N]> {
    const result = new Promise((resolve, reject) => {
      if (this.#gone) {
        reject(this.#gone)
        return
      }
      const call = ++this.#calls
      this.#port.postMessage({ call, name, argument } satisfies Request)
      this.#waiting.set(call, { resolve, reject })
    })
    return result as ReturnType<C[N]>
  }

  /** Resolves when the other thread has time for it. */
  ping(): Promise<unknown> {
    return this.call(pingName, null as Parameters<C[keyof C & string]>[0])
  }

  /** The other thread is gone: whoever waits, and whoever calls from now on, is told. */
  end(reason: Error): void {
    this.#gone = reason
    for (const { reject } of this.#waiting.values()) reject(reason)
    this.#waiting.clear()
  }
}
