import { StoreError } from '../recorder/store-error.ts'
import type { MysqlConnection, QueryLimits } from './mysql-connection.ts'

/** A sidecar whose clock differs from the server's by more than this maintains nothing. */
const clockDifferenceMsMax = 3_600_000

/** The server's time, in milliseconds since the epoch. */
export async function readServerTime(connection: MysqlConnection, limits: QueryLimits): Promise<number> {
  // UNIX_TIMESTAMP would end in 2038 on many servers.
  const [row] = await connection.query<{ now: number | string }>(
    "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(3)) DIV 1000 AS now",
    limits,
  )
  return Number(row?.now)
}

/**
 * All sidecars share the table: one whose clock is wrong would drop everybody's rows, and make partitions so far ahead that
 * none of them is ever dropped.
 * @throws StoreError (fatal, `CLOCK_DIFFERS`) when `now` is not about the server's time
 */
export function requireSameTime(now: number, serverTime: number): void {
  if (Math.abs(now - serverTime) <= clockDifferenceMsMax) return
  const [ours, theirs] = [now, serverTime].map(timeText)
  throw new StoreError(
    'fatal',
    'CLOCK_DIFFERS',
    `it is ${ours} here, and ${theirs} on the MySQL server: message_metadata is left as it is, since partitions are dropped by the time`,
    { hint: 'Set the clocks of this machine and of the MySQL server (NTP); they may differ by an hour at most.' },
  )
}

function timeText(time: number): string {
  const date = new Date(time)
  return Number.isNaN(date.getTime()) ? `${time} ms` : date.toISOString()
}
