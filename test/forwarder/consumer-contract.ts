import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Broker } from '../../src/forwarder/broker.ts'
import type { ConsumedRecord, Consumer } from '../../src/subscriptions/consumer.ts'
import { outgoing } from './broker-contract.ts'

/** A consumer to be held against the contract of the port, and a broker that fills its topics. */
export interface ConsumerUnderTest {
  readonly broker: Broker
  readonly consumer: Consumer
  freshTopic(): Promise<string>
  /** A topic that does not exist; `create`, where it takes more than a first send, makes it. */
  missingTopic(): string
  create?(topic: string): Promise<void>
  close(): Promise<void>
}

const never = new AbortController().signal

/** What every implementation of `Consumer` does alike. */
export function describeConsumerContract(name: string, setUp: () => Promise<ConsumerUnderTest>): void {
  describe(`${name}, as a consumer,`, () => {
    let under: ConsumerUnderTest
    beforeAll(async () => {
      under = await setUp()
    })
    afterAll(() => under.close())

    const send = (topic: string, ...values: string[]) =>
      under.broker.send(
        topic,
        values.map((value) => outgoing({ value: Buffer.from(value) })),
        never,
      )

    test('reads from the beginning what was there before, and goes on with what comes', async () => {
      const topic = await under.freshTopic()
      await send(topic, 'one', 'two')
      const records = under.consumer.read(topic, 'beginning', never)[Symbol.asyncIterator]()
      expect(await nextValues(records, 2)).toEqual(['one', 'two'])
      await send(topic, 'three')
      expect(await nextValues(records, 1)).toEqual(['three'])
      await records.return?.()
    })

    test('misses nothing that is produced once "latest" is ready, and gives nothing that was before', async () => {
      const topic = await under.freshTopic()
      for (let i = 0; i < 5; i++) await send(topic, 'before')
      const reading = under.consumer.read(topic, 'latest', never)
      await reading.ready
      await send(topic, 'after')
      const records = reading[Symbol.asyncIterator]()
      expect(await nextValues(records, 1)).toEqual(['after'])
      await records.return?.()
    })

    test('waits for a topic that does not exist yet, and then reads it from its beginning', async () => {
      const topic = under.missingTopic()
      const reading = under.consumer.read(topic, 'latest', never)
      await reading.ready
      await under.create?.(topic)
      await send(topic, 'first')
      const records = reading[Symbol.asyncIterator]()
      expect(await nextValues(records, 1)).toEqual(['first'])
      await records.return?.()
    })

    test('ends without an error when the signal is aborted', async () => {
      const topic = await under.freshTopic()
      await send(topic, 'one')
      const abort = new AbortController()
      const values: string[] = []
      for await (const record of under.consumer.read(topic, 'beginning', abort.signal)) {
        values.push(String(record.value))
        setTimeout(() => abort.abort(), 20)
      }
      expect(values).toEqual(['one'])
    })

    /** To one partition, at these times. */
    const sendAt = (topic: string, ...timestamps: number[]) =>
      under.broker.send(
        topic,
        timestamps.map((timestamp) => outgoing({ partition: 0, timestamp, value: Buffer.from(`at ${timestamp}`) })),
        never,
      )
    const offsetOf = async (topic: string, time: number | 'beginning' | 'end') =>
      (await under.consumer.offsetsAt(topic, time, never)).find(({ partition }) => partition === 0)?.offset

    test('finds offsets by time: of the first record that is not older, else the end', async () => {
      const topic = await under.freshTopic()
      const now = Date.now()
      await sendAt(topic, now - 3000, now - 2000)
      await sendAt(topic, now - 1000)
      expect(await offsetOf(topic, 'beginning')).toBe(0)
      expect(await offsetOf(topic, now - 5000)).toBe(0)
      expect(await offsetOf(topic, now - 2000)).toBe(1)
      expect(await offsetOf(topic, now - 1999)).toBe(2)
      expect(await offsetOf(topic, now + 1)).toBe(3)
      expect(await offsetOf(topic, 'end')).toBe(3)
      const partitions = (await under.consumer.offsetsAt(topic, 0, never)).map(({ partition }) => partition)
      expect(partitions).toEqual([...partitions.keys()])
    })

    test('finds no offsets of a topic that does not exist', async () => {
      expect(await under.consumer.offsetsAt(under.missingTopic(), 'end', never)).toEqual([])
    })

    test('reads a part of a partition, and ends by itself', async () => {
      const topic = await under.freshTopic()
      const now = Date.now()
      await sendAt(topic, ...Array.from({ length: 700 }, (_, i) => now + i))
      const offsets: number[] = []
      for await (const record of under.consumer.readRange(topic, 0, 3, 690, never)) {
        offsets.push(record.offset)
        expect(String(record.value)).toBe(`at ${now + record.offset}`)
      }
      expect(offsets).toEqual(Array.from({ length: 687 }, (_, i) => i + 3))
      for await (const record of under.consumer.readRange(topic, 0, 5, 5, never)) throw new Error(String(record.value))
    })

    test('reads a part to the end, also when the reader is slow and stops early', async () => {
      const topic = await under.freshTopic()
      await sendAt(topic, ...Array.from({ length: 300 }, (_, i) => Date.now() + i))
      let last = -1
      for await (const record of under.consumer.readRange(topic, 0, 0, 300, never)) last = record.offset
      expect(last).toBe(299)
      for await (const record of under.consumer.readRange(topic, 0, 0, 300, never)) {
        expect(record.offset).toBe(0)
        break
      }
    })

    test('names the topics that there are', async () => {
      const topic = await under.freshTopic()
      await send(topic, 'one')
      expect(await under.consumer.topics(never)).toContain(topic)
      expect(await under.consumer.topics(never)).not.toContain(under.missingTopic())
    })

    test('reads several topics at once', async () => {
      const [a, b] = [await under.freshTopic(), await under.freshTopic()]
      await send(a, 'a')
      await send(b, 'b')
      const values = await Promise.all(
        [a, b].map(async (topic) => {
          const records = under.consumer.read(topic, 'beginning', never)[Symbol.asyncIterator]()
          const got = await nextValues(records, 1)
          await records.return?.()
          return got[0]
        }),
      )
      expect(values).toEqual(['a', 'b'])
    })
  })
}

async function nextValues(records: AsyncIterator<ConsumedRecord>, count: number): Promise<string[]> {
  const values: string[] = []
  while (values.length < count) {
    const { done, value } = await records.next()
    if (done) throw new Error('the records ended')
    values.push(String(value.value))
  }
  return values
}
