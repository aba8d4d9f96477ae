import { expect, test } from 'vitest'
import { load } from './load.ts'

test.each([
  ['broker: embedded', 'embedded', 'embedded'],
  ['broker: kafka', 'none', 'none'],
  ['broker: kafka\nledger: { metadata: mysql }', 'mysql', 'none'],
  ['broker: kafka\nledger: { log: cassandra }', 'none', 'cassandra'],
  ['broker: kafka\nledger: { metadata: embedded, log: embedded }', 'embedded', 'embedded'],
  ['ledger: { metadata: none, log: cassandra }', 'none', 'cassandra'],
])('with %j metadata goes to %s, and messages to %s', async (yaml, metadata, log) => {
  expect((await load({ yaml })).config.ledger).toMatchObject({ metadata, log })
})

test('the environment chooses the stores, and how they are reached', async () => {
  const { config, warnings } = await load({
    env: {
      OUTRIGGER_BROKER: 'kafka',
      OUTRIGGER_LEDGER_METADATA: 'mysql',
      OUTRIGGER_LEDGER_LOG: 'cassandra',
      OUTRIGGER_LEDGER_MIGRATE: 'false',
      OUTRIGGER_MYSQL_URL: 'mysql://shop@db:3307/shop',
      OUTRIGGER_MYSQL_TLS: 'true',
      OUTRIGGER_CASSANDRA_CONTACT_POINTS: 'a:9042, b:9042',
    },
  })
  expect(config.ledger).toMatchObject({ metadata: 'mysql', log: 'cassandra', migrate: false })
  expect(config.mysql).toMatchObject({ url: 'mysql://shop@db:3307/shop', tls: {} })
  expect(config.cassandra.contactPoints).toEqual(['a:9042', 'b:9042'])
  expect(warnings).toEqual([])
})

test.each([
  'ledger: { metadata: mysql }\nmysql: { rowsPerSecondMax: 67 }',
  'ledger: { metadata: mysql, batchMessagesMax: 10 }\nmysql: { rowsPerSecondMax: 1 }',
  'ledger: { metadata: mysql, writeTimeout: 100s }\nmysql: { rowsPerSecondMax: 20 }',
  'mysql: { rowsPerSecondMax: 1 }',
])('rows a second that suffice for two batches, or that nobody needs, are taken: %j', async (yaml) => {
  expect((await load({ yaml })).config.mysql.rowsPerSecondMax).toBeGreaterThan(0)
})

const MiB = 1024 * 1024

test.each([
  ['journal: { bytesMax: 1GiB }', 512 * MiB],
  ['journal: { bytesMax: 3GiB }', 1536 * MiB],
  ['journal: { bytesMax: 4GiB }', 2048 * MiB],
  ['journal: { bytesMax: 100GiB }', 2048 * MiB],
  ['journal: { bytesMax: 1GiB }\nledger: { backlogBytesMax: 800MiB }', 800 * MiB],
  ['journal: { bytesMax: 1GiB }\nledger: { backlogBytesMax: 64KiB }', MiB / 16],
])('with %j the backlog of the ledger may take %d bytes', async (yaml, bytes) => {
  expect((await load({ yaml })).config.ledger.backlogBytesMax).toBe(bytes)
})

test('half of a journal with an odd size is a whole number', async () => {
  const { config } = await load({ yaml: 'journal: { bytesMax: 200000001 }' })
  expect(config.ledger.backlogBytesMax).toBe(100_000_000)
})
