import { join } from 'node:path'
import type { Clock } from './base/clock.ts'
import type { Log } from './base/log.ts'
import type { Config } from './config/schema.ts'
import type { Broker } from './forwarder/broker.ts'
import type { Consumer } from './subscriptions/consumer.ts'

/** The one place that chooses adapters by the configuration. Each is loaded only when it is needed, drivers included. */

/** Where the forwarder delivers to. */
export async function openBroker(config: Config, clock: Clock, log: Log): Promise<Broker> {
  switch (config.broker) {
    case 'kafka': {
      const { KafkaBroker } = await import('./kafka/kafka-broker.ts')
      return new KafkaBroker(clock, log, config.kafka)
    }
    case 'embedded': {
      const { EmbeddedBroker } = await import('./embedded/embedded-broker.ts')
      const { partitions, retention } = config.embedded
      return new EmbeddedBroker(clock, log, { file: embeddedFile(config), partitions, retentionMs: retention })
    }
  }
}

/** Where records are read back from. */
export async function openConsumer(config: Config, clock: Clock, log: Log): Promise<Consumer> {
  switch (config.broker) {
    case 'kafka': {
      const { KafkaConsumer } = await import('./kafka/kafka-consumer.ts')
      return new KafkaConsumer(clock, log, config.kafka)
    }
    case 'embedded': {
      const { EmbeddedConsumer } = await import('./embedded/embedded-consumer.ts')
      return new EmbeddedConsumer(clock, { file: embeddedFile(config) })
    }
  }
}

function embeddedFile(config: Config): string {
  return join(config.journal.directory, 'broker.sqlite')
}
