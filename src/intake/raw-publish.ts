import type { ServerResponse } from 'node:http'
import { acceptBody } from '../http/answer.ts'
import type { BodySink, HttpRequest } from '../http/http-request.ts'
import type { Problem } from '../http/problem.ts'
import { formatMessageId } from '../message/message-id.ts'
import { requestOverheadBytes } from './admission.ts'
import type { Waiter } from './appender.ts'
import { GrowingBuffer } from './growing-buffer.ts'
import type { PublishHead } from './publish-head.ts'
import { PublishRequest, type PublishContext } from './publish-request.ts'
import { appendProblem, overloadedProblem, Refusal } from './refusal.ts'

const emptyBody = Buffer.alloc(0)

/**
 * A request whose body is the value of one message. This is the path on which speed is decided: one object a request, no
 * promise and no timer of its own, one write.
 */
export class RawPublish extends PublishRequest implements BodySink, Waiter {
  readonly #topic: string
  readonly #head: PublishHead
  /** Room taken for this request. */
  #reserved = 0
  /** The body, when it came in one piece. */
  #whole: Buffer | null = null
  #pieces: GrowingBuffer | null = null

  constructor(
    context: PublishContext,
    request: HttpRequest,
    response: ServerResponse,
    topic: string,
    head: PublishHead,
  ) {
    super(context, request, response)
    this.#topic = topic
    this.#head = head
  }

  start(): void {
    const { contentLength } = this.#head
    const { options, sink } = this.context
    const { bodyBytesMax } = options
    const refusal = sink.refusal(this.#topic, this.#head.isLowPriority)
    if (contentLength !== null && contentLength > bodyBytesMax) this.refuse(tooLarge(bodyBytesMax))
    else if (refusal !== null) this.refuse(appendProblem(refusal))
    else if (this.#reserve(requestOverheadBytes + (contentLength ?? 0))) acceptBody(this.request, this.response, this)
    else this.refuse(overloadedProblem)
  }

  onBodyChunk(chunk: Buffer): boolean {
    if (this.#head.contentLength === null) {
      // Only now is it known how much comes.
      const { bodyBytesMax } = this.context.options
      if (this.#bodyBytes + chunk.length > bodyBytesMax) this.#giveUp(tooLarge(bodyBytesMax))
      else if (this.#reserve(chunk.length)) this.#keep(chunk)
      else this.#giveUp(overloadedProblem)
    } else {
      this.#keep(chunk)
    }
    return true
  }

  #keep(chunk: Buffer): void {
    if (this.#whole === null && this.#pieces === null) {
      this.#whole = chunk
      return
    }
    this.#pieces ??= new GrowingBuffer(this.#head.contentLength ?? this.context.options.bodyBytesMax)
    if (this.#whole !== null) this.#pieces.add(this.#whole)
    this.#whole = null
    this.#pieces.add(chunk)
  }

  onBodyEnd(): void {
    const head = this.#head
    this.context.appender.add(
      {
        topic: this.#topic,
        partition: head.partition,
        key: head.key,
        value: this.#whole ?? this.#pieces?.take() ?? emptyBody,
        headers: head.headers,
        timestamp: head.timestamp,
        acceptedAt: this.context.clock.now(),
        producer: head.producer,
        contentType: head.contentType,
        traceparent: head.traceparent,
        tracestate: head.tracestate,
        idempotencyKey: head.idempotencyKey,
      },
      this,
    )
  }

  onBodyFailed(problem: Problem | null): void {
    if (problem === null) this.#release()
    else this.#giveUp(problem)
  }

  onAppended(seq: number): void {
    const { observer, appender } = this.context
    if (observer !== null) observer.accepted(1, this.#bodyBytes)
    this.#release()
    const id = formatMessageId(appender.journalId, seq)
    const body = `{"id":"${id}"}`
    const { response } = this
    response.writeHead(202, [
      'Content-Type',
      'application/json',
      'Content-Length',
      String(body.length),
      'Location',
      `/messages/${id}`,
    ])
    response.end(body, 'latin1')
    this.answered(202)
  }

  onAppendFailed(error: unknown): void {
    const problem = appendProblem(error)
    if (problem.code === 'internal') this.context.observer?.failed(error)
    this.#giveUp(problem)
  }

  get #bodyBytes(): number {
    return this.#reserved - requestOverheadBytes
  }

  #giveUp(problem: Problem): void {
    this.#release()
    this.refuse(problem)
  }

  #reserve(bytes: number): boolean {
    if (!this.context.admission.reserve(bytes)) return false
    this.#reserved += bytes
    return true
  }

  #release(): void {
    this.context.admission.release(this.#reserved)
    this.#reserved = 0
    this.#whole = null
    this.#pieces = null
  }
}

function tooLarge(bodyBytesMax: number): Problem {
  return new Refusal('body_too_large', `A message has at most ${bodyBytesMax} bytes (publish.bodyBytesMax).`).problem
}
