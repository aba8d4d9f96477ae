import type { ConsumedRecord } from '../../src/subscriptions/consumer.ts'
import { EmbeddedOutage, readEmbedded } from '../e2e/embedded-records.ts'
import { kafkaClient, readKafka } from '../e2e/kafka-records.ts'
import type { Program } from '../e2e/program.ts'
import { startKafka } from '../stack/kafka/kafka.ts'

/** The broker that the demo delivers to, takes away, and brings back. */
export interface DemoBroker extends AsyncDisposable {
  /** In words, as what Outrigger starts with. */
  readonly name: string
  /** Outrigger's configuration for it. */
  readonly settings: Readonly<Record<string, string>>
  /** How it goes away, in words. */
  readonly fate: string
  goAway(program: Program): Promise<void>
  comeBack(): Promise<void>
  /** All records that are in it. */
  read(program: Program, visit: (record: ConsumedRecord) => void): Promise<void>
}

export type OpenBroker = (topics: readonly string[], say: (text: string) => void) => Promise<DemoBroker>

/** The one inside Outrigger, a file. It is away while another process keeps Outrigger from writing to it. */
export const openEmbedded: OpenBroker = async () => {
  let outage: EmbeddedOutage | null = null
  return {
    name: 'its embedded broker, which needs no server',
    settings: { OUTRIGGER_BROKER: 'embedded' },
    fate: 'another process locks its file',
    goAway: async ({ brokerFile }) => {
      outage = EmbeddedOutage.begin(brokerFile)
    },
    comeBack: async () => outage?.end(),
    read: async ({ brokerFile }, visit) => readEmbedded(brokerFile, visit),
    [Symbol.asyncDispose]: async () => outage?.end(),
  }
}

/** A real Kafka of the demo's own, which is killed. */
export const openKafka: OpenBroker = async (topics, say) => {
  say('Kafka starts; the first time it is downloaded.')
  const cluster = await startKafka()
  const admin = kafkaClient(cluster.brokers).admin()
  await admin.connect()
  // It would create them by itself, but a Kafka this young takes some seconds for so many.
  await admin.createTopics({ topics: topics.map((topic) => ({ topic, numPartitions: 3 })) })
  await admin.disconnect()
  return {
    name: `real Kafka on ${cluster.brokers.join(', ')}`,
    settings: { OUTRIGGER_BROKER: 'kafka', OUTRIGGER_KAFKA_BROKERS: cluster.brokers.join(',') },
    fate: 'Kafka is killed with SIGKILL',
    goAway: () => cluster.kill(),
    comeBack: () => cluster.start(),
    read: (_program, visit) => readKafka(cluster.brokers, topics, visit),
    [Symbol.asyncDispose]: () => cluster.stop(),
  }
}
