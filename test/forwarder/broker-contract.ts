import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Broker, Delivered, OutgoingMessage } from '../../src/forwarder/broker.ts'
import { BrokerError } from '../../src/forwarder/broker.ts'
import { partitionOfKey } from '../../src/message/partitioner.ts'
import type { ConsumedRecord } from '../../src/subscriptions/consumer.ts'

/** A broker to be held against the contract of the port. */
export interface BrokerUnderTest {
  readonly broker: Broker
  /** How many partitions the topics have. */
  readonly partitions: number
  /** The name of a topic that takes messages and has none yet. */
  freshTopic(): Promise<string>
  /** What stands in a topic: at least `count` records, each partition in order. */
  readAll(topic: string, count: number): Promise<ConsumedRecord[]>
  /** Another broker object on the same data, to be closed by the test. */
  another(): Broker
  close(): Promise<void>
}

/** Not long ago: Kafka's retention goes by timestamps, and takes old messages away while a test looks for them. */
const recently = Date.now()

/** A message with nothing but what a test is about. */
export function outgoing(parts: Partial<OutgoingMessage> = {}): OutgoingMessage {
  return { key: null, value: Buffer.from('value'), headers: [], partition: null, timestamp: recently, ...parts }
}

const never = new AbortController().signal

/** What every implementation of `Broker` does alike. */
export function describeBrokerContract(name: string, setUp: () => Promise<BrokerUnderTest>): void {
  describe(`${name}, as a broker,`, () => {
    let under: BrokerUnderTest
    beforeAll(async () => {
      under = await setUp()
    })
    afterAll(() => under.close())

    const sendAndRead = async (messages: OutgoingMessage[]): Promise<[Delivered, ConsumedRecord[]]> => {
      const topic = await under.freshTopic()
      const delivered = await under.broker.send(topic, messages, never)
      const records = await under.readAll(topic, messages.length)
      // In the order in which the messages were given.
      const byPlace = new Map(records.map((record) => [`${record.partition}/${record.offset}`, record]))
      const inOrder = messages.map((_, i) => byPlace.get(`${delivered.partitions[i]}/${delivered.offsets[i]}`))
      expect(records).toHaveLength(messages.length)
      expect(inOrder).not.toContain(undefined)
      return [delivered, inOrder as ConsumedRecord[]]
    }

    test('returns for every message where it stands', async () => {
      const messages = Array.from({ length: 200 }, (_, i) =>
        outgoing({ key: Buffer.from(`key-${i % 17}`), value: Buffer.from(`value-${i}`) }),
      )
      const [, records] = await sendAndRead(messages)
      expect(records.map((record) => String(record.value))).toEqual(messages.map(({ value }) => String(value)))
      expect(records.map((record) => String(record.key))).toEqual(messages.map(({ key }) => String(key)))
    })

    test('counts offsets from 0 in every partition, without gaps, over many sends', async () => {
      const topic = await under.freshTopic()
      const seen = new Map<number, number>()
      for (let i = 0; i < 20; i++) {
        const messages = Array.from({ length: 5 }, (_, j) => outgoing({ key: Buffer.from(`k${(i * 5 + j) % 13}`) }))
        const { partitions, offsets } = await under.broker.send(topic, messages, never)
        for (const [j, partition] of partitions.entries()) {
          expect(offsets[j]).toBe(seen.get(partition) ?? 0)
          seen.set(partition, (offsets[j] as number) + 1)
        }
      }
    })

    test('keeps the order of each key over many sends', async () => {
      const topic = await under.freshTopic()
      for (let i = 0; i < 30; i++) {
        const messages = Array.from({ length: 10 }, (_, j) =>
          outgoing({ key: Buffer.from(`key-${j % 4}`), value: Buffer.from(String(i * 10 + j)) }),
        )
        await under.broker.send(topic, messages, never)
      }
      const records = await under.readAll(topic, 300)
      expect(records).toHaveLength(300)
      for (const key of ['key-0', 'key-1', 'key-2', 'key-3']) {
        const values = records.filter((record) => String(record.key) === key).map(({ value }) => Number(value))
        expect(values).toEqual(values.toSorted((a, b) => a - b))
      }
    })

    test("puts a key where Java's producers put it", async () => {
      const keys = ['21', 'foobar', 'a-little-bit-long-string', '', 'ä€', 'abc']
      const [{ partitions }] = await sendAndRead(keys.map((key) => outgoing({ key: Buffer.from(key) })))
      expect(partitions).toEqual(keys.map((key) => partitionOfKey(Buffer.from(key), under.partitions)))
    })

    test('puts the messages without a key of one batch together, and those of the next batches elsewhere', async () => {
      const topic = await under.freshTopic()
      const used = new Set<number>()
      for (let i = 0; i < 40 && used.size < 2; i++) {
        const { partitions } = await under.broker.send(topic, [outgoing(), outgoing(), outgoing()], never)
        expect(new Set(partitions).size).toBe(1)
        used.add(partitions[0] as number)
      }
      expect(used.size).toBeGreaterThan(1)
    })

    test('honours the partition that is asked for, whatever the key', async () => {
      const last = under.partitions - 1
      const [{ partitions }] = await sendAndRead([
        outgoing({ partition: last }),
        outgoing({ partition: 0, key: Buffer.from('k') }),
        outgoing({ partition: last, key: Buffer.from('k') }),
      ])
      expect(partitions).toEqual([last, 0, last])
    })

    test('refuses a partition that does not exist, for good, and keeps nothing of the batch', async () => {
      const topic = await under.freshTopic()
      const error = await failureOf(
        under.broker.send(topic, [outgoing(), outgoing({ partition: under.partitions })], never),
      )
      expect(error).toMatchObject({ failure: 'permanent', reason: 'UNKNOWN_PARTITION' })
      expect(error.hint).not.toBe('')
      await under.broker.send(topic, [outgoing({ value: Buffer.from('next') })], never)
      const records = await under.readAll(topic, 1)
      expect(records.map(({ value }) => String(value))).toEqual(['next'])
    })

    test('tells a tombstone from an empty value, and no key from an empty key', async () => {
      const [, records] = await sendAndRead([
        outgoing({ key: Buffer.from('k'), value: null }),
        outgoing({ key: Buffer.from('k'), value: Buffer.alloc(0) }),
        outgoing({ key: Buffer.alloc(0), value: null }),
        outgoing({ key: null, value: null }),
      ])
      expect(records.map(({ value }) => value?.length)).toEqual([undefined, 0, undefined, undefined])
      expect(records.map(({ key }) => key?.length)).toEqual([1, 1, 0, undefined])
    })

    test('carries any bytes', async () => {
      const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
      const [, [record]] = await sendAndRead([outgoing({ key: bytes, value: bytes, headers: [['all', bytes]] })])
      expect(record?.key).toEqual(bytes)
      expect(record?.value).toEqual(bytes)
      expect(record?.headers).toEqual([['all', bytes]])
    })

    test('keeps headers in their order, with repeats, as text and as bytes', async () => {
      const headers = [
        ['b', 'second letter'],
        ['a', Buffer.from([0xff, 0x00])],
        ['b', 'again'],
        ['10', 'ten'],
        ['2', ''],
        ['ü', 'ÿ€'],
        ['__proto__', 'harmless'],
        ['a', Buffer.alloc(0)],
      ] as const
      const [, [record, plain]] = await sendAndRead([outgoing({ headers }), outgoing()])
      expect(record?.headers).toEqual(headers.map(([header, value]) => [header, Buffer.from(value as string)]))
      expect(plain?.headers).toEqual([])
    })

    test('keeps timestamps, in whatever order they come', async () => {
      // None in the future: Kafka refuses those by default (message.timestamp.after.max.ms).
      const timestamps = [1_700_000_000_500, 1_700_000_000_000, 1, recently, 1_700_000_000_001, 0]
      const [, records] = await sendAndRead(timestamps.map((timestamp) => outgoing({ partition: 0, timestamp })))
      expect(records.map(({ timestamp }) => timestamp)).toEqual(timestamps)
    })

    test('takes a big batch', async () => {
      const messages = Array.from({ length: 5000 }, (_, i) =>
        outgoing({ key: Buffer.from(`k${i % 100}`), value: Buffer.alloc(100, i % 256) }),
      )
      const [{ offsets }, records] = await sendAndRead(messages)
      expect(offsets).toHaveLength(5000)
      expect(records.every(({ value }, i) => value?.length === 100 && value[0] === i % 256)).toBe(true)
    })

    test('sends to many topics at once', async () => {
      const topics = await Promise.all(Array.from({ length: 8 }, () => under.freshTopic()))
      const sends = topics.map((topic) => under.broker.send(topic, [outgoing({ value: Buffer.from(topic) })], never))
      await Promise.all(sends)
      for (const topic of topics) {
        const records = await under.readAll(topic, 1)
        expect(records.map(({ value }) => String(value))).toEqual([topic])
      }
    })

    test("rejects with the signal's reason when it is aborted already, and sends nothing", async () => {
      const topic = await under.freshTopic()
      const reason = new Error('no more time')
      await expect(under.broker.send(topic, [outgoing()], AbortSignal.abort(reason))).rejects.toBe(reason)
      await under.broker.send(topic, [outgoing({ value: Buffer.from('next') })], never)
      expect(await under.readAll(topic, 1)).toHaveLength(1)
    })

    test('closes twice without complaint, and takes nothing afterwards', async () => {
      const topic = await under.freshTopic()
      const broker = under.another()
      const sending = broker.send(topic, [outgoing()], never)
      await sending
      await broker.close()
      await broker.close()
      expect(await failureOf(broker.send(topic, [outgoing()], never))).toMatchObject({ reason: 'CLOSED' })
      expect(await under.readAll(topic, 1)).toHaveLength(1)
    })

    test('can be closed before it was ever used', async () => {
      await expect(under.another().close()).resolves.toBeUndefined()
    })
  })
}

/** The `BrokerError` with which a send fails; the test fails when it does not. */
export async function failureOf(sending: Promise<unknown>): Promise<BrokerError> {
  const outcome: unknown = await sending.then(
    () => 'it was delivered',
    (error: unknown) => error,
  )
  if (outcome instanceof BrokerError) return outcome
  throw new Error(`expected a BrokerError, got ${String(outcome)}`, { cause: outcome })
}
