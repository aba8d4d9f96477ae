import type { LogEntry } from '../recorder/message-log.ts'
import { StoreError } from '../recorder/store-error.ts'
import type { CassandraSession } from './cassandra-session.ts'
import { chunkParams, entryParams, rowBytes } from './entry-row.ts'
import { KnownRows } from './known-rows.ts'
import { bucketOf, bucketStepMs, partitionStepMs, slackMs, ttlSeconds } from './log-layout.ts'
import type { Statements } from './log-layout.ts'

/** Nodes refuse batches of more than 50 KiB (`batch_size_fail_threshold`); this leaves room for what we don't count. */
const batchBytesMax = 40 * 1024
const inFlightMax = 32
const knownMax = 10_000

/** What is sent as one request: a batch when it is more than one row. */
interface Request {
  readonly query: string
  readonly rows: unknown[][]
}

type Session = Pick<CassandraSession, 'execute' | 'batch' | 'interruptions'>

/** Writes entries, and what must be written before them; see log-layout.ts. */
export class LogWriter {
  readonly #session: Session
  readonly #statements: Statements
  readonly #retention: number
  readonly #valueChunkBytes: number
  readonly #known = new KnownRows(knownMax)
  /** Of the session, when rows were last known for sure. */
  #interruptions = 0

  constructor(
    session: Session,
    statements: Statements,
    options: { readonly retention: number; readonly valueChunkBytes: number },
  ) {
    this.#session = session
    this.#statements = statements
    this.#retention = options.retention
    this.#valueChunkBytes = options.valueChunkBytes
  }

  async write(entries: readonly LogEntry[], now: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    const live = entries.filter(({ deliveredAt }) => deliveredAt + this.#retention > now)
    if (live.length === 0) return
    this.#doubt()
    try {
      await this.#writeAll(live, now, signal)
      // What was written before the interruption may be gone with the old tables; what is written now is not.
      if (this.#doubt()) await this.#writeAll(live, now, signal)
    } catch (error) {
      // The tables may be gone, and come back empty.
      if (error instanceof StoreError && error.failure === 'fatal') this.#known.clear()
      throw error
    }
  }

  /** Whether the tables may have been made anew, by anybody, since the last call: then no row is known to be there. */
  #doubt(): boolean {
    const { interruptions } = this.#session
    if (interruptions === this.#interruptions) return false
    this.#interruptions = interruptions
    this.#known.clear()
    return true
  }

  async #writeAll(live: readonly LogEntry[], now: number, signal: AbortSignal): Promise<void> {
    const places = this.#newPlaces(live, now)
    const chunks = live.flatMap((entry) =>
      chunkParams(entry, this.#valueChunkBytes, this.#ttl(entry, now, slackMs)).map((params) => ({
        query: this.#statements.insertChunk,
        rows: [params],
      })),
    )
    await this.#send([...places.map(({ request }) => request), ...chunks], signal)
    for (const { name, until } of places) this.#known.add(name, until)
    await this.#send(this.#batches(live, now), signal)
  }

  /** The rows of buckets and partitions that have to be written, so that the entries are found. */
  #newPlaces(entries: readonly LogEntry[], now: number): { name: string; until: number; request: Request }[] {
    const places = new Map<string, { until: number; query: string; key: unknown[] }>()
    const need = (name: string, until: number, query: string, key: unknown[]): void => {
      const place = places.get(name)
      if (place !== undefined) place.until = Math.max(place.until, until)
      else if (!this.#known.covers(name, until)) places.set(name, { until, query, key })
    }
    for (const { topic, partition, offset, deliveredAt } of entries) {
      const bucket = bucketOf(offset)
      const { insertBucket, insertPartition } = this.#statements
      const name = `${topic}/${partition}`
      need(`bucket ${name}/${bucket}`, roundUp(deliveredAt, bucketStepMs), insertBucket, [topic, partition, bucket])
      need(`partition ${name}`, roundUp(deliveredAt, partitionStepMs), insertPartition, [topic, partition])
    }
    return [...places].map(([name, { until, query, key }]) => {
      const ttl = ttlSeconds(until + this.#retention + slackMs, now)
      return { name, until, request: { query, rows: [[...key, until, until * 1000, ttl]] } }
    })
  }

  /** Rows of one Cassandra partition together, as many as a batch may hold; a larger one goes alone. */
  #batches(entries: readonly LogEntry[], now: number): Request[] {
    const query = this.#statements.insertEntry
    const requests: Request[] = []
    const filling = new Map<string, { rows: unknown[][]; bytes: number }>()
    for (const entry of entries) {
      const name = `${entry.topic}/${entry.partition}/${bucketOf(entry.offset)}`
      const bytes = rowBytes(entry, this.#valueChunkBytes)
      const params = entryParams(entry, this.#valueChunkBytes, this.#ttl(entry, now, 0))
      const batch = filling.get(name)
      if (batch !== undefined && batch.bytes + bytes <= batchBytesMax) {
        batch.rows.push(params)
        batch.bytes += bytes
        continue
      }
      const rows = [params]
      filling.set(name, { rows, bytes })
      requests.push({ query, rows })
    }
    return requests
  }

  #ttl({ deliveredAt }: LogEntry, now: number, moreMs: number): number {
    return ttlSeconds(deliveredAt + this.#retention + moreMs, now)
  }

  /** Sends all, a bounded number at a time; nothing more is begun after the first failure. */
  async #send(requests: readonly Request[], signal: AbortSignal): Promise<void> {
    let next = 0
    let failed = false
    const sendOnes = async (): Promise<void> => {
      for (let request = requests[next++]; request !== undefined && !failed; request = requests[next++]) {
        try {
          await this.#sendOne(request, signal)
        } catch (error) {
          failed = true
          throw error
        }
      }
    }
    await Promise.all(Array.from({ length: Math.min(inFlightMax, requests.length) }, sendOnes))
  }

  async #sendOne({ query, rows }: Request, signal: AbortSignal): Promise<void> {
    const call = { what: 'writing to the message log' }
    const [only] = rows
    if (rows.length === 1 && only !== undefined) await this.#session.execute(query, only, call, signal)
    else await this.#session.batch(query, rows, call, signal)
  }
}

function roundUp(time: number, stepMs: number): number {
  return Math.ceil(time / stepMs) * stepMs
}
