import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { LedgerSchema } from '../recorder/ledger-schema.ts'
import type { MetadataQuery, MetadataRow, MetadataStore } from '../recorder/metadata-store.ts'
import { ConnectionPool } from './connection-pool.ts'
import { maintainPartitions } from './day-partitions.ts'
import { findStatement, limited, listStatement, offsetsStatement } from './list-statement.ts'
import { MysqlConnection, queryTimeoutDefault, sslOptionsOf } from './mysql-connection.ts'
import type { MysqlOptions } from './mysql-options.ts'
import { MysqlSchema } from './mysql-schema.ts'
import { RowBudget } from './row-budget.ts'
import { insertStatements } from './row-statements.ts'
import { readServerTime, requireSameTime } from './server-clock.ts'
import { withStoreLock } from './store-lock.ts'

/** Larger statements gain nothing, and hold the thread for long while they are put together. */
const statementBytesMax = 4 * 1024 * 1024
/** The server itself ends a look-up after this time: one that was given up here would go on there. */
const lookupMsMax = 10_000

/**
 * The port `MetadataStore` on a database of MySQL (8 or newer) or MariaDB (10.6 or newer), in one table with a partition
 * to each day. Many sidecars may share it.
 *
 * A row that is written anew is known by (journalId, seq, acceptedAt): a message's time of acceptance never changes.
 * Every statement is a transaction of its own, and durable when it is answered, as long as the server is told to be
 * (`innodb_flush_log_at_trx_commit = 1`, which is its default).
 */
export class MysqlMetadataStore implements MetadataStore {
  readonly schema: LedgerSchema
  readonly #log: Log
  readonly #options: MysqlOptions
  readonly #pool: ConnectionPool
  readonly #budget: RowBudget | undefined
  readonly #serverTime: typeof readServerTime

  /** `serverTime` is for tests that can't set the server's clock. */
  constructor(clock: Clock, log: Log, options: MysqlOptions, serverTime = readServerTime) {
    this.#serverTime = serverTime
    this.#log = log
    this.#options = options
    const ssl = sslOptionsOf(options)
    this.#pool = new ConnectionPool(clock, options.connectionsMax, (signal) =>
      MysqlConnection.open(clock, options, ssl, signal),
    )
    this.schema = new MysqlSchema(clock, this.#pool, options)
    const { rowsPerSecondMax } = options
    this.#budget = rowsPerSecondMax === undefined ? undefined : new RowBudget(clock, rowsPerSecondMax)
  }

  async write(rows: readonly MetadataRow[], signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (rows.length === 0) return
    if (this.#budget) await this.#budget.take(rows.length, signal)
    await this.#pool.use(signal, async (connection) => {
      const bytesMax = Math.min(statementBytesMax, connection.statementBytesMax)
      for (const statement of insertStatements(rows, bytesMax)) await connection.query(statement, { signal })
    })
  }

  async find(journalId: string, seq: number, signal: AbortSignal): Promise<MetadataRow | null> {
    const [row] = await this.#read(findStatement(journalId, seq), signal)
    return row ?? null
  }

  list(query: MetadataQuery, signal: AbortSignal): Promise<readonly MetadataRow[]> {
    return this.#read(listStatement(query), signal)
  }

  listOffsets(
    topic: string,
    partition: number,
    fromOffset: number,
    toOffset: number,
    limit: number,
    signal: AbortSignal,
  ): Promise<readonly MetadataRow[]> {
    return this.#read(offsetsStatement(topic, partition, fromOffset, toOffset, limit), signal)
  }

  /** By the server's clock. Rejects, and changes nothing, when `now` is far from it. */
  async maintain(now: number, signal: AbortSignal): Promise<void> {
    const { database, retention } = this.#options
    await this.#pool.use(
      signal,
      async (connection) => {
        const serverTime = await this.#serverTime(connection, { signal })
        requireSameTime(now, serverTime)
        await withStoreLock(connection, { name: 'maintenance', database, waitSeconds: 0 }, { signal }, async () => {
          const { added, dropped } = await maintainPartitions(connection, serverTime, retention, signal)
          if (added > 0 || dropped.length > 0) {
            this.#log.info({ added, dropped }, 'changed the day partitions of message_metadata in MySQL')
          }
        })
      },
      'maintenance',
    )
  }

  close(): Promise<void> {
    return this.#pool.close()
  }

  async #read(statement: string, signal: AbortSignal): Promise<MetadataRow[]> {
    const msMax = Math.min(lookupMsMax, this.#options.queryTimeout ?? queryTimeoutDefault)
    const rows = await this.#pool.use(
      signal,
      (connection) => connection.query<MetadataRow>(limited(statement, msMax), { signal }),
      'lookup',
    )
    // The driver's rows are objects of classes of its own.
    return rows.map((row) => ({ ...row }))
  }
}
