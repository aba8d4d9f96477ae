import { formatMessageId } from '../message/message-id.ts'
import type { BrokerRecord, DeliveredMessage } from './delivered-record.ts'
import { deliveredMessage } from './delivered-record.ts'
import type { LogEntry, MessageLog } from './message-log.ts'
import { boundedKey } from './metadata-row.ts'
import type { MetadataRow, MetadataStore } from './metadata-store.ts'
import type { PartitionPages } from './partition-pages.ts'
import { entryPages, rowPages } from './partition-pages.ts'
import type { StoreName } from './store-name.ts'

/** The broker, as it is compared with the ledger; `Consumer` fits. */
export interface ComparedBroker {
  topics(signal: AbortSignal): Promise<readonly string[]>
  offsetsAt(
    topic: string,
    time: number | 'beginning' | 'end',
    signal: AbortSignal,
  ): Promise<readonly { readonly partition: number; readonly offset: number }[]>
  readRange(
    topic: string,
    partition: number,
    fromOffset: number,
    toOffset: number,
    signal: AbortSignal,
  ): AsyncIterable<BrokerRecord>
}

export interface ComparedLedger {
  /** Null when there is none; then nothing is said of it. */
  readonly metadata: MetadataStore | null
  readonly log: MessageLog | null
}

/**
 * Which records are compared: in each partition, those from the first whose timestamp is not before `from`, up to before the
 * first whose timestamp is not before `to`. Times are milliseconds since the epoch.
 */
export interface ComparedRange {
  readonly from: number | 'beginning'
  readonly to: number
  /** All topics when null. */
  readonly topics: readonly string[] | null
  /** What was accepted before this time may be missing in the ledger: its retention is over. */
  readonly keptSince: number
}

/** One difference, at one place of the broker. */
export interface Difference {
  /** `extra`: the ledger has something of which the broker has nothing, although it still holds older records. */
  readonly kind: 'missing' | 'extra' | 'different'
  readonly store: StoreName
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly id: string
  /** What is different, such as `value`; empty for the other kinds. */
  readonly what: readonly string[]
}

export interface ComparedTotals {
  /** Records of ours in the range. */
  records: number
  /** Of them, those whose message stands in the ledger under another record: it was delivered more than once. */
  duplicates: number
  /** Of them, those that are missing because the ledger's retention is over. */
  expired: number
  missing: number
  extra: number
  different: number
}

/** Told of every difference; `message` is what the broker has, unless it has nothing. */
export type DifferenceVisitor = (difference: Difference, message: DeliveredMessage | null) => Promise<void>

/** What seems to be missing is looked up together; so much of it at most waits. */
const suspectsMax = 64
const suspectBytesMax = 4 * 1024 * 1024

/**
 * Compares the ledger with the broker, record by record. Memory is bounded whatever the range: of the broker, the rows and
 * the entries, a page each is held. Rejects with a `StoreError`, a `BrokerError`, or the signal's reason.
 */
export async function reconcile(
  broker: ComparedBroker,
  ledger: ComparedLedger,
  range: ComparedRange,
  visit: DifferenceVisitor,
  signal: AbortSignal,
): Promise<ComparedTotals> {
  const totals: ComparedTotals = { records: 0, duplicates: 0, expired: 0, missing: 0, extra: 0, different: 0 }
  for (const topic of range.topics ?? (await broker.topics(signal))) {
    const [begins, ends] = await Promise.all([
      broker.offsetsAt(topic, range.from, signal),
      broker.offsetsAt(topic, range.to, signal),
    ])
    for (const { partition, offset: toOffset } of ends) {
      const fromOffset = begins.find((begin) => begin.partition === partition)?.offset ?? 0
      if (fromOffset >= toOffset) continue
      const comparison = new PartitionComparison(broker, ledger, { topic, partition, fromOffset, toOffset }, range.keptSince, totals, visit, signal) // prettier-ignore
      await comparison.run()
    }
  }
  return totals
}

interface PartitionPart {
  readonly topic: string
  readonly partition: number
  readonly fromOffset: number
  readonly toOffset: number
}

/** A record whose row or entry was not found at its place. */
interface Suspect extends DeliveredMessage {
  readonly lacks: readonly StoreName[]
}

class PartitionComparison {
  readonly #broker: ComparedBroker
  readonly #ledger: ComparedLedger
  readonly #part: PartitionPart
  readonly #keptSince: number
  readonly #totals: ComparedTotals
  readonly #visit: DifferenceVisitor
  readonly #signal: AbortSignal
  #suspects: Suspect[] = []
  #suspectBytes = 0
  /** Where the broker's records began when it was asked last, and below which offset that answer holds for what was read. */
  #begin = 0
  #beginHoldsBelow = 0

  constructor(
    broker: ComparedBroker,
    ledger: ComparedLedger,
    part: PartitionPart,
    keptSince: number,
    totals: ComparedTotals,
    visit: DifferenceVisitor,
    signal: AbortSignal,
  ) {
    this.#broker = broker
    this.#ledger = ledger
    this.#part = part
    this.#keptSince = keptSince
    this.#totals = totals
    this.#visit = visit
    this.#signal = signal
  }

  async run(): Promise<void> {
    const { topic, partition, fromOffset, toOffset } = this.#part
    const { metadata, log } = this.#ledger
    const rows = metadata && rowPages(metadata, topic, partition, fromOffset, toOffset, this.#signal)
    const entries = log && entryPages(log, topic, partition, fromOffset, toOffset, this.#signal)
    for await (const record of this.#broker.readRange(topic, partition, fromOffset, toOffset, this.#signal)) {
      const delivered = deliveredMessage(record)
      if (delivered === null) continue
      this.#totals.records++
      await this.#extras(rows, entries, record.offset)
      const row = await takeAt(rows, record.offset)
      const entry = await takeAt(entries, record.offset)
      if (row) await this.#compared('metadata', delivered, rowDifferences(row, delivered))
      if (entry) await this.#compared('log', delivered, entryDifferences(entry, delivered))
      const lacks: StoreName[] = []
      if (rows && !row) lacks.push('metadata')
      if (entries && !entry) lacks.push('log')
      if (lacks.length > 0) await this.#suspect({ ...delivered, lacks })
    }
    this.#signal.throwIfAborted()
    await this.#extras(rows, entries, toOffset)
    await this.#resolve()
  }

  /** What the ledger has before `offset`, up to which the broker had nothing more. */
  async #extras(
    rows: PartitionPages<MetadataRow> | null,
    entries: PartitionPages<LogEntry> | null,
    offset: number,
  ): Promise<void> {
    for (let row = await rows?.peek(); row && (row.offset ?? 0) < offset; row = await rows?.peek()) {
      await this.#extra('metadata', row.offset ?? 0, formatMessageId(row.journalId, row.seq), offset)
      rows?.skip()
    }
    for (let entry = await entries?.peek(); entry && entry.offset < offset; entry = await entries?.peek()) {
      await this.#extra('log', entry.offset, formatMessageId(entry.journalId, entry.seq), offset)
      entries?.skip()
    }
  }

  async #extra(store: StoreName, offset: number, id: string, readUpTo: number): Promise<void> {
    const { topic, partition } = this.#part
    // The broker's retention goes on while it is read. Asked after the reading, so it says what the reading may have missed.
    if (offset >= this.#beginHoldsBelow) {
      const begins = await this.#broker.offsetsAt(topic, 'beginning', this.#signal)
      this.#begin = begins.find((begin) => begin.partition === partition)?.offset ?? 0
      this.#beginHoldsBelow = readUpTo
    }
    if (offset < this.#begin) return
    this.#totals.extra++
    await this.#visit({ kind: 'extra', store, topic, partition, offset, id, what: [] }, null)
  }

  async #compared(store: StoreName, delivered: DeliveredMessage, what: readonly string[]): Promise<void> {
    if (what.length === 0) return
    this.#totals.different++
    await this.#visit(this.#difference('different', store, delivered, what), delivered)
  }

  async #suspect(suspect: Suspect): Promise<void> {
    if (suspect.message.acceptedAt < this.#keptSince) {
      this.#totals.expired++
      return
    }
    this.#suspects.push(suspect)
    this.#suspectBytes += suspect.message.value?.length ?? 0
    if (this.#suspects.length >= suspectsMax || this.#suspectBytes >= suspectBytesMax) await this.#resolve()
  }

  /** Tells what is missing from what was delivered twice: of that, the ledger has the later place. */
  async #resolve(): Promise<void> {
    const suspects = this.#suspects
    this.#suspects = []
    this.#suspectBytes = 0
    const lacking = await Promise.all(suspects.map((suspect) => this.#reallyLacking(suspect)))
    for (const [i, suspect] of suspects.entries()) {
      const lacks = lacking[i] ?? []
      if (lacks.length === 0) this.#totals.duplicates++
      for (const store of lacks) {
        this.#totals.missing++
        await this.#visit(this.#difference('missing', store, suspect, []), suspect)
      }
    }
  }

  async #reallyLacking({ journalId, finished, lacks }: Suspect): Promise<readonly StoreName[]> {
    const { metadata, log } = this.#ledger
    const row = metadata && (await metadata.find(journalId, finished.seq, this.#signal))
    if (!row || row.partition === null || row.offset === null) return lacks
    const isHere =
      row.topic === finished.topic && row.partition === finished.partition && row.offset === finished.offset
    if (isHere) return lacks.filter((store) => store !== 'metadata')
    if (!lacks.includes('log')) return []
    const entry = log && (await log.read(row.topic, row.partition, row.offset, this.#signal))
    const isThere = entry !== null && entry.journalId === journalId && entry.seq === finished.seq
    return isThere ? [] : ['log']
  }

  #difference(
    kind: Difference['kind'],
    store: StoreName,
    { journalId, finished }: DeliveredMessage,
    what: readonly string[],
  ): Difference {
    const { topic, partition } = this.#part
    const id = formatMessageId(journalId, finished.seq)
    return { kind, store, topic, partition, offset: finished.offset ?? 0, id, what }
  }
}

async function takeAt<T extends { readonly offset: number | null }>(
  pages: PartitionPages<T> | null,
  offset: number,
): Promise<T | null> {
  const next = (await pages?.peek()) ?? null
  if (next?.offset !== offset) return null
  pages?.skip()
  return next
}

function rowDifferences(row: MetadataRow, { journalId, message }: DeliveredMessage): string[] {
  const what: string[] = []
  if (row.journalId !== journalId || row.seq !== message.seq) what.push('id')
  if (!isSame(row.key, message.key && boundedKey(message.key))) what.push('key')
  if (row.valueBytes !== (message.value?.length ?? null)) what.push('value size')
  if (row.acceptedAt !== message.acceptedAt) what.push('time of acceptance')
  return what
}

function entryDifferences(entry: LogEntry, { journalId, message }: DeliveredMessage): string[] {
  const what: string[] = []
  if (entry.journalId !== journalId || entry.seq !== message.seq) what.push('id')
  if (!isSame(entry.key, message.key)) what.push('key')
  if (!isSame(entry.value, message.value)) what.push('value')
  if (!hasSameHeaders(entry, message)) what.push('headers')
  return what
}

function isSame(one: Buffer | null, other: Buffer | null): boolean {
  return one === null || other === null ? one === other : one.equals(other)
}

/** From the last: what a record's headers begin with may have been the message's own, see `deliveredMessage`. */
function hasSameHeaders(entry: LogEntry, { headers }: DeliveredMessage['message']): boolean {
  const surplus = entry.headers.length - headers.length
  const mayBeTaken = new Set(['content-type', 'traceparent', 'tracestate'])
  if (surplus < 0 || entry.headers.slice(0, surplus).some(([name]) => !mayBeTaken.has(name))) return false
  return headers.every(([name, value], i) => {
    const [otherName, otherValue] = entry.headers[i + surplus] as (typeof entry.headers)[number]
    return name === otherName && value.equals(Buffer.from(otherValue as string))
  })
}
