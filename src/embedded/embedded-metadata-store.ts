import type { SQLInputValue, StatementSync } from 'node:sqlite'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { MetadataQuery, MetadataRow, MetadataStore } from '../recorder/metadata-store.ts'
import { EmbeddedLedgerSchema } from './embedded-ledger-schema.ts'
import { bufferOf, LedgerFile } from './ledger-file.ts'
import { removeInSteps } from './ledger-retention.ts'

export interface EmbeddedMetadataStoreOptions {
  /** The SQLite file, which may be the embedded log's too. `migrate` makes it; its directory must exist. */
  readonly file: string
  /** How long rows are kept after their message was accepted, in milliseconds. */
  readonly retentionMs: number
}

/** So many rows at most go in one step of retention, which keeps the file for some ten milliseconds. */
const rowsPerStep = 1000

/** In the order in which `insert` gives them. */
const columns = [
  'journal_id',
  'seq',
  'status',
  'topic',
  'partition',
  '"offset"',
  'key',
  'producer',
  'content_type',
  'value_bytes',
  'headers',
  'trace_id',
  'accepted_at',
  'finished_at',
  'recorded_at',
  'attempts',
  'reason',
]
const upsert = `
  INSERT INTO message_metadata (${columns.join(', ')}) VALUES (${columns.map(() => '?').join(', ')})
  ON CONFLICT (journal_id, seq) DO UPDATE SET ${columns.map((column) => `${column} = excluded.${column}`).join(', ')}`
const select = `SELECT ${columns.join(', ')} FROM message_metadata`
const remove = `
  DELETE FROM message_metadata
  WHERE id IN (SELECT id FROM message_metadata WHERE accepted_at < ? ORDER BY accepted_at LIMIT ${rowsPerStep})`

/**
 * The port `MetadataStore` on one SQLite file, for running without any server. A write is one transaction, and is on
 * stable storage when it resolves; it blocks its thread for so long. Another process may read the file at any time. While
 * one *locks* it, writes fail as `transient`.
 */
export class EmbeddedMetadataStore implements MetadataStore {
  readonly schema: EmbeddedLedgerSchema
  readonly #clock: Clock
  readonly #log: Log
  readonly #options: EmbeddedMetadataStoreOptions
  readonly #file: LedgerFile

  constructor(clock: Clock, log: Log, options: EmbeddedMetadataStoreOptions) {
    this.#clock = clock
    this.#log = log
    this.#options = options
    this.#file = new LedgerFile(options.file)
    this.schema = new EmbeddedLedgerSchema(clock, this.#file)
  }

  // All async, so that whatever is thrown becomes a rejection; there is nothing to wait for.
  async write(rows: readonly MetadataRow[], signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    this.#file.write((connection) => {
      const statement = connection.prepare(upsert)
      for (const row of rows) insert(statement, row)
    })
  }

  async find(journalId: string, seq: number, signal: AbortSignal): Promise<MetadataRow | null> {
    signal.throwIfAborted()
    const sql = `${select} WHERE journal_id = ? AND seq = ?`
    return this.#select(sql, [journalId, seq])[0] ?? null
  }

  async list(query: MetadataQuery, signal: AbortSignal): Promise<readonly MetadataRow[]> {
    signal.throwIfAborted()
    const [sql, parameters] = listing(query)
    return this.#select(sql, parameters)
  }

  async listOffsets(
    topic: string,
    partition: number,
    fromOffset: number,
    toOffset: number,
    limit: number,
    signal: AbortSignal,
  ): Promise<readonly MetadataRow[]> {
    signal.throwIfAborted()
    const sql = `${select} WHERE topic = ? AND partition = ? AND "offset" >= ? AND "offset" < ? ORDER BY "offset" LIMIT ?`
    return this.#select(sql, [topic, partition, fromOffset, toOffset, limit])
  }

  async maintain(now: number, signal: AbortSignal): Promise<void> {
    const acceptedBefore = now - this.#options.retentionMs
    const removed = await removeInSteps(
      this.#clock,
      this.#file,
      (connection) => {
        const changes = Number(connection.prepare(remove).run(acceptedBefore).changes)
        return { changes, isMore: changes === rowsPerStep }
      },
      signal,
    )
    if (removed > 0) this.#log.debug({ removed, file: this.#options.file }, 'removed old rows of metadata')
  }

  async close(): Promise<void> {
    this.#file.close()
  }

  #select(sql: string, parameters: readonly SQLInputValue[]): MetadataRow[] {
    return this.#file.read((connection) => {
      const found = connection.prepare(sql).all(...parameters) as unknown as StoredRow[]
      return found.map(rowOf)
    })
  }
}

/** The statement that lists what a query asks for, and its parameters. */
export function listing(query: MetadataQuery): readonly [sql: string, parameters: SQLInputValue[]] {
  const { topic, partition, key, status, from, to, after, limit } = query
  const conditions: string[] = []
  const parameters: SQLInputValue[] = []
  const add = (condition: string, ...values: SQLInputValue[]): void => {
    conditions.push(condition)
    parameters.push(...values)
  }
  // Of dead ones there are few, wherever they are: their index goes before all but the key's.
  const ofDead = status === 'dead' && key === undefined
  // A plus sign keeps a condition from choosing the index: the key's finds less than the topic's, and that of offsets
  // would have all rows of a partition sorted by time.
  if (topic !== undefined) add(key === undefined && !ofDead ? 'topic = ?' : '+topic = ?', topic)
  if (partition !== undefined) add('+partition = ?', partition)
  if (key !== undefined) add('key = ?', key)
  if (ofDead) add("status = 'dead'")
  else if (status !== undefined) add('status = ?', status)
  if (from !== undefined) add('accepted_at >= ?', from)
  if (to !== undefined) add('accepted_at < ?', to)
  if (after !== undefined) {
    const { acceptedAt, journalId, seq } = after
    // The first of the two is what an index is good for.
    add('accepted_at <= ?', acceptedAt)
    add('(accepted_at, journal_id, seq) < (?, ?, ?)', acceptedAt, journalId, seq)
  }
  const where = conditions.length > 0 ? `WHERE ${conditions.join(' AND ')}` : ''
  const sql = `${select} ${ofDead ? 'INDEXED BY metadata_of_dead' : ''} ${where} ORDER BY accepted_at DESC, journal_id DESC, seq DESC LIMIT ?`
  return [sql, [...parameters, limit]]
}

function insert(statement: StatementSync, row: MetadataRow): void {
  statement.run(
    row.journalId,
    row.seq,
    row.status,
    row.topic,
    row.partition,
    row.offset,
    row.key,
    row.producer,
    row.contentType,
    row.valueBytes,
    row.headers,
    row.traceId,
    row.acceptedAt,
    row.finishedAt,
    row.recordedAt,
    row.attempts,
    row.reason,
  )
}

interface StoredRow {
  readonly journal_id: string
  readonly seq: number
  readonly status: MetadataRow['status']
  readonly topic: string
  readonly partition: number | null
  readonly offset: number | null
  readonly key: Uint8Array | null
  readonly producer: string | null
  readonly content_type: string | null
  readonly value_bytes: number | null
  readonly headers: string | null
  readonly trace_id: string | null
  readonly accepted_at: number
  readonly finished_at: number
  readonly recorded_at: number
  readonly attempts: number
  readonly reason: string | null
}

function rowOf(stored: StoredRow): MetadataRow {
  return {
    journalId: stored.journal_id,
    seq: stored.seq,
    status: stored.status,
    topic: stored.topic,
    partition: stored.partition,
    offset: stored.offset,
    key: bufferOf(stored.key),
    producer: stored.producer,
    contentType: stored.content_type,
    valueBytes: stored.value_bytes,
    headers: stored.headers,
    traceId: stored.trace_id,
    acceptedAt: stored.accepted_at,
    finishedAt: stored.finished_at,
    recordedAt: stored.recorded_at,
    attempts: stored.attempts,
    reason: stored.reason,
  }
}
