import { DatabaseSync } from 'node:sqlite'

/**
 * The embedded broker's file. Everything of a partition lies side by side in one table, found by its row id:
 *
 *     records.id = partitions.id · 2^36 + offset
 *
 * so that appending needs no index but the table itself, and the next record of a partition is the next row.
 * 2^36 offsets a partition and 2^17 partitions fit into the 2^53 that a JavaScript number holds exactly.
 *
 * `partitions.next_offset` outlives the records, so that an offset is never given twice, whatever retention removes.
 * `appended_at` is the broker's clock, which retention goes by: a publisher's timestamp may be any.
 */
const schema = `
  CREATE TABLE partitions (
    id          INTEGER PRIMARY KEY,
    topic       TEXT    NOT NULL,
    partition   INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    UNIQUE (topic, partition)
  ) STRICT;
  CREATE TABLE records (
    id          INTEGER PRIMARY KEY,
    timestamp   INTEGER NOT NULL,
    appended_at INTEGER NOT NULL,
    key         BLOB,
    value       BLOB,
    headers     BLOB
  ) STRICT;
`

const offsetsPerPartition = 2 ** 36
/** Above this, row ids would not be exact numbers any more. */
export const partitionIdMax = 2 ** 17 - 1

/** "OUTR": tells this file from any other SQLite database. */
const applicationId = 0x4f555452
const schemaVersion = 1

/** The row id of a partition's first record; its records have ids below the next partition's. */
export function rowIdOf(partitionId: number, offset: number): number {
  return partitionId * offsetsPerPartition + offset
}

export function offsetOf(rowId: number): number {
  return rowId % offsetsPerPartition
}

/** The file holds something that this version does not know; it is left alone. */
export class UnknownSchemaError extends Error {
  override readonly name = 'UnknownSchemaError'
}

/**
 * Opens the file to write to it, and creates what is missing. A writer that is kept out by another process gives up
 * after `busyTimeoutMs`.
 */
export function openForWriting(file: string, busyTimeoutMs: number): DatabaseSync {
  const database = new DatabaseSync(file, { timeout: busyTimeoutMs })
  try {
    // Both take effect in an empty file only. Larger pages take a sixth off the cost of a message (4 KiB is the default);
    // incremental vacuum lets retention give pages back without rewriting the file.
    database.exec('PRAGMA page_size = 8192')
    database.exec('PRAGMA auto_vacuum = INCREMENTAL')
    database.exec('PRAGMA journal_mode = WAL')
    // FULL: a commit returns when the write-ahead log is on stable storage. NORMAL would lose acknowledged sends with the power.
    database.exec('PRAGMA synchronous = FULL')
    database.exec('PRAGMA journal_size_limit = 67108864')
    database.exec('BEGIN IMMEDIATE')
    if (isEmpty(database)) {
      database.exec(schema)
      database.exec(`PRAGMA application_id = ${applicationId}`)
      database.exec(`PRAGMA user_version = ${schemaVersion}`)
    } else {
      checkSchema(database, file)
    }
    database.exec('COMMIT')
    return database
  } catch (error) {
    database.close()
    throw error
  }
}

/** Opens the file to read it, also while another process writes. Undefined when there is nothing to read yet. */
export function openForReading(file: string, busyTimeoutMs: number): DatabaseSync | undefined {
  const database = new DatabaseSync(file, { readOnly: true, timeout: busyTimeoutMs })
  try {
    if (!isEmpty(database)) {
      checkSchema(database, file)
      return database
    }
  } catch (error) {
    database.close()
    throw error
  }
  database.close()
  return undefined
}

function isEmpty(database: DatabaseSync): boolean {
  return database.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').get() === undefined
}

function checkSchema(database: DatabaseSync, file: string): void {
  const id = database.prepare('PRAGMA application_id').get()?.['application_id']
  const version = database.prepare('PRAGMA user_version').get()?.['user_version']
  if (id === applicationId && version === schemaVersion) return
  throw new UnknownSchemaError(
    id === applicationId
      ? `${file} has the embedded broker's format ${String(version)}; this version knows ${schemaVersion}`
      : `${file} is not a file of the embedded broker`,
  )
}
