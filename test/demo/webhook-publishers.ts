import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Durations } from '../e2e/durations.ts'
import { Publisher, type Answer } from '../e2e/publisher.ts'
import type { Program } from '../e2e/program.ts'
import { AnswerLog } from '../torture/verdict.ts'
import { deliveryHeader, eventHeader, type Webhook } from './webhooks.ts'

export interface PublishersOptions {
  /** Requests under way at once. */
  readonly concurrency: number
  /** Requests begun in a second, at most. */
  readonly perSecond: number
}

/**
 * Publishes webhooks, one request each, every other one by the Unix socket. Those of one topic and key go one after
 * another, and one that gets no answer is sent again until it does, as an application that cares would do it.
 */
export class WebhookPublishers {
  readonly answers = new AnswerLog()
  readonly sent = new Map<string, Webhook>()
  readonly allTimes = new Durations()
  readonly outageTimes = new Durations()
  /** Requests that were not answered with 202, and so were made again. */
  repeated = 0
  /** Whether the broker is away, so that times count as those of the outage. */
  isOutage = false
  readonly #publishers: readonly Publisher[]
  readonly #options: PublishersOptions
  readonly #lastOfKey = new Map<string, Promise<void>>()
  #count = 0

  constructor(program: Program, options: PublishersOptions) {
    this.#options = options
    const connections = options.concurrency / 2
    this.#publishers = [program.tcp, program.unix].map((target) => new Publisher(target, { connections }))
  }

  get accepted(): number {
    return this.answers.tags.size
  }

  /** Resolves when all are answered. */
  async publish(webhooks: readonly Webhook[], signal: AbortSignal): Promise<void> {
    const { concurrency, perSecond } = this.#options
    const underWay = new Set<Promise<void>>()
    let due = performance.now()
    for (const webhook of webhooks) {
      // What was missed is not made up for in a burst: the load stays the same throughout.
      due = Math.max(due + 1000 / perSecond, performance.now())
      await sleep(Math.max(0, due - performance.now()), undefined, { signal })
      while (underWay.size >= concurrency) await Promise.race(underWay)
      const publishing = this.#inTurn(webhook, signal).finally(() => underWay.delete(publishing))
      publishing.catch(() => {}) // thrown below, unless another one was first
      underWay.add(publishing)
    }
    await Promise.all(underWay)
  }

  close(): void {
    for (const publisher of this.#publishers) publisher.close()
  }

  #inTurn(webhook: Webhook, signal: AbortSignal): Promise<void> {
    const sequence = `${webhook.event}/${webhook.key ?? randomUUID()}`
    const turn = (this.#lastOfKey.get(sequence) ?? Promise.resolve()).then(() =>
      this.#untilAnswered(webhook, sequence, signal),
    )
    this.#lastOfKey.set(sequence, turn)
    return turn
  }

  async #untilAnswered(webhook: Webhook, sequence: string, signal: AbortSignal): Promise<void> {
    const { event, key, payload: body } = webhook
    const delivery = randomUUID()
    this.sent.set(delivery, webhook)
    const publisher = this.#publishers[this.#count++ % this.#publishers.length] as Publisher
    const headers = {
      'Content-Type': 'application/json',
      ...(key === null ? {} : { 'Outrigger-Key': key }),
      [`Outrigger-Header-${eventHeader}`]: event,
      [`Outrigger-Header-${deliveryHeader}`]: delivery,
    }
    for (;;) {
      const isOutage = this.isOutage
      const answer = await publisher.publish({ topic: event, headers, body }).catch(() => null)
      const id = answer === null ? null : idOf(answer)
      if (answer !== null && id !== null) {
        this.answers.add(sequence, delivery, id)
        this.allTimes.add(answer.ms)
        if (isOutage) this.outageTimes.add(answer.ms)
        return
      }
      this.repeated++
      await sleep(50, undefined, { signal })
    }
  }
}

function idOf({ status, isComplete, body }: Answer): string | null {
  return status === 202 && isComplete ? (JSON.parse(body) as { id: string }).id : null
}
