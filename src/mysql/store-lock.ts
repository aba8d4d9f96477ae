import { createHash } from 'node:crypto'
import type { MysqlConnection, QueryLimits } from './mysql-connection.ts'
import { mysqlError } from './mysql-errors.ts'
import { sqlValue } from './sql-text.ts'

/**
 * Does `work` while holding one of the server's named locks (`GET_LOCK`), which goes with the connection, however that ends.
 * @returns false when another connection has it, after a wait of `waitSeconds`; then `work` was not called
 */
export async function withStoreLock(
  connection: MysqlConnection,
  lock: { readonly name: string; readonly database: string; readonly waitSeconds: number },
  limits: QueryLimits,
  work: () => Promise<void>,
): Promise<boolean> {
  const name = sqlValue(lockName(lock.database, lock.name))
  const [row] = await connection.query<{ got: number | null }>(
    `SELECT GET_LOCK(${name}, ${lock.waitSeconds}) AS got`,
    limits,
  )
  if (row?.got === 0) return false
  if (row?.got !== 1) throw mysqlError('LOCK_FAILED', `MySQL gave no answer about the lock ${name}`)
  try {
    await work()
  } catch (error) {
    // The lock goes with it; the connection may be of no use to ask.
    connection.destroy()
    throw error
  }
  await connection.query(`SELECT RELEASE_LOCK(${name})`, limits)
  return true
}

/** Names of locks hold for the whole server, and are short. */
function lockName(database: string, name: string): string {
  return `outrigger.${createHash('sha256').update(database).digest('hex').slice(0, 16)}.${name}`
}
