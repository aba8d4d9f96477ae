import { setTimeout as sleep } from 'node:timers/promises'
import { Durations } from '../e2e/durations.ts'
import { Program } from '../e2e/program.ts'
import { Publisher } from '../e2e/publisher.ts'
import { isComplete, LedgerTrial, type LedgerVerdict } from './ledger-trial.ts'
import { duties, type Duty, type OutageStack, type Party } from './outage-stack.ts'
import { AnswerLog, isFlawless, Trial, type SentMessage, type Verdict } from './verdict.ts'

export interface OutageOptions {
  /** Who is away together, one outage after another. */
  readonly outages: readonly (readonly Party[])[]
  /** How long each outage is. */
  readonly seconds: number
  /** Whether those of the first outage are away when Outrigger starts; else they go away later. */
  readonly isAwayAtStart: boolean
  /** How long publishing goes on with all of them up, around each outage. Default: as long as these are, 10 s at most. */
  readonly normalSeconds?: number
  readonly say: (text: string) => void
}

/** What one outage was like. */
export interface OutageFigures {
  readonly away: readonly Party[]
  /** Times to answer. */
  readonly times: Durations
  /** For each duty, the most messages that waited for it at a time. */
  readonly waitingMax: Readonly<Record<Duty, number>>
  /** From the beginning of the return until nothing waited. */
  readonly catchUpMs: number
}

export interface OutageResult {
  readonly seconds: number
  readonly isAwayAtStart: boolean
  readonly readyMs: number
  readonly outages: readonly OutageFigures[]
  readonly verdict: Verdict
  readonly ledger: LedgerVerdict
  /** Requests with no answer, or another one than 202. */
  readonly notAccepted: number
  /** Times to answer while everybody was up and nothing waited. */
  readonly normal: Durations
}

/** Whether every request was accepted, and every message is delivered and recorded. */
export function hasKeptAll({ notAccepted, verdict, ledger }: OutageResult): boolean {
  return notAccepted === 0 && verdict.answered > 0 && isFlawless(verdict) && isComplete(ledger)
}

const tagHeader = 'outage-tag'
const publisherCount = 16
const perSecondEach = 30
/** A process just started is slow at first, and would make what follows look better than it is. */
const warmUpMs = 2000
/** Under load some are always on their way; recorders wait a little for more of them. */
const underWay = { delivery: publisherCount * 2, recording: publisherCount * perSecondEach } as const
const lookEveryMs = 250

/**
 * Publishes at a steady rate, takes away what Outrigger writes to and brings it back, and holds what is in the broker
 * against what was answered, and what is in the ledger against what is in the broker. Nothing but these is touched.
 */
export async function runOutages(stack: OutageStack, options: OutageOptions): Promise<OutageResult> {
  const { seconds, isAwayAtStart, say } = options
  const normalMs = (options.normalSeconds ?? Math.min(10, seconds)) * 1000
  await using program = await Program.prepare({ name: 'outrigger-outage', settings: stack.settings })
  if (isAwayAtStart) {
    await goAway(options.outages[0] ?? [], program)
    say('Outrigger starts.')
  }
  const { readyMs } = await program.start()
  const load = new SteadyLoad(program, stack.topic)
  const normal = new Durations()
  const outages: OutageFigures[] = []
  const publishNormally = async (): Promise<void> => {
    load.times = normal
    await sleep(normalMs)
    load.times = null
  }
  try {
    await sleep(warmUpMs)
    for (const [i, away] of options.outages.entries()) {
      if (i > 0 || !isAwayAtStart) {
        // At the start there are tables to be made first.
        await caughtUp(program)
        await publishNormally()
        await goAway(away, program)
      }
      say(`Away for ${seconds} s: ${namesOf(away)}.`)
      const times = new Durations()
      load.times = times
      const waitingMax = await watch(program, seconds * 1000)
      load.times = null
      const backAt = performance.now()
      await Promise.all(away.map((party) => party.comeBack()))
      say(`Back: ${namesOf(away)}.`)
      await caughtUp(program)
      const catchUpMs = performance.now() - backAt
      say(`What waited is delivered and recorded, ${(catchUpMs / 1000).toFixed(1)} s after the return began.`)
      outages.push({ away, times, waitingMax, catchUpMs })
    }
    await publishNormally()
    await load.end()
    await program.drained()
    await program.recorded()
    await program.stop()
    const { notAccepted } = load
    return {
      seconds,
      isAwayAtStart,
      readyMs,
      outages,
      notAccepted,
      normal,
      ...(await judge(stack, program, load.answers)),
    }
  } finally {
    await load.end()
  }
}

/** `Kafka and MySQL` */
export function namesOf(parties: readonly Party[]): string {
  return parties.map(({ name }) => name).join(' and ')
}

async function caughtUp(program: Program): Promise<void> {
  await program.drained(underWay.delivery)
  await program.recorded(underWay.recording)
}

async function goAway(parties: readonly Party[], program: Program): Promise<void> {
  await Promise.all(parties.map((party) => party.goAway(program)))
}

/** Looks now and then at how many messages wait; gives the most that it saw. */
async function watch(program: Program, ms: number): Promise<OutageFigures['waitingMax']> {
  const end = performance.now() + ms
  const most: Record<Duty, number> = { delivery: 0, metadata: 0, log: 0 }
  while (performance.now() < end) {
    await sleep(Math.min(lookEveryMs, Math.max(0, end - performance.now())))
    const { delivery, ledger } = await program.status()
    const lags = (ledger?.recorders ?? []).map(({ store, lagMessages }) => [store, lagMessages] as const)
    const waiting = new Map<Duty, number>([['delivery', delivery.backlogMessages], ...lags])
    for (const duty of duties) most[duty] = Math.max(most[duty], waiting.get(duty) ?? 0)
  }
  return most
}

async function judge(
  stack: OutageStack,
  program: Program,
  answers: AnswerLog,
): Promise<{ verdict: Verdict; ledger: LedgerVerdict }> {
  const sent = (tag: string): SentMessage => sentMessage(stack.topic, tag)
  const trial = new Trial(answers, tagHeader, sent)
  const ledgerTrial = new LedgerTrial(tagHeader, sent)
  await stack.read(program, (record) => {
    trial.add(record)
    ledgerTrial.addRecord(record)
  })
  return { verdict: trial.verdict(), ledger: await ledgerTrial.read(stack.ledger(program)) }
}

/** Each publisher sends a message every so often, with a key of its own, and waits for each answer. */
class SteadyLoad {
  readonly answers = new AnswerLog()
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
