import { setTimeout as sleep } from 'node:timers/promises'
import { kafkaClient, readKafka } from '../e2e/kafka-records.ts'
import { Program } from '../e2e/program.ts'
import type { KafkaCluster } from '../stack/kafka/kafka.ts'
import { Crashes, type ExplainedDuplicates } from './crashes.ts'
import { Random } from './random.ts'
import { TorturePublisher } from './torture-publisher.ts'
import { messageOf, tagHeader, topics } from './traffic.ts'
import { AnswerLog, isFlawless, Trial, type Verdict } from './verdict.ts'

export interface TortureOptions {
  /** How often Outrigger is killed. */
  readonly kills: number
  /** Decides what is sent, and when the kills come. */
  readonly seed: number
  readonly publishers?: number
  /** Told what happens, in words. */
  readonly say: (text: string) => void
}

export interface TortureResult {
  readonly verdict: Verdict
  readonly kills: number
  /** Of the kills, those while Kafka was away. */
  readonly killsInOutage: number
  readonly outages: number
  readonly seconds: number
  /** Requests that had to be made again. */
  readonly failures: number
  readonly slowestAnswerMs: number
  readonly duplicates: ExplainedDuplicates
  readonly readyMsMax: number
  /** How Outrigger ended at last, told to stop by SIGTERM. */
  readonly exitCode: number | null
}

/** Whether every promise was kept. */
export function hasPassed({ verdict, duplicates, exitCode }: TortureResult): boolean {
  return isFlawless(verdict) && verdict.answered > 0 && duplicates.unexplained.length === 0 && exitCode === 0
}

/** So many kills make one round: some while Kafka is up, some while it is away, some when it is up again. */
const killsPerRound = 21

/**
 * Kills Outrigger with SIGKILL again and again while publishers press on, and Kafka comes and goes; lets it deliver what is
 * left, and holds everything that is in Kafka against what the publishers were told.
 */
export async function torture(cluster: KafkaCluster, options: TortureOptions): Promise<TortureResult> {
  const { seed, say } = options
  await createTopics(cluster)
  await using program = await Program.start({
    name: 'outrigger-torture',
    settings: { OUTRIGGER_BROKER: 'kafka', OUTRIGGER_KAFKA_BROKERS: cluster.brokers.join(',') },
  })
  const begun = performance.now()
  const answers = new AnswerLog()
  const publishers = Array.from({ length: options.publishers ?? 64 }, (_, number) => {
    const target = number % 2 === 0 ? program.tcp : program.unix
    return new TorturePublisher(answers, { seed, number, target, pauseMsMax: 300 })
  })
  const ending = new AbortController()
  const publishing = Promise.all(publishers.map((publisher) => publisher.run(ending.signal)))
  const tormentor = new Tormentor(program, cluster, answers, options)
  await Promise.race([tormentor.run(), publishing]).finally(() => ending.abort())
  await publishing
  say(`No more kills. ${answers.tags.size} messages are answered; what is left is delivered.`)
  await program.drained()
  const { code: exitCode } = await program.stop()
  const seconds = (performance.now() - begun) / 1000

  say('Everything in Kafka is read back.')
  const trial = new Trial(answers, tagHeader, (tag) => messageOf(seed, tag))
  await readKafka(cluster.brokers, topics, (record) => trial.add(record))
  const verdict = trial.verdict()
  const slowestAnswerMs = Math.max(...publishers.map(({ slowestMs }) => slowestMs))
  const { crashes, killsInOutage, readyMsMax } = tormentor
  return {
    verdict,
    kills: crashes.kills.length,
    killsInOutage,
    outages: crashes.outages.length,
    seconds,
    failures: publishers.reduce((sum, { failures }) => sum + failures, 0),
    slowestAnswerMs,
    duplicates: crashes.explain(verdict.duplicates, slowestAnswerMs),
    readyMsMax,
    exitCode,
  }
}

/** Kafka notes when it wrote each record, so that duplicates can be held against the crashes. */
async function createTopics({ brokers }: KafkaCluster): Promise<void> {
  const admin = kafkaClient(brokers).admin()
  await admin.connect()
  try {
    const configEntries = [{ name: 'message.timestamp.type', value: 'LogAppendTime' }]
    await admin.createTopics({ topics: topics.map((topic) => ({ topic, numPartitions: 4, configEntries })) })
  } finally {
    await admin.disconnect()
  }
}

/** Does the killing. */
class Tormentor {
  readonly crashes = new Crashes()
  killsInOutage = 0
  readyMsMax = 0
  readonly #program: Program
  readonly #cluster: KafkaCluster
  readonly #answers: AnswerLog
  readonly #options: TortureOptions
  readonly #random: Random

  constructor(program: Program, cluster: KafkaCluster, answers: AnswerLog, options: TortureOptions) {
    this.#program = program
    this.#cluster = cluster
    this.#answers = answers
    this.#options = options
    this.#random = Random.of(options.seed, 0x6b696c6c)
  }

  async run(): Promise<void> {
    for (let left = this.#options.kills; left > 0; left -= killsPerRound) {
      await this.#round(Math.min(left, killsPerRound))
    }
  }

  async #round(kills: number): Promise<void> {
    const { say } = this.#options
    const inOutage = Math.floor(kills / 3)
    const whileReturning = Math.min(2, Math.floor(kills / 3))
    const before = Math.floor((kills - inOutage - whileReturning) / 2)
    say('Kafka is up.')
    await this.#kills(before)

    say('Kafka is killed.')
    const outage = this.crashes.outageBegins()
    await this.#cluster.kill()
    await this.#kills(inOutage)
    this.killsInOutage += inOutage

    say('Kafka comes back.')
    const returning = this.#cluster.start()
    await Promise.all([returning, this.#kills(whileReturning)])
    outage.ends()
    await this.#kills(kills - inOutage - whileReturning - before)
  }

  async #kills(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      // Often soon after the start, when it has hardly begun; now and then after a while.
      await sleep(this.#random.next() ** 2 * 3500)
      const kill = this.crashes.killBegins()
      await this.#program.kill()
      kill.ends()
      const { readyMs } = await this.#program.start()
      this.readyMsMax = Math.max(this.readyMsMax, readyMs)
      const number = this.crashes.kills.length
      this.#options.say(`  kill ${number}, ready after ${readyMs.toFixed(0)} ms; ${this.#answers.tags.size} answered`)
    }
  }
}
