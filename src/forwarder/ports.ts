import type { ReadableJournal } from '../base/record-reader.ts'
import type { Message } from '../message/message.ts'
import type { Receipt } from '../message/receipt.ts'

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
  readonly position: { readonly seq: number; readonly mark: number; readonly reach?: number }
  write(position: { seq: number; mark: number; reach: number }): Promise<void>
}
