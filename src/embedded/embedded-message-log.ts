import type { StatementSync } from 'node:sqlite'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { LogEntry, LogPosition, MessageLog } from '../recorder/message-log.ts'
import { StoreError } from '../recorder/store-error.ts'
import { EmbeddedLedgerSchema } from './embedded-ledger-schema.ts'
import { decodeHeaders, encodeHeaders } from './header-codec.ts'
import type { LedgerConnection } from './ledger-file.ts'
import { bufferOf, LedgerFile } from './ledger-file.ts'
import type { Removal } from './ledger-retention.ts'
import { removeInSteps } from './ledger-retention.ts'

export interface EmbeddedMessageLogOptions {
  /** The SQLite file, which may be the embedded metadata store's too. `migrate` makes it; its directory must exist. */
  readonly file: string
  /** How long entries are kept after they were delivered, in milliseconds. */
  readonly retentionMs: number
}

/** So much goes at most in one step of retention, and one entry at least: it keeps the file for some ten milliseconds. */
const entriesPerStep = 1000
const valueBytesPerStep = 8 * 1024 * 1024
/** The codec of headers has 16 bits for the length of a name. */
const headerNameBytesMax = 0xffff

/** In the order in which `insert` gives them. */
const columns = [
  'topic',
  'partition',
  '"offset"',
  'journal_id',
  'seq',
  'content_type',
  'timestamp',
  'accepted_at',
  'delivered_at',
  'key',
  'headers',
  'value',
]
const upsert = `
  INSERT INTO message_log (${columns.join(', ')}) VALUES (${columns.map(() => '?').join(', ')})
  ON CONFLICT (topic, partition, "offset") DO UPDATE SET ${columns.map((column) => `${column} = excluded.${column}`).join(', ')}`
const select = `SELECT ${columns.join(', ')} FROM message_log WHERE topic = ? AND partition = ?`

/**
 * The port `MessageLog` on one SQLite file, for running without any server. A write is one transaction, and is on stable
 * storage when it resolves; it blocks its thread for so long. Another process may read the file at any time. While one
 * *locks* it, writes fail as `transient`.
 */
export class EmbeddedMessageLog implements MessageLog {
  readonly schema: EmbeddedLedgerSchema
  readonly #clock: Clock
  readonly #log: Log
  readonly #options: EmbeddedMessageLogOptions
  readonly #file: LedgerFile

  constructor(clock: Clock, log: Log, options: EmbeddedMessageLogOptions) {
    this.#clock = clock
    this.#log = log
    this.#options = options
    this.#file = new LedgerFile(options.file)
    this.schema = new EmbeddedLedgerSchema(clock, this.#file)
  }

  // All async, so that whatever is thrown becomes a rejection; there is nothing to wait for.
  async write(entries: readonly LogEntry[], _now: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    this.#file.write((connection) => {
      const statement = connection.prepare(upsert)
      for (const entry of entries) insert(statement, entry)
    })
  }

  async read(topic: string, partition: number, offset: number, signal: AbortSignal): Promise<LogEntry | null> {
    signal.throwIfAborted()
    const found = this.#file.read((connection) =>
      connection.prepare(`${select} AND "offset" = ?`).get(topic, partition, offset),
    )
    return found ? entryOf(found as unknown as StoredEntry) : null
  }

  async list(
    topic: string,
    partition: number,
    fromOffset: number,
    limit: number,
    signal: AbortSignal,
  ): Promise<readonly LogEntry[]> {
    signal.throwIfAborted()
    const sql = `${select} AND "offset" >= ? ORDER BY "offset" LIMIT ?`
    const found = this.#file.read((connection) => connection.prepare(sql).all(topic, partition, fromOffset, limit))
    return (found as unknown as StoredEntry[]).map(entryOf)
  }

  async positions(topic: string, since: number, signal: AbortSignal): Promise<readonly LogPosition[]> {
    signal.throwIfAborted()
    return this.#file.read((connection) => {
      // The ends are looked for first: what comes between the two looks lies behind them, or is found by the second.
      const ends = endsOf(connection, topic)
      const firsts = firstsSince(connection, topic, since)
      return ends.map(({ partition, offset }) => ({ partition, offset: firsts.get(partition) ?? offset + 1 }))
    })
  }

  async maintain(now: number, signal: AbortSignal): Promise<void> {
    const deliveredBefore = now - this.#options.retentionMs
    const removeSome = (connection: LedgerConnection): Removal => removeEntries(connection, deliveredBefore)
    const removed = await removeInSteps(this.#clock, this.#file, removeSome, signal)
    if (removed > 0) this.#log.debug({ removed, file: this.#options.file }, 'removed old entries of the log')
  }

  async close(): Promise<void> {
    this.#file.close()
  }
}

/** The last offset of each partition that has entries, by partition. */
function endsOf(connection: LedgerConnection, topic: string): LogPosition[] {
  const nextPartition = connection.prepare(
    'SELECT min(partition) AS partition FROM message_log WHERE topic = ? AND partition > ?',
  )
  const end = connection.prepare('SELECT max("offset") AS "offset" FROM message_log WHERE topic = ? AND partition = ?')
  const ends: LogPosition[] = []
  for (;;) {
    const partition = nextPartition.get(topic, ends.at(-1)?.partition ?? -1)?.['partition'] as number | null
    if (partition === null) return ends
    ends.push({ partition, offset: end.get(topic, partition)?.['offset'] as number })
  }
}

/** The lowest offset that was delivered since a time, by partition. */
function firstsSince(connection: LedgerConnection, topic: string, since: number): Map<number, number> {
  const sql = `
    SELECT partition, min("offset") AS "offset" FROM message_log INDEXED BY log_by_time
    WHERE topic = ? AND delivered_at >= ? GROUP BY partition`
  const found = connection.prepare(sql).all(topic, since) as { partition: number; offset: number }[]
  return new Map(found.map(({ partition, offset }) => [partition, offset]))
}

function removeEntries(connection: LedgerConnection, deliveredBefore: number): Removal {
  const old = connection.prepare(`
    SELECT id, coalesce(length(value), 0) AS bytes FROM message_log INDEXED BY log_by_time
    WHERE delivered_at < ? ORDER BY delivered_at LIMIT ${entriesPerStep}`)
  const remove = connection.prepare('DELETE FROM message_log WHERE id = ?')
  const found = old.all(deliveredBefore) as { id: number; bytes: number }[]
  let changes = 0
  let bytesLeft = valueBytesPerStep
  for (const { id, bytes } of found) {
    if (bytesLeft <= 0) break
    remove.run(id)
    changes++
    bytesLeft -= bytes
  }
  return { changes, isMore: changes === entriesPerStep || changes < found.length }
}

function insert(statement: StatementSync, entry: LogEntry): void {
  for (const [name] of entry.headers) {
    if (Buffer.byteLength(name) > headerNameBytesMax) {
      throw new StoreError('permanent', 'HEADER_NAME_TOO_LONG', 'a header has a name that is too long for the log', {
        hint: `Names have up to ${headerNameBytesMax} bytes.`,
      })
    }
  }
  statement.run(
    entry.topic,
    entry.partition,
    entry.offset,
    entry.journalId,
    entry.seq,
    entry.contentType,
    entry.timestamp,
    entry.acceptedAt,
    entry.deliveredAt,
    entry.key,
    encodeHeaders(entry.headers),
    entry.value,
  )
}

interface StoredEntry {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly journal_id: string
  readonly seq: number
  readonly content_type: string | null
  readonly timestamp: number
  readonly accepted_at: number
  readonly delivered_at: number
  readonly key: Uint8Array | null
  readonly headers: Uint8Array | null
  readonly value: Uint8Array | null
}

function entryOf(stored: StoredEntry): LogEntry {
  return {
    topic: stored.topic,
    partition: stored.partition,
    offset: stored.offset,
    journalId: stored.journal_id,
    seq: stored.seq,
    key: bufferOf(stored.key),
    value: bufferOf(stored.value),
    headers: decodeHeaders(stored.headers),
    contentType: stored.content_type,
    timestamp: stored.timestamp,
    acceptedAt: stored.accepted_at,
    deliveredAt: stored.delivered_at,
  }
}
