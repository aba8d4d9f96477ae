/**
 * How the message log lies in Cassandra.
 *
 *     message_log              (topic, partition, bucket) │ offset                 one row an entry
 *     message_log_chunks       (topic, partition, offset) │ chunk                  pieces of a value that is large
 *     message_log_buckets      (topic, partition)         │ bucket                 which buckets there are
 *     message_log_partitions   (topic)                    │ partition              which partitions there are
 *                               ─── partition key ───      ─ clustering key ─
 *
 * `bucket` is `offset / 4096`, rounded down. What decides about that number is the size of a Cassandra partition, which is
 * compacted, repaired and indexed as a whole: at most some 100 MB and 100,000 rows are healthy. So a value stands in its
 * entry's row up to 24 KiB only (4096 × 24 KiB = 96 MiB, and mostly it is 1 KiB and 4 MiB), and larger ones stand apart in
 * chunks, in a Cassandra partition for each. Much smaller buckets would make many small partitions, smaller batches, and a
 * long list of buckets: a Kafka partition with 1,000 messages a second for 7 days has 148,000.
 *
 * Every row is written with its own TTL, what is left of the retention: nothing is ever deleted, nor scanned for what is old.
 * Tables are compacted by time window, so that whole files of expired rows are dropped.
 *
 * Order of writing: buckets, partitions and chunks, then the entries. An entry that is seen can be found, and is complete.
 * What belongs to an entry has a TTL that is longer by `slackMs`, for the same reason.
 *
 * `delivered_until` of a bucket is at or after the last `deliveredAt` in it, rounded up, so that it is seldom written. It is
 * written with itself as timestamp, so that the latest one stays, whichever sidecar wrote it, and however often.
 */

/** Offsets in one bucket. Part of the format: never changed. */
export const bucketOffsets = 4096

/** Larger values stand in chunks of their own. */
export const inlineBytesMax = 24 * 1024

/** What belongs to entries lives longer than these by this. */
export const slackMs = 600_000

/** `delivered_until` is a multiple of these. */
export const bucketStepMs = 10_000
export const partitionStepMs = 3_600_000

/** Cassandra's longest TTL: 20 years. */
const ttlSecondsMax = 630_720_000

export function bucketOf(offset: number): number {
  return Math.floor(offset / bucketOffsets)
}

/** For how many seconds something is kept that goes at `end`; at least one. */
export function ttlSeconds(end: number, now: number): number {
  return Math.min(Math.max(Math.ceil((end - now) / 1000), 1), ttlSecondsMax)
}

/** A name as CQL has it. */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

/** A text as CQL has it. */
export function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}

/** One step of the schema, with statements that may be run again. */
export interface SchemaStep {
  readonly version: number
  readonly title: string
  readonly statements: readonly string[]
  /** What the statements make: without one of these the step has to be taken, whatever was noted. */
  readonly tables: readonly string[]
}

/** The steps in a keyspace; the last one's version is what this program needs. */
export function schemaSteps(keyspace: string, retentionMs: number): readonly SchemaStep[] {
  const table = (name: string, columns: string, options: string): string =>
    `CREATE TABLE IF NOT EXISTS ${quoted(keyspace)}.${name} (${columns}) WITH ${options}`
  // Repair has three hours, as long as hints are kept. Data that only expires can't come back, and the default of ten
  // days would keep it on disk for so long.
  const expiring = `gc_grace_seconds = 10800 AND compaction = ${timeWindows(retentionMs)}`
  return [
    {
      version: 1,
      title: 'create the tables of entries and of chunks',
      tables: ['message_log', 'message_log_chunks'],
      statements: [
        table(
          'message_log',
          `topic text, partition int, bucket bigint, offset bigint, journal_id text, seq bigint, key blob, value blob,
           value_bytes int, chunks int, has tinyint, headers frozen<list<frozen<tuple<text, blob>>>>, content_type text,
           timestamp timestamp, accepted_at timestamp, delivered_at timestamp,
           PRIMARY KEY ((topic, partition, bucket), offset)`,
          `${expiring} AND comment = 'Outrigger: every delivered message'`,
        ),
        table(
          'message_log_chunks',
          'topic text, partition int, offset bigint, chunk int, bytes blob, PRIMARY KEY ((topic, partition, offset), chunk)',
          `${expiring} AND comment = 'Outrigger: pieces of large values'`,
        ),
      ],
    },
    {
      version: 2,
      title: 'create the tables of buckets and of partitions',
      tables: ['message_log_buckets', 'message_log_partitions'],
      statements: [
        table(
          'message_log_buckets',
          'topic text, partition int, bucket bigint, delivered_until timestamp, PRIMARY KEY ((topic, partition), bucket)',
          `${expiring} AND comment = 'Outrigger: where entries are'`,
        ),
        // These rows are renewed for ever, which is nothing for time windows.
        table(
          'message_log_partitions',
          'topic text, partition int, delivered_until timestamp, PRIMARY KEY (topic, partition)',
          `gc_grace_seconds = 10800 AND comment = 'Outrigger: which partitions have entries'`,
        ),
      ],
    },
  ]
}

/** Windows of about a 24th of the retention: few enough files to read, and what is expired goes soon. */
export function timeWindows(retentionMs: number): string {
  const minutes = Math.max(Math.ceil(retentionMs / 24 / 60_000), 1)
  const [unit, size] =
    minutes >= 24 * 60
      ? ['DAYS', Math.ceil(minutes / (24 * 60))]
      : minutes >= 60
        ? ['HOURS', Math.ceil(minutes / 60)]
        : ['MINUTES', minutes]
  return `{'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': '${unit}', 'compaction_window_size': ${size}}`
}

export interface Statements {
  readonly insertEntry: string
  readonly insertChunk: string
  readonly insertBucket: string
  readonly insertPartition: string
  readonly selectEntry: string
  readonly selectEntries: string
  readonly selectChunks: string
  readonly selectBuckets: string
  readonly selectBucketSince: string
  readonly selectLastBucket: string
  readonly selectPartitions: string
}

const entryColumns =
  'offset, journal_id, seq, key, value, value_bytes, chunks, has, headers, content_type, timestamp, accepted_at, delivered_at'

/** All that is ever prepared. */
export function logStatements(keyspace: string): Statements {
  const ks = quoted(keyspace)
  const inPartition = 'topic = ? AND partition = ?'
  return {
    insertEntry: `INSERT INTO ${ks}.message_log (topic, partition, bucket, ${entryColumns}) VALUES (${marks(16)}) USING TTL ?`,
    insertChunk: `INSERT INTO ${ks}.message_log_chunks (topic, partition, offset, chunk, bytes) VALUES (${marks(5)}) USING TTL ?`,
    insertBucket: `INSERT INTO ${ks}.message_log_buckets (topic, partition, bucket, delivered_until) VALUES (${marks(4)}) USING TIMESTAMP ? AND TTL ?`,
    insertPartition: `INSERT INTO ${ks}.message_log_partitions (topic, partition, delivered_until) VALUES (${marks(3)}) USING TIMESTAMP ? AND TTL ?`,
    selectEntry: `SELECT ${entryColumns} FROM ${ks}.message_log WHERE ${inPartition} AND bucket = ? AND offset = ?`,
    selectEntries: `SELECT ${entryColumns} FROM ${ks}.message_log WHERE ${inPartition} AND bucket = ? AND offset >= ? LIMIT ?`,
    selectChunks: `SELECT chunk, bytes FROM ${ks}.message_log_chunks WHERE ${inPartition} AND offset = ?`,
    selectBuckets: `SELECT bucket FROM ${ks}.message_log_buckets WHERE ${inPartition} AND bucket >= ? LIMIT ?`,
    // Within one Cassandra partition of small rows: filtering costs milliseconds, and saves carrying them here.
    selectBucketSince: `SELECT bucket FROM ${ks}.message_log_buckets WHERE ${inPartition} AND delivered_until >= ? LIMIT 1 ALLOW FILTERING`,
    selectLastBucket: `SELECT bucket FROM ${ks}.message_log_buckets WHERE ${inPartition} ORDER BY bucket DESC LIMIT 1`,
    selectPartitions: `SELECT partition FROM ${ks}.message_log_partitions WHERE topic = ?`,
  }
}

function marks(count: number): string {
  return Array.from({ length: count }, () => '?').join(', ')
}
