import type { MetadataRow } from '../recorder/metadata-store.ts'
import { mysqlError } from './mysql-errors.ts'
import { sqlValue } from './sql-text.ts'

/** The columns of `message_metadata`. */
export const columns = {
  journalId: 'journal_id',
  seq: 'seq',
  status: 'status',
  topic: 'topic',
  partition: 'partition_id',
  offset: 'partition_offset',
  key: 'message_key',
  producer: 'producer',
  contentType: 'content_type',
  valueBytes: 'value_bytes',
  headers: 'headers',
  traceId: 'trace_id',
  acceptedAt: 'accepted_at',
  finishedAt: 'finished_at',
  recordedAt: 'recorded_at',
  attempts: 'attempts',
  reason: 'reason',
} as const satisfies Record<keyof MetadataRow, string>

const fields = Object.keys(columns) as (keyof MetadataRow)[]
const primaryKey = new Set<string>([columns.journalId, columns.seq, columns.acceptedAt])

/** What a `SELECT` gives, so that each of its rows is a `MetadataRow`. */
export const selection = fields.map((field) => `${columns[field]} AS \`${field}\``).join(', ')

const insertHead = `INSERT INTO message_metadata (${Object.values(columns).join(', ')}) VALUES\n`
// The form that both MySQL and MariaDB know: a row that is there takes all values of the new one.
const insertTail = `\nON DUPLICATE KEY UPDATE ${Object.values(columns)
  .filter((column) => !primaryKey.has(column))
  .map((column) => `${column} = VALUES(${column})`)
  .join(', ')}`
const overheadBytes = Buffer.byteLength(insertHead) + Buffer.byteLength(insertTail)
const separator = ',\n'

/**
 * Statements that write all the rows, each of at most `bytesMax` bytes.
 * @throws StoreError (permanent) when a single row is longer
 */
export function insertStatements(rows: readonly MetadataRow[], bytesMax: number): string[] {
  const statements: string[] = []
  let tuples: string[] = []
  let bytes = overheadBytes
  const flush = (): void => {
    if (tuples.length > 0) statements.push(insertHead + tuples.join(separator) + insertTail)
    tuples = []
    bytes = overheadBytes
  }
  for (const row of rows) {
    const tuple = tupleOf(row)
    const tupleBytes = Buffer.byteLength(tuple) + separator.length
    if (overheadBytes + tupleBytes > bytesMax) {
      const message = `the metadata of message ${row.journalId}-${row.seq} take ${tupleBytes} bytes; the server takes statements of ${bytesMax}`
      throw mysqlError('ER_NET_PACKET_TOO_LARGE', message)
    }
    if (bytes + tupleBytes > bytesMax) flush()
    tuples.push(tuple)
    bytes += tupleBytes
  }
  flush()
  return statements
}

function tupleOf(row: MetadataRow): string {
  return `(${fields.map((field) => sqlValue(row[field])).join(',')})`
}
