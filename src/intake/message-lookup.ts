import type { ServerResponse } from 'node:http'
import { answer, refuse } from '../http/answer.ts'
import type { HttpRequest } from '../http/http-request.ts'
import type { Problem } from '../http/problem.ts'
import type { MessageFate } from '../message/message-fate.ts'
import { parseMessageId } from '../message/message-id.ts'
import type { FateSource, IntakeObserver } from './ports.ts'
import { appendProblem } from './refusal.ts'

/** Answers `GET /messages/{id}`: what became of a message. */
export class MessageLookup {
  readonly #fates: FateSource
  readonly #observer: IntakeObserver | null

  constructor(fates: FateSource, observer: IntakeObserver | null) {
    this.#fates = fates
    this.#observer = observer
  }

  serve(request: HttpRequest, response: ServerResponse, id: string): void {
    const position = parseMessageId(id)
    if (position === null) {
      this.#refuse(request, response, unknownMessage(id))
      return
    }
    void this.#fates.find(position).then(
      (fate) => {
        if (fate === null) this.#refuse(request, response, unknownMessage(id))
        else answerJson(request, response, fateJson(id, fate))
      },
      (error: unknown) => {
        const problem = appendProblem(error)
        if (problem.code === 'internal') this.#observer?.failed(error)
        this.#refuse(request, response, problem)
      },
    )
  }

  #refuse(request: HttpRequest, response: ServerResponse, problem: Problem): void {
    this.#observer?.refused(problem.code)
    refuse(request, response, problem)
  }
}

function unknownMessage(id: string): Problem {
  return { code: 'message_not_found', detail: `“${id}” is not the id of a message that is known here.` }
}

function answerJson(request: HttpRequest, response: ServerResponse, body: string): void {
  const length = String(Buffer.byteLength(body))
  answer(
    request,
    response,
    200,
    ['Content-Type', 'application/json', 'Content-Length', length, 'Cache-Control', 'no-store'],
    body,
  )
}

function fateJson(id: string, fate: MessageFate): string {
  switch (fate.state) {
    case 'accepted':
      return JSON.stringify({ id, state: fate.state })
    case 'delivered':
      return JSON.stringify({
        id,
        state: fate.state,
        topic: fate.topic,
        partition: fate.partition,
        offset: fate.offset,
        deliveredAt: new Date(fate.deliveredAt).toISOString(),
        attempts: fate.attempts,
      })
    case 'dead':
      return JSON.stringify({
        id,
        state: fate.state,
        topic: fate.topic,
        reason: fate.reason,
        diedAt: new Date(fate.diedAt).toISOString(),
        attempts: fate.attempts,
      })
    case 'lost':
      return JSON.stringify({
        id,
        state: fate.state,
        reason: fate.reason,
        lostAt: new Date(fate.lostAt).toISOString(),
      })
    default:
      return fate satisfies never
  }
}
