import { StoreError } from '../recorder/store-error.ts'
import type { MysqlConnection, QueryLimits } from './mysql-connection.ts'
import { ddlTimeoutMs } from './mysql-connection.ts'
import { mysqlError } from './mysql-errors.ts'
import { sqlName, sqlValue } from './sql-text.ts'

const dayMs = 86_400_000
/** So many days beyond today have their partition already, for when nobody maintains the table for a while. */
const daysAhead = 3

/** A partition holds what was accepted before `below`, and not before the `below` of the partition in front of it. */
export interface Partition {
  readonly name: string
  /** Null for the last one: no limit. */
  readonly below: number | null
}

export interface PartitionPlan {
  /** Cut off the front of the last partition, in order. */
  readonly add: readonly (Partition & { readonly below: number })[]
  /** Emptied: it stays, so that what comes too late has a place that can be emptied again. */
  readonly empty: string | undefined
  readonly drop: readonly string[]
}

/**
 * What the table needs at `now`, a partition to each UTC day from the retention's first one to some days ahead:
 *
 * ```
 *      emptied        kept by the retention       ahead       no limit
 *   │ p20261116 │ p20261117 │ … │ p20261124 │ … │ p20261127 │ later │
 *               └ first day that holds anything to keep
 * ```
 *
 * Only what lies wholly before `now` minus the retention goes.
 */
export function planPartitions(partitions: readonly Partition[], now: number, retentionMs: number): PartitionPlan {
  const finite = partitions.filter((partition): partition is Bounded => partition.below !== null)
  const cutoff = now - retentionMs
  const newest = finite.at(-1)?.below ?? Number.NEGATIVE_INFINITY
  const add: Bounded[] = []
  const last = startOfDay(now) + (daysAhead + 1) * dayMs
  for (let below = Math.max(startOfDay(cutoff), startOfDay(newest) + dayMs); below <= last; below += dayMs) {
    add.push({ name: partitionName(below), below })
  }
  const expired = [...finite, ...add].filter(({ below }) => below <= cutoff)
  const kept = expired.pop()
  // It may be one of those that are added: that takes from the last one what is too old already.
  return { add, empty: kept?.name, drop: expired.map(({ name }) => name) }
}

type Bounded = Partition & { readonly below: number }

function startOfDay(time: number): number {
  return Math.floor(time / dayMs) * dayMs
}

/** Named for the day that ends with `below`. */
function partitionName(below: number): string {
  return `p${new Date(below - 1).toISOString().slice(0, 10).replaceAll('-', '')}`
}

/** What was done to the table. */
export interface PartitionChanges {
  readonly added: number
  readonly dropped: readonly string[]
}

/** Gives the table the partitions that it needs at `now`. The caller sees to it that nobody else does the same. */
export async function maintainPartitions(
  connection: MysqlConnection,
  now: number,
  retentionMs: number,
  signal: AbortSignal,
): Promise<PartitionChanges> {
  const limits: QueryLimits = { signal }
  const ddlLimits: QueryLimits = { signal, timeoutMs: ddlTimeoutMs }
  const partitions = await readPartitions(connection, limits)
  const { add, empty, drop } = planPartitions(partitions, now, retentionMs)
  if (add.length > 0) await cutOffLast(connection, partitions.at(-1), add, ddlLimits)
  const dropped = [...drop]
  if (drop.length > 0) {
    await connection.query(`ALTER TABLE message_metadata DROP PARTITION ${drop.map(sqlName).join(', ')}`, ddlLimits)
  }
  if (empty !== undefined && (await holdsRows(connection, empty, limits))) {
    await connection.query(`ALTER TABLE message_metadata TRUNCATE PARTITION ${sqlName(empty)}`, ddlLimits)
    dropped.push(empty)
  }
  return { added: add.length, dropped }
}

async function readPartitions(connection: MysqlConnection, limits: QueryLimits): Promise<Partition[]> {
  const rows = await connection.query<{ name: string | null; below: string | null }>(
    `SELECT partition_name AS name, partition_description AS below FROM information_schema.partitions
     WHERE table_schema = DATABASE() AND table_name = 'message_metadata' ORDER BY partition_ordinal_position`,
    limits,
  )
  if (rows.length === 0) throw mysqlError('ER_NO_SUCH_TABLE', 'MySQL has no table message_metadata in the database')
  return rows.map(({ name, below }) => ({
    name: name ?? '',
    below: below === null || below === 'MAXVALUE' ? null : Number(below),
  }))
}

async function cutOffLast(
  connection: MysqlConnection,
  last: Partition | undefined,
  add: readonly Bounded[],
  limits: QueryLimits,
): Promise<void> {
  if (!last || last.name === '' || last.below !== null) {
    throw new StoreError(
      'fatal',
      'SCHEMA_CHANGED',
      'the partitions of message_metadata are not as Outrigger made them',
      {
        hint: 'Give it RANGE partitions by accepted_at again, of which the last is VALUES LESS THAN MAXVALUE.',
      },
    )
  }
  const parts = add.map(({ name, below }) => `PARTITION ${sqlName(name)} VALUES LESS THAN (${sqlValue(below)})`)
  const name = sqlName(last.name)
  await connection.query(
    `ALTER TABLE message_metadata REORGANIZE PARTITION ${name} INTO (${parts.join(', ')}, PARTITION ${name} VALUES LESS THAN MAXVALUE)`,
    limits,
  )
}

async function holdsRows(connection: MysqlConnection, partition: string, limits: QueryLimits): Promise<boolean> {
  const rows = await connection.query(
    `SELECT 1 FROM message_metadata PARTITION (${sqlName(partition)}) LIMIT 1`,
    limits,
  )
  return rows.length > 0
}
