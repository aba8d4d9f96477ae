import { messageOf } from '../base/errors.ts'
import { BrokerError } from '../forwarder/broker.ts'
import type { BrokerFailure } from '../forwarder/broker.ts'
import { UnknownSchemaError } from './embedded-schema.ts'

/** SQLite's primary result codes (https://www.sqlite.org/rescode.html) and what each means for the broker. */
const failures: Readonly<Record<number, readonly [reason: string, failure: BrokerFailure, hint: string]>> = {
  3: ['SQLITE_PERM', 'transient', 'Check the permissions of the file.'],
  5: ['SQLITE_BUSY', 'transient', 'Another process holds the file; sending goes on when it lets go.'],
  6: ['SQLITE_LOCKED', 'transient', 'Another process holds the file; sending goes on when it lets go.'],
  7: ['SQLITE_NOMEM', 'transient', 'The machine is out of memory.'],
  8: ['SQLITE_READONLY', 'transient', 'Make the file and its directory writable for this user.'],
  10: ['SQLITE_IOERR', 'transient', 'Check the disk below the data directory.'],
  11: ['SQLITE_CORRUPT', 'fatal', 'Stop Outrigger and move the file away; what it held is lost, the journal is not.'],
  13: ['SQLITE_FULL', 'transient', 'Make room on the disk.'],
  14: ['SQLITE_CANTOPEN', 'transient', 'Check that the data directory exists and is accessible.'],
  15: ['SQLITE_PROTOCOL', 'transient', 'Another process holds the file; sending goes on when it lets go.'],
  18: ['SQLITE_TOOBIG', 'permanent', 'The message is larger than SQLite can hold.'],
  // Another writer gave out our offsets; they are read anew at the next send.
  19: ['SQLITE_CONSTRAINT', 'transient', 'Let only one Outrigger use the data directory.'],
  22: ['SQLITE_NOLFS', 'fatal', 'The file system cannot hold a file this large.'],
  26: ['SQLITE_NOTADB', 'fatal', 'Stop Outrigger and move the file away; it is not an SQLite database.'],
}

/** Translates what node:sqlite threw. Anything that is no SQLite error is a bug of ours, and passes through. */
export function embeddedBrokerError(error: unknown, file: string): unknown {
  if (error instanceof UnknownSchemaError) {
    return new BrokerError('fatal', 'UNKNOWN_FORMAT', error.message, {
      cause: error,
      hint: 'Use the version of Outrigger that wrote it, or move the file away.',
    })
  }
  const code = sqliteCodeOf(error)
  if (code === undefined) return error
  const [reason, failure, hint] = failures[code] ?? [`SQLITE_${code}`, 'transient', '']
  return new BrokerError(failure, reason, `the embedded broker can't use ${file}: ${messageOf(error)}`, {
    cause: error,
    hint,
  })
}

/** Whether the database just was not free; then the connection is as good as before. */
export function isBusy(error: unknown): boolean {
  const code = sqliteCodeOf(error)
  return code === 5 || code === 6
}

/** The primary result code of an error of node:sqlite; undefined for any other error. */
export function sqliteCodeOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('errcode' in error) || typeof error.errcode !== 'number') return undefined
  return error.errcode & 0xff
}
