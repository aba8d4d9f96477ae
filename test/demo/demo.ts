import { setTimeout as sleep } from 'node:timers/promises'
import { Program, type Edition } from '../e2e/program.ts'
import { Random } from '../torture/random.ts'
import { Trial, type Verdict } from '../torture/verdict.ts'
import type { DemoBroker, OpenBroker } from './demo-broker.ts'
import { WebhookPublishers } from './webhook-publishers.ts'
import { deliveryHeader, loadWebhooks, sentMessage } from './webhooks.ts'

export interface DemoOptions {
  readonly edition: Edition
  /** How often all the webhooks are published. */
  readonly rounds: number
  readonly perSecond: number
  /** Told what happens, in words. */
  readonly say: (text: string) => void
}

export interface DemoResult {
  readonly verdict: Verdict
  readonly publishers: WebhookPublishers
}

const concurrency = 16

/** When things happen, as shares of all messages accepted. */
const acts = { brokerGoes: 0.5, kill: 0.7, brokerReturns: 0.85 } as const

/** Publishes real webhooks, lets everything break that can, and holds what is in the broker against what was answered. */
export async function runDemo(openBroker: OpenBroker, options: DemoOptions): Promise<DemoResult> {
  const { edition, rounds, perSecond, say } = options
  const { source, webhooks } = await loadWebhooks()
  const random = new Random(1)
  const messages = Array.from({ length: rounds }, () => random.shuffled(webhooks)).flat()
  const topics = [...new Set(webhooks.map(({ event }) => event))]
  say(`To publish: the ${webhooks.length} GitHub webhooks of ${source}, each as it is, ${rounds} times:`)
  say(
    `${count(messages.length)} messages in ${topics.length} topics, one for each kind of event; the key is the repository.`,
  )

  await using broker = await openBroker(topics, say)
  say(`Outrigger starts, with ${broker.name}.`)
  await using program = await Program.prepare({ edition, settings: broker.settings, name: 'outrigger-demo' })
  const { readyMs } = await program.start()
  say(`It is ready after ${seconds(readyMs)}. ${concurrency} publishers begin, half by TCP, half by the Unix socket.`)

  const publishers = new WebhookPublishers(program, { concurrency, perSecond })
  const ending = new AbortController()
  try {
    const play = new Play(program, broker, publishers, say, ending.signal)
    const publishing = publishers.publish(messages, ending.signal).then(() => say('Every message is accepted.'))
    await Promise.all([publishing, play.run(messages.length)])
    await play.untilDelivered()
  } finally {
    ending.abort()
    publishers.close()
  }
  say('Nothing waits any more. Everything that is in the broker is read back, and compared byte by byte.')
  const trial = new Trial(publishers.answers, deliveryHeader, (delivery) => {
    const webhook = publishers.sent.get(delivery)
    return webhook === undefined ? null : sentMessage(webhook, delivery)
  })
  await broker.read(program, (record) => trial.add(record))
  return { verdict: trial.verdict(), publishers }
}

/** The broker goes away, Outrigger dies and returns, the broker comes back: each at its time. */
class Play {
  readonly #program: Program
  readonly #broker: DemoBroker
  readonly #publishers: WebhookPublishers
  readonly #say: (text: string) => void
  readonly #signal: AbortSignal

  constructor(
    program: Program,
    broker: DemoBroker,
    publishers: WebhookPublishers,
    say: (text: string) => void,
    signal: AbortSignal,
  ) {
    this.#program = program
    this.#broker = broker
    this.#publishers = publishers
    this.#say = say
    this.#signal = signal
  }

  async run(total: number): Promise<void> {
    await this.#untilAccepted(acts.brokerGoes * total)
    this.#publishers.isOutage = true
    await this.#broker.goAway(this.#program)
    this.#say(`Half-way, the broker goes away: ${this.#broker.fate}. Publishing goes on.`)

    await this.#untilAccepted(acts.kill * total)
    this.#say(`Outrigger is killed with SIGKILL, while ${count(await this.#waiting())} messages wait on its disk.`)
    await this.#program.kill()
    const { readyMs } = await this.#program.start()
    this.#say(`Started again, it is ready after ${seconds(readyMs)}. ${count(await this.#waiting())} messages wait.`)

    await this.#untilAccepted(acts.brokerReturns * total)
    this.#say(`The broker comes back. ${count(await this.#waiting())} messages wait.`)
    let isBack = false
    const returning = this.#broker.comeBack().then(() => {
      isBack = true
    })
    await Promise.all([returning, this.#until(async () => isBack)])
    this.#publishers.isOutage = false
  }

  untilDelivered(): Promise<void> {
    return this.#until(async () => (await this.#waiting()) === 0)
  }

  #untilAccepted(messages: number): Promise<void> {
    return this.#until(async () => this.#publishers.accepted >= messages)
  }

  /** Tells every second how it goes. */
  async #until(isDone: () => Promise<boolean>): Promise<void> {
    let toldAt = performance.now()
    while (!(await isDone())) {
      await sleep(20, undefined, { signal: this.#signal })
      if (performance.now() - toldAt < 1000) continue
      toldAt = performance.now()
      const accepted = count(this.#publishers.accepted).padStart(6)
      this.#say(`${accepted} accepted, ${count(await this.#waiting()).padStart(5)} wait`)
    }
  }

  async #waiting(): Promise<number> {
    return (await this.#program.status()).delivery.backlogMessages
  }
}

/** `12,345` */
export function count(number: number): string {
  return number.toLocaleString('en')
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}
