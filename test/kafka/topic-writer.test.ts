import { expect, test } from 'vitest'
import type { Clock } from '../../src/base/clock.ts'
import type { OutgoingMessage } from '../../src/forwarder/broker.ts'
import { BrokerError } from '../../src/forwarder/broker.ts'
import type { ProducerIdentity, TopicShape } from '../../src/kafka/kafka-cluster.ts'
import type { KafkaNode } from '../../src/kafka/kafka-node.ts'
import type { Parcel, ParcelOutcome } from '../../src/kafka/produce-queue.ts'
import { decodeRecordBatches, RecordEncoder } from '../../src/kafka/record-batch.ts'
import { TopicWriter } from '../../src/kafka/topic-writer.ts'
import { failureOf, outgoing } from '../forwarder/broker-contract.ts'

const never = new AbortController().signal

interface Sent {
  readonly partition: number
  readonly producerId: number
  readonly sequence: number
  readonly values: string[]
}

const lost: ParcelOutcome = {
  kind: 'unanswered',
  wasSent: true,
  error: new BrokerError('transient', 'ECONNRESET', 'the connection was reset'),
}
const written = (baseOffset = 0): ParcelOutcome => ({ kind: 'answered', errorCode: 0, baseOffset })
const refused = (errorCode: number): ParcelOutcome => ({ kind: 'answered', errorCode, baseOffset: -1 })

/** A writer, and around it a cluster of three partitions that answers each parcel as the test says. */
class Fixture {
  readonly sent: Sent[] = []
  /** What the next parcels for a partition end with; without any, they are written. */
  readonly outcomes = new Map<number, (ParcelOutcome | 'hang')[]>()
  leaders = [1, 1, 1]
  clusterIsAway = false
  /** Called when the cluster is asked for the layout. */
  whenAsked = (): void => {}
  /** What the cluster waits for before it tells the layout. */
  beforeLayout: Promise<void> | undefined
  isMissing = false
  created = 0
  producers = 0
  /** As a cluster must not do: it gives the same producer again. */
  sameProducer = false
  nowMs = 0
  layouts = 0
  withdrawn = 0
  #turn = 0
  readonly #offsets = [0, 0, 0]
  readonly writer: TopicWriter

  constructor(idempotent = true, createTopics?: TopicShape) {
    const clock: Clock = {
      now: () => 0,
      monotonic: () => this.nowMs,
      sleep: async (_, signal) => signal?.throwIfAborted(),
    }
    const surroundings = {
      clock,
      encoder: new RecordEncoder(),
      random: () => (this.#turn++ % 3) / 3,
      cluster: {
        node: (id: number) => (id < 0 ? undefined : ({ address: 'kafka:9092' } as KafkaNode)),
        layout: async () => {
          this.layouts++
          this.whenAsked()
          await this.beforeLayout
          if (this.clusterIsAway) throw new BrokerError('transient', 'ECONNREFUSED', 'the cluster is away')
          return this.isMissing ? undefined : { leaders: this.leaders }
        },
        createTopic: async () => {
          this.created++
          this.isMissing = false
        },
        producer: async (used: ProducerIdentity | undefined) => this.#producer(used),
      },
      queueOf: () => ({ add: (parcel: Parcel) => this.#add(parcel) }),
    }
    this.writer = new TopicWriter('t', surroundings, { idempotent, compression: 'none', createTopics })
  }

  next(partition: number, ...outcomes: (ParcelOutcome | 'hang')[]): void {
    this.outcomes.set(partition, outcomes)
  }

  write(messages: readonly OutgoingMessage[], signal = never) {
    return this.writer.write(messages, signal)
  }

  /** As the cluster: the same for all, but younger than the one that was used. */
  #producer(used: ProducerIdentity | undefined): ProducerIdentity {
    if (this.sameProducer) return { producerId: BigInt(this.producers), epoch: 0 }
    if (this.producers === 0 || used?.producerId === BigInt(this.producers)) this.producers++
    return { producerId: BigInt(this.producers), epoch: 0 }
  }

  #add({ partition, bytes }: Parcel) {
    const { records } = decodeRecordBatches(Buffer.from(bytes), 0, [])
    this.sent.push({
      partition,
      producerId: Number(bytes.readBigInt64BE(43)),
      sequence: bytes.readInt32BE(53),
      values: records.map(({ value }) => String(value)),
    })
    const outcome = this.outcomes.get(partition)?.shift()
    if (outcome === 'hang') {
      return { outcome: new Promise<ParcelOutcome>(() => {}), withdraw: () => false }
    }
    const base = this.#offsets[partition] as number
    if (!outcome) this.#offsets[partition] = base + records.length
    return { outcome: Promise.resolve(outcome ?? written(base)), withdraw: () => ++this.withdrawn > 0 }
  }
}

const batch = (partition: number, ...values: string[]): OutgoingMessage[] =>
  values.map((value) => outgoing({ partition, value: Buffer.from(value) }))

test('numbers the batches of a partition one after another', async () => {
  const fixture = new Fixture()
  await fixture.write(batch(0, 'a', 'b'))
  await fixture.write(batch(0, 'c'))
  await fixture.write(batch(1, 'd'))
  expect(fixture.sent.map(({ partition, producerId, sequence }) => [partition, producerId, sequence])).toEqual([
    [0, 1, 0],
    [0, 1, 2],
    [1, 1, 0],
  ])
})

test('a partition that begins anew leaves the others with their producer, and never goes back to its own', async () => {
  const fixture = new Fixture()
  await fixture.write([...batch(0, 'a'), ...batch(1, 'b')])
  fixture.next(0, refused(45))
  await fixture.write(batch(0, 'c'))
  await fixture.write(batch(1, 'd'))
  fixture.next(1, refused(45))
  await fixture.write(batch(1, 'e'))
  await fixture.write(batch(2, 'f'))
  fixture.next(0, refused(45))
  await fixture.write(batch(0, 'g'))
  expect(fixture.sent.map(({ values, producerId, sequence }) => [values[0], producerId, sequence])).toEqual([
    ['a', 1, 0],
    ['b', 1, 0],
    ['c', 1, 1],
    ['c', 2, 0],
    ['d', 1, 1],
    ['e', 1, 2],
    ['e', 2, 0],
    ['f', 2, 0],
    ['g', 2, 1],
    ['g', 3, 0],
  ])
})

test('a cluster that gives a producer twice to a partition is caught, before a number is used twice', async () => {
  const fixture = new Fixture()
  await fixture.write(batch(0, 'a'))
  fixture.sameProducer = true
  fixture.next(0, refused(45))
  await expect(fixture.write(batch(0, 'b'))).rejects.toThrow('must not number a partition twice')
  expect(fixture.sent).toHaveLength(2)
})

test('an old layout is used on while a new one is asked for, and no batch waits for it', async () => {
  const fixture = new Fixture()
  await fixture.write(batch(0, 'a'))
  fixture.nowMs += 6 * 60_000
  const answer = Promise.withResolvers<void>()
  fixture.beforeLayout = answer.promise
  await fixture.write(batch(0, 'b'))
  await fixture.write(batch(0, 'c'))
  expect(fixture.layouts).toBe(2) // the one that is under way is enough
  fixture.leaders = [1, 1, 1, 1]
  answer.resolve()
  await new Promise((resolve) => setImmediate(resolve))
  fixture.nowMs += 60_000
  await fixture.write(batch(3, 'd'))
  expect(fixture.layouts).toBe(2)
})

test('an old layout is good enough while the cluster can not be asked', async () => {
  const fixture = new Fixture()
  await fixture.write(batch(0, 'a'))
  fixture.nowMs += 6 * 60_000
  fixture.clusterIsAway = true
  await fixture.write(batch(0, 'b'))
  await new Promise((resolve) => setImmediate(resolve))
  await fixture.write(batch(0, 'c'))
  expect(fixture.sent.map(({ values }) => values[0])).toEqual(['a', 'b', 'c'])
})

test('a topic that is gone when its old layout is renewed is looked for by the next write', async () => {
  const fixture = new Fixture()
  await fixture.write(batch(0, 'a'))
  fixture.nowMs += 6 * 60_000
  fixture.isMissing = true
  await fixture.write(batch(0, 'b'))
  await new Promise((resolve) => setImmediate(resolve))
  expect(await failureOf(fixture.write(batch(0, 'c')))).toMatchObject({ reason: 'UNKNOWN_TOPIC_OR_PARTITION' })
})

test('a topic that was just created is given more time to be ready than one that was there', async () => {
  const ready = [refused(3), refused(6), refused(6), refused(6), written(0)]
  const there = new Fixture()
  there.next(0, ...ready)
  expect(await failureOf(there.write(batch(0, 'a')))).toMatchObject({ failure: 'blocked' })
  const missing = new Fixture(true, { partitions: 3, replicationFactor: 1 })
  missing.isMissing = true
  missing.next(0, ...ready)
  expect((await missing.write(batch(0, 'a'))).offsets).toEqual([0])
  expect(missing.created).toBe(1)
  missing.next(0, ...ready)
  expect(await failureOf(missing.write(batch(0, 'b')))).toMatchObject({ failure: 'blocked' })
})

test('a batch whose answer was lost is sent again under its own number, in the same write and in the next', async () => {
  const fixture = new Fixture()
  fixture.next(0, lost, lost, lost)
  const messages = batch(0, 'a', 'b')
  expect(await failureOf(fixture.write(messages))).toMatchObject({ reason: 'ECONNRESET' })
  // Read anew from the journal: other objects, the same content.
  await fixture.write(batch(0, 'a', 'b'))
  await fixture.write(batch(0, 'c'))
  expect(new Set(fixture.sent.slice(0, 4).map(({ producerId, sequence }) => `${producerId}/${sequence}`))).toEqual(
    new Set(['1/0']),
  )
  expect(fixture.sent[4]).toMatchObject({ producerId: 1, sequence: 2, values: ['c'] })
})

test('another batch never gets the number of one whose answer was lost, nor the one behind it', async () => {
  const fixture = new Fixture()
  fixture.next(0, lost, lost, lost)
  await failureOf(fixture.write(batch(0, 'a', 'b')))
  await fixture.write(batch(0, 'a'))
  await fixture.write(batch(0, 'b'))
  expect(fixture.sent.slice(3)).toEqual([
    { partition: 0, producerId: 2, sequence: 0, values: ['a'] },
    { partition: 0, producerId: 2, sequence: 1, values: ['b'] },
  ])
})

test('a number that was refused for certain is used for the next batch', async () => {
  const fixture = new Fixture()
  fixture.next(0, refused(10))
  expect(await failureOf(fixture.write(batch(0, 'too large')))).toMatchObject({ reason: 'MESSAGE_TOO_LARGE' })
  await fixture.write(batch(0, 'small'))
  expect(fixture.sent[1]).toMatchObject({ producerId: 1, sequence: 0 })
})

test('a refusal that may have kept the batch makes its number taken', async () => {
  const fixture = new Fixture()
  // NOT_ENOUGH_REPLICAS_AFTER_APPEND
  fixture.next(0, refused(20))
  await failureOf(fixture.write(batch(0, 'a')))
  await fixture.write(batch(0, 'b'))
  expect(fixture.sent[1]).toMatchObject({ producerId: 2, sequence: 0, values: ['b'] })
})

test('a refusal after a lost answer says nothing of the first try: the number stays taken', async () => {
  const fixture = new Fixture()
  fixture.next(0, lost, refused(19))
  await failureOf(fixture.write(batch(0, 'a')))
  await fixture.write(batch(0, 'b'))
  expect(fixture.sent.at(-1)).toMatchObject({ producerId: 2, sequence: 0 })
})

test.each([
  ['OUT_OF_ORDER_SEQUENCE_NUMBER', 45],
  ['UNKNOWN_PRODUCER_ID', 59],
  ['INVALID_PRODUCER_EPOCH', 47],
])('%s: goes on as a new producer, at once', async (_, code) => {
  const fixture = new Fixture()
  await fixture.write(batch(0, 'a'))
  fixture.next(0, refused(code))
  await fixture.write(batch(0, 'b'))
  expect(fixture.sent.slice(1)).toEqual([
    { partition: 0, producerId: 1, sequence: 1, values: ['b'] },
    { partition: 0, producerId: 2, sequence: 0, values: ['b'] },
  ])
})

test('a partition that moved is sent to its new leader, without the others being sent again', async () => {
  const fixture = new Fixture()
  fixture.next(1, refused(6))
  const { offsets } = await fixture.write([...batch(0, 'a'), ...batch(1, 'b')])
  expect(offsets).toEqual([0, 0])
  expect(fixture.sent.map(({ partition }) => partition)).toEqual([0, 1, 1])
  expect(fixture.layouts).toBe(2)
})

test('what got through of a batch that failed is not sent again: as a whole, in halves, or read anew', async () => {
  const fixture = new Fixture()
  const messages = [...batch(0, 'a'), ...batch(1, 'large'), ...batch(0, 'b')]
  fixture.next(1, refused(10), refused(10), refused(10))
  await failureOf(fixture.write(messages))
  await failureOf(fixture.write(messages))
  expect((await fixture.write(messages.slice(2))).offsets).toEqual([1])
  expect(fixture.sent.filter(({ partition }) => partition === 0)).toHaveLength(1)

  const other = new Fixture()
  other.next(1, refused(19))
  await failureOf(other.write([...batch(0, 'a'), ...batch(1, 'b')]))
  expect((await other.write([...batch(0, 'a'), ...batch(1, 'b')])).offsets).toEqual([0, 0])
  expect(other.sent.filter(({ partition }) => partition === 0)).toHaveLength(1)
})

test('what got through is remembered also when the cluster goes away in the middle', async () => {
  const fixture = new Fixture()
  const messages = [...batch(0, 'a'), ...batch(1, 'b')]
  await fixture.write(batch(2, 'first'))
  fixture.next(1, lost)
  fixture.clusterIsAway = true
  expect(await failureOf(fixture.write(messages))).toMatchObject({ failure: 'transient', reason: 'ECONNREFUSED' })
  fixture.clusterIsAway = false
  await fixture.write(messages)
  expect(fixture.sent.filter(({ partition }) => partition === 0)).toHaveLength(1)
})

test('a leader that is away blocks this topic only, as long as the cluster can be asked', async () => {
  const fixture = new Fixture()
  fixture.next(0, lost, lost, lost)
  const failure = await failureOf(fixture.write(batch(0, 'a')))
  expect(failure).toMatchObject({ failure: 'blocked', reason: 'ECONNRESET' })
  expect(failure.hint).toContain('advertised.listeners')
})

test('an abort comes through at once, and the next write does not wait for what hangs', async () => {
  const fixture = new Fixture()
  fixture.next(0, 'hang')
  const abort = new AbortController()
  const reason = new Error('too slow')
  const writing = fixture.write(batch(0, 'a'), abort.signal)
  await expect.poll(() => fixture.sent.length).toBe(1)
  abort.abort(reason)
  await expect(writing).rejects.toBe(reason)
  await fixture.write(batch(0, 'a'))
  expect(fixture.sent[1]).toEqual(fixture.sent[0])
})

test('a batch that was aborted on its way keeps its number taken', async () => {
  const fixture = new Fixture()
  fixture.next(0, 'hang')
  const abort = new AbortController()
  const writing = fixture.write(batch(0, 'a'), abort.signal)
  await expect.poll(() => fixture.sent.length).toBe(1)
  abort.abort(new Error('too slow'))
  await expect(writing).rejects.toThrow('too slow')
  await fixture.write(batch(0, 'b'))
  expect(fixture.sent[1]).toMatchObject({ producerId: 2, sequence: 0, values: ['b'] })
})

test('writes that are made at once go one after another', async () => {
  const fixture = new Fixture()
  await Promise.all([fixture.write(batch(0, 'a')), fixture.write(batch(0, 'b')), fixture.write(batch(0, 'c'))])
  expect(fixture.sent.map(({ sequence, values }) => [sequence, values[0]])).toEqual([[0, 'a'], [1, 'b'], [2, 'c']]) // prettier-ignore
})

test('messages without a key stay on their partition until they got through, unless it loses its leader', async () => {
  const fixture = new Fixture()
  const keyless = [outgoing({ value: Buffer.from('a') })]
  fixture.next(0, refused(19), refused(19))
  await failureOf(fixture.write(keyless))
  await failureOf(fixture.write(keyless))
  await fixture.write(keyless)
  await fixture.write(keyless)
  expect(fixture.sent.map(({ partition }) => partition)).toEqual([0, 0, 0, 1])
  fixture.leaders = [1, 1, -1]
  fixture.next(2, refused(6))
  // It is known only after the refusal that partition 2 has no leader any more.
  expect(await failureOf(fixture.write(keyless))).toMatchObject({ failure: 'blocked', reason: 'LEADER_NOT_AVAILABLE' })
  await fixture.write(keyless)
  expect(fixture.sent.at(-1)?.partition).not.toBe(2)
})

test('what was prepared is written as it is, but anew when the layout has changed meanwhile', async () => {
  const fixture = new Fixture()
  const keyless = (value: string) => [outgoing({ value: Buffer.from(value) })]
  const [first, second, third] = [keyless('a'), keyless('b'), keyless('c')]
  // Nothing is known of the topic yet.
  fixture.writer.prepare(first)
  const writing = fixture.write(first)
  await writing
  fixture.writer.prepare(second)
  const value = second[0]?.value as Buffer
  value.fill('x') // after it was encoded
  expect(await fixture.write(second)).toEqual({ partitions: [1], offsets: [0] })
  fixture.leaders = [1, 1, -1]
  fixture.next(0, refused(6))
  fixture.whenAsked = () => fixture.writer.prepare(third)
  await fixture.write(batch(0, 'moved'))
  // It was prepared for partition 2, which has no leader now.
  expect((await fixture.write(third)).partitions[0]).not.toBe(2)
  expect(fixture.sent.map(({ values }) => values[0])).toEqual(['a', 'b', 'moved', 'moved', 'c'])
})

test('what was prepared and is not written next is forgotten', async () => {
  const fixture = new Fixture()
  await fixture.write(batch(0, 'a'))
  const later = batch(0, 'c')
  fixture.writer.prepare(later)
  await fixture.write(batch(0, 'b'))
  later[0]?.value?.fill('C')
  await fixture.write(later)
  expect(fixture.sent.map(({ values }) => values[0])).toEqual(['a', 'b', 'C'])
})

test('a partition that the topic does not have is prepared by nobody, and refused when it is written', async () => {
  const fixture = new Fixture()
  await fixture.write(batch(0, 'a'))
  const messages = batch(7, 'b')
  fixture.writer.prepare(messages)
  expect(await failureOf(fixture.write(messages))).toMatchObject({ reason: 'UNKNOWN_PARTITION' })
})

test('without idempotence no batch has a number', async () => {
  const fixture = new Fixture(false)
  await fixture.write(batch(0, 'a'))
  expect(fixture.sent[0]).toMatchObject({ producerId: -1, sequence: -1 })
  expect(fixture.producers).toBe(0)
})
