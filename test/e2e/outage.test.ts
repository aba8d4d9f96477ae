import { describe, expect, test } from 'vitest'
import { requireOwnKafka } from '../stack/require-kafka.ts'
import { embeddedOutageBroker, kafkaOutageBroker, type OutageBroker } from '../torture/outage-broker.ts'
import { runOutage } from '../torture/outage.ts'
import { outageTable } from '../torture/tables.ts'
import { isFlawless } from '../torture/verdict.ts'

describe('publishers notice nothing, and everything arrives by itself, while the broker is away', () => {
  test('Kafka, later and at the start', async (context) => {
    await using cluster = await requireOwnKafka(context)
    expect(await outage(kafkaOutageBroker(cluster), 12, 'later')).toEqual(unnoticed)
    expect(await outage(kafkaOutageBroker(cluster), 6, 'at the start')).toEqual(unnoticed)
  }, 300_000)

  test('the embedded one, later and at the start', async () => {
    expect(await outage(embeddedOutageBroker(), 5, 'later')).toEqual(unnoticed)
    expect(await outage(embeddedOutageBroker(), 3, 'at the start')).toEqual(unnoticed)
  })
})

const unnoticed = { notAccepted: 0, isFlawless: true, messagesWaited: true }

/** Figures that depend on the machine are printed, not tested. */
async function outage(broker: OutageBroker, seconds: number, when: 'later' | 'at the start'): Promise<object> {
  const isAwayAtStart = when === 'at the start'
  const result = await runOutage(broker, { seconds, isAwayAtStart, normalSeconds: 4, say: () => {} })
  process.stdout.write(`\n${outageTable(result)}\n`)
  const { notAccepted, verdict, backlogMax } = result
  return { notAccepted, isFlawless: isFlawless(verdict), messagesWaited: backlogMax > result.outage.count / 2 }
}
