import { setTimeout as sleep } from 'node:timers/promises'
import { Durations } from '../e2e/durations.ts'
import { Program } from '../e2e/program.ts'
import { Publisher } from '../e2e/publisher.ts'
import type { OutageBroker } from './outage-broker.ts'
import { AnswerLog, Trial, type SentMessage, type Verdict } from './verdict.ts'

export interface OutageOptions {
  /** How long the broker is away. */
  readonly seconds: number
  /** Whether it is away when Outrigger starts; else it goes away later. */
  readonly isAwayAtStart: boolean
  /** How long publishing goes on with the broker up, before and after. Default: as long as it is away, 10 s at most. */
  readonly normalSeconds?: number
  readonly say: (text: string) => void
}

export interface OutageResult {
  readonly broker: string
  readonly seconds: number
  readonly isAwayAtStart: boolean
  readonly readyMs: number
  readonly verdict: Verdict
  /** Requests with no answer, or another one than 202. */
  readonly notAccepted: number
  /** Times to answer while the broker was up and nothing waited, and while it was away. */
  readonly normal: Durations
  readonly outage: Durations
  readonly backlogMax: number
  /** From the broker's return until nothing waited. */
  readonly catchUpMs: number
}

const tagHeader = 'outage-tag'
const publisherCount = 16
const perSecondEach = 30
/** A process just started is slow at first, and would make what follows look better than it is. */
const warmUpMs = 2000

/**
 * Publishes at a steady rate, takes the broker away and brings it back, and holds what is in the broker against what was
 * answered. Nothing but the broker is touched.
 */
export async function runOutage(broker: OutageBroker, options: OutageOptions): Promise<OutageResult> {
  const { seconds, isAwayAtStart, say } = options
  const normalSeconds = options.normalSeconds ?? Math.min(10, seconds)
  await using program = await Program.prepare({ name: 'outrigger-outage', settings: broker.settings })
  if (isAwayAtStart) {
    await broker.goAway(program)
    say('The broker is away. Outrigger starts.')
  }
  const { readyMs } = await program.start()
  const load = new SteadyLoad(program, broker.topic)
  try {
    await sleep(warmUpMs)
    if (!isAwayAtStart) {
      say(`Publishing with the broker up, for ${normalSeconds} s.`)
      load.times = load.normal
      await sleep(normalSeconds * 1000)
      load.times = null
      await broker.goAway(program)
    }
    say(`Publishing with the broker away, for ${seconds} s.`)
    load.times = load.outage
    await sleep(seconds * 1000)
    load.times = null
    const backlogMax = (await program.status()).delivery.backlogMessages

    await broker.comeBack()
    const back = performance.now()
    say(`The broker is back; ${backlogMax} messages wait.`)
    await program.drained(publisherCount * 2)
    const catchUpMs = performance.now() - back
    say(`They are delivered after ${(catchUpMs / 1000).toFixed(1)} s. Publishing for another ${normalSeconds} s.`)
    load.times = load.normal
    await sleep(normalSeconds * 1000)
    await load.end()
    await program.drained()

    const trial = new Trial(load.answers, tagHeader, (tag) => sentMessage(broker.topic, tag))
    await broker.read(program, (record) => trial.add(record))
    const { notAccepted, normal, outage } = load
    const verdict = trial.verdict()
    return {
      broker: broker.name,
      seconds,
      isAwayAtStart,
      readyMs,
      verdict,
      notAccepted,
      normal,
      outage,
      backlogMax,
      catchUpMs,
    }
  } finally {
    await load.end()
  }
}

/** Each publisher sends a message every so often, with a key of its own, and waits for each answer. */
class SteadyLoad {
  readonly answers = new AnswerLog()
  readonly normal = new Durations()
  readonly outage = new Durations()
  /** Where times to answer go now; null: nowhere. */
  times: Durations | null = null
  notAccepted = 0
  readonly #topic: string
  readonly #ending = new AbortController()
  readonly #running: Promise<unknown>

  constructor(program: Program, topic: string) {
    this.#topic = topic
    const loops = Array.from({ length: publisherCount }, (_, number) =>
      this.#publish(new Publisher(number % 2 === 0 ? program.tcp : program.unix, { connections: 1 }), number),
    )
    this.#running = Promise.all(loops)
    this.#running.catch(() => {}) // thrown by `end`
  }

  /** Resolves when everything is answered. Idempotent. */
  async end(): Promise<void> {
    this.#ending.abort()
    await this.#running
  }

  async #publish(publisher: Publisher, number: number): Promise<void> {
    for (let count = 0; !this.#ending.signal.aborted; count++) {
      const tag = `${number}-${count}`
      const { times } = this
      const message = sentMessage(this.#topic, tag)
      const headers = {
        'Content-Type': 'text/plain',
        'Outrigger-Key': message.key.toString(),
        [`Outrigger-Header-${tagHeader}`]: tag,
      }
      const answer = await publisher
        .publish({ topic: this.#topic, headers, body: message.value })
        .catch((error: unknown) => ({ status: 0, ms: 0, body: String(error) }))
      if (answer.status === 202) {
        this.answers.add(String(number), tag, (JSON.parse(answer.body) as { id: string }).id)
        times?.add(answer.ms)
      } else {
        this.notAccepted++
      }
      await sleep(1000 / perSecondEach)
    }
    publisher.close()
  }
}

function sentMessage(topic: string, tag: string): SentMessage & { readonly key: Buffer; readonly value: Buffer } {
  return {
    topic,
    key: Buffer.from(`key ${tag.split('-', 1)[0]}`),
    value: Buffer.from(`${tag} ${'.'.repeat(200)}`),
    headers: [
      ['content-type', Buffer.from('text/plain')],
      [tagHeader, Buffer.from(tag)],
    ],
  }
}
