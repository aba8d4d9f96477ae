import { expect, test } from 'vitest'
import { requireRealStack } from '../torture/real-stack.ts'
import { tortureTable } from '../torture/tables.ts'
import { hasPassed, torture } from '../torture/torture.ts'

test('nothing is lost, out of order or recorded otherwise than once when Outrigger, Kafka, MySQL and Cassandra are killed again and again', async (context) => {
  await using stack = await requireRealStack(context)
  const seed = Math.floor(Math.random() * 1e9)
  const result = await torture(stack, { kills: 21, seed, publishers: 32, say: () => {} })
  process.stdout.write(`\nseed ${seed}\n${tortureTable(result)}\n`)
  expect(hasPassed(result)).toBe(true)
  expect(result.kills).toBe(21)
  expect(result.killsInOutage).toBeGreaterThan(3)
  expect(result.killsOfMysql).toBeGreaterThanOrEqual(3)
  expect(result.killsOfCassandra).toBeGreaterThanOrEqual(3)
}, 300_000)
