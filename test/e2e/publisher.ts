import { Agent, request, type OutgoingHttpHeaders } from 'node:http'
import type { PublishTarget } from './program.ts'

export interface Answer {
  readonly status: number
  readonly body: string
  /** Whether the body came to its end; when not, the program went away in the middle. */
  readonly isComplete: boolean
  /** From sending the request to the end of the answer. */
  readonly ms: number
}

export interface PublishRequest {
  readonly topic: string
  readonly headers: OutgoingHttpHeaders
  readonly body: Buffer | string
  /** Sends the body in pieces and without saying its length. */
  readonly chunked?: boolean
}

/** Publishes by plain HTTP on kept connections, as an application would. */
export class Publisher {
  readonly #target: PublishTarget
  readonly #agent: Agent
  readonly #timeoutMs: number

  constructor(target: PublishTarget, options: { connections?: number; timeoutMs?: number } = {}) {
    this.#target = target
    this.#agent = new Agent({ keepAlive: true, maxSockets: options.connections ?? Infinity })
    this.#timeoutMs = options.timeoutMs ?? 30_000
  }

  /** Rejects when there was no answer at all. */
  publish({ topic, headers, body, chunked = false }: PublishRequest): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const begun = performance.now()
      const sending = request(
        {
          ...this.#target,
          agent: this.#agent,
          method: 'POST',
          path: `/topics/${topic}`,
          headers: chunked ? headers : { ...headers, 'Content-Length': Buffer.byteLength(body) },
          timeout: this.#timeoutMs,
        },
        (response) => {
          let text = ''
          response.setEncoding('utf8')
          response.on('data', (piece: string) => {
            text += piece
          })
          // Node says that an answer was cut off by an error and by `complete`; the latter is enough.
          response.on('error', () => {})
          response.on('close', () => {
            const { statusCode: status = 0, complete: isComplete } = response
            resolve({ status, body: text, isComplete, ms: performance.now() - begun })
          })
        },
      )
      sending.on('timeout', () => sending.destroy(new Error(`no answer within ${this.#timeoutMs} ms`)))
      sending.on('error', reject)
      if (chunked) {
        const half = Math.floor(body.length / 2)
        sending.write(body.slice(0, half))
        sending.end(body.slice(half))
      } else {
        sending.end(body)
      }
    })
  }

  /** Ends its connections. */
  close(): void {
    this.#agent.destroy()
  }
}
