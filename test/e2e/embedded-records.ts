import { DatabaseSync } from 'node:sqlite'
import type { ConsumedRecord } from '../../src/subscriptions/consumer.ts'
import { offsetOf } from '../../src/embedded/embedded-schema.ts'
import { decodeHeaders } from '../../src/embedded/header-codec.ts'

interface Row {
  readonly topic: string
  readonly partition: number
  readonly id: number
  readonly timestamp: number
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
  readonly headers: Uint8Array | null
}

/** Gives `visit` all records that stand in the embedded broker's file now, each partition in order. */
export function readEmbedded(file: string, visit: (record: ConsumedRecord) => void): void {
  using database = new DatabaseSync(file, { readOnly: true, timeout: 10_000 })
  // A file that was only locked so far has no tables yet.
  if (database.prepare('SELECT 1 FROM sqlite_schema').get() === undefined) return
  // As the schema has it, a partition's records lie between its own row id times 2^36 and the next one's.
  const rows = database
    .prepare(
      `SELECT topic, partition, records.id AS id, timestamp, key, value, headers
       FROM partitions JOIN records ON records.id >= partitions.id << 36 AND records.id < (partitions.id + 1) << 36
       ORDER BY records.id`,
    )
    .iterate()
  for (const row of rows as IterableIterator<unknown> as IterableIterator<Row>) {
    visit({
      topic: row.topic,
      partition: row.partition,
      offset: offsetOf(row.id),
      timestamp: row.timestamp,
      key: bufferOf(row.key),
      value: bufferOf(row.value),
      headers: decodeHeaders(row.headers),
    })
  }
}

/** Keeps Outrigger from writing to the file: to it, its broker is away. Reading goes on. */
export class EmbeddedOutage implements Disposable {
  readonly #database: DatabaseSync

  private constructor(database: DatabaseSync) {
    this.#database = database
  }

  static begin(file: string): EmbeddedOutage {
    const database = new DatabaseSync(file, { timeout: 10_000 })
    database.exec('BEGIN EXCLUSIVE')
    return new EmbeddedOutage(database)
  }

  /** Idempotent. */
  end(): void {
    if (this.#database.isOpen) this.#database.close()
  }

  [Symbol.dispose](): void {
    this.end()
  }
}

function bufferOf(blob: Uint8Array | null): Buffer | null {
  return blob && Buffer.from(blob.buffer, blob.byteOffset, blob.byteLength)
}
