import { createServer, type Server, type ServerResponse } from 'node:http'
import { Server as NetServer, type Socket } from 'node:net'
import type { Clock } from '../base/clock.ts'
import { codeOf, messageOf } from '../base/errors.ts'
import type { ListenAddress } from '../base/listen-address.ts'
import { anyHostCheck, isLoopback, loopbackHostCheck, type HostCheck } from './host-check.ts'
import { HttpConnection } from './http-connection.ts'
import { HttpRequest } from './http-request.ts'
import { ListenError } from './listen-error.ts'
import type { ProblemCode } from './problem-codes.ts'
import type { Problem } from './problem.ts'
import { refuse } from './answer.ts'
import { RequestGuard } from './request-guard.ts'
import { UnixSocketFile } from './unix-socket.ts'

/**
 * Answers a request, now or later. A handler that wants the body must say so before it returns (`request.bodyTo`, or a
 * listener for `data`). It must not throw: what it throws is a bug, and ends the process.
 */
export type HttpHandler = (request: HttpRequest, response: ServerResponse<HttpRequest>) => void

/** What a listener tells of what never reaches its handler. */
export interface HttpObserver {
  /** A request was refused before its handler saw it. */
  refused(code: ProblemCode): void
  /** A connection was closed unheard: there were `connectionsMax` already, or the process is out of descriptors. */
  dropped(): void
}

/** All times in milliseconds. */
export interface HttpListenerOptions {
  /** Permissions of a Unix socket. */
  readonly socketMode: number
  /** Names that `Host` may carry on a loopback listener, beside loopback's own. */
  readonly allowedHosts: readonly string[]
  /** Most headers of a request; beyond it 431. */
  readonly headersMax: number
  /** Largest head of a request; beyond it 431. */
  readonly headerBytesMax: number
  readonly connectionsMax: number
  /** Time for the head of a request; beyond it 408. */
  readonly headersTimeout: number
  /** Time for the body of a request, unless its handler made it `endless`; beyond it 408. */
  readonly requestTimeout: number
  /** How long a connection may be idle between two requests. */
  readonly keepAliveTimeout: number
}

type State = 'new' | 'open' | 'draining' | 'closed'

/** Serves HTTP/1.1 on one address, within limits, and answers what is not HTTP. */
export class HttpListener {
  readonly #wanted: ListenAddress
  readonly #handler: HttpHandler
  readonly #clock: Clock
  readonly #observer: HttpObserver | null
  readonly #options: HttpListenerOptions
  readonly #guard: RequestGuard
  readonly #server: Server<typeof HttpRequest>
  readonly #connections = new Map<Socket, HttpConnection>()
  readonly #sweepMs: number
  #sweepTimer: NodeJS.Timeout | undefined
  #state: State = 'new'
  #address: ListenAddress
  #socketFile: UnixSocketFile | null = null
  #closing: Promise<void> | null = null

  constructor(
    address: ListenAddress,
    handler: HttpHandler,
    clock: Clock,
    observer: HttpObserver | null,
    options: HttpListenerOptions,
  ) {
    this.#wanted = address
    this.#address = address
    this.#handler = handler
    this.#clock = clock
    this.#observer = observer
    this.#options = options
    this.#guard = new RequestGuard(hostCheckFor(address, options), options)
    // Limits are kept to within a quarter, and seldom worth more than a look a second.
    const shortest = Math.min(options.headersTimeout, options.requestTimeout, options.keepAliveTimeout)
    this.#sweepMs = Math.max(10, Math.min(1000, Math.floor(shortest / 4)))
    this.#server = this.#createServer()
  }

  /** The address that is really bound, once `start` has resolved: with the port that port 0 became. */
  get address(): ListenAddress {
    return this.#address
  }

  get connectionCount(): number {
    return this.#connections.size
  }

  /** Binds the address and serves. Rejects with a `ListenError`. */
  async start(): Promise<void> {
    if (this.#state !== 'new') throw new Error('a listener starts once')
    this.#state = 'open'
    await this.#bind()
    // accept(2) failed, as it does when the process is out of file descriptors.
    this.#server.on('error', () => this.#observer?.dropped())
    this.#sweepTimer = setInterval(() => this.#sweep(), this.#sweepMs)
    this.#sweepTimer.unref()
  }

  /**
   * Stops accepting connections, lets the requests that are under way be answered, and then ends the idle connections.
   * A request that still comes on an open connection is served as any other: refusing it would save nothing, and its
   * sender would have to find another way. Every answer says `Connection: close`. Resolves when all connections are gone.
   */
  close(): Promise<void> {
    this.#closing ??= this.#drain()
    return this.#closing
  }

  /** Refuses the requests whose bodies have not come in whole, where there is somebody to tell it to, and ends their connections. */
  refuseUnfinished(problem: Problem): void {
    for (const connection of this.#connections.values()) connection.refuseUnfinished(problem)
  }

  /** Ends everything now. Idempotent; may be called while `close` waits. */
  async destroy(): Promise<void> {
    for (const { socket } of this.#connections.values()) socket.destroy()
    await this.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #createServer(): Server<typeof HttpRequest> {
    const options = this.#options
    const server = createServer({
      IncomingMessage: HttpRequest,
      maxHeaderSize: options.headerBytesMax,
      headersTimeout: options.headersTimeout,
      connectionsCheckingInterval: this.#sweepMs,
      // Ours, because they know of endless bodies, and of connections instead of timers.
      requestTimeout: 0,
      keepAliveTimeout: 0,
      // Ours, so that it is answered like any other problem.
      requireHostHeader: false,
    })
    // Node would drop the headers above its own limit without a word, among them perhaps those of a message.
    server.maxHeadersCount = 0
    server.maxConnections = options.connectionsMax
    // A client may say that it sends nothing more, and wait for the answer (shutdown(2), `nc -N`). Not in Node's types.
    ;(server as unknown as { httpAllowHalfOpen: boolean }).httpAllowHalfOpen = true

    server.on('connection', (socket) => {
      const connection = new HttpConnection(socket)
      this.#connections.set(socket, connection)
      socket.once('close', () => {
        this.#connections.delete(socket)
        connection.gone()
        if (this.#state === 'draining') this.#endIdleWhenQuiet()
      })
    })
    server.on('request', (request, response) => this.#serve(request, response))
    server.on('checkContinue', (request, response) => {
      request.expectsContinue = true
      this.#serve(request, response)
    })
    server.on('checkExpectation', (request, response) => {
      if (this.#connections.get(request.socket)?.begin(response) !== true) return
      this.#refuse(request, response, { code: 'expectation_failed', detail: 'Only “100-continue” can be expected.' })
    })
    server.on('connect', (_request, socket) => this.#refuseTunnel(socket as Socket))
    server.on('clientError', (error, socket) => this.#onClientError(error, socket as Socket))
    server.on('drop', () => this.#observer?.dropped())
    return server
  }

  async #bind(): Promise<void> {
    const wanted = this.#wanted
    try {
      if (wanted.kind === 'unix') {
        this.#socketFile = await UnixSocketFile.bind(this.#server, wanted.path, this.#options.socketMode)
        return
      }
      await new Promise<void>((resolve, reject) => {
        this.#server.once('error', reject)
        this.#server.listen({ host: wanted.host, port: wanted.port }, () => {
          this.#server.removeListener('error', reject)
          resolve()
        })
      })
      const bound = this.#server.address()
      if (bound !== null && typeof bound !== 'string') this.#address = { ...wanted, port: bound.port }
    } catch (error) {
      this.#state = 'closed'
      this.#server.close()
      throw error instanceof ListenError ? error : listenError(wanted, error)
    }
  }

  #serve(request: HttpRequest, response: ServerResponse<HttpRequest>): void {
    const connection = this.#connections.get(request.socket)
    if (connection === undefined || !connection.begin(response)) return
    request.peer = connection
    if (this.#state !== 'open') this.#endAfter(connection)
    const problem = this.#guard.check(request, connection)
    if (problem === null) this.#handler(request, response)
    else this.#refuse(request, response, problem)
  }

  #refuse(request: HttpRequest, response: ServerResponse<HttpRequest>, problem: Problem): void {
    this.#observer?.refused(problem.code)
    refuse(request, response, problem)
  }

  #refuseTunnel(socket: Socket): void {
    const problem: Problem = {
      code: 'method_not_allowed',
      detail: 'Outrigger is not a proxy.',
      allow: 'POST, GET, HEAD',
    }
    // Node has let go of the connection: of its errors, and of reading from it.
    socket.on('error', () => socket.destroy())
    socket.resume()
    this.#condemn(socket, problem)
  }

  #onClientError(error: Error, socket: Socket): void {
    const problem = problemOf(error, this.#options)
    if (problem === null) socket.destroy()
    else this.#condemn(socket, problem)
  }

  #condemn(socket: Socket, problem: Problem): void {
    const connection = this.#connections.get(socket)
    if (connection === undefined) socket.destroy()
    else if (connection.condemn(problem)) this.#observer?.refused(problem.code)
  }

  #sweep(): void {
    const now = this.#clock.monotonic()
    for (const connection of this.#connections.values()) connection.sweep(now, this.#options)
  }

  async #drain(): Promise<void> {
    const state = this.#state
    this.#state = 'draining'
    if (state === 'open') {
      const gone = new Promise<void>((resolve) => this.#server.once('close', () => resolve()))
      // Not http.Server's own `close`, which cuts the idle connections off before the busy ones are done.
      NetServer.prototype.close.call(this.#server)
      await this.#socketFile?.remove()
      for (const connection of this.#connections.values()) this.#endAfter(connection)
      this.#endIdleWhenQuiet()
      await gone
      // Their own `close` may be still to come.
      this.#connections.clear()
      // Ends Node's own sweep.
      this.#server.close()
    }
    clearInterval(this.#sweepTimer)
    this.#state = 'closed'
  }

  #endAfter(connection: HttpConnection): void {
    connection.endAfterAnswer()
    connection.latest?.once('finish', () => this.#endIdleWhenQuiet())
  }

  #endIdleWhenQuiet(): void {
    const connections = [...this.#connections.values()]
    if (connections.some((connection) => connection.isBusy)) return
    for (const connection of connections) connection.endIdle()
  }
}

function hostCheckFor(address: ListenAddress, options: HttpListenerOptions): HostCheck | null {
  if (address.kind === 'unix') return null
  return isLoopback(address.host) ? loopbackHostCheck(address.host, options.allowedHosts) : anyHostCheck
}

/** What to answer to an error of Node's parser, or null: the connection is broken. */
function problemOf(error: Error, options: HttpListenerOptions): Problem | null {
  const code = codeOf(error) ?? ''
  if (code === 'HPE_HEADER_OVERFLOW')
    return { code: 'head_too_large', detail: `A request’s head has at most ${options.headerBytesMax} bytes.` }
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT')
    return {
      code: 'request_timeout',
      detail: `The head of the request was not complete after ${options.headersTimeout / 1000} s.`,
    }
  if (code.startsWith('HPE_')) return { code: 'malformed_http', detail: `${messageOf(error)}.` }
  return null
}

function listenError(address: ListenAddress, cause: unknown): ListenError {
  const reason = codeOf(cause) ?? 'unknown'
  const where = address.kind === 'unix' ? `unix:${address.path}` : `${address.host}:${address.port}`
  const hints: Readonly<Record<string, string>> = {
    EADDRINUSE: 'Another process listens there. Stop it, or choose another port.',
    EADDRNOTAVAIL: 'This machine does not have that address.',
    EACCES: 'This user may not listen there.',
    ENOTFOUND: 'The host name is not known.',
  }
  return new ListenError(reason, `${where}: ${messageOf(cause)}`, { cause, hint: hints[reason] ?? '' })
}
