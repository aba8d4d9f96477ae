import { describeWithServer } from '../../stack/describe-with-server.ts'
import { randomBytes } from 'node:crypto'
import { Client } from 'cassandra-driver'
import type { types } from 'cassandra-driver'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { CassandraMessageLog } from '../../../src/cassandra/cassandra-message-log.ts'
import { bucketOffsets } from '../../../src/cassandra/log-layout.ts'
import { storeFailureOf } from '../../recorder/ledger-schema-contract.ts'
import { logEntry } from '../../recorder/message-log-contract.ts'
import type { CassandraAccess } from '../../stack/cassandra/cassandra.ts'
import { sharedCassandra } from '../../stack/shared-cassandra.ts'
import { logOptions, migratedLog, never, openLog } from './cassandra-test-log.ts'

const { access } = await sharedCassandra()
const hour = 3_600_000

describeWithServer(access !== null, 'the message log in real Cassandra', () => {
  const given = access as CassandraAccess
  const options = logOptions(given ?? { contactPoints: [], localDataCenter: '', credentials: null })
  const { keyspace } = options
  let client: Client
  let log: CassandraMessageLog
  const ask = async (query: string, params: unknown[] = []): Promise<types.Row[]> =>
    (await client.execute(query.replaceAll('KS', keyspace), params, { prepare: true })).rows

  beforeAll(async () => {
    client = new Client({ contactPoints: [...given.contactPoints], localDataCenter: given.localDataCenter })
    await client.connect()
    log = await migratedLog(options)
  })
  afterAll(async () => {
    await log.close()
    await ask('DROP KEYSPACE IF EXISTS KS')
    await client.shutdown()
  })

  test('lies in a keyspace with the replication that was asked for, in tables compacted by time', async () => {
    const [made] = await ask('SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?', [keyspace])
    expect(made?.['replication']).toEqual({
      class: 'org.apache.cassandra.locator.NetworkTopologyStrategy',
      [given.localDataCenter]: '1',
    })
    const tables = await ask('SELECT table_name, compaction FROM system_schema.tables WHERE keyspace_name = ?', [
      keyspace,
    ])
    const compaction = new Map(tables.map((row) => [row['table_name'] as string, row['compaction'] as object]))
    for (const table of ['message_log', 'message_log_chunks', 'message_log_buckets']) {
      expect(compaction.get(table)).toMatchObject({
        class: 'org.apache.cassandra.db.compaction.TimeWindowCompactionStrategy',
        compaction_window_unit: 'HOURS',
        compaction_window_size: '7',
      })
    }
  })

  test('gives every row what is left of the retention to live', async () => {
    const now = Date.now()
    const value = randomBytes(600_000)
    await log.write(
      [
        logEntry({ topic: 'ttl', offset: 1, deliveredAt: now }),
        logEntry({ topic: 'ttl', offset: 2, deliveredAt: now - 48 * hour, value }),
      ],
      now,
      never,
    )
    const week = 7 * 24 * 3600
    const rows = await ask('SELECT offset, TTL(seq) AS ttl FROM KS.message_log WHERE topic = ? AND partition = 0 AND bucket = 0', ['ttl']) // prettier-ignore
    const ttls = rows.map((row) => row['ttl'] as number)
    expectWithin(ttls[0], week - 60, week)
    expectWithin(ttls[1], week - 48 * 3600 - 60, week - 48 * 3600)
    const chunks = await ask('SELECT TTL(bytes) AS ttl FROM KS.message_log_chunks WHERE topic = ? AND partition = 0 AND offset = 2', ['ttl']) // prettier-ignore
    expect(chunks).toHaveLength(3)
    // What belongs to an entry outlives it.
    for (const row of chunks) expectWithin(row['ttl'] as number, (ttls[1] ?? 0) + 1, week - 47 * 3600)
    const [bucket] = await ask('SELECT TTL(delivered_until) AS ttl FROM KS.message_log_buckets WHERE topic = ? AND partition = 0', ['ttl']) // prettier-ignore
    expectWithin(bucket?.['ttl'] as number, (ttls[0] ?? 0) + 1, week + 3600)
    const [partition] = await ask('SELECT TTL(delivered_until) AS ttl FROM KS.message_log_partitions WHERE topic = ?', ['ttl']) // prettier-ignore
    expectWithin(partition?.['ttl'] as number, (ttls[0] ?? 0) + 1, week + 2 * 3600)
  })

  test('lets entries go by themselves when their time is over, and nothing that is younger', async () => {
    const short = openLog({ ...options, retention: 60_000 })
    const now = Date.now()
    const old = logEntry({ topic: 'expiring', offset: 1, deliveredAt: now - 57_000, value: randomBytes(50_000) })
    const young = logEntry({ topic: 'expiring', offset: 2, deliveredAt: now })
    await short.write([old, young, logEntry({ topic: 'expiring', offset: 3, deliveredAt: now - 60_000 })], now, never)
    const offsets = async (): Promise<number[]> =>
      (await short.list('expiring', 0, 0, 10, never)).map(({ offset }) => offset)
    expect(await offsets()).toEqual([1, 2])
    await expect.poll(offsets, { timeout: 10_000, interval: 250 }).toEqual([2])
    expect(await short.read('expiring', 0, 1, never)).toBeNull()
    await short.close()
  })

  test('writes no tombstones for what entries do not have', async () => {
    await log.write([logEntry({ topic: 'bare', value: null })], Date.now(), never)
    const [row] = await ask('SELECT WRITETIME(key) AS k, WRITETIME(value) AS v, WRITETIME(content_type) AS c FROM KS.message_log WHERE topic = ? AND partition = 0 AND bucket = 0', ['bare']) // prettier-ignore
    expect([row?.['k'], row?.['v'], row?.['c']]).toEqual([null, null, null])
  })

  test('does not show what an entry of another life of the topic left behind', async () => {
    const first = logEntry({ topic: 'reborn', key: Buffer.from('k'), headers: [['a', 'b']], contentType: 'text/plain' })
    await log.write([first], Date.now(), never)
    await log.write([logEntry({ topic: 'reborn', value: null })], Date.now(), never)
    expect(await log.read('reborn', 0, 0, never)).toMatchObject({
      key: null,
      value: null,
      headers: [],
      contentType: null,
    })
  })

  test.each([24 * 1024, 24 * 1024 + 1, 256 * 1024, 256 * 1024 + 1, 2_500_000])(
    'joins a value of %i bytes',
    async (size) => {
      const entry = logEntry({ topic: 'sizes', offset: size, value: randomBytes(size) })
      await log.write([entry], Date.now(), never)
      const found = await log.read('sizes', 0, size, never)
      expect(found?.value?.equals(entry.value ?? Buffer.alloc(0))).toBe(true)
    },
  )

  test('says so when a chunk is missing or cut, instead of giving a short value', async () => {
    await log.write([logEntry({ topic: 'damaged', value: randomBytes(600_000) })], Date.now(), never)
    const place = 'WHERE topic = ? AND partition = 0 AND offset = 0 AND chunk = ?'
    await ask(`UPDATE KS.message_log_chunks SET bytes = 0xff ${place}`, ['damaged', 2])
    expect((await storeFailureOf(log.read('damaged', 0, 0, never))).reason).toBe('VALUE_INCOMPLETE')
    await ask(`DELETE FROM KS.message_log_chunks ${place}`, ['damaged', 1])
    const failure = await storeFailureOf(log.list('damaged', 0, 0, 5, never))
    expect(failure).toMatchObject({ reason: 'VALUE_INCOMPLETE', message: expect.stringContaining('chunk 1 of 3') })
  })

  test('goes on over buckets, thousands of entries and gaps of empty buckets, page by page', async () => {
    const start = 5 * bucketOffsets - 1500
    const near = Array.from({ length: 3000 }, (_, i) => start + i)
    const far = Array.from({ length: 250 }, (_, i) => (1000 + i) * bucketOffsets)
    const entries = [...near, ...far].map((offset) => logEntry({ topic: 'long', offset, seq: offset }))
    await log.write(entries, Date.now(), never)
    const listed = await log.list('long', 0, start + 10, 10_000, never)
    expect(listed.map(({ offset }) => offset)).toEqual([...near, ...far].slice(10))
    const buckets = await ask('SELECT bucket FROM KS.message_log_buckets WHERE topic = ? AND partition = 0', ['long'])
    expect(buckets).toHaveLength(252)
  })

  test('begins a position with the first bucket in which something was delivered since', async () => {
    const now = Date.now()
    const offsets = [10, bucketOffsets + 10, 2 * bucketOffsets + 10, 3 * bucketOffsets + 10]
    const entries = offsets.map((offset, i) => logEntry({ topic: 'since', offset, deliveredAt: now - (4 - i) * hour }))
    await log.write(entries, now, never)
    // A rewrite of something old must not make its bucket look old or new.
    await log.write(entries.slice(0, 2), now, never)
    expect(await log.positions('since', now - 2.5 * hour, never)).toEqual([{ partition: 0, offset: 2 * bucketOffsets }])
    expect(await log.positions('since', now, never)).toEqual([{ partition: 0, offset: 3 * bucketOffsets }])
  })

  test('writes rows of one partition in batches that a node accepts, whatever their size', async () => {
    const sizes = [0, 100, 1000, 5000, 24_000, 24_577, 60_000]
    const entries = Array.from({ length: 1000 }, (_, offset) =>
      logEntry({
        topic: 'mixed',
        partition: offset % 3,
        offset,
        value: randomBytes(sizes[offset % sizes.length] ?? 0),
      }),
    )
    await log.write(entries, Date.now(), never)
    for (const partition of [0, 1, 2]) {
      const listed = await log.list('mixed', partition, 0, 1000, never)
      const expected = entries.filter((entry) => entry.partition === partition)
      expect(listed.map(({ value }) => value?.length)).toEqual(expected.map(({ value }) => value?.length))
    }
  })

  test('calls an entry that is too large for a node permanent, and keeps the others', async () => {
    // The test's node takes mutations of 2 MiB, and frames of 16 MiB.
    for (const size of [3 * 1024 * 1024, 20 * 1024 * 1024]) {
      const entry = logEntry({ topic: 'too-large', offset: size, key: Buffer.alloc(size) })
      expect(await storeFailureOf(log.write([entry], Date.now(), never))).toMatchObject({ failure: 'permanent' })
    }
    await log.write([logEntry({ topic: 'too-large', offset: 1 })], Date.now(), never)
    expect(await log.read('too-large', 0, 1, never)).not.toBeNull()
  })

  test('calls numbers that do not fit permanent', async () => {
    const strange = logEntry({ topic: 'strange', partition: 2 ** 31 })
    expect(await storeFailureOf(log.write([strange], Date.now(), never))).toMatchObject({ failure: 'permanent' })
  })

  test('rejects at once when the signal aborts amid a write', async () => {
    const abort = new AbortController()
    const entries = Array.from({ length: 400 }, (_, offset) =>
      logEntry({ topic: 'cut', offset, value: randomBytes(60_000) }),
    )
    const writing = log.write(entries, Date.now(), abort.signal)
    const reason = new Error('enough')
    setTimeout(() => abort.abort(reason), 5)
    await expect(writing).rejects.toBe(reason)
  })

  test('calls a data center that the cluster does not have fatal, and a missing schema too', async () => {
    const elsewhere = openLog({ ...options, localDataCenter: 'nowhere' })
    expect(await storeFailureOf(elsewhere.read('t', 0, 0, never))).toMatchObject({
      failure: 'fatal',
      reason: 'NO_SUCH_DATA_CENTER',
      hint: expect.stringContaining('cassandra.localDataCenter'),
    })
    // Each try made a connection, which must not stay.
    const sockets = (): number => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length
    const before = sockets()
    for (let tries = 0; tries < 4; tries++) await storeFailureOf(elsewhere.read('t', 0, 0, never))
    await expect.poll(sockets).toBeLessThan(before + 3)
    await elsewhere.close()
    const empty = openLog({ ...options, keyspace: 'never_made' })
    const failure = await storeFailureOf(empty.write([logEntry()], Date.now(), never))
    expect(failure).toMatchObject({
      failure: 'fatal',
      reason: 'SCHEMA_MISSING',
      hint: expect.stringContaining('migrate'),
    })
    await empty.close()
  })
})

function expectWithin(value: number | undefined, low: number, high: number): void {
  expect(value).toBeGreaterThanOrEqual(low)
  expect(value).toBeLessThanOrEqual(high)
}
