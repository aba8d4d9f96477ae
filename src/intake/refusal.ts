import { OutriggerError, UnavailableError } from '../base/errors.ts'
import type { ProblemCode } from '../http/problem-codes.ts'
import type { Problem } from '../http/problem.ts'

/** What a publisher sent can't be taken. */
export class Refusal extends OutriggerError {
  override readonly name = 'Refusal'
  override readonly code: ProblemCode

  constructor(code: ProblemCode, detail: string) {
    super(detail)
    this.code = code
  }

  get problem(): Problem {
    return { code: this.code, detail: this.message }
  }
}

/** The answer to messages that can't be kept, or could not be. */
export function appendProblem(error: unknown): Problem {
  if (!(error instanceof UnavailableError)) return internalProblem
  const { code, message, retryAfterSeconds } = error
  return { code, detail: `${message.charAt(0).toUpperCase()}${message.slice(1)}.`, retryAfter: retryAfterSeconds }
}

const internalProblem: Problem = {
  code: 'internal',
  detail: 'It is not known whether the request took effect. The log says what happened.',
  retryAfter: 1,
}

export const overloadedProblem: Problem = {
  code: 'overloaded',
  detail: 'Messages that wait for the disk take all the memory that they may (publish.pendingBytesMax).',
  retryAfter: 1,
}

export function tooManyProblem(messagesMax: number): Problem {
  return {
    code: 'too_many_messages',
    detail: `A request with a Content-Length has at most ${messagesMax} messages (publish.messagesPerRequestMax).`,
  }
}

export const drainingProblem: Problem = { code: 'draining', detail: 'Outrigger is shutting down.', retryAfter: 1 }
