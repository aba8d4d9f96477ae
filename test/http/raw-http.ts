import { connect, type Socket } from 'node:net'
import type { ListenAddress } from '../../src/base/listen-address.ts'

/** An answer as it came over the wire. */
export interface RawAnswer {
  readonly status: number
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>
  readonly body: string
}

/** A connection on which tests write what they like, and read what comes. */
export class RawConnection {
  readonly socket: Socket
  /** How many bytes have come in. */
  receivedBytes = 0
  ended = false
  #chunks: Buffer[] = []
  #wake: () => void = () => {}

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk)
      this.receivedBytes += chunk.length
      this.#wake()
    })
    const end = (): void => {
      this.ended = true
      this.#wake()
    }
    socket.on('end', end)
    socket.on('close', end)
    // A reset is an end as well, as far as these tests go.
    socket.on('error', end)
  }

  static async open(address: ListenAddress, options: { allowHalfOpen?: boolean } = {}): Promise<RawConnection> {
    const { allowHalfOpen = false } = options
    const target = address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port }
    const socket = connect({ ...target, allowHalfOpen, noDelay: true })
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('error', reject)
    })
    return new RawConnection(socket)
  }

  write(bytes: string | Buffer): void {
    this.socket.write(bytes)
  }

  get received(): Buffer {
    const all = Buffer.concat(this.#chunks)
    this.#chunks = [all]
    return all
  }

  get text(): string {
    return this.received.toString('utf8')
  }

  /** Resolves when `done` is true of what came in; rejects when that takes too long. */
  async until(done: () => boolean, what: string, ms = 5000): Promise<void> {
    const deadline = performance.now() + ms
    while (!done()) {
      const left = deadline - performance.now()
      if (left <= 0) throw new Error(`${what} did not come; this did: ${JSON.stringify(this.text.slice(0, 2000))}`)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  /** The answers that have come so far; throws when something else has. */
  get answers(): readonly RawAnswer[] {
    return readAnswers(this.received).answers
  }

  /** Waits for the answer to the request of that number; the first is 0. */
  async answer(index = 0, ms = 5000): Promise<RawAnswer> {
    await this.until(() => this.answers.length > index || this.ended, 'an answer', ms)
    const answer = this.answers[index]
    if (answer === undefined) throw new Error(`the connection ended: ${JSON.stringify(this.text)}`)
    return answer
  }

  /** Waits until the other side has closed. */
  async end(ms = 5000): Promise<void> {
    await this.until(() => this.ended, 'the end of the connection', ms)
  }

  destroy(): void {
    this.socket.destroy()
  }

  [Symbol.dispose](): void {
    this.destroy()
  }
}

/**
 * Takes bytes apart that a server sent, as strictly as RFC 9112 has it: a status line, headers with CRLF, and a body of the
 * length that they say. `rest` is the beginning of an answer that is not complete. Throws when it is anything else.
 */
export function readAnswers(bytes: Buffer): { answers: RawAnswer[]; rest: Buffer } {
  const answers: RawAnswer[] = []
  let rest = bytes
  while (rest.length > 0) {
    const headEnd = rest.indexOf('\r\n\r\n')
    if (headEnd < 0) {
      if (!'HTTP/1.1 '.startsWith(rest.toString('latin1', 0, Math.min(9, rest.length))))
        throw new Error(`not an answer: ${JSON.stringify(rest.toString('latin1', 0, 200))}`)
      break
    }
    const [statusLine = '', ...lines] = rest.toString('latin1', 0, headEnd).split('\r\n')
    const match = /^HTTP\/1\.1 ([1-5][0-9][0-9]) [ -~’]*$/.exec(statusLine)
    if (match === null) throw new Error(`not a status line: ${JSON.stringify(statusLine)}`)
    const headers = new Map<string, string>()
    for (const line of lines) {
      const header = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\t -~\x80-\xff]*)$/.exec(line)
      if (header === null) throw new Error(`not a header: ${JSON.stringify(line)}`)
      const name = (header[1] as string).toLowerCase()
      if (headers.has(name)) throw new Error(`${name} is there twice`)
      headers.set(name, header[2] as string)
    }
    const status = Number(match[1])
    const body = status < 200 ? { text: '', bytes: 0 } : readBody(rest.subarray(headEnd + 4), headers)
    if (body === null) break
    if (status >= 200) answers.push({ status, headers, body: body.text })
    rest = rest.subarray(headEnd + 4 + body.bytes)
  }
  return { answers, rest }
}

function readBody(bytes: Buffer, headers: ReadonlyMap<string, string>): { text: string; bytes: number } | null {
  if (headers.get('transfer-encoding') === 'chunked') return readChunks(bytes)
  // To a client of HTTP/1.0 a body without a length ends with the connection (RFC 9112, 6.3).
  if (!headers.has('content-length') && headers.get('connection') === 'close')
    return { text: bytes.toString('utf8'), bytes: bytes.length }
  const length = Number(headers.get('content-length') ?? Number.NaN)
  if (!Number.isInteger(length)) throw new Error('an answer without the length of its body')
  return bytes.length < length ? null : { text: bytes.toString('utf8', 0, length), bytes: length }
}

function readChunks(bytes: Buffer): { text: string; bytes: number } | null {
  const chunks: Buffer[] = []
  for (let at = 0; ;) {
    const end = bytes.indexOf('\r\n', at)
    if (end < 0) return null
    const size = bytes.toString('latin1', at, end)
    if (!/^[0-9a-f]+$/i.test(size)) throw new Error(`not the size of a chunk: ${JSON.stringify(size)}`)
    const length = Number.parseInt(size, 16)
    const next = end + 2 + length
    if (bytes.length < next + 2) return null
    if (bytes.toString('latin1', next, next + 2) !== '\r\n') throw new Error('a chunk does not end in CRLF')
    if (length === 0) return { text: Buffer.concat(chunks).toString('utf8'), bytes: next + 2 }
    chunks.push(bytes.subarray(end + 2, next))
    at = next + 2
  }
}

/** The body of a chunked message, chunk by chunk, without its end. */
export function chunked(...chunks: (string | Buffer)[]): Buffer {
  return Buffer.concat(
    chunks.flatMap((chunk) => [
      Buffer.from(`${Buffer.byteLength(chunk).toString(16)}\r\n`),
      Buffer.from(chunk as string),
      Buffer.from('\r\n'),
    ]),
  )
}
export const chunkedEnd = '0\r\n\r\n'
