import type { LedgerRecords } from '../e2e/ledger-records.ts'
import { formatMessageId } from '../../src/message/message-id.ts'
import type { LogEntry } from '../../src/recorder/message-log.ts'
import { headersBytesMax, keyBytesMax, type MetadataRow } from '../../src/recorder/metadata-store.ts'
import type { ConsumedRecord } from '../../src/subscriptions/consumer.ts'
import type { SentMessage } from './verdict.ts'

/** What came of one store of the ledger. */
export interface StoreVerdict {
  /** How many rows or entries there are. */
  readonly recorded: number
  /** Messages that are in the broker, and not here. */
  readonly missing: readonly string[]
  /** Messages that are here more than once. */
  readonly repeated: readonly string[]
  /** Messages that stand here for a record that is another one's, or none. */
  readonly misplaced: readonly string[]
  /** Messages that are not here as they were sent. */
  readonly damaged: readonly string[]
  /** What is here, and is not in the broker. */
  readonly unknown: readonly string[]
}

export interface LedgerVerdict {
  readonly metadata: StoreVerdict
  readonly log: StoreVerdict
}

/** Whether there is exactly one row and one entry for each message in the broker, and no others, and all as they were sent. */
export function isComplete({ metadata, log }: LedgerVerdict): boolean {
  return [metadata, log].every((store) => faultsOf(store) === 0)
}

export function faultsOf({ missing, repeated, misplaced, damaged, unknown }: StoreVerdict): number {
  return missing.length + repeated.length + misplaced.length + damaged.length + unknown.length
}

/** A message in the broker, which may hold it more than once. */
interface Delivered {
  readonly sent: SentMessage
  readonly acceptedAt: number
  /** Each `partition/offset` at which it stands. */
  readonly places: Set<string>
}

/** What of one store was seen. */
class Seen {
  readonly #delivered: ReadonlyMap<string, Delivered>
  readonly #counts = new Map<string, number>()
  readonly #misplaced: string[] = []
  readonly #damaged: string[] = []
  readonly #unknown: string[] = []
  #recorded = 0

  constructor(delivered: ReadonlyMap<string, Delivered>) {
    this.#delivered = delivered
  }

  add(row: MetadataRow | LogEntry, isRight: (sent: SentMessage) => boolean): void {
    this.#recorded++
    const id = formatMessageId(row.journalId, row.seq)
    const delivered = this.#delivered.get(id)
    if (delivered === undefined) {
      this.#unknown.push(id)
      return
    }
    this.#counts.set(id, (this.#counts.get(id) ?? 0) + 1)
    const { sent, acceptedAt, places } = delivered
    if (row.topic !== sent.topic || !places.has(placeOf(row.partition, row.offset))) this.#misplaced.push(id)
    if (row.acceptedAt !== acceptedAt || !isRight(sent)) this.#damaged.push(id)
  }

  verdict(): StoreVerdict {
    return {
      recorded: this.#recorded,
      missing: [...this.#delivered.keys()].filter((id) => !this.#counts.has(id)),
      repeated: [...this.#counts].filter(([, count]) => count > 1).map(([id]) => id),
      misplaced: this.#misplaced,
      damaged: this.#damaged,
      unknown: this.#unknown,
    }
  }
}

/**
 * Holds what is in the ledger against what is in the broker, and against what was sent. Where the broker has a message
 * more than once, row and entry must stand for one of its records.
 */
export class LedgerTrial {
  readonly #tagHeader: string
  readonly #sent: (tag: string) => SentMessage | null
  readonly #delivered = new Map<string, Delivered>()
  readonly #rows = new Seen(this.#delivered)
  readonly #entries = new Seen(this.#delivered)

  /** As of a `Trial`. */
  constructor(tagHeader: string, sent: (tag: string) => SentMessage | null) {
    this.#tagHeader = tagHeader
    this.#sent = sent
  }

  /** Takes a record of the broker. All of them come first. One that is nobody's is for the `Trial` to tell. */
  addRecord({ partition, offset, headers }: ConsumedRecord): void {
    const texts = new Map(headers.map(([name, value]) => [name, value.toString()]))
    const id = texts.get('outrigger-id')
    const sent = this.#sent(texts.get(this.#tagHeader) ?? '')
    if (id === undefined || sent === null) return
    const known = this.#delivered.get(id)
    if (known === undefined) {
      const acceptedAt = Number(texts.get('outrigger-accepted-at'))
      this.#delivered.set(id, { sent, acceptedAt, places: new Set([placeOf(partition, offset)]) })
    } else {
      known.places.add(placeOf(partition, offset))
    }
  }

  /** Takes all that is in both stores. */
  async read(ledger: LedgerRecords): Promise<LedgerVerdict> {
    await ledger.readMetadata((row) => this.addRow(row))
    await ledger.readLog((entry) => this.addEntry(entry))
    return this.verdict()
  }

  addRow(row: MetadataRow): void {
    this.#rows.add(row, (sent) => isRowOf(row, sent))
  }

  addEntry(entry: LogEntry): void {
    this.#entries.add(entry, (sent) => isEntryOf(entry, sent))
  }

  verdict(): LedgerVerdict {
    return { metadata: this.#rows.verdict(), log: this.#entries.verdict() }
  }
}

function placeOf(partition: number | null, offset: number | null): string {
  return `${partition}/${offset}`
}

function isRowOf(row: MetadataRow, sent: SentMessage): boolean {
  const { contentType, own } = partsOf(sent)
  return (
    row.status === 'delivered' &&
    row.reason === null &&
    row.attempts >= 1 &&
    row.finishedAt >= row.acceptedAt &&
    row.recordedAt >= row.finishedAt &&
    row.contentType === contentType &&
    row.valueBytes === (sent.value === null ? null : sent.value.length) &&
    isEqual(row.key, sent.key && sent.key.subarray(0, keyBytesMax)) &&
    row.headers === headersText(own)
  )
}

function isEntryOf(entry: LogEntry, sent: SentMessage): boolean {
  const { contentType, own } = partsOf(sent)
  return (
    entry.deliveredAt >= entry.acceptedAt &&
    entry.contentType === contentType &&
    isEqual(entry.key, sent.key) &&
    isEqual(entry.value, sent.value) &&
    entry.headers.length === own.length &&
    own.every(([name, value], i) => entry.headers[i]?.[0] === name && value.equals(entry.headers[i][1] as Buffer))
  )
}

/** In the broker the content type stands before the publisher's own headers. */
function partsOf({ headers }: SentMessage): { contentType: string | null; own: SentMessage['headers'] } {
  const [first, ...others] = headers
  return first?.[0] === 'content-type'
    ? { contentType: first[1].toString(), own: others }
    : { contentType: null, own: headers }
}

/** As rows have them. Only for text that is short enough to be there whole. */
function headersText(headers: SentMessage['headers']): string | null {
  if (headers.length === 0) return null
  const text = JSON.stringify(headers.map(([name, value]) => ({ name, value: value.toString() })))
  if (Buffer.byteLength(text) > headersBytesMax) throw new Error('these headers are too long for a row')
  return text
}

function isEqual(a: Buffer | null, b: Buffer | null): boolean {
  return a === null || b === null ? a === b : a.equals(b)
}
