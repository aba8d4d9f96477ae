import type { ServerResponse } from 'node:http'
import { endEarly } from '../http/answer.ts'
import type { HttpRequest } from '../http/http-request.ts'
import type { Problem } from '../http/problem.ts'
import { NdjsonPublish, type RequestFields } from './ndjson-publish.ts'
import type { PublishContext } from './publish-request.ts'
import { drainingProblem, overloadedProblem } from './refusal.ts'

/**
 * NDJSON in a body that ends when it likes. The status, 200, goes out at once and says nothing of the lines; each has its result as
 * soon as it is on stable storage. A client that does not take its results is not read from either.
 */
export class StreamedNdjson extends NdjsonPublish {
  protected override readonly isEager = true
  protected override readonly linesMax = Infinity
  #clogged = false
  /** Something came or went since the last sweep. */
  #stirred = true
  #idleSince = 0
  readonly #whenOver: (stream: StreamedNdjson) => void

  constructor(
    context: PublishContext,
    request: HttpRequest,
    response: ServerResponse,
    shared: RequestFields,
    whenOver: (stream: StreamedNdjson) => void,
  ) {
    super(context, request, response, shared)
    this.#whenOver = whenOver
  }

  start(): void {
    const refusal = this.refusal() ?? (this.context.admission.isFull ? overloadedProblem : null)
    if (refusal !== null) {
      this.abandon()
      this.refuse(refusal)
      return
    }
    this.request.endless = true
    // In this order: a client that waits for `100 Continue` must get it before the head.
    this.begin()
    this.response.writeHead(200, ['Content-Type', 'application/x-ndjson', 'Cache-Control', 'no-store'])
    this.response.flushHeaders()
  }

  /** Called every now and then: ends the stream when nothing came or went for too long. */
  sweep(now: number): void {
    if (this.#stirred || this.isAppending) {
      this.#stirred = false
      this.#idleSince = now
    } else if (now - this.#idleSince >= this.context.options.streamIdleTimeout) {
      // A client that takes nothing can't be told anything either.
      if (this.#clogged) this.response.destroy()
      else this.stop(this.#idleProblem)
    }
  }

  /** Ends the stream: what came in is taken and told, and nothing after it. */
  drain(): void {
    this.stop(drainingProblem)
  }

  override onBodyChunk(chunk: Buffer): boolean {
    this.#stirred = true
    return super.onBodyChunk(chunk)
  }

  protected override abandon(): void {
    super.abandon()
    this.#whenOver(this)
  }

  protected override get isClogged(): boolean {
    return this.#clogged
  }

  protected override tell(results: string): void {
    this.#stirred = true
    if (this.response.write(results)) return
    this.#clogged = true
    this.response.once('drain', () => {
      this.#stirred = true
      this.#clogged = false
      this.pump()
    })
  }

  protected override onFailure(problem: Problem): void {
    this.stop(problem)
  }

  protected override onBroken(problem: Problem): void {
    this.stop(problem)
  }

  protected override end(_lineCount: number, _acceptedCount: number, rest: Problem | null): void {
    if (rest !== null) this.context.observer?.refused(rest.code)
    endEarly(this.request, this.response)
  }

  get #idleProblem(): Problem {
    const seconds = this.context.options.streamIdleTimeout / 1000
    return { code: 'stream_idle', detail: `Nothing came for ${seconds} s (publish.streamIdleTimeout).` }
  }
}
