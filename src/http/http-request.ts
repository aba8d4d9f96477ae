// The methods that a Readable has for those who extend it begin with an underscore.
// oxlint-disable no-underscore-dangle
import { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { HttpConnection } from './http-connection.ts'
import type { Problem } from './problem.ts'

/** Takes a request's body as it comes in, without a stream between. */
export interface BodySink {
  /** The chunk is the sink's to keep. Returning false stops the flow until `resumeBody`; the chunk counts as taken. */
  onBodyChunk(chunk: Buffer): boolean
  /** The body has come in whole. */
  onBodyEnd(): void
  /** The rest will never come: the client is gone (null), or sent something that is not HTTP, or was too slow. */
  onBodyFailed(problem: Problem | null): void
}

const discard: BodySink = { onBodyChunk: () => true, onBodyEnd() {}, onBodyFailed() {} }

/**
 * A request whose body can go straight from the parser to a `BodySink`. Node's parser hands the body over by calling
 * `push`; a Readable would queue each chunk, and take two turns of the event loop and half a dozen events to give it back,
 * which costs as much as everything else that is done for a small message. Until `bodyTo` is called it is an ordinary
 * `IncomingMessage`.
 */
export class HttpRequest extends IncomingMessage {
  /** What it came on, once the listener has it. */
  peer: HttpConnection | null = null
  /** The client waits for `100 Continue` before it sends the body (RFC 9110, 10.1.1). */
  expectsContinue = false
  /** Its body may take as long as it likes: whoever reads it has a limit of their own. */
  endless = false
  /** The rest of its body will never come. */
  bodyFailed = false
  /** When the listener first saw its body unfinished, in monotonic milliseconds; 0 before. */
  firstSweptAt = 0
  /** Its sink has stopped the flow: it is not the client that takes its time. */
  isHeld = false
  #sink: BodySink | null = null

  // Spelled out, because Node calls it with a socket only.
  // oxlint-disable-next-line no-useless-constructor
  constructor(socket: Socket) {
    super(socket)
  }

  /** Takes the body away from the stream. To be called at once when the request comes, or never. */
  bodyTo(sink: BodySink): void {
    this.#sink = sink
    // Tells Node that the body has a reader, so that it does not resume the stream to empty it.
    this._read(0)
  }

  /** Whether `bodyTo` was called. */
  get hasSink(): boolean {
    return this.#sink !== null
  }

  /** Reads the rest of the body and forgets it. */
  discardBody(): void {
    if (this.#sink === null) this.bodyTo(discard)
    else this.#sink = discard
    this.resumeBody()
  }

  resumeBody(): void {
    this.isHeld = false
    this._read(0)
  }

  /** Ends the wait for the rest of the body, which will not come. */
  failBody(problem: Problem | null): void {
    const sink = this.#sink
    if (this.complete || this.bodyFailed) return
    this.bodyFailed = true
    if (sink === null) return
    this.#sink = discard
    sink.onBodyFailed(problem)
  }

  override push(chunk: unknown, encoding?: BufferEncoding): boolean {
    const sink = this.#sink
    if (sink === null) return super.push(chunk, encoding)
    if (chunk !== null) {
      const flows = sink.onBodyChunk(chunk as Buffer)
      if (!flows) this.isHeld = true
      return flows
    }
    this.#sink = discard
    sink.onBodyEnd()
    return true
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.failBody(null)
    super._destroy(error, callback)
  }
}

// A body that went to a sink has ended when it is complete; without this Node waits for the stream's `end`, and keeps the
// request alive until then. (A property in Node's types, so a class can't override it as an accessor.)
const readableEnded = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(IncomingMessage.prototype), 'readableEnded')
Object.defineProperty(HttpRequest.prototype, 'readableEnded', {
  configurable: true,
  get(this: HttpRequest): boolean {
    return this.hasSink ? this.complete : (readableEnded?.get?.call(this) as boolean)
  },
})
