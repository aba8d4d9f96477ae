import { setTimeout as sleep } from 'node:timers/promises'
import { AnswerLog, isFlawless, Trial, type SentMessage, type Verdict } from '../torture/verdict.ts'
import { readEmbedded } from './embedded-records.ts'
import type { Program } from './program.ts'
import { Publisher, type Answer } from './publisher.ts'

const topic = 'faults'
const tagHeader = 'fault-tag'

export interface FaultLoadOptions {
  readonly publishers?: number
  readonly bodyBytes?: number
}

/** What a refusal said. */
export interface Problem {
  readonly status: number
  readonly code: string
  readonly detail: string
  readonly retry: boolean
}

/**
 * Publishers that each send one message after another, with a key of their own, and a message that was not accepted again
 * until it is; and the verdict on what the embedded broker has in the end.
 */
export class FaultLoad {
  readonly answers = new AnswerLog()
  /** Each refusal; those without an answer are not among them. */
  readonly refusals: Problem[] = []
  readonly #program: Program
  readonly #publishers: number
  readonly #filling: string
  readonly #counts: number[] = []

  constructor(program: Program, { publishers = 4, bodyBytes = 40_000 }: FaultLoadOptions = {}) {
    this.#program = program
    this.#publishers = publishers
    this.#filling = '.'.repeat(bodyBytes)
  }

  /** Publishes while `isOver` says no; each publisher has an answer, or none to expect, when it resolves. */
  async until(isOver: () => boolean): Promise<void> {
    const loops = Array.from({ length: this.#publishers }, (_, number) => this.#publish(number, isOver))
    await Promise.all(loops)
  }

  /** Publishes until so many more are accepted. */
  async accepted(count: number): Promise<void> {
    const enough = this.answers.tags.size + count
    await this.until(() => this.answers.tags.size >= enough)
  }

  /** Publishes until something is refused; resolves with what that said. */
  async refused(): Promise<Problem> {
    const before = this.refusals.length
    await this.until(() => this.refusals.length > before)
    return this.refusals[before] as Problem
  }

  /** Publishes until so long no answer comes: the program is gone. */
  async untilGone(): Promise<void> {
    await this.until(() => !this.#program.isRunning)
  }

  /** Once everything is delivered: whether the broker has all that was answered, in order. */
  verdict(brokerFile = this.#program.brokerFile): Verdict & { readonly isFlawless: boolean } {
    const trial = new Trial(this.answers, tagHeader, (tag) => this.#sent(tag))
    readEmbedded(brokerFile, (record) => {
      if (record.topic === topic) trial.add(record)
    })
    const verdict = trial.verdict()
    return { ...verdict, isFlawless: isFlawless(verdict) && verdict.answered > 0 }
  }

  async #publish(number: number, isOver: () => boolean): Promise<void> {
    const target = number % 2 === 0 ? this.#program.tcp : this.#program.unix
    const publisher = new Publisher(target, { connections: 1, timeoutMs: 20_000 })
    while (!isOver()) {
      const tag = `${number}-${this.#counts[number] ?? 0}`
      const answer = await publisher.publish(this.#requestOf(tag)).catch(() => null)
      if (answer !== null && answer.status === 202 && answer.isComplete) {
        this.answers.add(String(number), tag, (JSON.parse(answer.body) as { id: string }).id)
        this.#counts[number] = (this.#counts[number] ?? 0) + 1
      } else {
        if (answer !== null && answer.isComplete) this.refusals.push(problemOf(answer))
        await sleep(20)
      }
    }
    publisher.close()
  }

  #requestOf(tag: string): Parameters<Publisher['publish']>[0] {
    const { key, value } = this.#sent(tag)
    const headers = {
      'Content-Type': 'text/plain',
      'Outrigger-Key': key.toString(),
      [`Outrigger-Header-${tagHeader}`]: tag,
    }
    return { topic, headers, body: value }
  }

  #sent(tag: string): SentMessage & { readonly key: Buffer; readonly value: Buffer } {
    return {
      topic,
      key: Buffer.from(`key ${tag.split('-', 1)[0]}`),
      value: Buffer.from(`${tag} ${this.#filling}`),
      headers: [
        ['content-type', Buffer.from('text/plain')],
        [tagHeader, Buffer.from(tag)],
      ],
    }
  }
}

function problemOf({ status, body }: Answer): Problem {
  const { code = '', detail = '', retry = false } = JSON.parse(body) as Partial<Problem>
  return { status, code, detail, retry }
}
