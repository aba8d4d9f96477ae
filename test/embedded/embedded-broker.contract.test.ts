import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { EmbeddedBroker } from '../../src/embedded/embedded-broker.ts'
import { EmbeddedConsumer } from '../../src/embedded/embedded-consumer.ts'
import { describeBrokerContract } from '../forwarder/broker-contract.ts'
import { describeConsumerContract } from '../forwarder/consumer-contract.ts'
import { takeRecords } from '../forwarder/broker-reading.ts'

async function setUp() {
  const directory = await mkdtemp(join(tmpdir(), 'outrigger-embedded-'))
  const file = join(directory, 'broker.sqlite')
  const another = () => new EmbeddedBroker(systemClock, silentLog, { file, partitions: 3, retentionMs: 3_600_000 })
  const broker = another()
  const consumer = new EmbeddedConsumer(systemClock, { file, pollMs: 5 })
  let topics = 0
  return {
    broker,
    consumer,
    another,
    partitions: 3,
    freshTopic: async () => `topic-${topics++}`,
    missingTopic: () => `missing-${topics++}`,
    readAll: (topic: string, count: number) => takeRecords(consumer, topic, count),
    close: async () => {
      await consumer.close()
      await broker.close()
      await rm(directory, { recursive: true })
    },
  }
}

describeBrokerContract('the embedded broker', setUp)
describeConsumerContract('the embedded consumer', setUp)
