import { randomUUID } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import type { ConsumedRecord } from '../../src/subscriptions/consumer.ts'
import { EmbeddedOutage, readEmbedded } from '../e2e/embedded-records.ts'
import { readKafka } from '../e2e/kafka-records.ts'
import type { Program } from '../e2e/program.ts'
import { startKafka, type KafkaCluster } from '../stack/kafka/kafka.ts'

/** A broker that can be away. */
export interface OutageBroker extends AsyncDisposable {
  readonly name: string
  readonly settings: Readonly<Record<string, string>>
  readonly topic: string
  goAway(program: Program): Promise<void>
  comeBack(): Promise<void>
  /** All records of the topic. */
  read(program: Program, visit: (record: ConsumedRecord) => void): Promise<void>
}

export async function outageBroker(name: 'kafka' | 'embedded'): Promise<OutageBroker> {
  return name === 'kafka' ? kafkaOutageBroker(await startKafka()) : embeddedOutageBroker()
}

/** It is the caller's, and is stopped by disposing of this. */
export function kafkaOutageBroker(cluster: KafkaCluster): OutageBroker {
  const topic = `outage-${randomUUID()}`
  return {
    name: 'Kafka',
    settings: { OUTRIGGER_BROKER: 'kafka', OUTRIGGER_KAFKA_BROKERS: cluster.brokers.join(',') },
    topic,
    goAway: () => cluster.kill(),
    comeBack: () => cluster.start(),
    read: (_program, visit) => readKafka(cluster.brokers, [topic], visit),
    [Symbol.asyncDispose]: () => cluster.stop(),
  }
}

export function embeddedOutageBroker(): OutageBroker {
  let outage: EmbeddedOutage | null = null
  return {
    name: 'embedded broker',
    settings: { OUTRIGGER_BROKER: 'embedded' },
    topic: 'outage',
    async goAway({ dataDirectory, brokerFile }) {
      mkdirSync(dataDirectory, { recursive: true })
      outage = EmbeddedOutage.begin(brokerFile)
    },
    comeBack: async () => outage?.end(),
    read: async ({ brokerFile }, visit) => readEmbedded(brokerFile, visit),
    [Symbol.asyncDispose]: async () => outage?.end(),
  }
}
