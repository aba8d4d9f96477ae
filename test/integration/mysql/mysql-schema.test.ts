import { describeWithServer } from '../../stack/describe-with-server.ts'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemClock } from '../../../src/base/clock.ts'
import { ConnectionPool } from '../../../src/mysql/connection-pool.ts'
import { MysqlConnection } from '../../../src/mysql/mysql-connection.ts'
import { MysqlSchema } from '../../../src/mysql/mysql-schema.ts'
import { schemaSteps, type MysqlStep } from '../../../src/mysql/schema-steps.ts'
import { metadataRow } from '../../recorder/metadata-store-contract.ts'
import { storeFailureOf } from '../../recorder/ledger-schema-contract.ts'
import { makeDatabase, sharedMysql, sqlFlavours, type TestDatabase } from '../../stack/require-mysql.ts'
import { mysqlOptions, mysqlStore, queryAsRoot } from './mysql-under-test.ts'

const never = new AbortController().signal

for (const flavour of sqlFlavours) {
  const { access } = await sharedMysql(flavour)

  describeWithServer(access !== null, `the schema on ${flavour}`, () => {
    let database: TestDatabase
    const pools: ConnectionPool[] = []
    beforeEach(async () => {
      database = await makeDatabase(access!)
    })
    afterEach(async () => {
      await Promise.all(pools.splice(0).map((pool) => pool.close()))
      await database[Symbol.asyncDispose]()
    })

    const schemaOf = (steps?: readonly MysqlStep[]): MysqlSchema => {
      const options = mysqlOptions(database)
      const open = (signal: AbortSignal) => MysqlConnection.open(systemClock, options, undefined, signal)
      const pool = new ConnectionPool(systemClock, 1, open)
      pools.push(pool)
      return new MysqlSchema(systemClock, pool, { database: database.database, ...(steps && { steps }) })
    }
    const migrate = async (schema: { migrate: MysqlSchema['migrate'] }): Promise<number[]> => {
      const versions: number[] = []
      await schema.migrate(never, ({ version }) => versions.push(version))
      return versions
    }
    const notes = () => queryAsRoot<{ version: number }>(database, 'SELECT version FROM outrigger_schema ORDER BY 1')
    const keyNames = async (): Promise<string[]> => {
      const rows = await queryAsRoot<{ name: string }>(
        database,
        `SELECT DISTINCT index_name AS name FROM information_schema.statistics
         WHERE table_schema = DATABASE() AND table_name = 'message_metadata'`,
      )
      return rows.map(({ name }) => name).toSorted()
    }
    const expectWhole = async (): Promise<void> => {
      expect((await notes()).map(({ version }) => version)).toEqual(schemaSteps.map(({ version }) => version))
      expect(await keyNames()).toEqual(['PRIMARY', 'by_key', 'by_offset', 'by_status', 'by_time', 'by_topic'])
      const store = mysqlStore(database)
      await store.maintain(Date.now(), never)
      await store.write([metadataRow()], never)
      expect(await store.list({ limit: 10 }, never)).toEqual([metadataRow()])
      await store.close()
    }

    test.each(schemaSteps.map(({ version }) => version))(
      'goes on after a kill between step %i and the note of it',
      async (version) => {
        // The connection is gone before the note, as when the process was killed.
        const steps = schemaSteps.map((step) => ({
          ...step,
          take: async (...args: Parameters<MysqlStep['take']>) => {
            await step.take(...args)
            if (step.version === version) args[0].destroy()
          },
        }))
        expect(await storeFailureOf(migrate(schemaOf(steps)))).toMatchObject({ failure: 'transient' })
        expect(await schemaOf().inspect(never)).toMatchObject({ found: version - 1 })
        expect(await migrate(schemaOf())).toEqual(
          schemaSteps.map((step) => step.version).filter((one) => one >= version),
        )
        await expectWhole()
      },
    )

    test('goes on after a kill amid the making of keys', async () => {
      expect(await migrate(schemaOf(schemaSteps.slice(0, 1)))).toEqual([1])
      await queryAsRoot(database, 'ALTER TABLE message_metadata ADD KEY by_time (accepted_at, journal_id, seq)')
      expect(await migrate(schemaOf())).toEqual([2, 3])
      await expectWhole()
    })

    test('is made once by many at once, who all wait until it is whole', async () => {
      const takes: number[] = []
      const steps = schemaSteps.map((step) => ({
        ...step,
        take: async (...args: Parameters<MysqlStep['take']>) => {
          takes.push(step.version)
          await step.take(...args)
          await systemClock.sleep(200)
        },
      }))
      const schemas = Array.from({ length: 6 }, () => schemaOf(steps))
      const taken = await Promise.all(
        schemas.map(async (schema) => {
          const versions = await migrate(schema)
          expect(await schema.inspect(never)).toMatchObject({ pending: [] })
          return versions
        }),
      )
      expect(takes).toEqual([1, 2, 3])
      expect(taken.flat().toSorted((a, b) => a - b)).toEqual([1, 2, 3])
      await expectWhole()
    })

    test('is made again when the table is gone, whatever was noted', async () => {
      await migrate(schemaOf())
      await queryAsRoot(database, 'DROP TABLE message_metadata')
      expect(await schemaOf().inspect(never)).toMatchObject({ found: 0, needed: 3, pending: schemaSteps.map(({ version, title }) => ({ version, title })) }) // prettier-ignore
      // Killed amid that, it goes on from there.
      const steps = schemaSteps.map((step) => ({
        ...step,
        take: async (...args: Parameters<MysqlStep['take']>) => {
          if (step.version === 2) args[0].destroy()
          await step.take(...args)
        },
      }))
      expect(await storeFailureOf(migrate(schemaOf(steps)))).toMatchObject({ failure: 'transient' })
      expect(await migrate(schemaOf())).toEqual([2, 3])
      expect(await migrate(schemaOf())).toEqual([])
      await expectWhole()
    })

    test('that is newer is refused and left alone', async () => {
      await migrate(schemaOf())
      await queryAsRoot(database, "INSERT INTO outrigger_schema VALUES (99, 'from the future', 0)")
      const schema = schemaOf()
      for (const call of [schema.inspect(never), migrate(schema)]) {
        const failure = await storeFailureOf(call)
        expect(failure).toMatchObject({ failure: 'fatal', reason: 'SCHEMA_TOO_NEW' })
        expect(failure.message).toContain('99')
      }
      expect(await notes()).toHaveLength(schemaSteps.length + 1)
    })

    test('stops waiting for the others when it is aborted, and goes on where a holder has failed', async () => {
      const abort = new AbortController()
      const steps = schemaSteps.map((step) => ({
        ...step,
        take: () => new Promise<void>((_, reject) => setTimeout(() => reject(new Error('given up')), 1500)),
      }))
      const holding = migrate(schemaOf(steps)).catch((error: Error) => error.message)
      await systemClock.sleep(300)
      const waiting = schemaOf().migrate(abort.signal, () => {})
      setTimeout(() => abort.abort(new Error('enough')), 100)
      await expect(waiting).rejects.toThrow('enough')
      expect(await holding).toBe('given up')
      expect(await migrate(schemaOf())).toEqual([1, 2, 3])
    })

    test('of a database that is not there is nothing to make, and the hint says what is', async () => {
      const store = mysqlStore(database, { database: 'no_such_database' })
      const failure = await storeFailureOf(store.schema.migrate(never, () => {}))
      expect(failure).toMatchObject({ failure: 'fatal', reason: 'ER_BAD_DB_ERROR' })
      expect(failure.hint).toMatch(/CREATE DATABASE.*GRANT/)
      await store.close()
    })
  })
}
