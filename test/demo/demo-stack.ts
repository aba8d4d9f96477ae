import type { ConsumedRecord } from '../../src/subscriptions/consumer.ts'
import { EmbeddedOutage, readEmbedded } from '../e2e/embedded-records.ts'
import { kafkaClient, readKafka } from '../e2e/kafka-records.ts'
import { embeddedLedgerRecords, type LedgerRecords } from '../e2e/ledger-records.ts'
import type { Program } from '../e2e/program.ts'
import { RealStack } from '../torture/real-stack.ts'

/** The broker and the ledger that the demo delivers to and records in, takes away, and brings back. */
export interface DemoStack extends AsyncDisposable {
  /** In words, as what Outrigger starts with. */
  readonly name: string
  /** Outrigger's configuration for it. */
  readonly settings: Readonly<Record<string, string>>
  /** How all of it goes away, in words. */
  readonly fate: string
  goAway(program: Program): Promise<void>
  comeBack(): Promise<void>
  /** All records that are in the broker. */
  read(program: Program, visit: (record: ConsumedRecord) => void): Promise<void>
  ledger(program: Program): LedgerRecords
}

export type OpenStack = (topics: readonly string[], say: (text: string) => void) => Promise<DemoStack>

/** Those inside Outrigger, in files. They are away while another process keeps Outrigger from writing to them. */
export const openEmbedded: OpenStack = async () => {
  let outages: EmbeddedOutage[] = []
  const comeBack = async (): Promise<void> => {
    for (const outage of outages.splice(0)) outage.end()
  }
  return {
    name: 'its embedded broker and ledger, which need no server',
    settings: { OUTRIGGER_BROKER: 'embedded' },
    fate: 'another process locks their files',
    goAway: async ({ brokerFile, ledgerFile }) => {
      outages = [brokerFile, ledgerFile].map((file) => EmbeddedOutage.begin(file))
    },
    comeBack,
    read: async ({ brokerFile }, visit) => readEmbedded(brokerFile, visit),
    ledger: ({ ledgerFile }) => embeddedLedgerRecords(ledgerFile),
    [Symbol.asyncDispose]: comeBack,
  }
}

/** Real servers of the demo's own, which are killed. */
export const openReal: OpenStack = async (topics, say) => {
  say('Kafka, MySQL and Cassandra start; the first time they are downloaded.')
  const stack = await RealStack.start()
  const { kafka, mysql, cassandra } = stack
  const ledger = await stack.freshLedger()
  const admin = kafkaClient(kafka.brokers).admin()
  await admin.connect()
  // It would create them by itself, but a Kafka this young takes some seconds for so many.
  await admin.createTopics({ topics: topics.map((topic) => ({ topic, numPartitions: 3 })) })
  await admin.disconnect()
  const servers = [kafka, mysql, cassandra]
  return {
    name: `real Kafka on ${kafka.brokers.join(', ')}, MySQL and Cassandra`,
    settings: ledger.settings,
    fate: 'Kafka, MySQL and Cassandra are killed with SIGKILL',
    goAway: async () => {
      await Promise.all(servers.map((server) => server.kill()))
    },
    comeBack: async () => {
      await Promise.all(servers.map((server) => server.start()))
    },
    read: (_program, visit) => readKafka(kafka.brokers, topics, visit),
    ledger: () => ledger,
    [Symbol.asyncDispose]: () => stack.stop(),
  }
}
