import { problemCodes, type ProblemCode } from './problem-codes.ts'

/** Why a request, or a line of one, was refused. */
export interface Problem {
  readonly code: ProblemCode
  /** What is wrong with this very request, for a person to read. */
  readonly detail: string
  /** Seconds after which trying again makes sense; goes into `Retry-After` too. */
  readonly retryAfter?: number
  /** The line of an NDJSON body that it is about; the first is 1. */
  readonly line?: number
  /** Set when neither the line nor anything after it was taken. */
  readonly rest?: true
  /** The methods that the resource has; goes into `Allow`. */
  readonly allow?: string
}

export function statusOf(problem: Problem): number {
  return problemCodes[problem.code].status
}

/**
 * A problem as `application/problem+json` (RFC 9457). `type` is a URN, because there is no site that a sidecar could
 * point to; `code` is its last part. `retry` says whether the same request may succeed later.
 */
export function problemJson(problem: Problem): string {
  const { status, title, retry } = problemCodes[problem.code]
  return JSON.stringify({
    type: `urn:outrigger:error:${problem.code}`,
    title,
    status,
    detail: problem.detail,
    code: problem.code,
    retry,
    retryAfter: problem.retryAfter,
    line: problem.line,
    rest: problem.rest,
  })
}

/** The headers of a problem's answer, names and values in turn; `body` is its `problemJson`. */
export function problemHeaders(problem: Problem, body: string): string[] {
  const headers = [
    'Content-Type',
    'application/problem+json',
    'Content-Length',
    String(Buffer.byteLength(body)),
    // An answer that says "not now" or "not here" must not be kept by anyone on the way.
    'Cache-Control',
    'no-store',
  ]
  if (problem.retryAfter !== undefined) headers.push('Retry-After', String(problem.retryAfter))
  if (problem.allow !== undefined) headers.push('Allow', problem.allow)
  return headers
}
