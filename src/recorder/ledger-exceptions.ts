import { UnavailableError } from '../base/errors.ts'
import type { ReadableJournal } from '../base/record-reader.ts'

/**
 * What a store of the ledger does not hold although it should: messages that were given up, and messages that the store
 * refused. Times are milliseconds since the epoch.
 */
export type LedgerException = LedgerGap | RefusedMessage

/**
 * Why messages are missing: the store was away for too long (`backlog`); the ledger was `off`; the journal has `lost` them; they
 * were `dropped`, because the journal was full; or what became of them is not known any more, because `receipts` are lost.
 */
export type GapCause = 'backlog' | 'off' | 'lost' | 'dropped' | 'receipts'

export interface LedgerGap {
  readonly kind: 'gap'
  readonly at: number
  readonly cause: GapCause
  /** From the first message to below `toSeq`; not all of them are missing, but no others. */
  readonly fromSeq: number
  readonly toSeq: number
  /** How many messages are missing; null when that is not known, and then all of them may be. */
  readonly messages: number | null
  /** The delivered ones among them: offsets from `fromOffset` to below `toOffset`, each of them missing. */
  readonly ranges: readonly OffsetRange[]
  /** The dead ones among them. */
  readonly deadSeqs: readonly number[]
  /** Those that were neither delivered nor died: seqs from `fromSeq` to below `toSeq`, each of them lost. */
  readonly lostSeqs: readonly { readonly fromSeq: number; readonly toSeq: number }[]
}

export interface OffsetRange {
  readonly topic: string
  readonly partition: number
  readonly fromOffset: number
  readonly toOffset: number
}

/** A message that the store refuses for good. */
export interface RefusedMessage {
  readonly kind: 'refused'
  readonly at: number
  readonly id: string
  readonly topic: string
  readonly partition: number | null
  readonly offset: number | null
  /** The store's name of the error, such as `ER_DATA_TOO_LONG`. */
  readonly reason: string
  readonly detail: string
}

/** As a journal record: a version byte and JSON text. */
export const exceptionCodec = {
  sizeMax: (exception: LedgerException): number => 1 + Buffer.byteLength(JSON.stringify(exception)),

  encode(exception: LedgerException, into: Buffer, at: number): number {
    into[at] = recordVersion
    return at + 1 + into.write(JSON.stringify(exception), at + 1)
  },
}

const recordVersion = 1
/** A page goes from thread to thread, and to the operator, as a whole. */
const listedBytesMax = 1024 * 1024

export type NumberedException = LedgerException & {
  /** Its number among the exceptions of its store, ascending with time. */
  readonly number: number
}

/** What the exceptions are kept in. */
export interface ExceptionJournal extends ReadableJournal {
  readonly firstSeq: number
  append(exceptions: readonly LedgerException[]): Promise<number>
  release(seq: number): Promise<void>
}

/** Keeps what one store does not hold, for operators and for `ledger backfill`. */
export class LedgerExceptions {
  readonly #journal: ExceptionJournal
  readonly #forgot: (count: number) => void

  /** `forgot` is told when there are so many that the oldest had to go. */
  constructor(journal: ExceptionJournal, forgot: (count: number) => void) {
    this.#journal = journal
    this.#forgot = forgot
  }

  get count(): number {
    return this.#journal.end.nextSeq - this.#journal.firstSeq
  }

  /** Resolves when they are on stable storage; rejects with an `UnavailableError` when they can't be kept now. */
  async add(exceptions: readonly LedgerException[]): Promise<void> {
    try {
      await this.#journal.append(exceptions)
    } catch (error) {
      if (!(error instanceof UnavailableError && error.code === 'journal_full')) throw error
      // Recording must not wait for somebody to look at them.
      await this.#forgetOldest()
      await this.#journal.append(exceptions)
    }
  }

  async #forgetOldest(): Promise<void> {
    const { firstSeq, end } = this.#journal
    await this.#journal.release(Math.ceil((firstSeq + end.nextSeq) / 2))
    this.#forgot(this.#journal.firstSeq - firstSeq)
  }

  /** Up to `limit` of them with numbers above `after`, oldest first; fewer when they are large. */
  async list(after: number, limit: number): Promise<NumberedException[]> {
    const reader = this.#journal.reader(after + 1)
    const listed: NumberedException[] = []
    let listedBytes = 0
    const isFull = (): boolean => listed.length >= limit || listedBytes >= listedBytesMax
    try {
      for (let block = await reader.next(); block && !isFull(); block = await reader.next())
        block.forEach((number, bytes, start, end) => {
          if (number <= after || isFull()) return
          listedBytes += end - start
          listed.push({ ...decodeException(bytes, start, end), number })
        })
    } finally {
      await reader.close()
    }
    return listed
  }
}

/** The exception between `start` and `end`. */
export function decodeException(bytes: Buffer, start: number, end: number): LedgerException {
  if (bytes[start] !== recordVersion) throw new Error(`ledger exception version ${bytes[start]} is not known`)
  return parse(bytes.toString('utf8', start + 1, end))
}

function parse(text: string): LedgerException {
  const exception = JSON.parse(text) as RefusedMessage | (Omit<LedgerGap, 'lostSeqs'> & Partial<LedgerGap>)
  // Older ones do not have the member.
  return exception.kind === 'gap' ? { ...exception, lostSeqs: exception.lostSeqs ?? [] } : exception
}
