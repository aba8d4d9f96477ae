import { describeWithServer } from '../../stack/describe-with-server.ts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { findStatement, limited, listStatement, offsetsStatement } from '../../../src/mysql/list-statement.ts'
import type { MetadataQuery } from '../../../src/recorder/metadata-store.ts'
import { metadataRow } from '../../recorder/metadata-store-contract.ts'
import { makeDatabase, sharedMysql, sqlFlavours, type TestDatabase } from '../../stack/require-mysql.ts'
import { mysqlStore, queryAsRoot } from './mysql-under-test.ts'

const never = new AbortController().signal
const day = 86_400_000

interface Plan {
  readonly key: string | null
  readonly partitions: string | null
  readonly Extra: string | null
}

for (const flavour of sqlFlavours) {
  const { access } = await sharedMysql(flavour)

  describeWithServer(access !== null, `how ${flavour} reads`, () => {
    let database: TestDatabase
    const now = Date.now()
    const topics = ['a', 'b', 'c']
    beforeAll(async () => {
      database = await makeDatabase(access!)
      const store = mysqlStore(database)
      await store.schema.migrate(never, () => {})
      await store.maintain(now, never)
      const rows = Array.from({ length: 3000 }, (_, i) =>
        metadataRow({
          journalId: `journal${i % 2}`,
          seq: i + 1,
          topic: topics[i % 3]!,
          partition: i % 4,
          offset: i,
          key: Buffer.from(`key-${i % 10}`),
          status: i % 500 === 0 ? 'dead' : 'delivered',
          acceptedAt: now - i * 60_000,
        }),
      )
      await store.write(rows, never)
      await store.close()
      await queryAsRoot(database, 'ANALYZE TABLE message_metadata')
    })
    afterAll(() => database[Symbol.asyncDispose]())

    const planOf = async (statement: string): Promise<Plan> => {
      // MariaDB names partitions only when it is asked to.
      const [plan] = await queryAsRoot<Plan>(
        database,
        `EXPLAIN ${flavour === 'mariadb' ? 'PARTITIONS ' : ''}${statement}`,
      )
      return plan!
    }
    /** How many entries of keys and rows were looked at. */
    const readsOf = async (statement: string): Promise<number> => {
      await queryAsRoot(database, 'FLUSH STATUS')
      await queryAsRoot(database, statement)
      const counts = await queryAsRoot<{ Value: string }>(database, "SHOW SESSION STATUS LIKE 'Handler_read%'")
      return counts.reduce((sum, { Value }) => sum + Number(Value), 0)
    }

    const after = { acceptedAt: now - 1000 * 60_000, journalId: 'journal0', seq: 1001 }
    const lists: [string, Partial<MetadataQuery>, string][] = [
      ['nothing', {}, 'by_time'],
      ['a time', { from: now - 2 * day, to: now - day }, 'by_time'],
      ['a topic', { topic: 'a' }, 'by_topic'],
      ['a topic and a time', { topic: 'a', from: now - day }, 'by_topic'],
      ['a topic and a key', { topic: 'a', key: Buffer.from('key-3') }, 'by_key'],
      ['a topic, a key and a time', { topic: 'a', key: Buffer.from('key-3'), from: now - day }, 'by_key'],
      ['being dead', { status: 'dead' }, 'by_status'],
      ['being dead, and a time', { status: 'dead', from: now - day }, 'by_status'],
      ['being dead, and a topic', { status: 'dead', topic: 'a' }, 'by_status'],
      ['being dead, a topic and a key', { status: 'dead', topic: 'a', key: Buffer.from('key-3') }, 'by_key'],
    ]
    test.each(lists)('a page by %s, and the one behind it, from a key, without sorting', async (_, conditions, key) => {
      for (const query of [
        { ...conditions, limit: 10 },
        { ...conditions, limit: 10, after },
      ]) {
        const statement = listStatement(query)
        const plan = await planOf(statement)
        expect(plan.key).toBe(key)
        expect(plan.Extra ?? '').not.toMatch(/filesort|temporary/)
        // Every partition is asked for its first entry, and then what is listed.
        expect(await readsOf(statement)).toBeLessThan(150)
      }
    })

    test('a look-up that takes too long is ended by the server', async () => {
      const all = 'SELECT COUNT(*) FROM message_metadata AS a, message_metadata AS b, message_metadata AS c WHERE a.seq + b.seq = c.seq' // prettier-ignore
      const started = performance.now()
      await expect(queryAsRoot(database, limited(all, 150))).rejects.toMatchObject({
        errno: flavour === 'mariadb' ? 1969 : 3024,
      })
      expect(performance.now() - started).toBeLessThan(5000)
    })

    test('a time from the partitions of its days alone', async () => {
      const { partitions } = await planOf(listStatement({ from: now - day, to: now, limit: 10 }))
      expect(partitions!.split(',').length).toBeLessThanOrEqual(2)
    })

    test('offsets by their key, in order', async () => {
      const statement = offsetsStatement('a', 1, 500, 2000, 10)
      const plan = await planOf(statement)
      expect(plan.key).toBe('by_offset')
      expect(plan.Extra ?? '').not.toMatch(/filesort|temporary/)
      expect(await readsOf(statement)).toBeLessThan(100)
    })

    test('one message by the primary key', async () => {
      const statement = findStatement('journal1', 2)
      expect((await planOf(statement)).key).toBe('PRIMARY')
      expect(await readsOf(statement)).toBeLessThan(50)
    })
  })
}
