import { existsSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { decodeHeaders } from '../../src/embedded/header-codec.ts'
import type { LogEntry } from '../../src/recorder/message-log.ts'
import type { MetadataRow } from '../../src/recorder/metadata-store.ts'

/** What stands in the two stores of a ledger, read past Outrigger and its adapters. */
export interface LedgerRecords {
  /** Gives `visit` every row of the metadata store. A store without tables is empty. */
  readMetadata(visit: (row: MetadataRow) => void): Promise<void>
  /** Gives `visit` every entry of the message log. A store without tables is empty. */
  readLog(visit: (entry: LogEntry) => void): Promise<void>
}

/** The embedded ledger's file. */
export function embeddedLedgerRecords(file: string): LedgerRecords {
  return {
    readMetadata: async (visit) =>
      readTable(file, 'message_metadata', (row: StoredRow) =>
        visit({
          journalId: row.journal_id,
          seq: row.seq,
          status: row.status,
          topic: row.topic,
          partition: row.partition,
          offset: row.offset,
          key: bufferOf(row.key),
          producer: row.producer,
          contentType: row.content_type,
          valueBytes: row.value_bytes,
          headers: row.headers,
          traceId: row.trace_id,
          acceptedAt: row.accepted_at,
          finishedAt: row.finished_at,
          recordedAt: row.recorded_at,
          attempts: row.attempts,
          reason: row.reason,
        }),
      ),
    readLog: async (visit) =>
      readTable(file, 'message_log', (row: StoredEntry) =>
        visit({
          topic: row.topic,
          partition: row.partition,
          offset: row.offset,
          journalId: row.journal_id,
          seq: row.seq,
          key: bufferOf(row.key),
          value: bufferOf(row.value),
          headers: decodeHeaders(row.headers),
          contentType: row.content_type,
          timestamp: row.timestamp,
          acceptedAt: row.accepted_at,
          deliveredAt: row.delivered_at,
        }),
      ),
  }
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

interface StoredEntry {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly journal_id: string
  readonly seq: number
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
  readonly headers: Uint8Array | null
  readonly content_type: string | null
  readonly timestamp: number
  readonly accepted_at: number
  readonly delivered_at: number
}

/** `visit` says what a row is, as the schema has it. */
function readTable(file: string, table: string, visit: (row: never) => void): void {
  if (!existsSync(file)) return
  using database = new DatabaseSync(file, { readOnly: true, timeout: 10_000 })
  if (database.prepare('SELECT 1 FROM sqlite_schema WHERE name = ?').get(table) === undefined) return
  for (const row of database.prepare(`SELECT * FROM ${table} ORDER BY id`).iterate()) visit(row as never)
}

function bufferOf(blob: Uint8Array | null): Buffer | null {
  return blob && Buffer.from(blob)
}
