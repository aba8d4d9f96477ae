import type { LogEntry, LogPosition, MessageLog } from '../../src/recorder/message-log.ts'
import { StoreError } from '../../src/recorder/store-error.ts'
import type { FakeSchemaData } from './fake-ledger-schema.ts'
import { FakeLedgerSchema, fakeSchemaVersion } from './fake-ledger-schema.ts'
import { FakeWrites } from './fake-writes.ts'

export interface FakeMessageLogOptions {
  /** Default 7 days. */
  readonly retentionMs?: number
  /** 0 for a log that is not migrated yet. By default it is. */
  readonly schemaVersion?: number
}

interface FakeLog extends FakeSchemaData {
  readonly entries: Map<string, LogEntry>
}

/** A message log in memory that does what it is told, and keeps what it got. */
export class FakeMessageLog implements MessageLog {
  /** Tells the log what to do with writes, and what came of them. */
  readonly writes = new FakeWrites<LogEntry>()
  readonly schema: FakeLedgerSchema
  /** How often `maintain` was called. */
  maintained = 0
  closed = false
  readonly #retentionMs: number
  readonly #data: FakeLog

  constructor(options: FakeMessageLogOptions = {}, data?: FakeLog) {
    const { retentionMs = 7 * 86_400_000, schemaVersion = fakeSchemaVersion } = options
    this.#retentionMs = retentionMs
    this.#data = data ?? { version: schemaVersion, migrating: Promise.resolve(), entries: new Map() }
    this.schema = new FakeLedgerSchema(this.#data, (signal) => this.#checkOpen(signal))
  }

  /** What stands in the log, by `topic/partition/offset`. */
  get entries(): ReadonlyMap<string, LogEntry> {
    return this.#data.entries
  }

  /** The entries of one message: more than one when it was delivered twice. */
  entriesOf(journalId: string, seq: number): LogEntry[] {
    return [...this.#data.entries.values()].filter((entry) => entry.journalId === journalId && entry.seq === seq)
  }

  /** Another log on the same data, with writes of its own. */
  another(): FakeMessageLog {
    return new FakeMessageLog({ retentionMs: this.#retentionMs }, this.#data)
  }

  async write(entries: readonly LogEntry[], _now: number, signal: AbortSignal): Promise<void> {
    this.#check(signal)
    const copies = entries.map(copyOf)
    await this.writes.run(copies, signal, () => {
      for (const entry of copies) this.#data.entries.set(placeOf(entry.topic, entry.partition, entry.offset), entry)
    })
  }

  async read(topic: string, partition: number, offset: number, signal: AbortSignal): Promise<LogEntry | null> {
    this.#check(signal)
    return this.#data.entries.get(placeOf(topic, partition, offset)) ?? null
  }

  async list(
    topic: string,
    partition: number,
    fromOffset: number,
    limit: number,
    signal: AbortSignal,
  ): Promise<readonly LogEntry[]> {
    this.#check(signal)
    return this.#ofTopic(topic)
      .filter((entry) => entry.partition === partition && entry.offset >= fromOffset)
      .slice(0, limit)
  }

  async positions(topic: string, since: number, signal: AbortSignal): Promise<readonly LogPosition[]> {
    this.#check(signal)
    const partitions = Map.groupBy(this.#ofTopic(topic), ({ partition }) => partition)
    return [...partitions].map(([partition, entries]) => {
      const first = entries.find(({ deliveredAt }) => deliveredAt >= since)
      return { partition, offset: first ? first.offset : (entries.at(-1)?.offset ?? -1) + 1 }
    })
  }

  async maintain(now: number, signal: AbortSignal): Promise<void> {
    this.#check(signal)
    this.maintained++
    for (const [place, entry] of this.#data.entries) {
      if (entry.deliveredAt < now - this.#retentionMs) this.#data.entries.delete(place)
    }
  }

  async close(): Promise<void> {
    this.closed = true
    await Promise.resolve()
  }

  /** By partition and offset. */
  #ofTopic(topic: string): LogEntry[] {
    return [...this.#data.entries.values()]
      .filter((entry) => entry.topic === topic)
      .toSorted((a, b) => a.partition - b.partition || a.offset - b.offset)
  }

  #check(signal: AbortSignal): void {
    this.#checkOpen(signal)
    this.schema.require()
  }

  #checkOpen(signal: AbortSignal): void {
    signal.throwIfAborted()
    if (this.closed) throw new StoreError('transient', 'CLOSED', 'the log is closed')
  }
}

function placeOf(topic: string, partition: number, offset: number): string {
  return `${topic}/${partition}/${offset}`
}

/** The bytes of an entry are its writer's. Headers become bytes, as when read from any log. */
function copyOf(entry: LogEntry): LogEntry {
  return {
    ...entry,
    key: entry.key && Buffer.from(entry.key),
    value: entry.value && Buffer.from(entry.value),
    headers: entry.headers.map(([name, content]) => [name, Buffer.from(content as string)] as const),
  }
}
