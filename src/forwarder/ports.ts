import type { Message } from '../message/message.ts'
import type { Receipt } from './receipt.ts'

/** Records that were written together. Every reader gives the same blocks, each as a whole. */
export interface RecordBlock {
  readonly firstSeq: number
  readonly count: number
  /** Milliseconds since the epoch. */
  readonly writtenAt: number
  /** Calls `visit` for every record; the bytes are valid only until the reader reads on. */
  forEach(visit: (seq: number, bytes: Buffer, start: number, end: number) => void): void
}

export interface RecordReader {
  /** The lowest seq that the next block may hold. */
  readonly nextSeq: number
  /** The next block in order, or null at the durable end. */
  next(): Promise<RecordBlock | null>
  close(): Promise<void>
}

/** What the forwarder needs of a journal that it reads. */
export interface ReadableJournal {
  readonly id: string
  readonly end: {
    /** One past the last durable seq. */
    readonly nextSeq: number
    /** Resolves when `nextSeq` is greater than `seq`. */
    wait(seq: number, signal: AbortSignal): Promise<void>
  }
  /** Reads from `seq` on, or from the oldest record when that one is gone. */
  reader(fromSeq: number): RecordReader
}

/** What the forwarder needs of a journal that it writes: of receipts, of dead letters. */
export interface WritableJournal<T> extends ReadableJournal {
  readonly bytes: number
  readonly firstSeq: number
  append(records: readonly T[]): Promise<number>
  release(seq: number): Promise<void>
}

export type ReceiptJournal = WritableJournal<Receipt>

/** A message that can never be delivered, with why. Times are milliseconds since the epoch. */
export interface DeadLetter {
  readonly id: string
  readonly message: Message
  /** The broker's name of the error, such as `MESSAGE_TOO_LARGE`. */
  readonly reason: string
  readonly detail: string
  readonly diedAt: number
  readonly attempts: number
}

/** Where dead letters are kept. `add` resolves when it is on stable storage. */
export interface DeadLetterBox {
  add(letter: DeadLetter): Promise<void>
}

/** A durable pair of positions: see `CursorPosition`. */
export interface Cursor {
  readonly position: { readonly seq: number; readonly mark: number }
  write(position: { seq: number; mark: number }): Promise<void>
}
