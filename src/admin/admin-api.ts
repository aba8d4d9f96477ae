import type { ServerResponse } from 'node:http'
import { UnavailableError } from '../base/errors.ts'
import { answer, refuse } from '../http/answer.ts'
import type { HttpHandler } from '../http/http-listener.ts'
import type { HttpRequest } from '../http/http-request.ts'
import type { Problem } from '../http/problem.ts'
import type { LedgerView } from './ledger-api.ts'
import { ledgerPaths, ledgerRoute } from './ledger-api.ts'
import { Query } from './query.ts'
import type { Reply } from './reply.ts'
import { jsonReply, textReply } from './reply.ts'
import type { DeadLetterSummary } from './status.ts'

/** What the operator's listener shows. */
export interface AdminSource {
  /** What only a restart helps against, in words; empty when there is nothing. */
  liveness(): readonly string[]
  /** What keeps Outrigger from accepting messages, in words; empty when it accepts. Brokers that are away don't count. */
  readiness(): readonly string[]
  metrics(): Promise<string>
  status(): Promise<object>
  deadLetters(query: { after: number; limit: number }): Promise<readonly DeadLetterSummary[]>
  readonly ledger: LedgerView
}

const deadLettersShown = 100
const deadLettersShownMax = 1000

/** The routes of the operator's listener: all of them only show. `failed` is told why something could not be shown. */
export function adminApi(source: AdminSource, failed: (error: unknown) => void): HttpHandler {
  const routes = new Map<string, (query: string) => Reply | Problem | Promise<Reply | Problem>>([
    ['/livez', () => healthReply(source.liveness(), 'ok')],
    ['/readyz', () => healthReply(source.readiness(), 'ready')],
    ['/metrics', async () => ({ status: 200, type: metricsType, body: await source.metrics() })],
    ['/status', async () => jsonReply(await source.status())],
    ['/dead-letters', (query) => showDeadLetters(source, query)],
  ])
  return (request, response) => {
    const { path, query } = split(request.url ?? '')
    const route = routes.get(path) ?? ledgerRoute(source.ledger, path)
    if (route === undefined) {
      const detail = `There is nothing at ${path}; there is ${[...routes.keys(), ...ledgerPaths].join(', ')}.`
      refuse(request, response, { code: 'not_found', detail })
    } else if (request.method !== 'GET' && request.method !== 'HEAD') {
      const detail = `${path} can only be read.`
      refuse(request, response, { code: 'method_not_allowed', detail, allow: 'GET, HEAD' })
    } else {
      show(request, response, async () => route(query), failed)
    }
  }
}

function healthReply(obstacles: readonly string[], fine: string): Reply {
  if (obstacles.length === 0) return textReply(200, `${fine}\n`)
  return textReply(503, obstacles.map((line) => `${line}\n`).join(''))
}

function split(target: string): { path: string; query: string } {
  const end = target.indexOf('?')
  return end < 0 ? { path: target, query: '' } : { path: target.slice(0, end), query: target.slice(end + 1) }
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
      const { status, type, body, headers: more = [] } = reply
      const headers = ['Cache-Control', 'no-store', ...more]
      // A reply without a body (204) has no length either (RFC 9110, 8.6).
      if (type !== null) headers.push('Content-Type', type, 'Content-Length', String(Buffer.byteLength(body)))
      answer(request, response, status, headers, request.method === 'HEAD' ? '' : body)
    },
    (error: unknown) => {
      if (error instanceof UnavailableError) refuse(request, response, unavailable(error))
      else {
        failed(error)
        refuse(request, response, { code: 'internal', detail: 'This can’t be shown now; the log says why.' })
      }
    },
  )
}

function unavailable({ code, message, hint, retryAfterSeconds }: UnavailableError): Problem {
  return { code, detail: [message, hint].filter(Boolean).join('. '), retryAfter: retryAfterSeconds }
}

async function showDeadLetters(source: AdminSource, text: string): Promise<Reply | Problem> {
  const query = new Query(text, ['after', 'limit'])
  const after = query.wholeNumber('after', 0, Number.MAX_SAFE_INTEGER) ?? 0
  const limit = query.wholeNumber('limit', 1, deadLettersShownMax) ?? deadLettersShown
  if (query.problem !== null) return query.problem
  const found = await source.deadLetters({ after, limit })
  const last = found.at(-1)
  return jsonReply({
    deadLetters: found.map(({ acceptedAt, diedAt, ...letter }) => ({
      ...letter,
      acceptedAt: new Date(acceptedAt).toISOString(),
      diedAt: new Date(diedAt).toISOString(),
    })),
    // Where the list goes on; null at its end.
    next: last && found.length === limit ? `/dead-letters?after=${last.number}&limit=${limit}` : null,
  })
}
