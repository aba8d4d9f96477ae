import { describeWithServer } from '../../stack/describe-with-server.ts'
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { systemClock } from '../../../src/base/clock.ts'
import { silentLog } from '../../../src/base/log.ts'
import { KafkaBroker } from '../../../src/kafka/kafka-broker.ts'
import { KafkaConsumer } from '../../../src/kafka/kafka-consumer.ts'
import { outgoing } from '../../forwarder/broker-contract.ts'
import { takeRecords } from '../../forwarder/broker-reading.ts'
import { startKafka, type KafkaCluster } from '../../stack/kafka/kafka.ts'
import { insist } from './insist.ts'
import { brokerOptions } from './kafka-options.ts'

describeWithServer(inject('kafka').access !== null, 'a cluster of three brokers', () => {
  let kafka: KafkaCluster
  beforeAll(async () => {
    kafka = await startKafka({ nodes: 3, autoCreateTopics: false })
  })
  afterAll(() => kafka.stop())

  test('loses one, and gets it back: sending goes on, nothing is lost, written twice or out of order', async () => {
    const createTopics = { partitions: 6, replicationFactor: 3 }
    const options = brokerOptions(kafka.brokers, { createTopics })
    const broker = new KafkaBroker(systemClock, silentLog, options)
    const topic = `failover-${randomUUID()}`
    const failures: string[] = []
    const stop = new AbortController()
    const lane = (async () => {
      let count = 0
      for (; !stop.signal.aborted; count += 30) {
        const messages = Array.from({ length: 30 }, (_, i) =>
          outgoing({
            key: Buffer.from(`key-${i}`),
            value: Buffer.from(String(count + i)),
          }),
        )
        await insist(broker, topic, messages, failures)
      }
      return count
    })()
    await systemClock.sleep(1000)
    await kafka.kill(2)
    await systemClock.sleep(6000)
    await kafka.start(2)
    await systemClock.sleep(3000)
    stop.abort()
    const count = await lane
    const consumer = new KafkaConsumer(systemClock, silentLog, options)
    const records = await takeRecords(consumer, topic, count)
    await consumer.close()
    await broker.close()
    expect(new Set(records.map(({ partition }) => partition)).size).toBe(6)
    expect(records.map(({ value }) => Number(value)).toSorted((a, b) => a - b)).toEqual(
      Array.from({ length: count }, (_, n) => n),
    )
    for (let key = 0; key < 30; key++) {
      const values = records.filter((r) => String(r.key) === `key-${key}`).map(({ value }) => Number(value))
      expect(values).toEqual(values.toSorted((a, b) => a - b))
    }
    // Never was the whole cluster away.
    expect(failures.filter((failure) => !failure.startsWith('blocked'))).toEqual([])
  }, 150_000)
})
