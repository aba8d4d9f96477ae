import { existsSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import type { StatementSync } from 'node:sqlite'
import { StoreError } from '../recorder/store-error.ts'
import { embeddedLedgerError } from './ledger-errors.ts'
import { missingSchema, requireSchema } from './ledger-file-schema.ts'
import { isBusy } from './sqlite-errors.ts'

/** Whoever is kept out by another process gives up after this time, for which it blocks its thread. */
const busyTimeoutMs = 50

/** An open file with the statements that were used so far, of which there are some dozens at most. */
export class LedgerConnection {
  readonly database: DatabaseSync
  readonly #statements = new Map<string, StatementSync>()

  constructor(database: DatabaseSync) {
    this.database = database
  }

  prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql)
    if (!statement) {
      statement = this.database.prepare(sql)
      this.#statements.set(sql, statement)
    }
    return statement
  }
}

/**
 * The file of the embedded ledger, as one store uses it: a connection to read and one to write, each opened when it is
 * first needed and thrown away after any failure that may have harmed it. The one to read can't write, so that a command
 * may look into the file of a running sidecar. Everything here blocks its thread.
 */
export class LedgerFile {
  readonly path: string
  #reading: LedgerConnection | undefined
  #writing: LedgerConnection | undefined
  #closed = false

  constructor(path: string) {
    this.path = path
  }

  /** What `look` finds. */
  read<T>(look: (connection: LedgerConnection) => T): T {
    return this.guard(() => {
      this.#reading ??= this.#open((path) => openToRead(path))
      try {
        return look(this.#reading)
      } catch (error) {
        if (!isBusy(error)) this.#reading = dropped(this.#reading)
        throw error
      }
    })
  }

  /** Does all of `change` in one transaction, which is on stable storage on return; or nothing of it. */
  write<T>(change: (connection: LedgerConnection) => T): T {
    return this.guard(() => {
      this.#writing ??= this.#open((path) => openToWrite(path))
      const connection = this.#writing
      try {
        connection.prepare('BEGIN IMMEDIATE').run()
        // A newer program may have migrated the file since it was opened.
        requireSchema(connection.database)
        const result = change(connection)
        connection.prepare('COMMIT').run()
        return result
      } catch (error) {
        // Closing rolls back.
        if (!isBusy(error) || connection.database.isTransaction) this.#writing = dropped(connection)
        throw error
      }
    })
  }

  /** Gives free pages back to the file system, some at a time; true when there are more. */
  giveBack(pages: number): boolean {
    return this.guard(() => {
      const connection = this.#writing
      if (!connection) return false
      try {
        connection.database.exec(`PRAGMA incremental_vacuum(${pages})`)
        return (connection.database.prepare('PRAGMA freelist_count').get()?.['freelist_count'] as number) > 0
      } catch (error) {
        if (!isBusy(error) || connection.database.isTransaction) this.#writing = dropped(connection)
        throw error
      }
    })
  }

  /** Does something with the file, with its failures as a `StoreError`; nothing once it is closed. */
  guard<T>(use: () => T): T {
    if (this.#closed) throw new StoreError('transient', 'CLOSED', 'the embedded ledger is closed')
    try {
      return use()
    } catch (error) {
      throw embeddedLedgerError(error, this.path)
    }
  }

  close(): void {
    this.#closed = true
    this.#reading = dropped(this.#reading)
    this.#writing = dropped(this.#writing)
  }

  #open(open: (path: string) => DatabaseSync): LedgerConnection {
    if (!existsSync(this.path)) throw missingSchema(0)
    const database = open(this.path)
    try {
      requireSchema(database)
    } catch (error) {
      database.close()
      throw error
    }
    return new LedgerConnection(database)
  }
}

/** Opens the file to read it, also while another process writes. */
export function openToRead(path: string): DatabaseSync {
  return new DatabaseSync(path, { readOnly: true, timeout: busyTimeoutMs })
}

/** Opens the file to write to it, and makes it if it is missing. */
export function openToWrite(path: string): DatabaseSync {
  const database = new DatabaseSync(path, { timeout: busyTimeoutMs })
  try {
    // FULL: a commit returns when the write-ahead log is on stable storage. NORMAL would lose recorded rows with the power.
    database.exec('PRAGMA synchronous = FULL')
    database.exec('PRAGMA journal_size_limit = 67108864')
    return database
  } catch (error) {
    database.close()
    throw error
  }
}

export function bufferOf(blob: Uint8Array | null): Buffer | null {
  return blob && Buffer.from(blob.buffer, blob.byteOffset, blob.byteLength)
}

function dropped(connection: LedgerConnection | undefined): undefined {
  connection?.database.close()
  return undefined
}
