import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { BrokerError } from '../../src/forwarder/broker.ts'
import type { Receipt } from '../../src/message/receipt.ts'
import type { Message } from '../../src/message/message.ts'
import { FakeBroker } from '../forwarder/fake-broker.ts'
import { Life } from '../forwarder/life.ts'
import type { RigOptions } from '../forwarder/rig.ts'
import { Rig, finishedBy, lostBy, message, seqOf, withDirectory } from '../forwarder/rig.ts'

/** One run of the process, up to its violent end. */
interface Run {
  /** It dies at this call of its disk, clock and broker, before or after it is done. */
  readonly killAt: { readonly call: number; readonly done: boolean }
  /** Numbers of topics that are blocked all the while. */
  readonly blocked: readonly number[]
  /** One in so many sends fails: a third of these after the broker has kept the batch. */
  readonly failOneIn: number
  /** How often, after each append, everything below some seq is given up. */
  readonly givingUp: number
}

const run: fc.Arbitrary<Run> = fc.record({
  killAt: fc.record({ call: fc.integer({ min: 1, max: 500 }), done: fc.boolean() }),
  blocked: fc.uniqueArray(fc.nat(4), { maxLength: 3 }),
  failOneIn: fc.constantFrom(2, 3, 5, 1000),
  givingUp: fc.constantFrom(0, 0, 0.05, 0.3),
})
const tightness = fc.record({
  batchMessagesMax: fc.integer({ min: 1, max: 8 }),
  laneBytesMax: fc.constantFrom(600, 2000, 100_000),
  memoryBytesMax: fc.constantFrom(1200, 5000, 200_000),
  receiptBytesMax: fc.constantFrom(0, 1_000_000),
  receiptInterval: fc.constantFrom(0, 3),
  checkpointInterval: fc.constantFrom(1, 4, 20),
  segmentBytes: fc.constantFrom(128 * 1024, 1024 * 1024),
})
/** More with the environment variable, for a long look. */
const numRuns = Number(process.env['FORWARDER_CRASH_RUNS'] ?? 30)

test(
  'property: killed at any moments, all is delivered, in order, and nothing again that a durable receipt covers',
  { timeout: 60_000 + numRuns * 1000 },
  async () => {
    const runs = fc.array(run, { minLength: 1, maxLength: 5 })
    await fc.assert(
      fc.asyncProperty(runs, tightness, fc.nat(), async (lives, limits, seed) => {
        await withDirectory(async (directory) => {
          expect(await liveThrough(directory, lives, limits, randomOf(seed))).toEqual([])
        })
      }),
      { numRuns },
    )
  },
)

/** Returns what went wrong. */
async function liveThrough(
  directory: string,
  runs: readonly Run[],
  limits: RigOptions,
  random: () => number,
): Promise<string[]> {
  const problems: string[] = []
  const broker = new FakeBroker()
  broker.refuse(({ value }) => String(value) === 'poison')
  /** Acknowledged to the publisher, by seq. */
  const accepted = new Map<number, Message>()
  /** Covered by a receipt that is durable. */
  const durable = new Set<number>()
  /** Of these, those that are dropped; all of them stand below what was given up at most. */
  const lost = new Set<number>()
  let givenUp = 0
  const noteDurable = (receipts: readonly Receipt[]): void => {
    for (const seq of finishedBy(receipts)) durable.add(seq)
    for (const seq of lostBy(receipts)) lost.add(seq)
  }
  const expectFinished = (below: number, what: string): void => {
    for (let seq = 1; seq < below; seq++)
      if (!durable.has(seq)) problems.push(`${what}: ${below}, but ${seq} is not finished durably`)
  }

  const start = async (life: Life): Promise<Rig> => {
    const rig: Rig = await Rig.open(directory, broker, {
      ...limits,
      life,
      onPassed(seq) {
        if (rig.cursor.position.seq !== seq)
          problems.push(`passed ${seq}, but the cursor is at ${rig.cursor.position.seq}`)
        noteDurable(rig.durableReceipts.splice(0))
        expectFinished(seq, 'passed')
      },
    })
    noteDurable(await rig.allReceipts())
    expectFinished(rig.cursor.position.seq, 'cursor after a restart')
    await rig.forwarder.start()
    return rig
  }
  /** Nothing is sent again that a durable receipt covered at the start; nor, within a run, what was acknowledged. */
  const expectNothingTwice = (from: number, covered: ReadonlySet<number>): void => {
    const sent = broker.attempts.slice(from)
    const again = sent.flatMap(({ messages }) => messages.map(seqOf)).filter((seq) => covered.has(seq))
    if (again.length > 0) problems.push(`sent again although covered: ${again.join()}`)
    const delivered = sent
      .filter(({ outcome }) => outcome === 'delivered')
      .flatMap(({ messages }) => messages.map(seqOf))
    if (new Set(delivered).size < delivered.length) problems.push(`delivered twice: ${delivered.join()}`)
  }

  for (const { killAt, blocked, failOneIn, givingUp } of runs) {
    const life = new Life()
    life.killAt = killAt
    const lifts = [
      broker.rule((topic) =>
        blocked.includes(Number(topic.slice(1))) ? new BrokerError('blocked', 'BLOCKED', 'blocked') : undefined,
      ),
      broker.rule(() => {
        if (random() * failOneIn >= 1) return undefined
        return random() < 1 / 3 ? 'lost-answer' : new BrokerError('transient', 'ECONNRESET', 'broken')
      }),
    ]
    const sentBefore = broker.attempts.length
    let rig: Rig | undefined
    let covered: ReadonlySet<number> = new Set()
    const living = async (): Promise<void> => {
      rig = await start(life)
      covered = new Set(durable)
      void rig.forwarder.failed.catch((error: unknown) => {
        if (!life.isDead) problems.push(`failed: ${String(error)}`)
      })
      for (let i = 0; i < 60; i++) {
        const messages = Array.from({ length: 1 + Math.floor(random() * 6) }, () => randomMessage(random))
        const first = await rig.publish(...messages)
        messages.forEach((published, j) => accepted.set(first + j, published))
        if (random() < givingUp) {
          const below = Math.floor(random() * random() * (rig.messages.nextSeq + 1))
          givenUp = Math.max(givenUp, below)
          void rig.forwarder.giveUpBelow(below)
        }
        if (random() < 0.3) await life.clock.sleep(random() * 3)
      }
      await rig.forwarder.drain(AbortSignal.timeout(50))
    }
    await Promise.race([living(), life.died])
    await life.kill()
    noteDurable(rig?.durableReceipts ?? [])
    for (const lift of lifts) lift()
    expectNothingTwice(sentBefore, covered)
  }

  const sentBefore = broker.attempts.length
  const rig = await start(new Life())
  const covered = new Set(durable)
  await rig.finished(20_000)
  await rig.close()
  noteDurable(rig.durableReceipts)
  expectNothingTwice(sentBefore, covered)
  expectFinished(rig.messages.nextSeq, 'end of the journal')
  if (rig.cursor.position.seq !== rig.messages.nextSeq) problems.push('the cursor is not at the end')

  const letters = new Set(await lettersIn(directory, broker))
  const kept = keptBy(broker)
  for (const [seq, { topic, value }] of accepted) {
    const isThere = value === 'poison' ? letters.has(seq) : kept.get(topic)?.has(seq)
    if (lost.has(seq) && seq >= givenUp)
      problems.push(`${seq} is dropped, and only what is below ${givenUp} was given up`)
    if (!isThere && !lost.has(seq)) problems.push(`${seq} of ${topic} is lost`)
  }
  for (const [topic, seqs] of kept) {
    const firsts = [...seqs]
    if (firsts.some((seq, i) => i > 0 && seq < (firsts[i - 1] as number))) problems.push(`${topic} is out of order`)
  }
  return problems
}

/** The seqs that the broker has kept, whether or not it could say so, in the order of their first occurrence. */
function keptBy(broker: FakeBroker): Map<string, Set<number>> {
  const topics = new Set(broker.attempts.map(({ topic }) => topic))
  const values = new Set([...topics].flatMap((topic) => broker.records(topic).map(({ value }) => value)))
  const kept = new Map<string, Set<number>>()
  for (const { topic, messages } of broker.attempts) {
    if (!messages.every(({ value }) => values.has(value))) continue
    const seqs = kept.get(topic) ?? new Set()
    kept.set(topic, seqs)
    for (const sent of messages) seqs.add(seqOf(sent))
  }
  return kept
}

async function lettersIn(directory: string, broker: FakeBroker): Promise<number[]> {
  const rig = await Rig.open(directory, broker)
  try {
    return await rig.allLetters(({ id }) => Number(id.split('-')[1]))
  } finally {
    await rig.close()
  }
}

function randomMessage(random: () => number): Message {
  const topic = `t${Math.floor(random() * random() * 5)}`
  if (random() < 0.01) return message(topic, 'poison')
  return message(topic, Buffer.alloc(Math.floor(random() * random() * 500)), { key: `k${Math.floor(random() * 3)}` })
}

/** Mulberry32: a small generator of numbers from 0 to 1, the same for the same seed. */
function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
