import type { Clock } from '../base/clock.ts'
import type { LedgerSchema, MigrationStep, SchemaState } from '../recorder/ledger-schema.ts'
import { StoreError } from '../recorder/store-error.ts'
import type { ConnectionPool } from './connection-pool.ts'
import type { MysqlConnection, QueryLimits } from './mysql-connection.ts'
import { ddlTimeoutMs } from './mysql-connection.ts'
import { schemaSteps } from './schema-steps.ts'
import type { MysqlStep } from './schema-steps.ts'
import { sqlValue } from './sql-text.ts'
import { withStoreLock } from './store-lock.ts'

/** A wait of the server's, repeated until the lock is there; shorter than any sensible timeout of a query. */
const lockWaitSeconds = 1

/**
 * The versions that were reached stand in `outrigger_schema`, each noted when its step is done. MySQL has no transactions
 * around DDL: a step whose note is missing is taken again, and finds what is there already. Notes about a table that is
 * gone (somebody dropped it, or brought back a part of a backup) count for nothing.
 */
export class MysqlSchema implements LedgerSchema {
  readonly #clock: Clock
  readonly #pool: ConnectionPool
  readonly #database: string
  readonly #steps: readonly MysqlStep[]

  constructor(
    clock: Clock,
    pool: ConnectionPool,
    options: { readonly database: string; readonly steps?: readonly MysqlStep[] },
  ) {
    this.#clock = clock
    this.#pool = pool
    this.#database = options.database
    this.#steps = options.steps ?? schemaSteps
  }

  async inspect(signal: AbortSignal): Promise<SchemaState> {
    const { found } = await this.#pool.use(signal, (connection) => this.#look(connection, { signal }))
    const pending = this.#steps.filter(({ version }) => version > found)
    return { found, needed: this.#needed(), pending: pending.map(({ version, title }) => ({ version, title })) }
  }

  async migrate(signal: AbortSignal, taken: (step: MigrationStep) => void): Promise<void> {
    await this.#pool.use(signal, async (connection) => {
      while (await this.#hasPending(connection, signal)) {
        let step: MigrationStep | undefined
        const lock = { name: 'schema', database: this.#database, waitSeconds: lockWaitSeconds }
        await withStoreLock(connection, lock, { signal }, async () => {
          step = await this.#takeNext(connection, signal)
        })
        if (step) taken(step)
      }
    })
  }

  async #hasPending(connection: MysqlConnection, signal: AbortSignal): Promise<boolean> {
    const { found } = await this.#look(connection, { signal })
    return found < this.#needed()
  }

  /** The version that is noted, and the one that there is: none without the table. */
  async #look(connection: MysqlConnection, limits: QueryLimits): Promise<{ noted: number; found: number }> {
    const { noted, hasTable } = await readNotes(connection, limits)
    this.#refuseNewer(noted)
    return { noted, found: hasTable ? noted : 0 }
  }

  /** Takes one step and notes it; none when another sidecar has taken the last one meanwhile. */
  async #takeNext(connection: MysqlConnection, signal: AbortSignal): Promise<MigrationStep | undefined> {
    const limits: QueryLimits = { signal, timeoutMs: ddlTimeoutMs }
    await connection.query(
      `CREATE TABLE IF NOT EXISTS outrigger_schema (
        version INT UNSIGNED NOT NULL PRIMARY KEY,
        title VARCHAR(200) CHARACTER SET utf8mb4 NOT NULL,
        taken_at BIGINT NOT NULL COMMENT 'milliseconds since the epoch'
      ) ENGINE = InnoDB`,
      limits,
    )
    const { found, noted } = await this.#look(connection, { signal })
    const step = this.#steps.find(({ version }) => version > found)
    if (!step) return undefined
    // Notes about a table that is gone: with them, the next steps would count as taken.
    if (found < noted) await connection.query('DELETE FROM outrigger_schema', { signal })
    await step.take(connection, limits)
    const note = [step.version, step.title, this.#clock.now()].map((value) => sqlValue(value)).join(', ')
    await connection.query(`INSERT INTO outrigger_schema (version, title, taken_at) VALUES (${note})`, { signal })
    return { version: step.version, title: step.title }
  }

  #needed(): number {
    return this.#steps.at(-1)?.version ?? 0
  }

  #refuseNewer(found: number): void {
    const needed = this.#needed()
    if (found <= needed) return
    throw new StoreError(
      'fatal',
      'SCHEMA_TOO_NEW',
      `the schema in MySQL's database ${this.#database} has version ${found}, and this Outrigger knows ${needed}`,
      { hint: 'A newer Outrigger has migrated it: upgrade this one. Versions only go forward.' },
    )
  }
}

async function readNotes(
  connection: MysqlConnection,
  limits: QueryLimits,
): Promise<{ noted: number; hasTable: boolean }> {
  try {
    const [row] = await connection.query<{ noted: number | null; tables: number }>(
      `SELECT MAX(version) AS noted,
         (SELECT COUNT(*) FROM information_schema.tables
           WHERE table_schema = DATABASE() AND table_name = 'message_metadata') AS tables
       FROM outrigger_schema`,
      limits,
    )
    return { noted: row?.noted ?? 0, hasTable: (row?.tables ?? 0) > 0 }
  } catch (error) {
    if (error instanceof StoreError && error.reason === 'ER_NO_SUCH_TABLE') return { noted: 0, hasTable: false }
    throw error
  }
}
