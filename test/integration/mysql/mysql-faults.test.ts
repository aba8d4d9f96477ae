import { describeWithServer } from '../../stack/describe-with-server.ts'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../../src/base/clock.ts'
import { silentLog } from '../../../src/base/log.ts'
import { Secret } from '../../../src/base/secret.ts'
import { MysqlMetadataStore } from '../../../src/mysql/mysql-metadata-store.ts'
import type { MysqlOptions } from '../../../src/mysql/mysql-options.ts'
import { headersBytesMax, keyBytesMax, textMax } from '../../../src/recorder/metadata-store.ts'
import { StoreError } from '../../../src/recorder/store-error.ts'
import { metadataRow } from '../../recorder/metadata-store-contract.ts'
import { storeFailureOf } from '../../recorder/ledger-schema-contract.ts'
import {
  makeDatabase,
  requireOwnMysql,
  sharedMysql,
  sqlFlavours,
  type TestDatabase,
} from '../../stack/require-mysql.ts'
import { caOf, mysqlStore, queryAsRoot } from './mysql-under-test.ts'

const never = new AbortController().signal
const minutes = 60_000

for (const flavour of sqlFlavours) {
  const { access } = await sharedMysql(flavour)

  describeWithServer(access !== null, `troubles with ${flavour}`, () => {
    let database: TestDatabase
    let store: MysqlMetadataStore
    beforeAll(async () => {
      database = await makeDatabase(access!)
      store = mysqlStore(database)
      await store.schema.migrate(never, () => {})
      await store.maintain(Date.now(), never)
    })
    afterAll(async () => {
      await store.close()
      await database[Symbol.asyncDispose]()
    })

    /** With a server's variable at another value for all new sessions. */
    const withGlobal = async (name: string, value: string | number, work: () => Promise<void>): Promise<void> => {
      const [before] = await queryAsRoot<{ value: string | number }>(database, `SELECT @@GLOBAL.${name} AS value`)
      const quoted = (one: string | number): string => (typeof one === 'number' ? String(one) : `'${one}'`)
      await queryAsRoot(database, `SET GLOBAL ${name} = ${quoted(value)}`)
      try {
        await work()
      } finally {
        await queryAsRoot(database, `SET GLOBAL ${name} = ${quoted(before!.value)}`)
      }
    }

    const wide = (seq: number) =>
      metadataRow({
        journalId: 'wide',
        seq,
        topic: 't'.repeat(textMax),
        key: Buffer.alloc(keyBytesMax, 0xff),
        headers: "'\\".repeat(headersBytesMax / 2),
        producer: "'".repeat(textMax),
        contentType: '\n'.repeat(textMax),
      })

    test('a write that is longer than the server takes at once is split', async () => {
      await withGlobal('max_allowed_packet', 32 * 1024, async () => {
        const narrow = mysqlStore(database)
        const rows = Array.from({ length: 50 }, (_, i) => wide(i + 1))
        await narrow.write(rows, never)
        expect(await narrow.find('wide', 50, never)).toEqual(wide(50))
        expect(await narrow.list({ topic: wide(1).topic, limit: 100 }, never)).toHaveLength(50)
        await narrow.close()
      })
    })

    test('a row that alone is longer than that is a permanent failure', async () => {
      await withGlobal('max_allowed_packet', 4096, async () => {
        const narrow = mysqlStore(database)
        const failure = await storeFailureOf(narrow.write([wide(1)], never))
        expect(failure).toMatchObject({ failure: 'permanent', reason: 'ER_NET_PACKET_TOO_LARGE' })
        await narrow.write([metadataRow()], never)
        await narrow.close()
      })
    })

    test.each([
      ['a topic too long', { topic: 't'.repeat(textMax + 1) }, 'ER_DATA_TOO_LONG'],
      ['a key too long', { key: Buffer.alloc(keyBytesMax + 1) }, 'ER_DATA_TOO_LONG'],
      ['headers too long', { headers: 'x'.repeat(headersBytesMax + 1) }, 'ER_DATA_TOO_LONG'],
      ['a number out of range', { attempts: 2 ** 33 }, 'ER_WARN_DATA_OUT_OF_RANGE'],
      ['an offset below zero', { offset: -1 }, 'ER_WARN_DATA_OUT_OF_RANGE'],
      ['an unknown status', { status: 'lost' as 'dead' }, 'WARN_DATA_TRUNCATED'],
    ])('%s is a permanent failure, and no row of the write stays', async (_, parts, reason) => {
      const good = metadataRow({ journalId: 'good', seq: 1 })
      const failure = await storeFailureOf(store.write([good, metadataRow({ journalId: 'bad', ...parts })], never))
      expect(failure).toMatchObject({ failure: 'permanent', reason })
      expect(failure.cause).not.toHaveProperty('sql')
      expect(await store.find('good', 1, never)).toBeNull()
    })

    test.each([
      ['sql_mode', 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES'],
      ['sql_mode', ''],
      ['time_zone', '+05:45'],
      ['character_set_server', 'latin1'],
    ])("the server's %s = %s makes no difference", async (name, value) => {
      await withGlobal(name, value, async () => {
        const other = mysqlStore(database)
        const row = metadataRow({ journalId: 'modes', producer: `\\'; DROP TABLE x; -- "é🚀`, contentType: '\\' })
        await other.write([row], never)
        expect(await other.find('modes', 1, never)).toEqual(row)
        const failure = await storeFailureOf(other.write([metadataRow({ producer: 'x'.repeat(textMax + 1) })], never))
        expect(failure.failure).toBe('permanent')
        await other.close()
      })
    })

    test('a server that is read-only is a transient failure until it is not', async () => {
      await queryAsRoot(database, `CREATE USER IF NOT EXISTS 'plain'@'%' IDENTIFIED BY 'p'`)
      await queryAsRoot(database, `GRANT ALL ON ${database.database}.* TO 'plain'@'%'`)
      const plain = mysqlStore(database, { user: 'plain', password: async () => new Secret('p') })
      await withGlobal('read_only', 1, async () => {
        const failure = await storeFailureOf(plain.write([metadataRow()], never))
        expect(failure).toMatchObject({ failure: 'transient', reason: 'ER_OPTION_PREVENTS_STATEMENT' })
        expect(failure.hint).toContain('primary')
        expect(await plain.list({ limit: 1 }, never)).toHaveLength(1)
      })
      await plain.write([metadataRow()], never)
      await plain.close()
      await queryAsRoot(database, `DROP USER 'plain'@'%'`)
    })

    test('a look-up tells the server how long it may take', async () => {
      const hasty = mysqlStore(database, { queryTimeout: 4000 })
      await queryAsRoot(database, 'LOCK TABLES message_metadata WRITE')
      const call = hasty.find('x', 1, never)
      const statements = async (): Promise<string> => {
        const sql = `SELECT INFO AS text FROM information_schema.processlist WHERE DB = DATABASE() AND INFO LIKE '%journal_id =%'`
        return (await queryAsRoot<{ text: string }>(database, sql)).map(({ text }) => text).join('\n')
      }
      await expect
        .poll(statements)
        .toContain(flavour === 'mariadb' ? 'max_statement_time = 4 ' : 'MAX_EXECUTION_TIME(4000)')
      await queryAsRoot(database, 'UNLOCK TABLES')
      expect(await call).toBeNull()
      await hasty.close()
    })

    test('a table that somebody has locked is a transient failure, in time', async () => {
      const hasty = mysqlStore(database, { queryTimeout: 1500 })
      await queryAsRoot(database, 'LOCK TABLES message_metadata WRITE')
      const failure = await storeFailureOf(hasty.write([metadataRow()], never))
      await queryAsRoot(database, 'UNLOCK TABLES')
      expect(failure).toMatchObject({ failure: 'transient', reason: 'ER_LOCK_WAIT_TIMEOUT' })
      await hasty.write([metadataRow()], never)
      await hasty.close()
    })

    test('a statement without an answer is cut off when it is late or aborted, and nothing hangs on it', async () => {
      const hasty = mysqlStore(database, { queryTimeout: 600, connectionsMax: 1 })
      await hasty.find('x', 1, never)
      await queryAsRoot(database, 'LOCK TABLES message_metadata WRITE')
      const late = await storeFailureOf(hasty.write([metadataRow()], never))
      const abort = new AbortController()
      const started = performance.now()
      const aborted = hasty.write([metadataRow()], abort.signal).catch((error: Error) => error.message)
      const waiting = hasty.find('x', 1, abort.signal).catch((error: Error) => error.message)
      setTimeout(() => abort.abort(new Error('enough')), 100)
      expect([await aborted, await waiting]).toEqual(['enough', 'enough'])
      expect(performance.now() - started).toBeLessThan(400)
      await queryAsRoot(database, 'UNLOCK TABLES')
      expect(late).toMatchObject({ failure: 'transient', reason: 'QUERY_TIMEOUT' })
      await hasty.write([metadataRow()], never)
      await hasty.close()
    })

    test('closing waits for what is under way, and refuses what waits for a connection', async () => {
      const one = mysqlStore(database, { connectionsMax: 1 })
      const rows = Array.from({ length: 2000 }, (_, i) => metadataRow({ journalId: 'closing', seq: i + 1 }))
      const writing = one.write(rows, never)
      const waiting = storeFailureOf(one.find('closing', 1, never))
      const closing = one.close()
      await writing
      expect(await waiting).toMatchObject({ failure: 'transient', reason: 'CLOSED' })
      await closing
      expect(await store.find('closing', 2000, never)).not.toBeNull()
    })

    test('closing says goodbye, over TLS too, so that the server sees no client vanish', async () => {
      const vanished = async (): Promise<string> => {
        const [row] = await queryAsRoot<{ Value: string }>(database, "SHOW GLOBAL STATUS LIKE 'Aborted_clients'")
        return row!.Value
      }
      const before = await vanished()
      const tls = database.caFile === null ? undefined : { ca: await caOf(database) }
      for (const other of [mysqlStore(database), mysqlStore(database, { tls })]) {
        await other.find('x', 1, never)
        await other.close()
      }
      await systemClock.sleep(100)
      expect(await vanished()).toBe(before)
    })

    test('no more connections are open than were allowed, and those that the server has cut are replaced', async () => {
      const busy = mysqlStore(database, { connectionsMax: 2 })
      await Promise.all(Array.from({ length: 40 }, () => busy.find('x', 1, never)))
      const sessions = async (): Promise<number[]> => {
        const rows = await queryAsRoot<{ ID: number }>(
          database,
          'SELECT ID FROM information_schema.processlist WHERE DB = DATABASE() AND ID <> CONNECTION_ID()',
        )
        return rows.map(({ ID }) => ID)
      }
      await store.close()
      const open = await sessions()
      expect(open.length).toBeLessThanOrEqual(2)
      for (const id of open) await queryAsRoot(database, `KILL ${id}`)
      await expect.poll(() => failureOrNull(busy.write([metadataRow()], never))).toBeNull()
      await busy.close()
      await expect.poll(sessions).toEqual([])
      store = mysqlStore(database)
    })
  })

  describe(`a ${flavour} of its own`, () => {
    test(
      'loses nothing that was answered when it is killed amid writes, and is written to again when it is back',
      async (context) => {
        await using server = await requireOwnMysql(context, flavour)
        const database = await makeDatabase(server.access)
        // It loses its connection with the server.
        database.root.on('error', () => {})
        const store = mysqlStore(database)
        await store.schema.migrate(never, () => {})
        const failures = new Set<string>()
        let written = 0
        const stop = new AbortController()
        const writing = (async () => {
          while (!stop.signal.aborted) {
            const rows = Array.from({ length: 20 }, (_, i) =>
              metadataRow({ journalId: 'killed', seq: written + i + 1 }),
            )
            try {
              await store.write(rows, never)
              written += rows.length
            } catch (error) {
              if (!(error instanceof StoreError)) throw error
              failures.add(error.failure)
              await systemClock.sleep(20)
            }
          }
        })()
        for (let i = 0; i < 2; i++) {
          const before = written
          await expect.poll(() => written, { timeout: 20_000 }).toBeGreaterThan(before + 200)
          await server.kill()
          await systemClock.sleep(200)
          await server.start()
        }
        const before = written
        await expect.poll(() => written, { timeout: 20_000 }).toBeGreaterThan(before + 200)
        stop.abort()
        await writing
        expect([...failures]).toEqual(['transient'])
        let found = 0
        for (let after; ;) {
          const page = await store.list({ limit: 1000, ...(after && { after }) }, never)
          after = page.at(-1)
          found += page.length
          if (!after) break
        }
        expect(found).toBe(written)
        await store.close()
      },
      3 * minutes,
    )
  })
}

describe('a server that is not there', () => {
  const options = (more: Partial<MysqlOptions>): MysqlOptions => ({
    host: '127.0.0.1',
    port: 1,
    user: 'app',
    database: 'outrigger',
    password: async () => undefined,
    connectionsMax: 1,
    connectTimeout: 5000,
    retention: 1,
    ...more,
  })
  const storeWith = (more: Partial<MysqlOptions>) => new MysqlMetadataStore(systemClock, silentLog, options(more))

  test.each(['127.0.0.1', 'localhost'])('at %s is a transient failure, soon', async (host) => {
    const store = storeWith({ host })
    const failure = await storeFailureOf(store.write([metadataRow()], never))
    expect(failure).toMatchObject({ failure: 'transient', reason: 'ECONNREFUSED' })
    expect(failure.hint).toContain('mysql.url')
    await store.close()
  })

  test('has a name that does not resolve: transient, and says so', async () => {
    const store = storeWith({ host: 'mysql.invalid' })
    const failure = await storeFailureOf(store.find('x', 1, never))
    expect(failure.failure).toBe('transient')
    expect(failure.reason).toMatch(/ENOTFOUND|EAI_/)
    await store.close()
  })

  test('takes the connection and says nothing: transient after the connect timeout; an abort comes through at once', async () => {
    const mute = createServer(() => {})
    mute.listen(0, '127.0.0.1')
    await once(mute, 'listening')
    const { port } = mute.address() as { port: number }
    const store = storeWith({ port, connectTimeout: 300 })
    expect(await storeFailureOf(store.find('x', 1, never))).toMatchObject({
      failure: 'transient',
      reason: 'ETIMEDOUT',
    })
    const started = performance.now()
    await expect(store.find('x', 1, AbortSignal.timeout(50))).rejects.toMatchObject({ name: 'TimeoutError' })
    expect(performance.now() - started).toBeLessThan(250)
    await store.close()
    mute.close()
  })

  test.each([
    ['hangs up at once', ''],
    ['speaks something else', 'HTTP/1.1 400 Bad Request\r\n\r\n'],
  ])('that %s is a transient failure', async (_, greeting) => {
    const other = createServer((socket) => socket.end(greeting))
    other.listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as { port: number }
    const store = storeWith({ port, connectTimeout: 1000 })
    expect(await storeFailureOf(store.find('x', 1, never))).toMatchObject({ failure: 'transient' })
    await store.close()
    other.close()
  })
})

function failureOrNull(call: Promise<unknown>): Promise<unknown> {
  return call.then(
    () => null,
    (error: unknown) => error,
  )
}
