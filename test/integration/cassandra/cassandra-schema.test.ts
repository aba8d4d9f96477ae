import { describeWithServer } from '../../stack/describe-with-server.ts'
import { Client } from 'cassandra-driver'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock } from '../../../src/base/clock.ts'
import { silentLog } from '../../../src/base/log.ts'
import { CassandraSchema } from '../../../src/cassandra/cassandra-schema.ts'
import { CassandraSession } from '../../../src/cassandra/cassandra-session.ts'
import { schemaSteps } from '../../../src/cassandra/log-layout.ts'
import type { MigrationStep } from '../../../src/recorder/ledger-schema.ts'
import { StoreError } from '../../../src/recorder/store-error.ts'
import { storeFailureOf } from '../../recorder/ledger-schema-contract.ts'
import type { CassandraAccess } from '../../stack/cassandra/cassandra.ts'
import { sharedCassandra } from '../../stack/shared-cassandra.ts'
import { logOptions, never } from './cassandra-test-log.ts'

const { access } = await sharedCassandra()

describeWithServer(access !== null, 'the schema of the message log in real Cassandra', () => {
  const given = access as CassandraAccess
  const base = logOptions(given ?? { contactPoints: [], localDataCenter: '', credentials: null })
  const keyspaces: string[] = []
  let client: Client
  let session: CassandraSession

  beforeAll(async () => {
    client = new Client({ contactPoints: [...given.contactPoints], localDataCenter: given.localDataCenter })
    await client.connect()
    session = new CassandraSession(systemClock, silentLog, base)
  })
  afterAll(async () => {
    await session.close()
    for (const keyspace of keyspaces) await client.execute(`DROP KEYSPACE IF EXISTS ${keyspace}`)
    await client.shutdown()
  })

  const freshOptions = () => {
    const options = logOptions(given)
    keyspaces.push(options.keyspace)
    return options
  }

  /** A session whose program is killed at its nth call, before or after Cassandra has done it. */
  const killedAt = (calls: number, done: boolean): { session: Session; killed: () => boolean } => {
    let left = calls
    let killed = false
    const guard = async <T>(call: () => Promise<T>): Promise<T> => {
      const last = --left === 0
      if (last && done) await call()
      if (last) killed = true
      if (killed) throw new StoreError('transient', 'KILLED', 'killed')
      return call()
    }
    return {
      killed: () => killed,
      session: {
        execute: (...call) => guard(() => session.execute(...call)),
        define: (...call) => guard(() => session.define(...call)),
      },
    }
  }

  test('goes on from wherever a migration was killed', { timeout: 170_000 }, async () => {
    const tables = ['message_log', 'message_log_chunks', 'message_log_buckets', 'message_log_partitions']
    const migrateKilledAt = async (calls: number, done: boolean): Promise<boolean> => {
      const options = freshOptions()
      const victim = killedAt(calls, done)
      const taken: MigrationStep[] = []
      const first = new CassandraSchema(systemClock, victim.session, options, { lockSeconds: 4 })
      await first.migrate(never, (step) => taken.push(step)).catch(() => {})
      const next = new CassandraSchema(systemClock, session, options, { lockSeconds: 4 })
      await next.migrate(never, (step) => taken.push(step))
      expect(await next.inspect(never)).toEqual({ found: 2, needed: 2, pending: [] })
      // Whoever took the last step is alive to tell of it, unless it was the victim's very last deed.
      expect(taken.length, `killed at call ${calls}`).toBeLessThanOrEqual(2)
      for (const table of tables) await client.execute(`SELECT * FROM ${options.keyspace}.${table} LIMIT 1`)
      return victim.killed()
    }
    const killed: boolean[] = []
    while (killed.at(-1) !== false) {
      const from = killed.length + 1
      killed.push(...(await Promise.all([0, 1, 2, 3].map((i) => migrateKilledAt(from + i, (from + i) % 2 === 0)))))
    }
    // What there is, keyspace, two tables, lock, what there is now, two steps of two statements and their record, release.
    expect(killed.filter(Boolean).length).toBeGreaterThan(16)
  })

  test('takes each step once when many migrate at once', async () => {
    const options = freshOptions()
    const taken: MigrationStep[] = []
    const schemas = Array.from({ length: 6 }, () => new CassandraSchema(systemClock, session, options))
    await Promise.all(schemas.map((schema) => schema.migrate(never, (step) => taken.push(step))))
    expect(taken.map(({ version }) => version)).toEqual([1, 2])
  })

  test('waits while another one migrates, as long as its lock lives, and gives up when it may not wait', async () => {
    const options = freshOptions()
    const schema = new CassandraSchema(systemClock, session, options, {
      steps: schemaSteps(options.keyspace, 1).slice(0, 1),
    })
    await schema.migrate(never, () => {})
    await client.execute(`INSERT INTO ${options.keyspace}.outrigger_lock (name, holder) VALUES ('migration', 'gone') IF NOT EXISTS USING TTL 4`) // prettier-ignore
    const next = new CassandraSchema(systemClock, session, options)
    const reason = new Error('enough waited')
    await expect(next.migrate(abortAfter(1000, reason), () => {})).rejects.toBe(reason)
    expect(await next.inspect(never)).toMatchObject({ found: 1, needed: 2 })
    const begun = Date.now()
    await next.migrate(never, () => {})
    expect(Date.now() - begun).toBeGreaterThan(1000)
    expect(await next.inspect(never)).toMatchObject({ found: 2 })
  })

  test('uses a keyspace that exists as it is', async () => {
    const options = freshOptions()
    const replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
    await client.execute(
      `CREATE KEYSPACE ${options.keyspace} WITH replication = ${replication} AND durable_writes = false`,
    )
    await new CassandraSchema(systemClock, session, { ...options, replicationFactor: 3 }).migrate(never, () => {})
    const { rows } = await client.execute('SELECT durable_writes, replication FROM system_schema.keyspaces WHERE keyspace_name = ?', [options.keyspace]) // prettier-ignore
    expect(rows[0]).toMatchObject({
      durable_writes: false,
      replication: { class: expect.stringContaining('SimpleStrategy') },
    })
  })

  test('takes the steps again whose tables are gone, whatever was noted', async () => {
    const options = freshOptions()
    const schema = new CassandraSchema(systemClock, session, options)
    await schema.migrate(never, () => {})
    for (const [table, found] of [
      ['message_log_partitions', 1],
      ['message_log_chunks', 0],
    ] as const) {
      // prettier-ignore
      await client.execute(`DROP TABLE ${options.keyspace}.${table}`)
      const pending = [1, 2].filter((version) => version > found)
      const state = await schema.inspect(never)
      expect([state.found, state.pending.map(({ version }) => version)]).toEqual([found, pending])
      const taken: number[] = []
      await schema.migrate(never, ({ version }) => taken.push(version))
      expect(taken).toEqual(pending)
      expect(await schema.inspect(never)).toEqual({ found: 2, needed: 2, pending: [] })
      await client.execute(`SELECT * FROM ${options.keyspace}.${table} LIMIT 1`)
    }
  })

  test('refuses a schema that is newer than itself, and leaves it alone', async () => {
    const options = freshOptions()
    const steps = [
      ...schemaSteps(options.keyspace, 1),
      { version: 3, title: 'something new', statements: [], tables: [] },
    ]
    await new CassandraSchema(systemClock, session, options, { steps }).migrate(never, () => {})
    const old = new CassandraSchema(systemClock, session, options)
    for (const call of [() => old.inspect(never), () => old.migrate(never, () => {})]) {
      expect(await storeFailureOf(call())).toMatchObject({ failure: 'fatal', reason: 'SCHEMA_TOO_NEW' })
    }
  })
})

type Session = ConstructorParameters<typeof CassandraSchema>[1]

function abortAfter(ms: number, reason: Error): AbortSignal {
  const controller = new AbortController()
  setTimeout(() => controller.abort(reason), ms)
  return controller.signal
}
