import { randomUUID } from 'node:crypto'
import { inject } from 'vitest'
import { systemClock } from '../../../src/base/clock.ts'
import { silentLog } from '../../../src/base/log.ts'
import { KafkaBroker } from '../../../src/kafka/kafka-broker.ts'
import { KafkaConsumer } from '../../../src/kafka/kafka-consumer.ts'
import type { Compression } from '../../../src/kafka/compression.ts'
import { describeBrokerContract } from '../../forwarder/broker-contract.ts'
import { KeptLog, takeRecords } from '../../forwarder/broker-reading.ts'
import { describeConsumerContract } from '../../forwarder/consumer-contract.ts'
import { describeWithServer } from '../../stack/describe-with-server.ts'
import { brokerOptions } from './kafka-options.ts'

const access = inject('kafka').access

describeWithServer(access !== null, 'real Kafka', () => {
  const setUp = (options: { compression?: Compression; acks?: 'all' | 'leader' }) => async () => {
    const settings = { ...brokerOptions(access?.brokers ?? []), ...options }
    const another = () => new KafkaBroker(systemClock, silentLog, settings)
    const broker = another()
    const log = new KeptLog()
    const consumer = new KafkaConsumer(systemClock, log, settings)
    const name = () => `contract-${randomUUID()}`
    return {
      broker,
      consumer,
      another,
      // The shared broker's num.partitions; it creates topics by itself.
      partitions: 3,
      freshTopic: async () => name(),
      missingTopic: name,
      readAll: (topic: string, count: number) => takeRecords(consumer, topic, count, log),
      close: async () => {
        await consumer.close()
        await broker.close()
      },
    }
  }
  describeBrokerContract('the Kafka broker', setUp({}))
  describeBrokerContract('the Kafka broker with acks of the leader', setUp({ acks: 'leader' }))
  describeBrokerContract('the Kafka broker with zstd', setUp({ compression: 'zstd' }))
  describeConsumerContract('the Kafka consumer', setUp({}))
})
