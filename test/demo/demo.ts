import { setTimeout as sleep } from 'node:timers/promises'
import { Program, type Edition } from '../e2e/program.ts'
import { LedgerTrial, type LedgerVerdict } from '../torture/ledger-trial.ts'
import { Random } from '../torture/random.ts'
import { Trial, type SentMessage, type Verdict } from '../torture/verdict.ts'
import type { DemoStack, OpenStack } from './demo-stack.ts'
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
  readonly ledger: LedgerVerdict
  readonly publishers: WebhookPublishers
}

const concurrency = 16

/** When things happen, as shares of all messages accepted. */
const acts = { stackGoes: 0.5, kill: 0.7, stackReturns: 0.85 } as const

/**
 * Publishes real webhooks, lets everything break that can, and holds what is in the broker against what was answered, and
 * what is in the ledger against what is in the broker.
 */
export async function runDemo(openStack: OpenStack, options: DemoOptions): Promise<DemoResult> {
  const { edition, rounds, perSecond, say } = options
  const { source, webhooks } = await loadWebhooks()
  const random = new Random(1)
  const messages = Array.from({ length: rounds }, () => random.shuffled(webhooks)).flat()
  const topics = [...new Set(webhooks.map(({ event }) => event))]
  say(`To publish: the ${webhooks.length} GitHub webhooks of ${source}, each as it is, ${rounds} times:`)
  say(
    `${count(messages.length)} messages in ${topics.length} topics, one for each kind of event; the key is the repository.`,
  )

  await using stack = await openStack(topics, say)
  say(`Outrigger starts, with ${stack.name}.`)
  await using program = await Program.prepare({ edition, settings: stack.settings, name: 'outrigger-demo' })
  const { readyMs } = await program.start()
  say(`It is ready after ${seconds(readyMs)}. ${concurrency} publishers begin, half by TCP, half by the Unix socket.`)

  const publishers = new WebhookPublishers(program, { concurrency, perSecond })
  const ending = new AbortController()
  try {
    const play = new Play(program, stack, publishers, say, ending.signal)
    const publishing = publishers.publish(messages, ending.signal).then(() => say('Every message is accepted.'))
    await Promise.all([publishing, play.run(messages.length)])
    await play.untilRecorded()
  } finally {
    ending.abort()
    publishers.close()
  }
  // What was delivered last may have its receipt a moment later: stopping waits for it.
  say('Nothing waits any more. Outrigger is told to stop.')
  await program.stop()
  say('Everything in broker and ledger is read back, and compared byte by byte.')
  const sent = (delivery: string): SentMessage | null => {
    const webhook = publishers.sent.get(delivery)
    return webhook === undefined ? null : sentMessage(webhook, delivery)
  }
  const trial = new Trial(publishers.answers, deliveryHeader, sent)
  const ledgerTrial = new LedgerTrial(deliveryHeader, sent)
  await stack.read(program, (record) => {
    trial.add(record)
    ledgerTrial.addRecord(record)
  })
  return { verdict: trial.verdict(), ledger: await ledgerTrial.read(stack.ledger(program)), publishers }
}

/** Broker and ledger go away, Outrigger dies and returns, broker and ledger come back: each at its time. */
class Play {
  readonly #program: Program
  readonly #stack: DemoStack
  readonly #publishers: WebhookPublishers
  readonly #say: (text: string) => void
  readonly #signal: AbortSignal

  constructor(
    program: Program,
    stack: DemoStack,
    publishers: WebhookPublishers,
    say: (text: string) => void,
    signal: AbortSignal,
  ) {
    this.#program = program
    this.#stack = stack
    this.#publishers = publishers
    this.#say = say
    this.#signal = signal
  }

  async run(total: number): Promise<void> {
    await this.#untilAccepted(acts.stackGoes * total)
    this.#publishers.isOutage = true
    await this.#stack.goAway(this.#program)
    this.#say(`Half-way, broker and ledger go away: ${this.#stack.fate}. Publishing goes on.`)

    await this.#untilAccepted(acts.kill * total)
    this.#say(`Outrigger is killed with SIGKILL, while ${count(await this.#waiting())} messages wait on its disk.`)
    await this.#program.kill()
    const { readyMs } = await this.#program.start()
    this.#say(`Started again, it is ready after ${seconds(readyMs)}. ${count(await this.#waiting())} messages wait.`)

    await this.#untilAccepted(acts.stackReturns * total)
    this.#say(`Broker and ledger come back. ${count(await this.#waiting())} messages wait.`)
    let isBack = false
    const returning = this.#stack.comeBack().then(() => {
      isBack = true
    })
    await Promise.all([returning, this.#until(async () => isBack)])
    this.#publishers.isOutage = false
  }

  /** Until everything is delivered, and the ledger has it. */
  untilRecorded(): Promise<void> {
    return this.#until(async () => {
      const { delivery, ledger } = await this.#program.status()
      const recorders = ledger?.recorders ?? []
      const isRecorded = recorders.every((each) => each.lagMessages === 0 && each.oldestFinishedAt === null)
      return delivery.backlogMessages === 0 && recorders.length === 2 && isRecorded
    })
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
      const { delivery, ledger } = await this.#program.status()
      const lag = Math.max(0, ...(ledger?.recorders ?? []).map(({ lagMessages }) => lagMessages))
      const waiting = count(delivery.backlogMessages).padStart(5)
      this.#say(`${accepted} accepted, ${waiting} wait for the broker, ${count(lag).padStart(5)} for the ledger`)
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
