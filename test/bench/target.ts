import { setTimeout as sleep } from 'node:timers/promises'
import { benchMessages, benchRequests } from './bodies.ts'
import type { KafkaSide } from './kafka-side.ts'
import type { LedgerSide, LedgerTimes } from './ledger-side.ts'
import { applySocketLoad } from './load.ts'
import { cpuMicros } from './process-usage.ts'
import { Subject } from './subject.ts'
import { until, type Workbench } from './workbench.ts'

export interface TargetParameters {
  /** Messages a second, steadily. */
  readonly perSecond: number
  readonly seconds: number
  readonly publishers: number
  readonly valueBytes: number
  /** Rates at which it is looked whether both stores keep up, and for how long each. */
  readonly rates: readonly number[]
  readonly rateSeconds: number
}

export const targetParameters: TargetParameters = {
  perSecond: 1000,
  seconds: 60,
  publishers: 64,
  valueBytes: 1024,
  rates: [2000, 4000, 5000, 6000, 8000, 10_000],
  rateSeconds: 20,
}

export interface SteadyResult extends LedgerTimes {
  readonly perSecond: number
  readonly answered: number
  readonly meanMs: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** CPU time of Outrigger, in percent of one core. */
  readonly cpuPercent: number
}

export interface RateResult {
  readonly perSecond: number
  readonly answeredPerSecond: number
  readonly p99Ms: number
  /** When the load ended, how many messages were still to be recorded; and after how many seconds they were. */
  readonly lagMessages: { readonly metadata: number; readonly log: number }
  readonly caughtUpSeconds: number
  readonly keptUp: boolean
}

export interface TargetResult {
  readonly steady: SteadyResult
  readonly rates: readonly RateResult[]
}

/** The customer's target: a steady rate with Kafka, MySQL and Cassandra on this machine; and the highest that all keep up with. */
export async function measureTarget(
  bench: Workbench,
  kafka: KafkaSide,
  ledger: LedgerSide,
  parameters: TargetParameters,
  say: (line: string) => void,
): Promise<TargetResult> {
  const { publishers: connections, valueBytes } = parameters
  const subject = new Subject(bench, { broker: 'kafka', brokers: kafka.brokers, settings: ledger.settings })
  await subject.start()
  const topic = await kafka.newTopic()
  const requests = benchRequests(benchMessages(1, valueBytes, true), 1)
  const load = { target: subject, via: 'tcp', path: `/topics/${topic}`, requests, connections } as const

  await applySocketLoad(bench, { ...load, perSecond: parameters.perSecond, seconds: 10 })
  await caughtUp(subject)
  const since = Date.now()
  const before = await cpuMicros(subject.pid)
  const answered = await applySocketLoad(bench, { ...load, ...parameters })
  const cpuPercent = Math.round(((await cpuMicros(subject.pid)).all - before.all) / (answered.seconds * 10_000))
  await caughtUp(subject)
  const times = await ledger.times(topic, since)
  const { requests: count, meanMs = Number.NaN, p50Ms, p99Ms } = answered
  const steady = { perSecond: parameters.perSecond, answered: count, meanMs, p50Ms, p99Ms, cpuPercent, ...times }
  say(`steady ${parameters.perSecond}/s: ${JSON.stringify(steady)}`)

  const rates: RateResult[] = []
  for (const perSecond of parameters.rates) {
    const { requests: sent, seconds, p99Ms: p99 } = await applySocketLoad(bench, { ...load, perSecond, seconds: parameters.rateSeconds }) // prettier-ignore
    const lag = await lagOf(subject)
    const endedAt = performance.now()
    await caughtUp(subject)
    const rate: RateResult = {
      perSecond,
      answeredPerSecond: Math.round(sent / seconds),
      p99Ms: p99,
      lagMessages: lag,
      caughtUpSeconds: Math.round((performance.now() - endedAt) / 100) / 10,
      // A recorder lets messages gather for a moment, and writes them in batches.
      keptUp: Math.max(lag.metadata, lag.log) < perSecond * 2 && sent / seconds > perSecond * 0.95,
    }
    say(`at ${perSecond}/s: ${JSON.stringify(rate)}`)
    rates.push(rate)
    if (!rate.keptUp) break
  }
  await subject.kill()
  await kafka.deleteTopic(topic)
  return { steady, rates }
}

async function lagOf(subject: Subject): Promise<{ metadata: number; log: number }> {
  const { recorders, backlogMessages } = await subject.status()
  const of = (store: string): number =>
    backlogMessages + (recorders.find((recorder) => recorder.store === store)?.lagMessages ?? 0)
  return { metadata: of('metadata'), log: of('log') }
}

async function caughtUp(subject: Subject): Promise<void> {
  await until(
    'the ledger to catch up',
    300_000,
    async () => {
      const { metadata, log } = await lagOf(subject)
      return metadata + log === 0
    },
    50,
  )
  await sleep(500)
}
