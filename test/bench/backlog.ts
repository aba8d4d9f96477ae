import { setTimeout as sleep } from 'node:timers/promises'
import { benchMessages, benchRequests } from './bodies.ts'
import type { KafkaSide } from './kafka-side.ts'
import type { Parameters } from './parameters.ts'
import { residentMiB } from './process-usage.ts'
import { publish, publishToBaseline, type Publishing, type Tools } from './publishing.ts'
import { Subject } from './subject.ts'
import { until } from './workbench.ts'

/** Messages a second that reach Kafka. */
export interface BacklogResult {
  readonly valueBytes: number
  readonly messages: number
  readonly journalBytes: number
  /** MiB: the highest while the backlog grew, and some seconds after. */
  readonly peakMiB: number
  readonly steadyMiB: number
  /** From the start of the process that follows a SIGKILL until it is ready. */
  readonly restartMs: readonly number[]
  /** MiB, a while after the last restart, with Kafka away; and the highest while the backlog was delivered. */
  readonly restartedMiB: number
  readonly drainPeakMiB: number
  /** From the start of the process on the backlog, with Kafka there and warm, until its first message is in Kafka. */
  readonly resumedAfterMs: number
  /** From the first message of the backlog in Kafka until the last. */
  readonly drainPerSecond: number
  /** Of the same messages freshly published, from the first request until the last is in Kafka; before the outage and after. */
  readonly freshBeforePerSecond: number
  readonly freshAfterPerSecond: number
}

const BATCH = 250
const STEADY_AFTER_MS = 3000
const DRAIN_TIMEOUT_MS = 300_000

/**
 * Bounds: what a large backlog costs, and how fast it goes. Kafka is killed and started again. It takes half a minute
 * until it is as fast as before (its JVM compiles), so it is warmed by others before the backlog goes.
 */
export async function measureBacklog(
  tools: Tools,
  kafka: KafkaSide,
  parameters: Parameters,
  say: (line: string) => void,
): Promise<BacklogResult> {
  const { backlogBytes, backlogValueBytes: valueBytes, batchConnections: connections } = parameters
  const messages = benchMessages(BATCH * 4, valueBytes, true)
  const topic = await kafka.newTopic()
  const requests = benchRequests(messages, BATCH)
  const what = { topic, requests, batch: BATCH, connections, seconds: parameters.seconds * 3 }
  const subject = new Subject(tools.bench, { broker: 'kafka', brokers: kafka.brokers })
  await subject.start()

  await publish(tools, subject, { ...what, seconds: parameters.warmUpSeconds }, kafka)
  const freshBefore = (await publish(tools, subject, what, kafka)).deliveredPerSecond ?? 0
  say(`fresh messages of ${valueBytes} B, ${BATCH} a request: ${freshBefore}/s until Kafka has them`)

  const inTopicBefore = await kafka.messageCount(topic)
  await kafka.cluster.kill()
  await fill(tools, subject, what, backlogBytes)
  const { peak: peakMiB } = await residentMiB(subject.pid)
  await sleep(STEADY_AFTER_MS)
  const { now: steadyMiB } = await residentMiB(subject.pid)
  const { journalBytes, backlogMessages } = await subject.status()
  say(`${backlogMessages} messages wait in ${mebibytes(journalBytes)} MiB; resident ${steadyMiB} MiB, peak ${peakMiB}`)

  const restartMs: number[] = []
  for (let restart = 0; restart < parameters.restarts; restart++) {
    await subject.kill()
    restartMs.push(Math.round(await subject.start()))
    // So that it is amid its work when it is killed.
    await sleep(300)
  }
  await sleep(STEADY_AFTER_MS)
  const { now: restartedMiB } = await residentMiB(subject.pid)
  say(`ready after SIGKILL: ${restartMs.join(', ')} ms; resident ${restartedMiB} MiB`)

  await subject.kill()
  await kafka.cluster.start()
  await kafka.produce({ messages, batch: BATCH, inFlight: 5, seconds: parameters.kafkaWarmUpSeconds })
  const drain = await watchDrain(subject)
  const { peak: drainPeakMiB } = await residentMiB(subject.pid)
  const drained = (await kafka.messageCount(topic)) - inTopicBefore
  if (drained < backlogMessages) throw new Error(`of ${backlogMessages} messages only ${drained} are in Kafka`)
  say(`drained at ${drain.drainPerSecond}/s`)
  const freshAfter = (await publish(tools, subject, what, kafka)).deliveredPerSecond ?? 0
  say(`fresh messages again: ${freshAfter}/s; peak of resident memory ${drainPeakMiB} MiB`)
  await subject.kill()
  await kafka.deleteTopic(topic)
  return {
    valueBytes,
    messages: backlogMessages,
    journalBytes,
    peakMiB,
    steadyMiB,
    restartMs,
    restartedMiB,
    drainPeakMiB,
    ...drain,
    freshBeforePerSecond: freshBefore,
    freshAfterPerSecond: freshAfter,
  }
}

/** Publishes until the journal holds as much. */
async function fill(tools: Tools, subject: Subject, what: Publishing, bytes: number): Promise<void> {
  const deadline = performance.now() + DRAIN_TIMEOUT_MS
  for (;;) {
    const { journalBytes } = await subject.status()
    if (journalBytes >= bytes) return
    if (performance.now() > deadline) throw new Error(`only ${journalBytes} of ${bytes} bytes were published in time`)
    await publishToBaseline(tools, subject, { ...what, seconds: 1 })
  }
}

/** Starts Outrigger and watches the backlog go. */
async function watchDrain(subject: Subject): Promise<Pick<BacklogResult, 'resumedAfterMs' | 'drainPerSecond'>> {
  const startedAt = performance.now()
  await subject.start()
  const watched: { at: number; left: number }[] = []
  await until(
    'the backlog to be delivered',
    DRAIN_TIMEOUT_MS,
    async () => {
      const left = (await subject.status()).backlogMessages
      watched.push({ at: performance.now(), left })
      return left === 0
    },
    50,
  )
  const backlog = Math.max(...watched.map(({ left }) => left))
  const first = watched.find(({ left }) => left < backlog)
  const last = watched.at(-1)
  if (first === undefined || last === undefined || first === last)
    throw new Error('the backlog was gone before anybody looked: it is too small to measure')
  return {
    resumedAfterMs: Math.round(first.at - startedAt),
    drainPerSecond: Math.round((first.left / (last.at - first.at)) * 1000),
  }
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / 1024 / 1024)
}
