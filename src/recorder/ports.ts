import type { StoredMessage } from '../message/message.ts'
import type { FinishedMessage } from './finished-message.ts'
import type { LedgerSchema } from './ledger-schema.ts'

/** One store of the ledger, as a recorder needs it: a `MetadataStore`, or a `MessageLog`, and what goes into it. */
export interface RecordTarget<Row> {
  readonly schema: LedgerSchema
  /** Whether it keeps anything of messages that died. */
  readonly keepsDead: boolean
  /** What the store keeps of a message, or null for nothing. Must not hold views of the message. */
  rowOf(finished: FinishedMessage, message: StoredMessage): Row | null
  /** Bytes, roughly. */
  sizeOf(row: Row): number
  /** As `MetadataStore.write`. */
  write(rows: readonly Row[], signal: AbortSignal): Promise<void>
  /** As `MetadataStore.maintain`. */
  maintain(signal: AbortSignal): Promise<void>
  close(): Promise<void>
}

/** A durable pair of positions. */
export interface RecorderCursor {
  readonly position: RecorderPosition
  write(position: RecorderPosition): Promise<void>
}

/** Where a recorder stands. */
export interface RecorderPosition {
  /** The receipt from which on there is something left to record. */
  readonly mark: number
  /** Every message below this seq is recorded, or given up. */
  readonly seq: number
}
