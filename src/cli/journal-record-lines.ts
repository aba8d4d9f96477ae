import { messageOf } from '../base/errors.ts'
import { decodeMessage } from '../message/message-codec.ts'
import { formatMessageId } from '../message/message-id.ts'
import type { StoredMessage } from '../message/message.ts'
import { decodeReceipt } from '../message/receipt.ts'
import { decodeException } from '../recorder/ledger-exceptions.ts'
import type { RecordKind } from './journal-folder.ts'
import { jsonField, jsonHeaders } from './record-lines.ts'

/** A dead letter as the forwarder keeps it. */
export interface ReadDeadLetter {
  readonly id: string
  readonly reason: string
  readonly detail: string
  readonly diedAt: number
  readonly attempts: number
  readonly message: StoredMessage
}

/** How a record of `dead-letters/` is read. */
export type DeadLetterDecoder = (bytes: Buffer, start: number, number: number) => ReadDeadLetter

/** A record of a journal, and where it stands. */
export interface JournalRecord {
  readonly seq: number
  readonly bytes: Buffer
  readonly start: number
  readonly end: number
}

/**
 * Records as lines of JSON, one object each. Times are milliseconds since the epoch.
 *
 * - A message: `seq`, `id`, `topic`, `partition` and `timestamp` (as the publisher asked for, or null), `acceptedAt`, `producer`,
 *   `contentType`, `traceparent`, `tracestate`, `idempotencyKey`, and then `key`, `value`, `headers` as `tail` and `log` have them.
 * - A receipt: `seq`, `kind`, and what that kind has. A dead letter: `number`, why and when it died, `message`. An exception of
 *   the ledger: `number`, `kind`, and what that kind has.
 * - A record that can't be decoded: `kind` of the journal's records, `seq`, `problem`, `raw` (Base64).
 */
export class RecordLines {
  readonly #kind: RecordKind
  readonly #journalId: string
  readonly #decodeDeadLetter: DeadLetterDecoder

  constructor(kind: RecordKind, journalId: string, decodeDeadLetter: DeadLetterDecoder) {
    this.#kind = kind
    this.#journalId = journalId
    this.#decodeDeadLetter = decodeDeadLetter
  }

  line(record: JournalRecord): string {
    let fields: Record<string, unknown>
    try {
      fields = this.#fields(record)
    } catch (error) {
      return this.raw(record, messageOf(error))
    }
    return `${JSON.stringify(fields)}\n`
  }

  /** The record's bytes as they are: `kind`, `seq`, for a message `id`, and `raw` (Base64). */
  raw({ seq, bytes, start, end }: JournalRecord, problem?: string): string {
    const id = this.#kind === 'messages' ? { id: formatMessageId(this.#journalId, seq) } : {}
    const raw = bytes.toString('base64', start, end)
    return `${JSON.stringify({ kind: this.#kind, seq, ...id, ...(problem !== undefined && { problem }), raw })}\n`
  }

  #fields({ seq, bytes, start, end }: JournalRecord): Record<string, unknown> {
    switch (this.#kind) {
      case 'messages':
        return { seq, id: formatMessageId(this.#journalId, seq), ...messageFields(decodeMessage(bytes, start, seq)) }
      case 'receipts': {
        const receipt = decodeReceipt(bytes, start, end)
        if (receipt.kind !== 'checkpoint') return { seq, ...receipt }
        return { seq, ...receipt, positions: Object.fromEntries(receipt.positions) }
      }
      case 'dead-letters': {
        const { id, reason, detail, diedAt, attempts, message } = this.#decodeDeadLetter(bytes, start, seq)
        return { number: seq, id, reason, detail, diedAt, attempts, message: messageFields(message) }
      }
      case 'exceptions':
        return { number: seq, ...decodeException(bytes, start, end) }
    }
  }
}

function messageFields(message: StoredMessage): Record<string, unknown> {
  const { topic, partition, timestamp, acceptedAt, producer, contentType, traceparent, tracestate, idempotencyKey } =
    message
  return {
    topic,
    partition,
    timestamp,
    acceptedAt,
    producer,
    contentType,
    traceparent,
    tracestate,
    idempotencyKey,
    ...jsonField('key', message.key),
    ...jsonField('value', message.value),
    headers: jsonHeaders(message.headers),
  }
}
