import { answer } from '../http/answer.ts'
import type { Problem } from '../http/problem.ts'
import { NdjsonPublish } from './ndjson-publish.ts'
import { overloadedProblem } from './refusal.ts'

/**
 * NDJSON in a body whose length is known. It is answered when all of it is in and on stable storage, with a status that says
 * it all: 202, all lines were accepted; 207, some were; 400, none was; 503, none was, and trying again may help.
 */
export class CountedNdjson extends NdjsonPublish {
  protected override readonly isEager = false
  protected override readonly isClogged = false
  protected override readonly linesMax = this.context.options.messagesPerRequestMax
  #results: string[] = []

  start(): void {
    const refusal = this.refusal()
    if (refusal !== null) this.refuse(refusal)
    else if (this.context.admission.isFull) this.refuse(overloadedProblem)
    else this.begin()
  }

  protected override tell(results: string): void {
    this.#results.push(results)
  }

  protected override onFailure(problem: Problem): void {
    if (!this.hasKept) this.#refuseAll(problem)
  }

  protected override onBroken(problem: Problem): void {
    if (this.hasKept) this.cut(problem)
    else this.#refuseAll(problem)
  }

  protected override end(lineCount: number, acceptedCount: number, rest: Problem | null): void {
    if (acceptedCount === 0 && rest !== null && rest.code !== 'too_many_messages') {
      this.refuse(rest)
    } else if (lineCount === 0) {
      this.refuse({ code: 'body_empty', detail: 'There is no line in the body that has anything on it.' })
    } else {
      if (rest !== null) this.context.observer?.refused(rest.code)
      const status = acceptedCount === lineCount ? 202 : acceptedCount > 0 ? 207 : 400
      const body = this.#results.join('')
      const length = String(Buffer.byteLength(body))
      answer(
        this.request,
        this.response,
        status,
        ['Content-Type', 'application/x-ndjson', 'Content-Length', length],
        body,
      )
      this.answered(status)
    }
  }

  #refuseAll(problem: Problem): void {
    this.abandon()
    this.refuse(problem)
  }
}
