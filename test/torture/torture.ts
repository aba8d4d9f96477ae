import { setTimeout as sleep } from 'node:timers/promises'
import { kafkaClient, readKafka } from '../e2e/kafka-records.ts'
import { Program } from '../e2e/program.ts'
import type { KafkaCluster } from '../stack/kafka/kafka.ts'
import { Crashes, type ExplainedDuplicates } from './crashes.ts'
import { isComplete, LedgerTrial, type LedgerVerdict } from './ledger-trial.ts'
import { Random } from './random.ts'
import type { RealStack } from './real-stack.ts'
import { StoreKiller } from './store-killer.ts'
import { TorturePublisher } from './torture-publisher.ts'
import { messageOf, tagHeader, topics } from './traffic.ts'
import { AnswerLog, isFlawless, Trial, type SentMessage, type Verdict } from './verdict.ts'

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
  readonly ledger: LedgerVerdict
  readonly kills: number
  /** Of the kills, those while Kafka was away. */
  readonly killsInOutage: number
  readonly outages: number
  readonly killsOfMysql: number
  readonly killsOfCassandra: number
  readonly seconds: number
  /** From the last kill until everything was recorded. */
  readonly catchUpMs: number
  /** Requests that had to be made again. */
  readonly failures: number
  readonly slowestAnswerMs: number
  readonly duplicates: ExplainedDuplicates
  readonly readyMsMax: number
  /** How Outrigger ended at last, told to stop by SIGTERM. */
  readonly exitCode: number | null
}

/** Whether every promise was kept. */
export function hasPassed({ verdict, ledger, duplicates, exitCode }: TortureResult): boolean {
  const isDelivered = isFlawless(verdict) && verdict.answered > 0 && duplicates.unexplained.length === 0
  return isDelivered && isComplete(ledger) && exitCode === 0
}

/** So many kills make one round: some while Kafka is up, some while it is away, some when it is up again. */
const killsPerRound = 21

/**
 * Kills Outrigger with SIGKILL again and again while publishers press on, and Kafka, MySQL and Cassandra are killed and come
 * back; lets it deliver and record what is left, and holds everything that is in Kafka against what the publishers were
 * told, and everything that is in the ledger against what is in Kafka.
 */
export async function torture(stack: RealStack, options: TortureOptions): Promise<TortureResult> {
  const { seed, say } = options
  const cluster = stack.kafka
  const ledger = await stack.freshLedger()
  await createTopics(cluster)
  await using program = await Program.start({ name: 'outrigger-torture', settings: ledger.settings })
  const begun = performance.now()
  const answers = new AnswerLog()
  const publishers = Array.from({ length: options.publishers ?? 64 }, (_, number) => {
    const target = number % 2 === 0 ? program.tcp : program.unix
    return new TorturePublisher(answers, { seed, number, target, pauseMsMax: 300 })
  })
  const ending = new AbortController()
  const publishing = Promise.all(publishers.map((publisher) => publisher.run(ending.signal)))
  const tormentor = new Tormentor(program, cluster, answers, options)
  const mysql = new StoreKiller('MySQL', stack.mysql, Random.of(seed, 0x73716c), say)
  const cassandra = new StoreKiller('Cassandra', stack.cassandra, Random.of(seed, 0x63716c), say)
  const killing = async (): Promise<void> => {
    let isOver = false
    const run = tormentor.run().finally(() => (isOver = true))
    await Promise.all([run, ...[mysql, cassandra].map((store) => store.run(() => isOver))])
  }
  await Promise.race([killing(), publishing]).finally(() => ending.abort())
  await publishing
  const calmAt = performance.now()
  say(`No more kills. ${answers.tags.size} messages are answered; what is left is delivered, and recorded.`)
  await program.drained()
  await program.recorded()
  const catchUpMs = performance.now() - calmAt
  const { code: exitCode } = await program.stop()
  const seconds = (performance.now() - begun) / 1000

  say('Everything in Kafka, MySQL and Cassandra is read back.')
  const sent = (tag: string): SentMessage | null => messageOf(seed, tag)
  const trial = new Trial(answers, tagHeader, sent)
  const ledgerTrial = new LedgerTrial(tagHeader, sent)
  await readKafka(cluster.brokers, topics, (record) => {
    trial.add(record)
    ledgerTrial.addRecord(record)
  })
  const verdict = trial.verdict()
  const slowestAnswerMs = Math.max(...publishers.map(({ slowestMs }) => slowestMs))
  const { crashes, killsInOutage, readyMsMax } = tormentor
  return {
    verdict,
    ledger: await ledgerTrial.read(ledger),
    kills: crashes.kills.length,
    killsInOutage,
    outages: crashes.outages.length,
    killsOfMysql: mysql.kills,
    killsOfCassandra: cassandra.kills,
    seconds,
    catchUpMs,
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
