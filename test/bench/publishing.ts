import { setTimeout as sleep } from 'node:timers/promises'
import type { BenchRequest } from './bodies.ts'
import type { KafkaSide } from './kafka-side.ts'
import { applyLoad, type LoadGenerator, type Target } from './load.ts'
import { cpuMicros, cpuPerMessage, type CpuMicros } from './process-usage.ts'
import type { Subject } from './subject.ts'
import { until, type Workbench } from './workbench.ts'
import type { WRK_MISSING } from './wrk.ts'

/** What all measurements use. */
export interface Tools {
  readonly bench: Workbench
  readonly wrk: string | typeof WRK_MISSING
}

export interface Publishing {
  readonly via?: 'tcp' | 'unix'
  readonly topic: string
  readonly requests: readonly BenchRequest[]
  /** Messages in each request. */
  readonly batch: number
  readonly connections: number
  readonly seconds: number
}

/** How fast a server answered. */
export interface Answered {
  readonly generator: LoadGenerator
  /** Messages in the requests that were answered. */
  readonly answered: number
  /** Of these, in a second. */
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
}

/** And how it went on with the messages. */
export interface Published extends Answered {
  /** All that were accepted; the generator breaks off while each connection still waits for an answer. */
  readonly accepted: number
  /** Accepted and not yet delivered when publishing ended. */
  readonly backlog: number
  /** Messages a second from the first request until the last message was delivered; null when the broker is away. */
  readonly deliveredPerSecond: number | null
  /** CPU time of all of this, for each message. */
  readonly cpuMicros: CpuMicros
}

/** Publishes to a server that keeps nothing. */
export async function publishToBaseline({ bench, wrk }: Tools, target: Target, what: Publishing): Promise<Answered> {
  const { via = 'tcp', topic, requests, batch, connections, seconds } = what
  const path = `/topics/${topic}`
  const result = await applyLoad(bench, wrk, target, { via, path, requests, connections, seconds })
  const answered = result.requests * batch
  const perSecond = Math.round(answered / result.seconds)
  const [p50Ms, p99Ms] = [rounded(result.p50Ms), rounded(result.p99Ms)]
  return { generator: result.generator, answered, perSecond, p50Ms, p99Ms }
}

/**
 * Publishes to Outrigger, waits until all of it is delivered, and holds what was answered against what was accepted, and
 * that, with Kafka, against what is in the topic. While the broker is away it does not wait.
 */
export async function publish(
  tools: Tools,
  subject: Subject,
  what: Publishing,
  broker: KafkaSide | 'embedded' | 'away',
): Promise<Published> {
  const kafka = typeof broker === 'string' ? null : broker
  const before = await subject.status()
  const inTopicBefore = (await kafka?.messageCount(what.topic)) ?? 0
  const cpuBefore = await cpuMicros(subject.pid)
  const begunAt = performance.now()
  const answered = await publishToBaseline(tools, subject, what)
  const { backlogMessages: backlog } = await subject.status()
  let accepted = 0
  let deliveredAt = begunAt
  let inTopic: number | null = null
  await until('all messages to be delivered', DELIVERY_TIMEOUT_MS, async () => {
    const { nextSeq, backlogMessages } = await subject.status()
    if (broker !== 'away' && backlogMessages > 0) return false
    accepted = nextSeq - before.nextSeq
    deliveredAt = performance.now()
    if (kafka !== null) inTopic = (await kafka.messageCount(what.topic)) - inTopicBefore
    // What the generator sent last, and broke off before the answer, may still be on its way to the disk.
    await sleep(SETTLED_AFTER_MS)
    return (await subject.status()).nextSeq === nextSeq
  })
  const cpuAfter = await cpuMicros(subject.pid)
  if (answered.answered > accepted)
    throw new Error(`${answered.answered} messages were answered, but only ${accepted} were accepted`)
  if (inTopic !== null && inTopic !== accepted)
    throw new Error(`${accepted} messages were accepted, but ${inTopic} are in Kafka`)
  const seconds = (deliveredAt - begunAt) / 1000
  return {
    ...answered,
    accepted,
    backlog,
    deliveredPerSecond: broker === 'away' ? null : Math.round(accepted / seconds),
    cpuMicros: cpuPerMessage(cpuBefore, cpuAfter, accepted),
  }
}

const DELIVERY_TIMEOUT_MS = 300_000
const SETTLED_AFTER_MS = 300

function rounded(milliseconds: number): number {
  return Math.round(milliseconds * 100) / 100
}
