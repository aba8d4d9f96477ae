import { randomBytes } from 'node:crypto'
import { createConnection, type Connection } from 'mysql2/promise'
import type { TestContext } from 'vitest'
import { startMariadb } from './mysql/mariadb.ts'
import { startMysql } from './mysql/mysql.ts'
import type { SqlAccess } from './mysql/sql-server.ts'
import { StackUnavailableError } from './errors.ts'
import { runsInCi } from './shared-kafka.ts'
import { requireSharedServer, sharedServer, type SharedServer } from './shared-server.ts'
import type { SingleServer } from './single-server.ts'

/** Both flavours that Outrigger works on. */
export const sqlFlavours = ['mysql', 'mariadb'] as const
export type SqlFlavour = (typeof sqlFlavours)[number]

/**
 * The run's one real server of that flavour, started when it is first asked for. Make a database of your own with
 * `makeDatabase`, and don't kill it. Where it can't be had the test is skipped with the reason; in CI it fails.
 */
export function requireMysql(context: Pick<TestContext, 'skip'>, flavour: SqlFlavour = 'mysql'): Promise<SqlAccess> {
  return requireSharedServer<SqlAccess>(context, flavour)
}

/** The same for the top of a test file: await it there, and skip what needs it where it is unavailable. */
export function sharedMysql(flavour: SqlFlavour = 'mysql'): Promise<SharedServer<SqlAccess>> {
  return sharedServer<SqlAccess>(flavour)
}

/**
 * A real server of this test's own, which it may kill; `stop` it at the end (`await using`). Where it can't be had the
 * test is skipped with the reason; in CI it fails.
 */
export async function requireOwnMysql(
  context: Pick<TestContext, 'skip'>,
  flavour: SqlFlavour,
): Promise<SingleServer<SqlAccess>> {
  try {
    return await (flavour === 'mysql' ? startMysql() : startMariadb())
  } catch (error) {
    if (!(error instanceof StackUnavailableError) || runsInCi()) throw error
    return context.skip(`needs real ${flavour}: ${error.message}`)
  }
}

/** A fresh database on a real server, and a connection that may do everything there. */
export interface TestDatabase extends AsyncDisposable {
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password: string
  readonly database: string
  readonly caFile: string | null
  /** `mysql://user@host:port/database`, as the configuration wants it. */
  readonly url: string
  readonly root: Connection
  /** Drops the database, and hangs up. */
  [Symbol.asyncDispose](): Promise<void>
}

export async function makeDatabase(access: SqlAccess): Promise<TestDatabase> {
  const { hostname: host, port, username, password } = new URL(access.url)
  const database = `test_${randomBytes(6).toString('hex')}`
  const credentials = { user: decodeURIComponent(username), password: decodeURIComponent(password) }
  const root = await createConnection({ host, port: Number(port), ...credentials })
  await root.query(`CREATE DATABASE ${database}`)
  await root.query(`USE ${database}`)
  return {
    host,
    port: Number(port),
    ...credentials,
    database,
    caFile: access.caFile,
    url: `mysql://${username}@${host}:${port}/${database}`,
    root,
    async [Symbol.asyncDispose]() {
      await root.query(`DROP DATABASE IF EXISTS ${database}`)
      await root.end()
    },
  }
}
