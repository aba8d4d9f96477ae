import { randomUUID } from 'node:crypto'
import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { Kafka, logLevel } from 'kafkajs'
import { expect, test } from 'vitest'
import { systemClock } from '../../../src/base/clock.ts'
import { silentLog } from '../../../src/base/log.ts'
import { backfillLedger } from '../../../src/cli/ledger-backfill.ts'
import { verifyLedger } from '../../../src/cli/ledger-verify.ts'
import { KafkaBroker } from '../../../src/kafka/kafka-broker.ts'
import { KafkaConsumer } from '../../../src/kafka/kafka-consumer.ts'
import { outgoing } from '../../forwarder/broker-contract.ts'
import { comparedJournalId } from '../../recorder/compared-broker.ts'
import { FakeMessageLog } from '../../recorder/fake-message-log.ts'
import { FakeMetadataStore } from '../../recorder/fake-metadata-store.ts'
import { requireKafka } from '../../stack/require-kafka.ts'
import { brokerOptions } from './kafka-options.ts'

const never = new AbortController().signal

async function printed(work: (out: PassThrough) => Promise<number>): Promise<[code: number, text: string]> {
  const out = new PassThrough({ highWaterMark: 1 << 20 })
  const code = await work(out)
  out.end()
  return [code, await text(out)]
}

test('the ledger is verified and filled from real Kafka, also where transactions left their marks', async (context) => {
  const { brokers } = requireKafka(context)
  const topic = `ledger-${randomUUID()}`
  const broker = new KafkaBroker(systemClock, silentLog, brokerOptions(brokers))
  const consumer = new KafkaConsumer(systemClock, silentLog, brokerOptions(brokers))
  const kafka = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING, retry: { initialRetryTime: 20 } })
  const producer = kafka.producer({ transactionalId: randomUUID(), maxInFlightRequests: 1, idempotent: true })
  try {
    const now = Date.now()
    const messages = Array.from({ length: 300 }, (_, i) =>
      outgoing({
        timestamp: now - 600_000 + i * 1000,
        key: Buffer.from(`k${i % 20}`),
        value: Buffer.from(`value ${i}`),
        headers: [
          ['outrigger-id', `${comparedJournalId}-${i + 1}`],
          ['outrigger-accepted-at', String(now - 600_000 + i * 1000)],
          ['content-type', 'text/plain'],
          ['own', 'header'],
        ],
      }),
    )
    await broker.send(topic, messages, never)
    // The end of each partition is now a mark that is never read as a record.
    await producer.connect()
    const transaction = await producer.transaction()
    for (const partition of [0, 1, 2]) await transaction.send({ topic, messages: [{ partition, value: 'of others' }] })
    await transaction.abort()

    expect(await consumer.topics(never)).toContain(topic)
    const ledger = { metadata: new FakeMetadataStore(), log: new FakeMessageLog() }
    const range = { from: now - 500_000, to: now - 400_000, topics: [topic], keptSince: 0 }
    const whole = { ...range, from: 'beginning', to: now + 1000 } as const

    const [code, differences] = await printed((out) =>
      verifyLedger(consumer, ledger, range, { json: true }, out, never),
    )
    const lines = differences
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
    expect(code).toBe(1)
    expect(lines.at(-1)).toEqual({
      totals: { records: 100, duplicates: 0, expired: 0, missing: 200, extra: 0, different: 0 },
    })
    expect(new Set(lines.slice(0, -1).map(({ id }) => id))).toEqual(
      new Set(Array.from({ length: 100 }, (_, i) => `${comparedJournalId}-${i + 101}`)),
    )
    const options = { dryRun: false, batchMessagesMax: 70, batchBytesMax: 1e6, now: Date.now }
    expect(await printed((out) => backfillLedger(consumer, ledger, whole, options, out, never))).toEqual([
      0,
      'Wrote 300 rows and 300 entries, of 300 records.\n',
    ])
    expect(await printed((out) => verifyLedger(consumer, ledger, whole, { json: false }, out, never))).toEqual([
      0,
      "No difference in 300 records (0 delivered more than once, 0 beyond the ledger's retention).\n",
    ])
    expect(ledger.log.entriesOf(comparedJournalId, 7)).toMatchObject([
      { contentType: 'text/plain', value: Buffer.from('value 6'), headers: [['own', Buffer.from('header')]] },
    ])
  } finally {
    await producer.disconnect()
    await consumer.close()
    await broker.close()
  }
})
