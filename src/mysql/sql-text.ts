import { escape, escapeId } from 'mysql2'

export type SqlValue = string | number | Buffer | null

/**
 * A value as it stands in a statement. Sound for the sessions of `MysqlConnection` only, whose mode keeps backslashes as
 * escapes and whose character set is UTF-8.
 */
export function sqlValue(value: SqlValue): string {
  if (value === null) return 'NULL'
  if (typeof value === 'number') return String(value)
  return typeof value === 'string' ? escape(value) : `x'${value.toString('hex')}'`
}

/** A name as it stands in a statement. */
export function sqlName(name: string): string {
  return escapeId(name)
}
