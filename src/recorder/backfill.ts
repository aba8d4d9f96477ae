import type { MessagePosition } from '../message/message-id.ts'
import { formatMessageId } from '../message/message-id.ts'
import { logEntry, logEntryBytes } from './log-entry.ts'
import type { LogEntry } from './message-log.ts'
import { metadataRow, metadataRowBytes } from './metadata-row.ts'
import type { MetadataRow } from './metadata-store.ts'
import type { ComparedBroker, ComparedLedger, ComparedRange, ComparedTotals } from './reconcile.ts'
import { reconcile } from './reconcile.ts'
import type { StoreError } from './store-error.ts'
import type { StoreName } from './store-name.ts'
import { writeOrHalve } from './write-or-halve.ts'

export interface BackfillOptions {
  /** Nothing is written; what would be is counted. */
  readonly dryRun: boolean
  readonly batchMessagesMax: number
  readonly batchBytesMax: number
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

export interface BackfillResult {
  readonly compared: ComparedTotals
  readonly written: Readonly<Record<StoreName, number>>
  /** What a store refuses for good. */
  readonly refused: number
}

/** Told of each message that a store refuses for good. */
export type RefusalVisitor = (store: StoreName, id: string, error: StoreError) => void

/**
 * Writes what the ledger misses of a range, from what the broker has. See `deliveredMessage` for what can't be known again.
 * It may be cut short and begun anew at any time: writing twice leaves one. Rejects as `reconcile` does.
 */
export async function backfill(
  broker: ComparedBroker,
  ledger: ComparedLedger,
  range: ComparedRange,
  options: BackfillOptions,
  refused: RefusalVisitor,
  signal: AbortSignal,
): Promise<BackfillResult> {
  const { now } = options
  const rows = new Batch<MetadataRow>('metadata', options, metadataRowBytes, refused, async (batch) =>
    ledger.metadata?.write(batch, signal),
  )
  const entries = new Batch<LogEntry>('log', options, logEntryBytes, refused, async (batch) =>
    ledger.log?.write(batch, now(), signal),
  )
  const compared = await reconcile(
    broker,
    ledger,
    range,
    async ({ kind, store }, delivered) => {
      if (kind !== 'missing' || delivered === null) return
      const { journalId, finished, message } = delivered
      if (store === 'metadata') return rows.add(metadataRow(journalId, finished, message, now()))
      const entry = logEntry(journalId, finished, message)
      if (entry !== null) await entries.add(entry)
    },
    signal,
  )
  await rows.flush()
  await entries.flush()
  return {
    compared,
    written: { metadata: rows.written, log: entries.written },
    refused: rows.refused + entries.refused,
  }
}

/** Gathers what goes into one store. */
class Batch<T extends MessagePosition> {
  written = 0
  refused = 0
  readonly #store: StoreName
  readonly #options: BackfillOptions
  readonly #sizeOf: (item: T) => number
  readonly #refusal: RefusalVisitor
  readonly #write: (items: readonly T[]) => Promise<void>
  #items: T[] = []
  #bytes = 0

  constructor(
    store: StoreName,
    options: BackfillOptions,
    sizeOf: (item: T) => number,
    refusal: RefusalVisitor,
    write: (items: readonly T[]) => Promise<void>,
  ) {
    this.#store = store
    this.#options = options
    this.#sizeOf = sizeOf
    this.#refusal = refusal
    this.#write = write
  }

  async add(item: T): Promise<void> {
    this.#items.push(item)
    this.#bytes += this.#sizeOf(item)
    const { batchMessagesMax, batchBytesMax } = this.#options
    if (this.#items.length >= batchMessagesMax || this.#bytes >= batchBytesMax) await this.flush()
  }

  async flush(): Promise<void> {
    const items = this.#items
    this.#items = []
    this.#bytes = 0
    if (this.#options.dryRun) this.written += items.length
    else if (items.length > 0)
      await writeOrHalve(
        items,
        async (part) => {
          await this.#write(part)
          this.written += part.length
        },
        ({ journalId, seq }, error) => {
          this.refused++
          this.#refusal(this.#store, formatMessageId(journalId, seq), error)
        },
      )
  }
}
