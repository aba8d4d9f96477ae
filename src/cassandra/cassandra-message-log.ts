import type { types } from 'cassandra-driver'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { LedgerSchema } from '../recorder/ledger-schema.ts'
import type { LogEntry, LogPosition, MessageLog } from '../recorder/message-log.ts'
import type { CassandraOptions } from './cassandra-options.ts'
import { CassandraSchema } from './cassandra-schema.ts'
import { CassandraSession } from './cassandra-session.ts'
import { entryRowOf, joinChunks } from './entry-row.ts'
import type { EntryRow } from './entry-row.ts'
import { bucketOf, bucketOffsets, logStatements } from './log-layout.ts'
import type { Statements } from './log-layout.ts'
import { LogWriter } from './log-writer.ts'

/** Rows that are fetched at once: at most some 5 MB of entries, or of chunks. */
const entriesPage = 200
const chunksPage = 8
const bucketsPage = 100
const parallelReads = 8
const what = 'reading the message log'

/** The port `MessageLog` on Cassandra; log-layout.ts shows how it lies there. */
export class CassandraMessageLog implements MessageLog {
  readonly schema: LedgerSchema
  readonly #session: CassandraSession
  readonly #writer: LogWriter
  readonly #statements: Statements

  constructor(clock: Clock, log: Log, options: CassandraOptions) {
    this.#session = new CassandraSession(clock, log, options)
    this.#statements = logStatements(options.keyspace)
    this.#writer = new LogWriter(this.#session, this.#statements, options)
    this.schema = new CassandraSchema(clock, this.#session, options)
  }

  write(entries: readonly LogEntry[], now: number, signal: AbortSignal): Promise<void> {
    return this.#writer.write(entries, now, signal)
  }

  async read(topic: string, partition: number, offset: number, signal: AbortSignal): Promise<LogEntry | null> {
    const key = [topic, partition, bucketOf(offset), offset]
    const row = (await this.#select(this.#statements.selectEntry, key, 1, signal).next()).value
    return row === undefined ? null : this.#whole(entryRowOf(topic, partition, row), signal)
  }

  async list(
    topic: string,
    partition: number,
    fromOffset: number,
    limit: number,
    signal: AbortSignal,
  ): Promise<readonly LogEntry[]> {
    const entries: EntryRow[] = []
    for await (const bucket of this.#buckets(topic, partition, bucketOf(fromOffset), signal)) {
      if (entries.length >= limit) break
      const params = [topic, partition, bucket, fromOffset, limit - entries.length]
      for await (const row of this.#select(this.#statements.selectEntries, params, entriesPage, signal)) {
        entries.push(entryRowOf(topic, partition, row))
      }
    }
    return mapInParallel(entries, (entry) => this.#whole(entry, signal))
  }

  async positions(topic: string, since: number, signal: AbortSignal): Promise<readonly LogPosition[]> {
    const partitions: number[] = []
    for await (const row of this.#select(this.#statements.selectPartitions, [topic], 1000, signal)) {
      partitions.push(row['partition'] as number)
    }
    const positions = await mapInParallel(partitions, async (partition) => {
      const { selectBucketSince, selectLastBucket } = this.#statements
      const bucket =
        (await this.#bucket(selectBucketSince, [topic, partition, since], signal)) ??
        // Nothing was delivered since: then it begins with what may come next.
        (await this.#bucket(selectLastBucket, [topic, partition], signal))
      return bucket === null ? null : { partition, offset: bucket * bucketOffsets }
    })
    return positions.filter((position) => position !== null)
  }

  /** Nothing to do: every row has its own time to live. */
  async maintain(_now: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    this.#session.assertOpen()
  }

  close(): Promise<void> {
    return this.#session.close()
  }

  async *#buckets(topic: string, partition: number, from: number, signal: AbortSignal): AsyncGenerator<number> {
    for (let next = from; ;) {
      const buckets: number[] = []
      const params = [topic, partition, next, bucketsPage]
      for await (const row of this.#select(this.#statements.selectBuckets, params, bucketsPage, signal)) {
        buckets.push(bucketIn(row))
      }
      yield* buckets
      const last = buckets.at(-1)
      if (last === undefined || buckets.length < bucketsPage) return
      next = last + 1
    }
  }

  async #bucket(query: string, params: unknown[], signal: AbortSignal): Promise<number | null> {
    const row = (await this.#select(query, params, 1, signal).next()).value
    return row === undefined ? null : bucketIn(row)
  }

  async #whole(row: EntryRow, signal: AbortSignal): Promise<LogEntry> {
    if (row.chunks === 0) return row.entry
    const { topic, partition, offset } = row.entry
    const found: types.Row[] = []
    for await (const chunk of this.#select(
      this.#statements.selectChunks,
      [topic, partition, offset],
      chunksPage,
      signal,
    )) {
      found.push(chunk)
    }
    return joinChunks(row, found)
  }

  async *#select(
    query: string,
    params: unknown[],
    fetchSize: number,
    signal: AbortSignal,
  ): AsyncGenerator<types.Row, undefined> {
    for (let pageState: string | undefined; ;) {
      const options = pageState === undefined ? { fetchSize } : { fetchSize, pageState }
      const page = await this.#session.execute(query, params, { what, options }, signal)
      yield* page.rows
      pageState = page.pageState as string | undefined
      if (!pageState) return undefined
    }
  }
}

function bucketIn(row: types.Row): number {
  return (row['bucket'] as types.Long).toNumber()
}

/** In order of the items, some at a time. */
async function mapInParallel<T, R>(items: readonly T[], map: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  let next = 0
  const work = async (): Promise<void> => {
    while (next < items.length) {
      const index = next++
      results[index] = await map(items[index] as T)
    }
  }
  await Promise.all(Array.from({ length: Math.min(parallelReads, items.length) }, work))
  return results
}
