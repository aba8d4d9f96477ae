import type { ServerResponse } from 'node:http'
import type { HttpHandler } from '../http/http-listener.ts'
import type { HttpRequest } from '../http/http-request.ts'
import type { Problem } from '../http/problem.ts'
import { answer, refuse } from '../http/answer.ts'
import type { DeadLetterSummary } from './status.ts'

/** What the operator's listener shows. */
export interface AdminSource {
  /** What keeps Outrigger from accepting messages, in words; empty when it accepts. Brokers that are away don't count. */
  readiness(): readonly string[]
  metrics(): Promise<string>
  status(): Promise<object>
  deadLetters(query: { after: number; limit: number }): Promise<readonly DeadLetterSummary[]>
}

interface Reply {
  readonly status: number
  readonly type: string
  readonly body: string
}

const deadLettersShown = 100
const deadLettersShownMax = 1000

/** The routes of the operator's listener: all of them only show. `failed` is told why something could not be shown. */
export function adminApi(source: AdminSource, failed: (error: unknown) => void): HttpHandler {
  const routes = new Map<string, (parameters: URLSearchParams) => Reply | Problem | Promise<Reply | Problem>>([
    ['/livez', () => text(200, 'ok\n')],
    [
      '/readyz',
      () => {
        const obstacles = source.readiness()
        return obstacles.length === 0 ? text(200, 'ready\n') : text(503, obstacles.map((line) => `${line}\n`).join(''))
      },
    ],
    ['/metrics', async () => ({ status: 200, type: metricsType, body: await source.metrics() })],
    ['/status', async () => json(await source.status())],
    ['/dead-letters', (parameters) => showDeadLetters(source, parameters)],
  ])
  return (request, response) => {
    const [path = '', query = ''] = (request.url ?? '').split('?', 2)
    const route = routes.get(path)
    if (route === undefined) {
      const detail = `There is nothing at ${path}; there is ${[...routes.keys()].join(', ')}.`
      refuse(request, response, { code: 'not_found', detail })
    } else if (request.method !== 'GET' && request.method !== 'HEAD') {
      const detail = `${path} can only be read.`
      refuse(request, response, { code: 'method_not_allowed', detail, allow: 'GET, HEAD' })
    } else {
      show(request, response, async () => route(new URLSearchParams(query)), failed)
    }
  }
}

const metricsType = 'text/plain; version=0.0.4; charset=utf-8'

function show(
  request: HttpRequest,
  response: ServerResponse<HttpRequest>,
  make: () => Promise<Reply | Problem>,
  failed: (error: unknown) => void,
): void {
  make().then(
    (reply) => {
      if ('code' in reply) {
        refuse(request, response, reply)
        return
      }
      const length = String(Buffer.byteLength(reply.body))
      const headers = ['Content-Type', reply.type, 'Content-Length', length, 'Cache-Control', 'no-store']
      answer(request, response, reply.status, headers, request.method === 'HEAD' ? '' : reply.body)
    },
    (error: unknown) => {
      failed(error)
      refuse(request, response, { code: 'internal', detail: 'This can’t be shown now; the log says why.' })
    },
  )
}

async function showDeadLetters(source: AdminSource, parameters: URLSearchParams): Promise<Reply | Problem> {
  const after = wholeNumber(parameters.get('after'), 0, Number.MAX_SAFE_INTEGER)
  const limit = wholeNumber(parameters.get('limit'), deadLettersShown, deadLettersShownMax)
  if (after === null || limit === null) {
    const detail = `“after” is a whole number, and “limit” one up to ${deadLettersShownMax}.`
    return { code: 'parameter_invalid', detail }
  }
  const found = await source.deadLetters({ after, limit })
  const last = found.at(-1)
  return json({
    deadLetters: found.map(({ acceptedAt, diedAt, ...letter }) => ({
      ...letter,
      acceptedAt: new Date(acceptedAt).toISOString(),
      diedAt: new Date(diedAt).toISOString(),
    })),
    // Where the list goes on; null at its end.
    next: last && found.length === limit ? `/dead-letters?after=${last.number}&limit=${limit}` : null,
  })
}

function wholeNumber(given: string | null, fallback: number, max: number): number | null {
  if (given === null) return fallback
  const value = /^[0-9]+$/.test(given) ? Number(given) : Number.NaN
  return value <= max ? value : null
}

function text(status: number, body: string): Reply {
  return { status, type: 'text/plain; charset=utf-8', body }
}

function json(value: unknown): Reply {
  return { status: 200, type: 'application/json', body: `${JSON.stringify(value, null, 2)}\n` }
}
