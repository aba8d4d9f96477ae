import { readFile } from 'node:fs/promises'
import type { Clock } from '../../../src/base/clock.ts'
import { systemClock } from '../../../src/base/clock.ts'
import type { Log } from '../../../src/base/log.ts'
import { silentLog } from '../../../src/base/log.ts'
import { Secret } from '../../../src/base/secret.ts'
import { MysqlMetadataStore } from '../../../src/mysql/mysql-metadata-store.ts'
import type { MysqlOptions } from '../../../src/mysql/mysql-options.ts'
import { contractRetentionMs } from '../../recorder/metadata-store-contract.ts'
import type { TestDatabase } from '../../stack/require-mysql.ts'

/** The configuration's defaults, on a database of a test's own. */
export function mysqlOptions(database: TestDatabase, more: Partial<MysqlOptions> = {}): MysqlOptions {
  return {
    host: database.host,
    port: database.port,
    user: database.user,
    database: database.database,
    password: async () => new Secret(database.password),
    connectionsMax: 2,
    connectTimeout: 5000,
    retention: contractRetentionMs,
    ...more,
  }
}

export function mysqlStore(
  database: TestDatabase,
  more: Partial<MysqlOptions> = {},
  clock: Clock = systemClock,
): MysqlMetadataStore {
  return new MysqlMetadataStore(clock, silentLog, mysqlOptions(database, more))
}

/** A store on a server whose clock is said to be wherever `maintainAt` puts it. */
export class TimeTravellingStore extends MysqlMetadataStore {
  readonly #serverTime: { now: number }

  constructor(database: TestDatabase, more: Partial<MysqlOptions> = {}, log: Log = silentLog) {
    const serverTime = { now: 0 }
    super(systemClock, log, mysqlOptions(database, more), async () => serverTime.now)
    this.#serverTime = serverTime
  }

  maintainAt(now: number, signal: AbortSignal): Promise<void> {
    this.#serverTime.now = now
    return this.maintain(now, signal)
  }
}

/** The text of the certificate authority that signed the server's certificate. */
export function caOf(database: TestDatabase): Promise<string> {
  return readFile(database.caFile ?? '', 'utf8')
}

/** The rows of a statement, as the user who may do everything. */
export async function queryAsRoot<Row = Record<string, unknown>>(database: TestDatabase, sql: string): Promise<Row[]> {
  const [rows] = await database.root.query(sql)
  return rows as Row[]
}
