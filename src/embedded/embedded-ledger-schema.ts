import { existsSync } from 'node:fs'
import type { DatabaseSync } from 'node:sqlite'
import type { Clock } from '../base/clock.ts'
import type { LedgerSchema, MigrationStep, SchemaState } from '../recorder/ledger-schema.ts'
import { StoreError } from '../recorder/store-error.ts'
import { ledgerFileSteps, ledgerFileVersion, prepareEmptyFile, takeStep, versionOf } from './ledger-file-schema.ts'
import type { LedgerFile } from './ledger-file.ts'
import { openToRead, openToWrite } from './ledger-file.ts'

/** For how long `migrate` waits for another process that holds the file. */
const patienceMs = 10_000
const pauseMs = 50

/**
 * The schema of the ledger's file, which both embedded stores share: either of them brings it up for both. A step and its
 * version are one transaction, so a program that is killed leaves the version before or the version after it.
 */
export class EmbeddedLedgerSchema implements LedgerSchema {
  readonly #clock: Clock
  readonly #file: LedgerFile

  constructor(clock: Clock, file: LedgerFile) {
    this.#clock = clock
    this.#file = file
  }

  async inspect(signal: AbortSignal): Promise<SchemaState> {
    signal.throwIfAborted()
    const found = this.#file.guard(() =>
      existsSync(this.#file.path) ? using(openToRead(this.#file.path), versionOf) : 0,
    )
    const pending = ledgerFileSteps.filter(({ version }) => version > found).map(withoutSql)
    return { found, needed: ledgerFileVersion, pending }
  }

  async migrate(signal: AbortSignal, taken: (step: MigrationStep) => void): Promise<void> {
    for (;;) {
      const step = (await this.#patiently(() => this.inspect(signal), signal)).pending[0]
      if (!step) return
      if (await this.#patiently(() => this.#take(step.version), signal)) taken(step)
    }
  }

  async #take(version: number): Promise<boolean> {
    const step = ledgerFileSteps.find((other) => other.version === version)
    if (!step) throw new Error(`there is no step to schema ${version}`)
    return this.#file.guard(() =>
      using(openToWrite(this.#file.path), (database) => {
        // Not before it is known to be ours: what is something else is left alone.
        if (versionOf(database) === 0) prepareEmptyFile(database)
        return takeStep(database, step)
      }),
    )
  }

  /** Tries as long as another process holds the file, for some time. */
  async #patiently<T>(attempt: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const deadline = this.#clock.monotonic() + patienceMs
    for (;;) {
      signal.throwIfAborted()
      try {
        return await attempt()
      } catch (error) {
        const isHeld = error instanceof StoreError && ['SQLITE_BUSY', 'SQLITE_LOCKED'].includes(error.reason)
        if (!isHeld || this.#clock.monotonic() > deadline) throw error
        await this.#clock.sleep(pauseMs, signal)
      }
    }
  }
}

function withoutSql({ version, title }: MigrationStep): MigrationStep {
  return { version, title }
}

/** What `use` makes of a database, which is closed in any case; that rolls back what was not committed. */
function using<T>(database: DatabaseSync, use: (database: DatabaseSync) => T): T {
  try {
    return use(database)
  } finally {
    database.close()
  }
}
