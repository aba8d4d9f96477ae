import { describeWithServer } from '../../stack/describe-with-server.ts'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemClock } from '../../../src/base/clock.ts'
import type { Log } from '../../../src/base/log.ts'
import { silentLog } from '../../../src/base/log.ts'
import { MysqlMetadataStore } from '../../../src/mysql/mysql-metadata-store.ts'
import { MysqlConnection } from '../../../src/mysql/mysql-connection.ts'
import { withStoreLock } from '../../../src/mysql/store-lock.ts'
import { metadataRow } from '../../recorder/metadata-store-contract.ts'
import { storeFailureOf } from '../../recorder/ledger-schema-contract.ts'
import { makeDatabase, sharedMysql, sqlFlavours, type TestDatabase } from '../../stack/require-mysql.ts'
import { mysqlOptions, mysqlStore, queryAsRoot, TimeTravellingStore } from './mysql-under-test.ts'

const never = new AbortController().signal
const day = 86_400_000
const hour = 3_600_000
const noon = Date.parse('2026-03-10T12:34:56.789Z')

for (const flavour of sqlFlavours) {
  const { access } = await sharedMysql(flavour)

  describeWithServer(access !== null, `day partitions of ${flavour}`, () => {
    let database: TestDatabase
    let store: TimeTravellingStore
    beforeEach(async () => {
      database = await makeDatabase(access!)
      store = new TimeTravellingStore(database, { retention: 2 * day })
      await store.schema.migrate(never, () => {})
    })
    afterEach(async () => {
      await store.close()
      await database[Symbol.asyncDispose]()
    })

    const names = async (): Promise<string[]> => {
      const rows = await queryAsRoot<{ name: string }>(
        database,
        `SELECT partition_name AS name FROM information_schema.partitions
         WHERE table_schema = DATABASE() AND table_name = 'message_metadata' ORDER BY partition_ordinal_position`,
      )
      return rows.map(({ name }) => name)
    }
    const countIn = async (partition: string): Promise<number> => {
      const [row] = await queryAsRoot<{ n: number }>(
        database,
        `SELECT COUNT(*) AS n FROM message_metadata PARTITION (${partition})`,
      )
      return row!.n
    }
    const timesLeft = async (): Promise<number[]> =>
      (await store.list({ limit: 1000 }, never)).map(({ acceptedAt }) => acceptedAt).toReversed()

    test('reach from one before the retention to three days ahead, and hold the rows of their day', async () => {
      await store.maintainAt(noon, never)
      expect(await names()).toEqual([
        'p20260307',
        'p20260308',
        'p20260309',
        'p20260310',
        'p20260311',
        'p20260312',
        'p20260313',
        'later',
      ])
      const midnight = Date.parse('2026-03-10T00:00:00Z')
      const times = [midnight - 1, midnight, midnight + day - 1, midnight + day]
      await store.write(
        times.map((acceptedAt, i) => metadataRow({ seq: i + 1, acceptedAt })),
        never,
      )
      expect(await countIn('p20260309')).toBe(1)
      expect(await countIn('p20260310')).toBe(2)
      expect(await countIn('p20260311')).toBe(1)
    })

    test('go by the day once they are older than the retention; nothing younger does', async () => {
      await store.maintainAt(noon, never)
      const times = Array.from({ length: 24 }, (_, i) => noon - 2 * day + i * 4 * hour)
      await store.write(
        times.map((acceptedAt, i) => metadataRow({ seq: i + 1, acceptedAt })),
        never,
      )
      for (let now = noon; now < noon + 7 * day; now += 9 * hour) {
        await store.maintainAt(now, never)
        const left = await timesLeft()
        const cutoff = now - 2 * day
        const firstDay = Math.floor(cutoff / day) * day
        expect(left).toEqual(times.filter((time) => time >= firstDay))
      }
    })

    test('are made after weeks of standing still, with what came meanwhile', async () => {
      await store.maintainAt(noon, never)
      const later = noon + 40 * day
      const times = [noon, later - 20 * day, later - 2 * day, later - day, later, later + 30 * day]
      await store.write(
        times.map((acceptedAt, i) => metadataRow({ seq: i + 1, acceptedAt })),
        never,
      )
      expect(await countIn('later')).toBe(5)
      await store.maintainAt(later, never)
      expect(await timesLeft()).toEqual(times.slice(2))
      expect(await countIn('later')).toBe(1)
      expect(await names()).toEqual([
        'p20260416',
        'p20260417',
        'p20260418',
        'p20260419',
        'p20260420',
        'p20260421',
        'p20260422',
        'later',
      ])
    })

    test('take what is far in the past or in the future', async () => {
      await store.maintainAt(noon, never)
      const times = [0, noon - 400 * day, Date.parse('2199-01-01'), Number.MAX_SAFE_INTEGER]
      await store.write(
        times.map((acceptedAt, i) => metadataRow({ seq: i + 1, acceptedAt })),
        never,
      )
      expect(await timesLeft()).toEqual(times)
      // What was too old when it came does not wait for another day.
      await store.maintainAt(noon, never)
      expect(await timesLeft()).toEqual(times.slice(2))
    })

    test('are left alone when they are as they should be', async () => {
      const changes: object[] = []
      const log: Log = { ...silentLog, info: (fields) => void changes.push(fields) }
      const observed = new TimeTravellingStore(database, { retention: 2 * day }, log)
      await observed.maintainAt(noon, never)
      expect(changes).toEqual([{ added: 7, dropped: [] }])
      await observed.maintainAt(noon, never)
      await observed.maintainAt(noon + 11 * hour, never)
      expect(changes).toHaveLength(1)
      await observed.maintainAt(noon + 12 * hour, never)
      expect(changes.slice(1)).toEqual([{ added: 1, dropped: ['p20260307'] }])
      await observed.close()
    })

    test('are left alone while another sidecar is at them', async () => {
      const other = await MysqlConnection.open(systemClock, mysqlOptions(database), undefined, never)
      const lock = { name: 'maintenance', database: database.database, waitSeconds: 0 }
      await withStoreLock(other, lock, { signal: never }, async () => {
        await store.maintainAt(noon, never)
        expect(await names()).toEqual(['later'])
      })
      other.close()
      await store.maintainAt(noon, never)
      expect(await names()).toContain('p20260310')
    })

    test("are left alone by a sidecar whose clock is not the server's", async () => {
      const other = mysqlStore(database, { retention: 2 * day })
      await other.maintain(Date.now(), never)
      const before = await names()
      const row = metadataRow({ acceptedAt: Date.now() })
      await other.write([row], never)
      for (const now of [Date.parse('2036-01-01'), Date.now() + 2 * hour, Date.now() - 2 * hour, Number.NaN]) {
        const failure = await storeFailureOf(other.maintain(now, never))
        expect(failure).toMatchObject({ failure: 'fatal', reason: 'CLOCK_DIFFERS' })
        expect(failure.hint).toContain('NTP')
      }
      expect(await names()).toEqual(before)
      expect(await other.list({ limit: 10 }, never)).toEqual([row])
      await other.close()
    })

    test("are made by the server's time, when the sidecar's is somewhat off", async () => {
      const midnight = Date.parse('2026-03-11T00:00:00Z')
      const off = new MysqlMetadataStore(
        systemClock,
        silentLog,
        mysqlOptions(database, { retention: 2 * day }),
        async () => midnight - 1,
      )
      await off.maintain(midnight + hour / 2, never)
      expect((await names()).at(-2)).toBe('p20260313')
      await off.close()
    })

    test('that somebody changed are refused with a hint', async () => {
      await queryAsRoot(
        database,
        'ALTER TABLE message_metadata PARTITION BY RANGE (accepted_at) (PARTITION p0 VALUES LESS THAN (1))',
      )
      await expect(store.maintainAt(noon, never)).rejects.toMatchObject({ failure: 'fatal', reason: 'SCHEMA_CHANGED' })
      await expect(store.write([metadataRow()], never)).rejects.toMatchObject({
        failure: 'fatal',
        reason: 'ER_NO_PARTITION_FOR_GIVEN_VALUE',
      })
    })
  })
}
