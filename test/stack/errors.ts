import { OutriggerError } from '../../src/base/errors.ts'

/** This machine can't provide the server (no Java and no right to install it, no download, wrong processor, …). */
export class StackUnavailableError extends OutriggerError {
  override readonly name = 'StackUnavailableError'
  override readonly code = 'stack_unavailable'
}

/** The server is there, and failed to start or to answer. The message ends with the last lines of its log. */
export class ServerFailedError extends OutriggerError {
  override readonly name = 'ServerFailedError'
  override readonly code = 'server_failed'
}
