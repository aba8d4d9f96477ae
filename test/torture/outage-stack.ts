import { randomUUID } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import type { ConsumedRecord } from '../../src/subscriptions/consumer.ts'
import { EmbeddedOutage, readEmbedded } from '../e2e/embedded-records.ts'
import { readKafka } from '../e2e/kafka-records.ts'
import { embeddedLedgerRecords, type LedgerRecords } from '../e2e/ledger-records.ts'
import type { Program } from '../e2e/program.ts'
import type { RealStack } from './real-stack.ts'

/** What Outrigger does with a message once it is accepted. */
export const duties = ['delivery', 'metadata', 'log'] as const
export type Duty = (typeof duties)[number]

/** Something that Outrigger writes to, and that can be away. */
export interface Party {
  readonly name: string
  /** What can't be done while it is away. */
  readonly serves: readonly Duty[]
  goAway(program: Program): Promise<void>
  comeBack(): Promise<void>
}

/** All that Outrigger writes to. */
export interface OutageStack extends AsyncDisposable {
  readonly settings: Readonly<Record<string, string>>
  readonly topic: string
  readonly parties: readonly Party[]
  /** All records of the topic. */
  read(program: Program, visit: (record: ConsumedRecord) => void): Promise<void>
  /** All that is in the ledger, which has nothing but what is of this topic. */
  ledger(program: Program): LedgerRecords
}

/** Each party alone; then those of the ledger together, if there are several, else all. */
export function outagesOf({ parties }: OutageStack): (readonly Party[])[] {
  const stores = parties.filter(({ serves }) => !serves.includes('delivery'))
  return [...parties.map((party) => [party]), stores.length > 1 ? stores : parties]
}

/** On Kafka, MySQL and Cassandra, which are killed; they stay the caller's. All of them must be up. */
export async function realOutageStack(stack: RealStack): Promise<OutageStack> {
  const { kafka, mysql, cassandra } = stack
  const topic = `outage-${randomUUID()}`
  const ledger = await stack.freshLedger()
  const servers = [
    ['Kafka', ['delivery'], kafka],
    ['MySQL', ['metadata'], mysql],
    ['Cassandra', ['log'], cassandra],
  ] as const
  return {
    settings: ledger.settings,
    topic,
    parties: servers.map(([name, serves, server]) => ({
      name,
      serves,
      goAway: () => server.kill(),
      comeBack: () => server.start(),
    })),
    read: (_program, visit) => readKafka(kafka.brokers, [topic], visit),
    ledger: () => ledger,
    [Symbol.asyncDispose]: async () => {},
  }
}

/** On the files inside Outrigger, which another process locks. */
export function embeddedOutageStack(): OutageStack {
  const files = [
    ['the embedded broker', ['delivery'], 'brokerFile'],
    ['the embedded ledger', ['metadata', 'log'], 'ledgerFile'],
  ] as const
  const outages = new Map<string, EmbeddedOutage>()
  return {
    settings: { OUTRIGGER_BROKER: 'embedded' },
    topic: 'outage',
    parties: files.map(([name, serves, file]) => ({
      name,
      serves,
      goAway: async (program) => {
        mkdirSync(program.dataDirectory, { recursive: true })
        outages.set(name, EmbeddedOutage.begin(program[file]))
      },
      comeBack: async () => outages.get(name)?.end(),
    })),
    read: async ({ brokerFile }, visit) => readEmbedded(brokerFile, visit),
    ledger: ({ ledgerFile }) => embeddedLedgerRecords(ledgerFile),
    [Symbol.asyncDispose]: async () => {
      for (const outage of outages.values()) outage.end()
    },
  }
}
