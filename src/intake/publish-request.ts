import type { ServerResponse } from 'node:http'
import type { Clock } from '../base/clock.ts'
import { refuse } from '../http/answer.ts'
import type { HttpRequest } from '../http/http-request.ts'
import { statusOf, type Problem } from '../http/problem.ts'
import type { Admission } from './admission.ts'
import type { Appender } from './appender.ts'
import type { IntakeObserver, IntakeOptions, MessageSink } from './ports.ts'

/** What all publish requests share. */
export interface PublishContext {
  readonly sink: MessageSink
  readonly appender: Appender
  readonly admission: Admission
  readonly clock: Clock
  readonly observer: IntakeObserver | null
  readonly options: IntakeOptions
}

/** One publish request and its answer. */
export abstract class PublishRequest {
  protected readonly context: PublishContext
  protected readonly request: HttpRequest
  protected readonly response: ServerResponse
  readonly #startedAt: number

  constructor(context: PublishContext, request: HttpRequest, response: ServerResponse) {
    this.context = context
    this.request = request
    this.response = response
    // Nobody reads the clock for nobody.
    this.#startedAt = context.observer === null ? 0 : context.clock.monotonic()
  }

  /**
   * Whether nobody is there any more to be answered. Who has closed the connection, and who has only said that nothing more
   * comes, look the same; the latter is not made to wait either, but gets an answer.
   */
  get isGone(): boolean {
    const { socket } = this.request
    return socket.destroyed || socket.readableEnded
  }

  protected refuse(problem: Problem): void {
    this.context.observer?.refused(problem.code)
    refuse(this.request, this.response, problem)
    this.answered(statusOf(problem))
  }

  protected answered(status: number): void {
    const { observer, clock } = this.context
    if (observer !== null) observer.answered(clock.monotonic() - this.#startedAt, status)
  }
}
