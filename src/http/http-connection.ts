import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { HttpRequest } from './http-request.ts'
import type { Problem } from './problem.ts'
import { rawAnswer } from './answer.ts'

/** How long a connection whose last word is said may take to go away. */
const farewellMs = 1000

export interface ConnectionLimits {
  readonly requestTimeout: number
  readonly keepAliveTimeout: number
}

/**
 * What a listener knows of one connection. Its limits are looked after by a sweep over all connections every now and then
 * instead of timers of their own: a timer a request costs more than the rest of the bookkeeping.
 */
export class HttpConnection {
  readonly socket: Socket
  /** The response to the latest request; answers leave in the order of the requests, so it is the last to finish. */
  latest: ServerResponse<HttpRequest> | null = null
  /** The `Host` that was found to be in order. */
  trustedHost: string | null = null
  #watchers: Set<() => void> | null = null
  #bytesSeen = 0
  /** When the sweep first found it in the state that it is in; 0 when something happened since. */
  #since = 0
  /** When the sweep last looked at a body. */
  #bodySweptAt = 0
  #condemned = false
  #saidLastWord = false

  constructor(socket: Socket) {
    this.socket = socket
  }

  /**
   * A request has come. False when it must be left alone, because the answer before it is the connection's last: nothing
   * could be said to it any more, and what is never answered had better not be done.
   */
  begin(response: ServerResponse<HttpRequest>): boolean {
    if (this.latest?.shouldKeepAlive === false || this.#condemned || this.#saidLastWord) return false
    this.latest = response
    this.#since = 0
    return true
  }

  /**
   * Calls back when the connection is gone, unless what it returns is called before. Node tells this of the response whose
   * turn it is, but not of those that wait behind it.
   */
  whenGone(callback: () => void): () => void {
    const watchers = (this.#watchers ??= new Set())
    watchers.add(callback)
    return () => watchers.delete(callback)
  }

  /** The connection is gone. */
  gone(): void {
    for (const callback of this.#watchers ?? []) callback()
  }

  get isBusy(): boolean {
    return this.latest !== null && !this.latest.writableFinished && !this.socket.destroyed
  }

  /** Ends what has outlasted its limits. */
  sweep(now: number, limits: ConnectionLimits): void {
    const { latest } = this
    if (this.#saidLastWord) {
      if (this.#lasts(now, farewellMs)) this.socket.destroy()
    } else if (latest === null) {
      // A head that is coming in is Node's own business (`headersTimeout`).
      if (this.socket.bytesRead !== this.#bytesSeen) this.#since = 0
      this.#bytesSeen = this.socket.bytesRead
      if (this.#lasts(now, limits.keepAliveTimeout)) this.socket.destroySoon()
    } else if (!latest.req.complete && !latest.req.bodyFailed) {
      this.#sweepBody(latest.req, now, limits)
    } else if (latest.writableFinished) {
      this.latest = null
      this.#since = now
      this.#bytesSeen = this.socket.bytesRead
    } else if (latest.writableEnded && this.#lasts(now, limits.requestTimeout)) {
      // The client does not take its answer.
      this.socket.destroy()
    }
  }

  #sweepBody(request: HttpRequest, now: number, limits: ConnectionLimits): void {
    if (request.endless) return
    if (request.firstSweptAt === 0) request.firstSweptAt = now
    // What waits for room in the journal, or for the disk, waits for us.
    else if (request.isHeld) request.firstSweptAt += now - this.#bodySweptAt
    this.#bodySweptAt = now
    if (now - request.firstSweptAt < limits.requestTimeout) return
    this.#failBody(request, {
      code: 'request_timeout',
      detail: `The request was not complete after ${limits.requestTimeout / 1000} s.`,
    })
  }

  /** Ends the wait for a body that is not whole. */
  refuseUnfinished(problem: Problem): void {
    const { latest } = this
    if (latest === null || latest.req.complete || latest.req.bodyFailed) return
    this.#failBody(latest.req, problem)
  }

  #failBody(request: HttpRequest, problem: Problem): void {
    // When nobody reads the body, or it is answered already, there is nothing to say.
    if (!request.hasSink || !this.isBusy) this.socket.destroy()
    this.endAfterAnswer()
    request.failBody(problem)
  }

  #lasts(now: number, limitMs: number): boolean {
    if (this.#since === 0) this.#since = now
    return now - this.#since >= limitMs
  }

  /** The next answer is the last, and says so; an idle connection is left alone. */
  endAfterAnswer(): void {
    const { latest } = this
    if (!this.isBusy || latest === null) return
    latest.shouldKeepAlive = false
    // For a response whose head has left already.
    latest.once('finish', () => this.#leave())
  }

  endIdle(): void {
    if (!this.isBusy) this.#leave()
  }

  /** Says that nothing more comes, and gives the client a moment to take what has come, and to close. */
  #leave(): void {
    this.#saidLastWord = true
    this.#since = 0
    this.socket.end()
  }

  /**
   * What came in is not HTTP, or not in time. Says so, in turn: a client that has requests waiting would take an answer
   * written at once for the answer to the first of them. False when that was done before.
   */
  condemn(problem: Problem): boolean {
    if (this.#condemned) return false
    this.#condemned = true
    const { latest } = this
    if (latest === null || !this.isBusy) {
      this.#sayLastWord(problem)
    } else if (latest.req.complete) {
      latest.once('finish', () => this.#sayLastWord(problem))
    } else {
      this.#failBody(latest.req, problem)
    }
    return true
  }

  #sayLastWord(problem: Problem): void {
    this.#saidLastWord = true
    this.#since = 0
    if (this.socket.writable) this.socket.end(rawAnswer(problem), 'utf8')
  }
}
