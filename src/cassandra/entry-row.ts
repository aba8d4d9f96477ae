import { types } from 'cassandra-driver'
import { StoreError } from '../recorder/store-error.ts'
import type { LogEntry } from '../recorder/message-log.ts'
import { bucketOf, inlineBytesMax } from './log-layout.ts'

/**
 * Which of the columns that may be missing an entry has. A null would be written as a tombstone for each, so a missing
 * column is left as it is. These bits keep what an entry of another life of the topic may have left there from being seen.
 */
const has = { key: 1, value: 2, contentType: 4, headers: 8 } as const

/** Whether the value stands in chunks of its own. */
function standsApart(value: Buffer, valueChunkBytes: number): boolean {
  return value.length > Math.min(inlineBytesMax, valueChunkBytes)
}

/** The parameters of `insertEntry`. */
export function entryParams(entry: LogEntry, valueChunkBytes: number, ttl: number): unknown[] {
  const { key, value, headers, contentType } = entry
  const apart = value !== null && standsApart(value, valueChunkBytes)
  return [
    entry.topic,
    entry.partition,
    bucketOf(entry.offset),
    entry.offset,
    entry.journalId,
    entry.seq,
    key ?? undefined,
    apart ? undefined : (value ?? undefined),
    value === null ? 0 : value.length,
    apart ? Math.ceil(value.length / valueChunkBytes) : 0,
    (key === null ? 0 : has.key) |
      (value === null ? 0 : has.value) |
      (contentType === null ? 0 : has.contentType) |
      (headers.length === 0 ? 0 : has.headers),
    headers.length === 0
      ? undefined
      : headers.map(
          ([name, content]) => new types.Tuple(name, typeof content === 'string' ? Buffer.from(content) : content),
        ),
    contentType ?? undefined,
    entry.timestamp,
    entry.acceptedAt,
    entry.deliveredAt,
    ttl,
  ]
}

/** The parameters of one `insertChunk` for each piece of the value, and none for one that stands in its row. */
export function chunkParams(entry: LogEntry, valueChunkBytes: number, ttl: number): unknown[][] {
  const { topic, partition, offset, value } = entry
  if (value === null || !standsApart(value, valueChunkBytes)) return []
  return Array.from({ length: Math.ceil(value.length / valueChunkBytes) }, (_, chunk) => [
    topic,
    partition,
    offset,
    chunk,
    value.subarray(chunk * valueChunkBytes, (chunk + 1) * valueChunkBytes),
    ttl,
  ])
}

/** About how many bytes a row takes in a batch. */
export function rowBytes(entry: LogEntry, valueChunkBytes: number): number {
  let bytes = 160 + entry.topic.length * 2 + (entry.key?.length ?? 0) + (entry.contentType?.length ?? 0)
  if (entry.value !== null && !standsApart(entry.value, valueChunkBytes)) bytes += entry.value.length
  for (const [name, value] of entry.headers) bytes += 12 + name.length + value.length
  return bytes
}

/** An entry as its row has it: the value may be missing still. */
export interface EntryRow {
  readonly entry: LogEntry
  readonly chunks: number
  readonly valueBytes: number
}

export function entryRowOf(topic: string, partition: number, row: types.Row): EntryRow {
  const bits = row['has'] as number
  const chunks = row['chunks'] as number
  const headers = bits & has.headers ? (row['headers'] as types.Tuple[]) : []
  const bytes = (column: string): Buffer => (row[column] as Buffer | null) ?? Buffer.alloc(0)
  const entry: LogEntry = {
    topic,
    partition,
    offset: (row['offset'] as types.Long).toNumber(),
    journalId: row['journal_id'] as string,
    seq: (row['seq'] as types.Long).toNumber(),
    key: bits & has.key ? bytes('key') : null,
    value: bits & has.value && chunks === 0 ? bytes('value') : null,
    headers: headers.map(
      (header) => [header.get(0) as string, (header.get(1) as Buffer | null) ?? Buffer.alloc(0)] as const,
    ),
    contentType: bits & has.contentType ? (row['content_type'] as string) : null,
    timestamp: (row['timestamp'] as Date).getTime(),
    acceptedAt: (row['accepted_at'] as Date).getTime(),
    deliveredAt: (row['delivered_at'] as Date).getTime(),
  }
  return { entry, chunks, valueBytes: row['value_bytes'] as number }
}

/** The entry with its value from the chunks, as they are found in order. */
export function joinChunks({ entry, chunks, valueBytes }: EntryRow, found: readonly types.Row[]): LogEntry {
  const pieces: Buffer[] = []
  for (let chunk = 0; chunk < chunks; chunk++) {
    // Rows behind the last chunk may be left from a longer value, so they are not looked at.
    const row = found[chunk]
    if (row?.['chunk'] !== chunk) throw damaged(entry, `chunk ${chunk} of ${chunks} is missing`)
    pieces.push(row['bytes'] as Buffer)
  }
  const value = Buffer.concat(pieces)
  if (value.length !== valueBytes) {
    throw damaged(entry, `its chunks have ${value.length} bytes where ${valueBytes} were written`)
  }
  return { ...entry, value }
}

function damaged({ topic, partition, offset }: LogEntry, how: string): StoreError {
  const message = `the value of topic ${topic}, partition ${partition}, offset ${offset} is not whole: ${how}`
  return new StoreError('transient', 'VALUE_INCOMPLETE', message, {
    hint: 'Repair the table message_log_chunks (nodetool repair), or write the entry anew (outrigger ledger backfill).',
  })
}
