import { describeWithServer } from '../../stack/describe-with-server.ts'
import { Client } from 'cassandra-driver'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import type { CassandraMessageLog } from '../../../src/cassandra/cassandra-message-log.ts'
import type { CassandraOptions } from '../../../src/cassandra/cassandra-options.ts'
import { storeFailureOf } from '../../recorder/ledger-schema-contract.ts'
import { logEntry } from '../../recorder/message-log-contract.ts'
import type { CassandraAccess } from '../../stack/cassandra/cassandra.ts'
import { sharedCassandra } from '../../stack/shared-cassandra.ts'
import { logOptions, migratedLog, never, openLog } from './cassandra-test-log.ts'

const { access } = await sharedCassandra()

describeWithServer(access !== null, 'a message log in real Cassandra whose keyspace was dropped', () => {
  const given = access as CassandraAccess
  let client: Client
  let options: CassandraOptions
  let log: CassandraMessageLog

  beforeAll(async () => {
    client = new Client({ contactPoints: [...given.contactPoints], localDataCenter: given.localDataCenter })
    await client.connect()
  })
  afterAll(() => client.shutdown())

  /** A log that has written and read once, and has no keyspace any more. */
  const dropped = async (): Promise<void> => {
    options = logOptions(given)
    log = await migratedLog(options)
    onTestFinished(async () => {
      await log.close()
      await client.execute(`DROP KEYSPACE IF EXISTS ${options.keyspace}`)
    })
    await write(0)
    expect(await listed()).toEqual([0])
    await client.execute(`DROP KEYSPACE ${options.keyspace}`)
  }
  const write = (offset: number): Promise<void> =>
    log.write([logEntry({ topic: 't', offset, deliveredAt: Date.now() })], Date.now(), never)
  const listed = async (): Promise<number[]> => {
    expect(await log.positions('t', 0, never)).toEqual([{ partition: 0, offset: 0 }])
    return (await log.list('t', 0, 0, 10, never)).map(({ offset }) => offset)
  }

  test('says so at once, is made again, and its entries are found', async () => {
    await dropped()
    const failure = await storeFailureOf(write(1))
    expect(failure).toMatchObject({ failure: 'fatal', hint: expect.stringContaining('migrate') })
    expect(await log.schema.inspect(never)).toMatchObject({ found: 0, needed: 2 })
    await log.schema.migrate(never, () => {})
    expect(await log.schema.inspect(never)).toMatchObject({ pending: [] })
    await write(1)
    expect(await listed()).toEqual([1])
  })

  test('has its entries found when another sidecar has made it again unseen', async () => {
    await dropped()
    const other = openLog(options)
    await other.schema.migrate(never, () => {})
    await other.close()
    await write(1)
    expect(await listed()).toEqual([1])
  })
})
