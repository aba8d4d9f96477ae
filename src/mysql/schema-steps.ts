import type { MigrationStep } from '../recorder/ledger-schema.ts'
import type { MysqlConnection, QueryLimits } from './mysql-connection.ts'
import { sqlName } from './sql-text.ts'

/** A step that knows how to be taken. It may have been taken before, wholly or in part, without a note of it. */
export interface MysqlStep extends MigrationStep {
  take(connection: MysqlConnection, limits: QueryLimits): Promise<void>
}

/**
 * `message_metadata` has a row for each message. Times are numbers, so that no time zone touches them, and partitions
 * (see day-partitions.ts) are found by comparing numbers. The time of acceptance is in the primary key because a partitioned
 * table wants it there; a message has just one, so the rest of the key is as unique without it.
 *
 * Everything is compared by its bytes: topics and ids that differ in case are different.
 */
const table: MysqlStep = {
  version: 1,
  title: 'the table message_metadata',
  take: async (connection, limits) => {
    const text = (length: number): string => `VARCHAR(${length}) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`
    const id = 'CHARACTER SET ascii COLLATE ascii_bin'
    const time = "COMMENT 'milliseconds since the epoch'"
    await connection.query(
      `CREATE TABLE IF NOT EXISTS message_metadata (
        journal_id VARCHAR(32) ${id} NOT NULL COMMENT 'journal id and seq are the id of the message',
        seq BIGINT UNSIGNED NOT NULL,
        accepted_at BIGINT NOT NULL ${time},
        status ENUM('delivered', 'dead') ${id} NOT NULL,
        topic ${text(249)} NOT NULL,
        partition_id INT UNSIGNED NULL,
        partition_offset BIGINT UNSIGNED NULL,
        message_key VARBINARY(255) NULL COMMENT 'its first 255 bytes',
        producer ${text(249)} NULL,
        content_type ${text(249)} NULL,
        value_bytes INT UNSIGNED NULL COMMENT 'null: a tombstone',
        headers ${text(4096)} NULL COMMENT 'JSON: [{name, value or valueBase64}]',
        trace_id VARCHAR(32) ${id} NULL,
        finished_at BIGINT NOT NULL COMMENT 'delivered, or dead; milliseconds since the epoch',
        recorded_at BIGINT NOT NULL ${time},
        attempts INT UNSIGNED NOT NULL,
        reason ${text(249)} NULL COMMENT 'why it died',
        PRIMARY KEY (journal_id, seq, accepted_at)
      ) ENGINE = InnoDB ROW_FORMAT = DYNAMIC
      PARTITION BY RANGE (accepted_at) (PARTITION later VALUES LESS THAN MAXVALUE)`,
      limits,
    )
  },
}

const listedKeys = {
  by_offset: 'topic, partition_id, partition_offset',
  by_time: 'accepted_at, journal_id, seq',
  by_topic: 'topic, accepted_at, journal_id, seq',
  by_key: 'topic, message_key, accepted_at, journal_id, seq',
}

const keys: MysqlStep = {
  version: 2,
  title: 'keys by offset, time, topic and message key',
  take: (connection, limits) => addKeys(connection, listedKeys, limits),
}

const statusKey: MysqlStep = {
  version: 3,
  title: 'a key by status',
  take: (connection, limits) => addKeys(connection, { by_status: 'status, accepted_at, journal_id, seq' }, limits),
}

/** Adds those of the keys that are not there, each with its columns. */
async function addKeys(
  connection: MysqlConnection,
  wanted: Readonly<Record<string, string>>,
  limits: QueryLimits,
): Promise<void> {
  const found = await connection.query<{ name: string }>(
    `SELECT DISTINCT index_name AS name FROM information_schema.statistics
       WHERE table_schema = DATABASE() AND table_name = 'message_metadata'`,
    limits,
  )
  const names = new Set(found.map(({ name }) => name))
  const missing = Object.entries(wanted).filter(([name]) => !names.has(name))
  if (missing.length === 0) return
  const additions = missing.map(([name, parts]) => `ADD KEY ${sqlName(name)} (${parts})`)
  await connection.query(`ALTER TABLE message_metadata ${additions.join(', ')}`, limits)
}

export const schemaSteps: readonly MysqlStep[] = [table, keys, statusKey]
