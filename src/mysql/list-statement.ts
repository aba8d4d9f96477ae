import type { MetadataQuery } from '../recorder/metadata-store.ts'
import { columns, selection } from './row-statements.ts'
import { sqlValue } from './sql-text.ts'

/**
 * A page, newest first. The key is named, so that no statistics lead the server to another plan: every key that serves ends
 * in the order of the list, is read from its end backwards, and gives what follows `after` without a look at the rest.
 */
export function listStatement({ topic, partition, key, status, from, to, limit, after }: MetadataQuery): string {
  const { acceptedAt, journalId, seq } = columns
  const conditions: string[] = []
  if (topic !== undefined) conditions.push(`${columns.topic} = ${sqlValue(topic)}`)
  if (partition !== undefined) conditions.push(`${columns.partition} = ${sqlValue(partition)}`)
  if (key !== undefined) conditions.push(`${columns.key} = ${sqlValue(key)}`)
  if (status !== undefined) conditions.push(`${columns.status} = ${sqlValue(status)}`)
  if (from !== undefined) conditions.push(`${acceptedAt} >= ${sqlValue(from)}`)
  if (to !== undefined) conditions.push(`${acceptedAt} < ${sqlValue(to)}`)
  if (after !== undefined) {
    // A comparison of whole tuples would say the same, but MySQL reads no range of a key by it.
    conditions.push(
      `${acceptedAt} <= ${sqlValue(after.acceptedAt)}`,
      `(${acceptedAt} < ${sqlValue(after.acceptedAt)} OR ${journalId} < ${sqlValue(after.journalId)}` +
        ` OR (${journalId} = ${sqlValue(after.journalId)} AND ${seq} < ${sqlValue(after.seq)}))`,
    )
  }
  return [
    `SELECT ${selection} FROM message_metadata FORCE INDEX (${keyFor(topic, key, status)})`,
    conditions.length > 0 ? `WHERE ${conditions.join(' AND ')}` : '',
    `ORDER BY ${acceptedAt} DESC, ${journalId} DESC, ${seq} DESC LIMIT ${sqlValue(limit)}`,
  ].join(' ')
}

/** The key that serves a list with such conditions; schema-steps.ts has their columns. */
function keyFor(
  topic: string | undefined,
  key: Buffer | undefined,
  status: MetadataQuery['status'] | undefined,
): string {
  if (topic !== undefined && key !== undefined) return 'by_key'
  // Of dead ones there are few, wherever they are; all of a topic, or of a time, would have to be looked at to find them.
  if (status === 'dead') return 'by_status'
  return topic === undefined ? 'by_time' : 'by_topic'
}

/**
 * A `SELECT` that the server itself ends after so long. Either server takes its own half, and the other's for a comment:
 * MySQL knows the hint, MariaDB the prefix.
 */
export function limited(select: string, msMax: number): string {
  const rest = select.slice('SELECT'.length)
  return `/*M! SET STATEMENT max_statement_time = ${msMax / 1000} FOR */ SELECT /*+ MAX_EXECUTION_TIME(${msMax}) */${rest}`
}

/** One message; the partitions are asked one by one, since only the time of acceptance would tell which has it. */
export function findStatement(journalId: string, seq: number): string {
  return `SELECT ${selection} FROM message_metadata WHERE ${columns.journalId} = ${sqlValue(journalId)} AND ${columns.seq} = ${sqlValue(seq)} LIMIT 1`
}

/** Delivered messages of a topic's partition, by offset. */
export function offsetsStatement(topic: string, partition: number, from: number, to: number, limit: number): string {
  const offset = columns.offset
  return [
    `SELECT ${selection} FROM message_metadata FORCE INDEX (by_offset)`,
    `WHERE ${columns.topic} = ${sqlValue(topic)} AND ${columns.partition} = ${sqlValue(partition)}`,
    `AND ${offset} >= ${sqlValue(from)} AND ${offset} < ${sqlValue(to)}`,
    `ORDER BY ${offset} LIMIT ${sqlValue(limit)}`,
  ].join(' ')
}
