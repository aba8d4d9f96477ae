import type { DatabaseSync } from 'node:sqlite'
import type { MigrationStep } from '../recorder/ledger-schema.ts'

export interface LedgerFileStep extends MigrationStep {
  readonly sql: string
}

/**
 * The embedded ledger's file, step by step. Rows are in the order in which they were written, so that writing appends;
 * everything else is found by the indexes. Those on time end in the row's place in its millisecond by themselves: few
 * rows share one, and SQLite sorts these as they come.
 */
export const ledgerFileSteps: readonly LedgerFileStep[] = [
  {
    version: 1,
    title: 'create message_metadata',
    sql: `
      CREATE TABLE message_metadata (
        id           INTEGER PRIMARY KEY,
        journal_id   TEXT    NOT NULL,
        seq          INTEGER NOT NULL,
        status       TEXT    NOT NULL,
        topic        TEXT    NOT NULL,
        partition    INTEGER,
        "offset"     INTEGER,
        key          BLOB,
        producer     TEXT,
        content_type TEXT,
        value_bytes  INTEGER,
        headers      TEXT,
        trace_id     TEXT,
        accepted_at  INTEGER NOT NULL,
        finished_at  INTEGER NOT NULL,
        recorded_at  INTEGER NOT NULL,
        attempts     INTEGER NOT NULL,
        reason       TEXT,
        UNIQUE (journal_id, seq)
      ) STRICT;
      CREATE INDEX metadata_by_time ON message_metadata (accepted_at);
      CREATE INDEX metadata_by_topic ON message_metadata (topic, accepted_at);
      CREATE INDEX metadata_by_key ON message_metadata (key, accepted_at) WHERE key IS NOT NULL;
      CREATE INDEX metadata_by_offset ON message_metadata (topic, partition, "offset") WHERE partition IS NOT NULL;
    `,
  },
  {
    version: 2,
    title: 'create message_log',
    sql: `
      CREATE TABLE message_log (
        id           INTEGER PRIMARY KEY,
        topic        TEXT    NOT NULL,
        partition    INTEGER NOT NULL,
        "offset"     INTEGER NOT NULL,
        journal_id   TEXT    NOT NULL,
        seq          INTEGER NOT NULL,
        content_type TEXT,
        timestamp    INTEGER NOT NULL,
        accepted_at  INTEGER NOT NULL,
        delivered_at INTEGER NOT NULL,
        key          BLOB,
        headers      BLOB,
        value        BLOB,
        UNIQUE (topic, partition, "offset")
      ) STRICT;
      CREATE INDEX log_by_time ON message_log (delivered_at, topic, partition, "offset");
    `,
  },
  {
    version: 3,
    title: 'index dead messages',
    sql: "CREATE INDEX metadata_of_dead ON message_metadata (accepted_at) WHERE status = 'dead'",
  },
]

export const ledgerFileVersion = ledgerFileSteps.length

/** "OUTL": tells this file from the embedded broker's and from any other SQLite database. */
const applicationId = 0x4f55544c

/** The file can't be used as it is; it is left alone. */
export class LedgerFileSchemaError extends Error {
  override readonly name = 'LedgerFileSchemaError'
  readonly reason: 'SCHEMA_TOO_NEW' | 'SCHEMA_MISSING' | 'NOT_A_LEDGER'

  constructor(reason: LedgerFileSchemaError['reason'], message: string) {
    super(message)
    this.reason = reason
  }
}

/** The version that a file has: 0 when it is empty. Throws when it is newer than this program, or is something else. */
export function versionOf(database: DatabaseSync): number {
  const version = pragma(database, 'user_version')
  if (pragma(database, 'application_id') === applicationId) {
    if (version <= ledgerFileVersion) return version
    throw new LedgerFileSchemaError(
      'SCHEMA_TOO_NEW',
      `it has schema ${version}, and this program knows ${ledgerFileVersion}`,
    )
  }
  const isEmpty = database.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').get() === undefined
  if (isEmpty && version === 0) return 0
  throw new LedgerFileSchemaError('NOT_A_LEDGER', 'it is a database of something else')
}

/** Throws unless the file has just the schema that this program needs. */
export function requireSchema(database: DatabaseSync): void {
  const version = versionOf(database)
  if (version < ledgerFileVersion) throw missingSchema(version)
}

export function missingSchema(version: number): LedgerFileSchemaError {
  return new LedgerFileSchemaError(
    'SCHEMA_MISSING',
    `it has schema ${version}, and this program needs ${ledgerFileVersion}`,
  )
}

/** What only an empty file takes in: how its pages are laid out, and that it has a write-ahead log. */
export function prepareEmptyFile(database: DatabaseSync): void {
  // Larger pages make fewer of them for the same bytes (4 KiB is the default); incremental vacuum lets retention give
  // pages back without rewriting the file.
  database.exec('PRAGMA page_size = 8192')
  database.exec('PRAGMA auto_vacuum = INCREMENTAL')
  database.exec('PRAGMA journal_mode = WAL')
}

/** Takes a step, all of it or nothing, unless it was taken already. True when it was taken now. */
export function takeStep(database: DatabaseSync, step: LedgerFileStep): boolean {
  database.exec('BEGIN IMMEDIATE')
  if (versionOf(database) >= step.version) {
    database.exec('ROLLBACK')
    return false
  }
  database.exec(step.sql)
  database.exec(`PRAGMA application_id = ${applicationId}`)
  database.exec(`PRAGMA user_version = ${step.version}`)
  database.exec('COMMIT')
  return true
}

function pragma(database: DatabaseSync, name: 'user_version' | 'application_id'): number {
  return database.prepare(`PRAGMA ${name}`).get()?.[name] as number
}
