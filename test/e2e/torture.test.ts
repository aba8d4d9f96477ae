import { expect, test } from 'vitest'
import { requireOwnKafka } from '../stack/require-kafka.ts'
import { tortureTable } from '../torture/tables.ts'
import { hasPassed, torture } from '../torture/torture.ts'

test('nothing is lost or out of order when Outrigger is killed again and again, and Kafka comes and goes', async (context) => {
  await using cluster = await requireOwnKafka(context)
  const seed = Math.floor(Math.random() * 1e9)
  const result = await torture(cluster, { kills: 21, seed, say: () => {} })
  process.stdout.write(`\nseed ${seed}\n${tortureTable(result)}\n`)
  expect(hasPassed(result)).toBe(true)
  expect(result.kills).toBe(21)
  expect(result.killsInOutage).toBeGreaterThan(3)
}, 300_000)
