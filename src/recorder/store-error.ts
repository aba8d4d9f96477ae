import { OutriggerError } from '../base/errors.ts'

/**
 * What a failure of a store means for what is tried next:
 * - `transient`: the store or the way to it has trouble; try again later.
 * - `permanent`: something in this very write is refused for good (a value out of range, too large); take it apart.
 * - `fatal`: the store refuses us, or is not what we need (credentials, permissions, schema): an operator is needed.
 *   It is tried again all the same, at long intervals.
 */
export type StoreFailure = 'transient' | 'permanent' | 'fatal'

/** A ledger store could not do what it was asked. */
export class StoreError extends OutriggerError {
  override readonly name = 'StoreError'
  override readonly code = 'store_failed'
  readonly failure: StoreFailure
  /** The store's or driver's own name of the error, such as `ER_DATA_TOO_LONG` or `ECONNREFUSED`. */
  readonly reason: string

  constructor(failure: StoreFailure, reason: string, message: string, options?: { cause?: unknown; hint?: string }) {
    super(message, options)
    this.failure = failure
    this.reason = reason
  }
}
