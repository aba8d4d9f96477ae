import { formatMessageId } from '../../src/message/message-id.ts'
import type { MetadataPosition, MetadataQuery, MetadataRow, MetadataStore } from '../../src/recorder/metadata-store.ts'
import { StoreError } from '../../src/recorder/store-error.ts'
import type { FakeSchemaData } from './fake-ledger-schema.ts'
import { FakeLedgerSchema, fakeSchemaVersion } from './fake-ledger-schema.ts'
import { FakeWrites } from './fake-writes.ts'

export interface FakeMetadataStoreOptions {
  /** Default 7 days. */
  readonly retentionMs?: number
  /** 0 for a store that is not migrated yet. By default it is. */
  readonly schemaVersion?: number
}

interface FakeMetadata extends FakeSchemaData {
  readonly rows: Map<string, MetadataRow>
}

/** A store of metadata in memory that does what it is told, and keeps what it got. */
export class FakeMetadataStore implements MetadataStore {
  /** Tells the store what to do with writes, and what came of them. */
  readonly writes = new FakeWrites<MetadataRow>()
  readonly schema: FakeLedgerSchema
  /** How often `maintain` was called. */
  maintained = 0
  closed = false
  readonly #retentionMs: number
  readonly #data: FakeMetadata

  constructor(options: FakeMetadataStoreOptions = {}, data?: FakeMetadata) {
    const { retentionMs = 7 * 86_400_000, schemaVersion = fakeSchemaVersion } = options
    this.#retentionMs = retentionMs
    this.#data = data ?? { version: schemaVersion, migrating: Promise.resolve(), rows: new Map() }
    this.schema = new FakeLedgerSchema(this.#data, (signal) => this.#checkOpen(signal))
  }

  /** What stands in the store, by message id. */
  get rows(): ReadonlyMap<string, MetadataRow> {
    return this.#data.rows
  }

  /** Another store on the same data, with writes of its own. */
  another(): FakeMetadataStore {
    return new FakeMetadataStore({ retentionMs: this.#retentionMs }, this.#data)
  }

  async write(rows: readonly MetadataRow[], signal: AbortSignal): Promise<void> {
    this.#check(signal)
    // The bytes of a row are its writer's.
    const copies = rows.map((row) => ({ ...row, key: row.key && Buffer.from(row.key) }))
    await this.writes.run(copies, signal, () => {
      for (const row of copies) this.#data.rows.set(formatMessageId(row.journalId, row.seq), row)
    })
  }

  async find(journalId: string, seq: number, signal: AbortSignal): Promise<MetadataRow | null> {
    this.#check(signal)
    return this.#data.rows.get(formatMessageId(journalId, seq)) ?? null
  }

  async list(query: MetadataQuery, signal: AbortSignal): Promise<readonly MetadataRow[]> {
    this.#check(signal)
    const { topic, partition, key, status, from = -Infinity, to = Infinity, after, limit } = query
    return [...this.#data.rows.values()]
      .filter((row) => topic === undefined || row.topic === topic)
      .filter((row) => partition === undefined || row.partition === partition)
      .filter((row) => key === undefined || (row.key !== null && row.key.equals(key)))
      .filter((row) => status === undefined || row.status === status)
      .filter((row) => row.acceptedAt >= from && row.acceptedAt < to)
      .filter((row) => after === undefined || comesBefore(after, row))
      .toSorted((a, b) => (comesBefore(a, b) ? -1 : 1))
      .slice(0, limit)
  }

  async listOffsets(
    topic: string,
    partition: number,
    fromOffset: number,
    toOffset: number,
    limit: number,
    signal: AbortSignal,
  ): Promise<readonly MetadataRow[]> {
    this.#check(signal)
    const offsetOf = (row: MetadataRow): number => row.offset ?? -1
    return [...this.#data.rows.values()]
      .filter((row) => row.topic === topic && row.partition === partition)
      .filter((row) => offsetOf(row) >= fromOffset && offsetOf(row) < toOffset)
      .toSorted((a, b) => offsetOf(a) - offsetOf(b))
      .slice(0, limit)
  }

  async maintain(now: number, signal: AbortSignal): Promise<void> {
    this.#check(signal)
    this.maintained++
    for (const [id, row] of this.#data.rows) {
      if (row.acceptedAt < now - this.#retentionMs) this.#data.rows.delete(id)
    }
  }

  async close(): Promise<void> {
    this.closed = true
    await Promise.resolve()
  }

  #check(signal: AbortSignal): void {
    this.#checkOpen(signal)
    this.schema.require()
  }

  #checkOpen(signal: AbortSignal): void {
    signal.throwIfAborted()
    if (this.closed) throw new StoreError('transient', 'CLOSED', 'the store is closed')
  }
}

/** Whether one comes before the other in the order of listing. */
function comesBefore(one: MetadataPosition, other: MetadataPosition): boolean {
  if (one.acceptedAt !== other.acceptedAt) return one.acceptedAt > other.acceptedAt
  if (one.journalId !== other.journalId) return one.journalId > other.journalId
  return one.seq > other.seq
}
