import { createConnection } from 'mysql2'
import type { MetadataRow } from '../../src/recorder/metadata-store.ts'

interface StoredRow {
  readonly journal_id: string
  readonly seq: number
  readonly accepted_at: number
  readonly status: MetadataRow['status']
  readonly topic: string
  readonly partition_id: number | null
  readonly partition_offset: number | null
  readonly message_key: Buffer | null
  readonly producer: string | null
  readonly content_type: string | null
  readonly value_bytes: number | null
  readonly headers: string | null
  readonly trace_id: string | null
  readonly finished_at: number
  readonly recorded_at: number
  readonly attempts: number
  readonly reason: string | null
}

/** Gives `visit` every row of `message_metadata` in the database of a URL (`mysql://user:password@host:port/database`). */
export async function readMysql(url: string, visit: (row: MetadataRow) => void): Promise<void> {
  const connection = createConnection({ uri: url, supportBigNumbers: true })
  try {
    const rows = connection.query('SELECT * FROM message_metadata').stream() as AsyncIterable<StoredRow>
    for await (const row of rows) {
      visit({
        journalId: row.journal_id,
        seq: row.seq,
        status: row.status,
        topic: row.topic,
        partition: row.partition_id,
        offset: row.partition_offset,
        key: row.message_key,
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
      })
    }
  } finally {
    connection.destroy()
  }
}

/** Makes an empty database on the server of a URL, and gives the URL of that. */
export async function createMysqlDatabase(url: string, name: string): Promise<string> {
  const connection = createConnection({ uri: url })
  try {
    await connection.promise().query(`CREATE DATABASE ${name}`)
  } finally {
    connection.destroy()
  }
  const created = new URL(url)
  created.pathname = `/${name}`
  return created.href
}
