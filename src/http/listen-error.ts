import { OutriggerError } from '../base/errors.ts'

/** A listener can't be had. */
export class ListenError extends OutriggerError {
  override readonly name = 'ListenError'
  override readonly code = 'listen_failed'
  /** The system's own name of the error, such as `EADDRINUSE` or `EACCES`. */
  readonly reason: string

  constructor(reason: string, message: string, options?: { cause?: unknown; hint?: string }) {
    super(message, options)
    this.reason = reason
  }
}
