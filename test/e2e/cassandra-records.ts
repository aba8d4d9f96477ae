import { Client, type types } from 'cassandra-driver'
import type { LogEntry } from '../../src/recorder/message-log.ts'
import type { CassandraAccess } from '../stack/cassandra/cassandra.ts'

/** Bits of the column `has`: which of the columns that may be missing an entry has. */
const has = { key: 1, value: 2, contentType: 4, headers: 8 } as const

/** Gives `visit` every entry of `message_log` in a keyspace, large values joined from their chunks. */
export async function readCassandra(
  { contactPoints, localDataCenter, credentials }: CassandraAccess,
  keyspace: string,
  visit: (entry: LogEntry) => void,
): Promise<void> {
  const client = new Client({
    contactPoints: [...contactPoints],
    localDataCenter,
    keyspace,
    ...(credentials && { credentials }),
  })
  try {
    await client.connect()
    // A stream, which the driver's types don't say.
    const rows = client.stream('SELECT * FROM message_log', [], { prepare: true, autoPage: true, fetchSize: 500 })
    for await (const row of rows as object as AsyncIterable<types.Row>) visit(await entryOf(client, row))
  } finally {
    await client.shutdown()
  }
}

async function entryOf(client: Client, row: types.Row): Promise<LogEntry> {
  const bits = row['has'] as number
  return {
    topic: row['topic'] as string,
    partition: row['partition'] as number,
    offset: (row['offset'] as types.Long).toNumber(),
    journalId: row['journal_id'] as string,
    seq: (row['seq'] as types.Long).toNumber(),
    key: bits & has.key ? bytesOf(row['key']) : null,
    value: bits & has.value ? await valueOf(client, row) : null,
    headers: bits & has.headers ? (row['headers'] as types.Tuple[]).map(headerOf) : [],
    contentType: bits & has.contentType ? (row['content_type'] as string) : null,
    timestamp: (row['timestamp'] as Date).getTime(),
    acceptedAt: (row['accepted_at'] as Date).getTime(),
    deliveredAt: (row['delivered_at'] as Date).getTime(),
  }
}

async function valueOf(client: Client, row: types.Row): Promise<Buffer> {
  const chunks = row['chunks'] as number
  if (chunks === 0) return bytesOf(row['value'])
  const { rows } = await client.execute(
    'SELECT chunk, bytes FROM message_log_chunks WHERE topic = ? AND partition = ? AND offset = ?',
    [row['topic'], row['partition'], row['offset']],
    { prepare: true },
  )
  const pieces = rows.filter(({ chunk }) => (chunk as number) < chunks).map(({ bytes }) => bytesOf(bytes))
  return Buffer.concat(pieces)
}

function headerOf(header: types.Tuple): readonly [string, Buffer] {
  return [header.get(0) as string, bytesOf(header.get(1))]
}

/** An empty blob may come as null. */
function bytesOf(blob: unknown): Buffer {
  return (blob as Buffer | null) ?? Buffer.alloc(0)
}
