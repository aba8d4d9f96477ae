import type { ServerResponse } from 'node:http'
import type { Clock } from '../base/clock.ts'
import type { ListenAddress } from '../base/listen-address.ts'
import { refuse } from '../http/answer.ts'
import { HttpListener } from '../http/http-listener.ts'
import type { HttpRequest } from '../http/http-request.ts'
import type { Problem } from '../http/problem.ts'
import { Admission } from './admission.ts'
import { Appender } from './appender.ts'
import { CountedNdjson } from './counted-ndjson.ts'
import { bodyFormat } from './media-type.ts'
import { MessageLookup } from './message-lookup.ts'
import type { FateSource, IntakeObserver, IntakeOptions, MessageSink } from './ports.ts'
import { PublishHead, unknownParameter } from './publish-head.ts'
import type { PublishContext } from './publish-request.ts'
import { isPublishPath, readPublishPath } from './publish-target.ts'
import { RawPublish } from './raw-publish.ts'
import { drainingProblem, Refusal } from './refusal.ts'
import { StreamedNdjson } from './streamed-ndjson.ts'

const messagesPath = '/messages/'
/** What clients send of their own accord: Host, User-Agent, Accept and the like. */
const otherHeadersMax = 64

/**
 * Accepts messages by HTTP, on several listeners at once: `POST /topics/{topic}`, `POST /topics/{topic}/partitions/{n}`, and
 * `GET /messages/{id}`. A message is answered when the sink has it on stable storage.
 */
export class Intake {
  readonly #context: PublishContext
  readonly #lookup: MessageLookup
  readonly #listeners: readonly HttpListener[]
  readonly #streams = new Set<StreamedNdjson>()
  #sweepTimer: NodeJS.Timeout | undefined
  #draining = false

  constructor(
    sink: MessageSink,
    fates: FateSource,
    clock: Clock,
    observer: IntakeObserver | null,
    options: IntakeOptions,
  ) {
    const appender = new Appender(sink, clock)
    this.#context = { sink, appender, admission: new Admission(options.pendingBytesMax), clock, observer, options }
    this.#lookup = new MessageLookup(fates, observer)
    const serve = (request: HttpRequest, response: ServerResponse): void => this.#serve(request, response)
    const listenerOptions = { ...options, headersMax: options.headersMax + otherHeadersMax }
    this.#listeners = options.listen.map(
      (address) => new HttpListener(address, serve, clock, observer, listenerOptions),
    )
  }

  /** The addresses that are really bound, once `start` has resolved. */
  get addresses(): readonly ListenAddress[] {
    return this.#listeners.map((listener) => listener.address)
  }

  get connectionCount(): number {
    return this.#listeners.reduce((sum, listener) => sum + listener.connectionCount, 0)
  }

  get streamCount(): number {
    return this.#streams.size
  }

  /** Bytes of messages that are in memory and not yet on disk. */
  get pendingBytes(): number {
    return this.#context.admission.bytes
  }

  /** Binds all addresses; when one can't be bound, none is, and it rejects with a `ListenError`. */
  async start(): Promise<void> {
    try {
      for (const listener of this.#listeners) await listener.start()
    } catch (error) {
      await this.destroy()
      throw error
    }
    const { streamIdleTimeout } = this.#context.options
    this.#sweepTimer = setInterval(() => this.#sweepStreams(), Math.max(10, Math.min(1000, streamIdleTimeout / 4)))
    this.#sweepTimer.unref()
  }

  /**
   * Stops listening, lets requests be answered, ends streams after what they have sent, and resolves when all connections
   * are gone. The sink must take messages until then.
   */
  async close(): Promise<void> {
    this.#draining = true
    for (const stream of this.#streams) stream.drain()
    this.#context.appender.close()
    await Promise.all(this.#listeners.map((listener) => listener.close()))
    clearInterval(this.#sweepTimer)
  }

  /** Refuses what has not come in whole. To be called while `close` waits. */
  refuseUnfinished(): void {
    for (const listener of this.#listeners) listener.refuseUnfinished(drainingProblem)
  }

  /** Ends all connections now. What was appended stays appended, though nobody is told. Idempotent. */
  async destroy(): Promise<void> {
    this.#draining = true
    clearInterval(this.#sweepTimer)
    this.#context.appender.close()
    await Promise.all(this.#listeners.map((listener) => listener.destroy()))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #serve(request: HttpRequest, response: ServerResponse): void {
    const url = request.url as string
    const queryAt = url.indexOf('?')
    const path = queryAt < 0 ? url : url.slice(0, queryAt)
    const query = queryAt < 0 ? '' : url.slice(queryAt + 1)
    try {
      if (isPublishPath(path)) this.#publish(request, response, path, query)
      else if (isMessagePath(path)) this.#find(request, response, path, query)
      else this.#refuse(request, response, { code: 'not_found', detail: `There is nothing at ${path}.` })
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      this.#refuse(request, response, error.problem)
    }
  }

  #publish(request: HttpRequest, response: ServerResponse, path: string, query: string): void {
    if (request.method !== 'POST') {
      this.#refuse(request, response, wrongMethod(request, 'POST'))
      return
    }
    const { options } = this.#context
    const head = new PublishHead()
    const topic = readPublishPath(path, head)
    head.readHeaders(request.rawHeaders)
    if (query !== '') head.readQuery(query)
    if (head.headers.length > options.headersMax)
      throw new Refusal('too_many_headers', `A message has at most ${options.headersMax} headers.`)
    if (head.contentLength === null && !head.isChunked)
      throw new Refusal(
        'length_required',
        'Send Content-Length, or Transfer-Encoding: chunked. An empty message has Content-Length: 0.',
      )
    if (bodyFormat(head.contentType) === 'raw') new RawPublish(this.#context, request, response, topic, head).start()
    else this.#publishLines(request, response, topic, head)
  }

  #publishLines(request: HttpRequest, response: ServerResponse, topic: string, head: PublishHead): void {
    if (head.key !== null || head.timestamp !== null || head.headers.length > 0)
      throw new Refusal('header_invalid', 'Key, timestamp and headers of NDJSON messages stand in their lines.')
    const shared = {
      topic,
      isLowPriority: head.isLowPriority,
      partition: head.partition,
      producer: head.producer,
      traceparent: head.traceparent,
      tracestate: head.tracestate,
    }
    if (!head.isChunked) {
      new CountedNdjson(this.#context, request, response, shared).start()
      return
    }
    if (this.#draining) {
      this.#refuse(request, response, drainingProblem)
      return
    }
    const whenOver = (over: StreamedNdjson): void => {
      this.#streams.delete(over)
    }
    const stream = new StreamedNdjson(this.#context, request, response, shared, whenOver)
    this.#streams.add(stream)
    stream.start()
  }

  #find(request: HttpRequest, response: ServerResponse, path: string, query: string): void {
    if (request.method !== 'GET' && request.method !== 'HEAD')
      this.#refuse(request, response, wrongMethod(request, 'GET, HEAD'))
    else if (query !== '') throw unknownParameter(query.split(/[=&]/, 1)[0] as string, 'There are none here.')
    else this.#lookup.serve(request, response, path.slice(messagesPath.length))
  }

  #refuse(request: HttpRequest, response: ServerResponse, problem: Problem): void {
    this.#context.observer?.refused(problem.code)
    refuse(request, response, problem)
  }

  #sweepStreams(): void {
    const now = this.#context.clock.monotonic()
    for (const stream of this.#streams) stream.sweep(now)
  }
}

function isMessagePath(path: string): boolean {
  return path.startsWith(messagesPath) && path.length > messagesPath.length && !path.includes('/', messagesPath.length)
}

function wrongMethod(request: HttpRequest, allow: string): Problem {
  return { code: 'method_not_allowed', detail: `${request.method} is not among ${allow}.`, allow }
}
