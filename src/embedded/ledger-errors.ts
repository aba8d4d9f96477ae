import { messageOf } from '../base/errors.ts'
import type { StoreFailure } from '../recorder/store-error.ts'
import { StoreError } from '../recorder/store-error.ts'
import { LedgerFileSchemaError } from './ledger-file-schema.ts'
import { sqliteCodeOf } from './sqlite-errors.ts'

const moveAway = 'Stop Outrigger and move the file away; what it held is lost, the journal is not.'
const held = 'Another process holds the file; recording goes on when it lets go.'

/** SQLite's primary result codes (https://www.sqlite.org/rescode.html) and what each means for the ledger. */
const failures: Readonly<Record<number, readonly [reason: string, failure: StoreFailure, hint: string]>> = {
  3: ['SQLITE_PERM', 'fatal', 'Check the permissions of the file.'],
  5: ['SQLITE_BUSY', 'transient', held],
  6: ['SQLITE_LOCKED', 'transient', held],
  7: ['SQLITE_NOMEM', 'transient', 'The machine is out of memory.'],
  8: ['SQLITE_READONLY', 'fatal', 'Make the file and its directory writable for this user.'],
  10: ['SQLITE_IOERR', 'transient', 'Check the disk below the data directory.'],
  11: ['SQLITE_CORRUPT', 'fatal', moveAway],
  13: ['SQLITE_FULL', 'transient', 'Make room on the disk.'],
  14: ['SQLITE_CANTOPEN', 'transient', 'Check that the data directory exists and is accessible.'],
  15: ['SQLITE_PROTOCOL', 'transient', held],
  18: ['SQLITE_TOOBIG', 'permanent', 'SQLite holds up to 1 GB in one row.'],
  19: ['SQLITE_CONSTRAINT', 'permanent', 'The ledger has no place for such a value.'],
  20: ['SQLITE_MISMATCH', 'permanent', 'The ledger has no place for such a value.'],
  22: ['SQLITE_NOLFS', 'fatal', 'The file system cannot hold a file this large.'],
  26: ['SQLITE_NOTADB', 'fatal', 'Stop Outrigger and move the file away; it is not an SQLite database.'],
}

const schemaHints: Readonly<Record<LedgerFileSchemaError['reason'], string>> = {
  SCHEMA_TOO_NEW: 'Use the version of Outrigger that wrote it, or a newer one.',
  SCHEMA_MISSING: 'Set ledger.migrate: true, or call outrigger migrate.',
  NOT_A_LEDGER: 'Move the file away, or keep the data in another directory.',
}

/** Translates what a use of the ledger's file threw. Anything that is no SQLite error is a bug of ours, and passes through. */
export function embeddedLedgerError(error: unknown, file: string): unknown {
  if (error instanceof LedgerFileSchemaError) {
    return new StoreError('fatal', error.reason, `the embedded ledger can't use ${file}: ${error.message}`, {
      cause: error,
      hint: schemaHints[error.reason],
    })
  }
  const code = sqliteCodeOf(error)
  if (code === undefined) return error
  const [reason, failure, hint] = failures[code] ?? [`SQLITE_${code}`, 'transient', '']
  return new StoreError(failure, reason, `the embedded ledger can't use ${file}: ${messageOf(error)}`, {
    cause: error,
    hint,
  })
}
