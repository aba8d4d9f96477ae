import { STATUS_CODES, type ServerResponse } from 'node:http'
import type { BodySink, HttpRequest } from './http-request.ts'
import { problemHeaders, problemJson, statusOf, type Problem } from './problem.ts'

/** Up to here the rest of a refused body is read, so that the connection can be used again. */
const keptBodyBytesMax = 64 * 1024
/** Beyond it, this much is read and forgotten before the connection is closed, for at most so long. */
const lingerBytesMax = 4 * 1024 * 1024
const lingerMs = 1000

/**
 * Answers a request with a problem, at once, even when its body has not come in yet. Closing a connection on a client that
 * is still sending resets it, and most clients then report the reset instead of the answer; so the answer goes out whole,
 * and the body is read and forgotten for a while before the connection ends. To be called before anything was sent.
 */
export function refuse(request: HttpRequest, response: ServerResponse, problem: Problem): void {
  const body = problemJson(problem)
  answer(request, response, statusOf(problem), problemHeaders(problem, body), body)
}

/** As `refuse`, with any answer. `headers` are names and values in turn, among them the body's `Content-Length`. */
export function answer(
  request: HttpRequest,
  response: ServerResponse,
  status: number,
  headers: string[],
  body: string | Buffer,
): void {
  if (request.complete) {
    response.writeHead(status, headers)
    response.end(body)
  } else if (request.bodyFailed || request.expectsContinue) {
    // Nothing more comes: it can't, or the client waits for our word, and this is it.
    response.shouldKeepAlive = false
    response.writeHead(status, headers)
    response.end(body)
  } else {
    const linger = new Linger(request, response)
    response.writeHead(status, headers)
    response.write(body)
    request.bodyTo(linger)
  }
}

/** Has the request's body handed to `sink`; a client that waits for our word before it sends it gets it. */
export function acceptBody(request: HttpRequest, response: ServerResponse, sink: BodySink): void {
  if (request.expectsContinue) {
    request.expectsContinue = false
    response.writeContinue()
  }
  request.bodyTo(sink)
}

/** Ends a response that is already on its way while its request is not: soon, and the connection with it. */
export function endEarly(request: HttpRequest, response: ServerResponse): void {
  const { socket } = response
  response.end()
  if (request.complete || socket === null) return
  request.bodyTo({
    onBodyChunk: () => true,
    onBodyEnd: () => clearTimeout(timer),
    onBodyFailed: () => clearTimeout(timer),
  })
  request.resumeBody()
  const timer = setTimeout(() => socket.destroySoon(), lingerMs)
}

class Linger implements BodySink {
  readonly #response: ServerResponse
  readonly #timer: NodeJS.Timeout | undefined
  #bytesLeft: number

  constructor(request: HttpRequest, response: ServerResponse) {
    this.#response = response
    // Absent for a body that is chunked, or when there is no body at all; then it is complete in no time.
    const length = Number(request.headers['content-length'] ?? 0)
    const chunked = request.headers['transfer-encoding'] !== undefined
    if (length <= keptBodyBytesMax && !chunked) {
      // The listener's time limit for a request holds for what is still to come.
      this.#bytesLeft = length
      return
    }
    response.shouldKeepAlive = false
    this.#bytesLeft = lingerBytesMax
    this.#timer = setTimeout(() => response.end(), lingerMs)
  }

  onBodyChunk(chunk: Buffer): boolean {
    this.#bytesLeft -= chunk.length
    if (this.#bytesLeft < 0) this.onBodyEnd()
    return true
  }

  onBodyEnd(): void {
    clearTimeout(this.#timer)
    this.#response.end()
  }

  onBodyFailed(): void {
    this.onBodyEnd()
  }
}

/** An answer for what Node's parser could make no request of, to be written straight to the socket. */
export function rawAnswer(problem: Problem): string {
  const status = statusOf(problem)
  const body = problemJson(problem)
  let head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\nDate: ${new Date().toUTCString()}\r\nConnection: close\r\n`
  const headers = problemHeaders(problem, body)
  for (let i = 0; i < headers.length; i += 2) head += `${headers[i]}: ${headers[i + 1]}\r\n`
  return `${head}\r\n${body}`
}
