import { existsSync } from 'node:fs'
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import type { Clock } from '../base/clock.ts'
import { BrokerError } from '../forwarder/broker.ts'
import type { ConsumedRecord, Consumer, PartitionOffset, RecordStream } from '../subscriptions/consumer.ts'
import { offsetOf, openForReading, rowIdOf } from './embedded-schema.ts'
import { decodeHeaders } from './header-codec.ts'
import { embeddedBrokerError } from './sqlite-errors.ts'

export interface EmbeddedConsumerOptions {
  /** The embedded broker's file; it may not exist yet. */
  readonly file: string
  /** How often to look for new records, in milliseconds. Default 50. */
  readonly pollMs?: number
  /** For how long a file that can't be read is tried again before `read` throws, in milliseconds. Default 10,000. */
  readonly patienceMs?: number
}

const recordsPerPoll = 500
/** Of a part that is read from beginning to end: whoever reads may keep few of them. */
const recordsPerLook = 100
/** Readers of a write-ahead log seldom have to wait; when they do, the next look is soon enough. */
const busyTimeoutMs = 50

/**
 * The port `Consumer` on the embedded broker's file: reads it beside the process that writes, by looking for new rows
 * time and again. No transaction stays open between two looks, so the writer's log can be cut at any time.
 */
export class EmbeddedConsumer implements Consumer {
  readonly #clock: Clock
  readonly #options: EmbeddedConsumerOptions
  readonly #closing = new AbortController()
  readonly #open = new Set<TopicReader>()

  constructor(clock: Clock, options: EmbeddedConsumerOptions) {
    this.#clock = clock
    this.#options = options
  }

  read(topic: string, from: 'beginning' | 'latest', signal: AbortSignal): RecordStream {
    const reader = new TopicReader(topic, from, this.#options.file)
    this.#open.add(reader)
    const ends = AbortSignal.any([signal, this.#closing.signal])
    const ready = this.#patiently(() => reader.start(), ends).then(() => {})
    // Whoever iterates learns of it; `ready` is only for those who ask.
    ready.catch(() => {})
    return { ready, [Symbol.asyncIterator]: () => this.#records(reader, ready, ends) }
  }

  async offsetsAt(
    topic: string,
    time: number | 'beginning' | 'end',
    signal: AbortSignal,
  ): Promise<readonly PartitionOffset[]> {
    return this.#lookOnce((database) => offsetsAt(database, topic, time), [], signal)
  }

  async *readRange(
    topic: string,
    partition: number,
    fromOffset: number,
    toOffset: number,
    signal: AbortSignal,
  ): AsyncGenerator<ConsumedRecord> {
    const range = new RangeReader(topic, partition, fromOffset, toOffset)
    const ends = AbortSignal.any([signal, this.#closing.signal])
    for (;;) {
      const records = await this.#look((database) => range.next(database), [], ends)
      if (records === undefined || records.length === 0) return
      for (const record of records) {
        if (ends.aborted) return
        yield record
      }
    }
  }

  async topics(signal: AbortSignal): Promise<readonly string[]> {
    return this.#lookOnce(
      (database) => {
        const rows = database.prepare('SELECT DISTINCT topic FROM partitions ORDER BY topic').all()
        return (rows as { topic: string }[]).map(({ topic }) => topic)
      },
      [],
      signal,
    )
  }

  async close(): Promise<void> {
    this.#closing.abort()
    for (const reader of this.#open) reader.close()
    this.#open.clear()
  }

  async *#records(reader: TopicReader, ready: Promise<void>, signal: AbortSignal): AsyncGenerator<ConsumedRecord> {
    try {
      await ready
      while (!signal.aborted) {
        const records = (await this.#patiently(() => reader.next(), signal)) ?? []
        for (const record of records) {
          if (signal.aborted) return
          yield record
        }
        if (records.length === 0) await sleepUntilAborted(this.#clock, this.#options.pollMs ?? 50, signal)
      }
    } finally {
      reader.close()
      this.#open.delete(reader)
    }
  }

  async #lookOnce<T>(look: (database: DatabaseSync) => T, nothing: T, signal: AbortSignal): Promise<T> {
    const ends = AbortSignal.any([signal, this.#closing.signal])
    const found = await this.#look(look, nothing, ends)
    ends.throwIfAborted()
    return found ?? nothing
  }

  /** One look into the file, which is closed again; `nothing` when there is none yet. */
  #look<T>(look: (database: DatabaseSync) => T, nothing: T, signal: AbortSignal): Promise<T | undefined> {
    return this.#patiently(() => {
      const database = openIfThere(this.#options.file)
      if (!database) return nothing
      try {
        return look(database)
      } finally {
        database.close()
      }
    }, signal)
  }

  /** What `look` gives; while the file can't be read it is tried again, for some time. Undefined once aborted. */
  async #patiently<T>(look: () => T, signal: AbortSignal): Promise<T | undefined> {
    const deadline = this.#clock.monotonic() + (this.#options.patienceMs ?? 10_000)
    for (;;) {
      if (signal.aborted) return undefined
      try {
        return look()
      } catch (error) {
        const translated = embeddedBrokerError(error, this.#options.file)
        const worthWaiting = translated instanceof BrokerError && translated.failure === 'transient'
        if (!worthWaiting || this.#clock.monotonic() > deadline) throw translated
        await sleepUntilAborted(this.#clock, 100, signal)
      }
    }
  }
}

interface ReadPartition {
  readonly partition: number
  /** The row id of the record to read next, and the row id at which the next partition begins. */
  nextId: number
  readonly endId: number
}

interface Row {
  readonly id: number
  readonly timestamp: number
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
  readonly headers: Uint8Array | null
}

function offsetsAt(database: DatabaseSync, topic: string, time: number | 'beginning' | 'end'): PartitionOffset[] {
  const first = database.prepare(
    'SELECT id FROM records WHERE id >= ? AND id < ? AND timestamp >= ? ORDER BY id LIMIT 1',
  )
  return partitionRows(database, topic).map(({ id, partition, next_offset: nextOffset }) => {
    const since = time === 'beginning' ? Number.MIN_SAFE_INTEGER : time
    const row =
      since === 'end' ? undefined : (first.get(rowIdOf(id, 0), rowIdOf(id + 1, 0), since) as { id: number } | undefined)
    return { partition, offset: row === undefined ? nextOffset : offsetOf(row.id) }
  })
}

/** A position in a part of one partition. */
class RangeReader {
  readonly #topic: string
  readonly #partition: number
  #nextOffset: number
  readonly #endOffset: number

  constructor(topic: string, partition: number, fromOffset: number, toOffset: number) {
    this.#topic = topic
    this.#partition = partition
    this.#nextOffset = fromOffset
    this.#endOffset = toOffset
  }

  /** The next records, not too many; none when there are no more. */
  next(database: DatabaseSync): ConsumedRecord[] {
    const found = partitionRows(database, this.#topic).find(({ partition }) => partition === this.#partition)
    if (found === undefined || this.#nextOffset >= this.#endOffset) return []
    const [from, to] = [rowIdOf(found.id, this.#nextOffset), rowIdOf(found.id, this.#endOffset)]
    const rows = database.prepare(selectRecords).all(from, to, recordsPerLook) as unknown as Row[]
    const records = rows.map((row) => recordOf(this.#topic, this.#partition, row))
    this.#nextOffset = (records.at(-1)?.offset ?? this.#endOffset) + 1
    return records
  }
}

interface PartitionRow {
  readonly id: number
  readonly partition: number
  readonly next_offset: number
}

function partitionRows(database: DatabaseSync, topic: string): PartitionRow[] {
  return database
    .prepare('SELECT id, partition, next_offset FROM partitions WHERE topic = ? ORDER BY partition')
    .all(topic) as unknown as PartitionRow[]
}

const selectRecords =
  'SELECT id, timestamp, key, value, headers FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?'

function recordOf(topic: string, partition: number, row: Row): ConsumedRecord {
  return {
    topic,
    partition,
    offset: offsetOf(row.id),
    timestamp: row.timestamp,
    key: bufferOf(row.key),
    value: bufferOf(row.value),
    headers: decodeHeaders(row.headers),
  }
}

/** A position in one topic. Each method is one short look into the file. */
class TopicReader {
  readonly #topic: string
  readonly #from: 'beginning' | 'latest'
  readonly #file: string
  #database: DatabaseSync | undefined
  #select: StatementSync | undefined
  /** Empty as long as the topic does not exist. */
  #partitions: ReadPartition[] = []

  constructor(topic: string, from: 'beginning' | 'latest', file: string) {
    this.#topic = topic
    this.#from = from
    this.#file = file
  }

  /** Fixes the position. */
  start(): void {
    this.#findPartitions(this.#from === 'latest')
  }

  /** The next records of every partition, not too many; none when there is nothing new. */
  next(): ConsumedRecord[] {
    // What appears only now was written after the start: it is read from its beginning.
    if (this.#partitions.length === 0) this.#findPartitions(false)
    return this.#partitions.flatMap((partition) => this.#readPartition(partition))
  }

  close(): void {
    this.#database?.close()
    this.#database = undefined
  }

  #findPartitions(atEnd: boolean): void {
    this.#database ??= openIfThere(this.#file)
    if (!this.#database) return
    this.#select ??= this.#database.prepare(selectRecords)
    const rows = partitionRows(this.#database, this.#topic)
    this.#partitions = rows.map(({ id, partition, next_offset: nextOffset }) => ({
      partition,
      nextId: rowIdOf(id, atEnd ? nextOffset : 0),
      endId: rowIdOf(id + 1, 0),
    }))
  }

  #readPartition(partition: ReadPartition): ConsumedRecord[] {
    const rows = (this.#select?.all(partition.nextId, partition.endId, recordsPerPoll) ?? []) as unknown as Row[]
    const last = rows.at(-1)
    if (last) partition.nextId = last.id + 1
    return rows.map((row) => recordOf(this.#topic, partition.partition, row))
  }
}

/** A file that does not exist yet is one without topics, not a failure. */
function openIfThere(file: string): DatabaseSync | undefined {
  return existsSync(file) ? openForReading(file, busyTimeoutMs) : undefined
}

function bufferOf(blob: Uint8Array | null): Buffer | null {
  return blob && Buffer.from(blob.buffer, blob.byteOffset, blob.byteLength)
}

async function sleepUntilAborted(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  await clock.sleep(ms, signal).catch((error: unknown) => {
    if (!signal.aborted) throw error
  })
}
