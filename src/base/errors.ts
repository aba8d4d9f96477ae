/**
 * What every error of Outrigger carries: a literal `name` and `code` that survive bundling, the operation that failed,
 * and what a person can do about it. `cause` keeps the error underneath.
 */
export abstract class OutriggerError extends Error {
  abstract override readonly name: string
  /** Stable and machine-readable; documented in docs/errors.md. */
  abstract readonly code: string
  /** What to do about it, in one sentence; empty when the message says it all. */
  readonly hint: string

  constructor(message: string, options: { cause?: unknown; hint?: string } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.hint = options.hint ?? ''
  }
}

/** The message of anything that was thrown, for logs and for people. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** The `code` of a system, driver or Outrigger error (`ENOSPC`, `ECONNREFUSED`, …), or undefined. */
export function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}

/** Whether an operation failed because of the disk, and no bug: it may work another time. */
export function isDiskFailure(error: unknown): boolean {
  const code = codeOf(error)
  return code === 'short_write' || (code !== undefined && /^E[A-Z0-9]+$/.test(code))
}

/** Whether an operation failed because the disk is full, or the user's share of it. A short write has no other cause. */
export function isSpaceExhausted(error: unknown): boolean {
  const code = codeOf(error)
  return code === 'ENOSPC' || code === 'EDQUOT' || code === 'short_write'
}

/** Why nothing can be kept, or told, right now. */
export type UnavailableCode =
  | 'journal_full'
  | 'journal_nearly_full'
  | 'journal_failed'
  | 'disk_full'
  | 'backlog_too_old'
  | 'topic_share_full'
  | 'overloaded'
  | 'draining'
  | 'ledger_unavailable'

/**
 * Outrigger can't keep a message right now, and nothing was kept; or it can't tell what became of one. Whoever asked may
 * try again after `retryAfterSeconds`.
 */
export class UnavailableError extends OutriggerError {
  override readonly name = 'UnavailableError'
  override readonly code: UnavailableCode
  readonly retryAfterSeconds: number

  constructor(
    code: UnavailableCode,
    message: string,
    options: { retryAfterSeconds: number; cause?: unknown; hint?: string },
  ) {
    super(message, options)
    this.code = code
    this.retryAfterSeconds = options.retryAfterSeconds
  }
}
