import { describe, expect, test } from 'vitest'
import { bucketOffsets, logStatements } from '../../src/cassandra/log-layout.ts'
import { LogWriter } from '../../src/cassandra/log-writer.ts'
import { StoreError } from '../../src/recorder/store-error.ts'
import { logEntry } from '../recorder/message-log-contract.ts'

const statements = logStatements('k')
const never = new AbortController().signal
const now = 1_800_000_300_000
const retention = 3_600_000

/** Notes what is sent, and lets tests decide how it ends. */
class FakeSession {
  readonly sent: { query: string; rows: readonly unknown[][] }[] = []
  interruptions = 0
  inFlight = 0
  inFlightMax = 0
  outcome: (query: string) => Promise<void> = () => Promise.resolve()

  execute(query: string, params: unknown[]): Promise<never> {
    return this.#send(query, [params])
  }

  batch(query: string, rows: readonly unknown[][]): Promise<never> {
    return this.#send(query, rows)
  }

  of(query: string): readonly unknown[][][] {
    return this.sent.filter((request) => request.query === query).map(({ rows }) => rows as unknown[][])
  }

  async #send(query: string, rows: readonly unknown[][]): Promise<never> {
    this.sent.push({ query, rows })
    this.inFlightMax = Math.max(this.inFlightMax, ++this.inFlight)
    try {
      await this.outcome(query)
    } finally {
      this.inFlight--
    }
    return undefined as never
  }
}

const setUp = (valueChunkBytes = 262_144) => {
  const session = new FakeSession()
  return { session, writer: new LogWriter(session, statements, { retention, valueChunkBytes }) }
}
const entryAt = (offset: number, bytes = 1024) =>
  logEntry({ topic: 't', offset, value: Buffer.alloc(bytes), deliveredAt: now - 1000 })

describe('writing to the message log', () => {
  test('puts rows of one Cassandra partition together, in batches that nodes accept', async () => {
    const { session, writer } = setUp()
    const entries = Array.from({ length: 1000 }, (_, i) => entryAt(bucketOffsets - 500 + i))
    await writer.write(entries, now, never)
    const batches = session.of(statements.insertEntry)
    expect(batches.flat()).toHaveLength(1000)
    for (const rows of batches) {
      expect(new Set(rows.map(([topic, partition, bucket]) => `${topic} ${partition} ${bucket}`)).size).toBe(1)
      expect(rows.length * 1024).toBeLessThan(50 * 1024)
    }
    expect(batches.length).toBeLessThan(40)
  })

  test('sends a large row alone', async () => {
    const { session, writer } = setUp()
    await writer.write([entryAt(1), entryAt(2, 20_000), entryAt(3, 24_000), entryAt(4)], now, never)
    const sizes = session.of(statements.insertEntry).map((rows) => rows.length)
    expect(sizes).toEqual([2, 2])
    await writer.write([logEntry({ key: Buffer.alloc(60_000), deliveredAt: now }), entryAt(5)], now, never)
    expect(session.of(statements.insertEntry).slice(2).map((rows) => rows.length)).toEqual([1, 1]) // prettier-ignore
  })

  test('writes buckets, partitions and chunks before any entry', async () => {
    const { session, writer } = setUp()
    await writer.write([entryAt(1), entryAt(2, 600_000)], now, never)
    const order = session.sent.map(({ query }) => query)
    const firstEntry = order.indexOf(statements.insertEntry)
    const before = [statements.insertBucket, statements.insertPartition, statements.insertChunk]
    expect(before.filter((query) => !order.includes(query) || order.lastIndexOf(query) > firstEntry)).toEqual([])
    expect(session.of(statements.insertChunk)).toHaveLength(3)
  })

  test('writes a bucket once in a while, and again when its time was not acknowledged', async () => {
    const { session, writer } = setUp()
    session.outcome = () => Promise.reject(new Error('away'))
    await expect(writer.write([entryAt(1)], now, never)).rejects.toThrow('away')
    session.outcome = () => Promise.resolve()
    for (let i = 0; i < 10; i++) await writer.write([entryAt(i)], now, never)
    expect(session.of(statements.insertBucket)).toHaveLength(2)
    await writer.write([logEntry({ topic: 't', deliveredAt: now + 10_000 })], now, never)
    expect(session.of(statements.insertBucket)).toHaveLength(3)
    await writer.write([entryAt(bucketOffsets)], now, never)
    expect(session.of(statements.insertBucket)).toHaveLength(4)
    expect(session.of(statements.insertPartition)).toHaveLength(2)
  })

  test('writes a bucket and a partition again after the tables may have been gone', async () => {
    const { session, writer } = setUp()
    await writer.write([entryAt(1)], now, never)
    session.outcome = () => Promise.reject(new StoreError('transient', 'WRITE_TIMEOUT', 'busy'))
    await expect(writer.write([entryAt(2)], now, never)).rejects.toThrow('busy')
    session.outcome = () => Promise.resolve()
    await writer.write([entryAt(2)], now, never)
    expect(session.of(statements.insertBucket)).toHaveLength(1)
    session.outcome = () => Promise.reject(new StoreError('fatal', 'SCHEMA_MISSING', 'no table'))
    await expect(writer.write([entryAt(3)], now, never)).rejects.toThrow('no table')
    session.outcome = () => Promise.resolve()
    await writer.write([entryAt(3)], now, never)
    expect(session.of(statements.insertBucket)).toHaveLength(2)
    expect(session.of(statements.insertPartition)).toHaveLength(2)
  })

  test('writes all of a batch again when the tables may have been made anew meanwhile', async () => {
    const { session, writer } = setUp()
    await writer.write([entryAt(1)], now, never)
    session.sent.length = 0
    session.outcome = async (query) => {
      // The first node that is asked has forgotten the statement.
      if (query === statements.insertEntry && session.interruptions === 0) session.interruptions++
    }
    await writer.write([entryAt(2)], now, never)
    expect(session.sent.map(({ query }) => query)).toEqual([
      statements.insertEntry,
      statements.insertBucket,
      statements.insertPartition,
      statements.insertEntry,
    ])
    await writer.write([entryAt(3)], now, never)
    expect(session.of(statements.insertBucket)).toHaveLength(1)
    session.interruptions++
    await writer.write([entryAt(4)], now, never)
    expect(session.of(statements.insertBucket)).toHaveLength(2)
    expect(session.of(statements.insertEntry)).toHaveLength(4)
  })

  test('does not write what is older than the retention, and gives the rest what is left', async () => {
    const { session, writer } = setUp()
    const deliveredAt = [now - retention - 1, now - retention, now - retention + 1, now]
    await writer.write(deliveredAt.map((time, offset) => logEntry({ offset, deliveredAt: time })), now, never) // prettier-ignore
    const rows = session.of(statements.insertEntry).flat()
    expect(rows.map((row) => [row[3], row.at(-1)])).toEqual([[2, 1], [3, 3600]]) // prettier-ignore
    const before = session.sent.length
    await writer.write([logEntry({ deliveredAt: 0 })], now, never)
    expect(session.sent).toHaveLength(before)
  })

  test('has a bounded number of requests under way, and begins none after a failure', async () => {
    const { session, writer } = setUp()
    const entries = Array.from({ length: 500 }, (_, i) => entryAt(i, 24_000))
    session.outcome = () => new Promise((resolve) => setImmediate(resolve))
    await writer.write(entries, now, never)
    expect(session.inFlightMax).toBe(32)
    const before = session.sent.length
    session.outcome = async () => {
      if (session.sent.length === before + 1) throw new Error('away')
      await new Promise((resolve) => setImmediate(resolve))
    }
    await expect(writer.write(entries, now, never)).rejects.toThrow('away')
    while (session.inFlight > 0) await new Promise((resolve) => setImmediate(resolve))
    expect(session.sent.length - before).toBe(32)
  })
})
