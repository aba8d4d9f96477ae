import type { Clock } from '../base/clock.ts'
import { OutriggerError, UnavailableError } from '../base/errors.ts'
import { Wakeup } from '../base/wakeup.ts'
import type { MessageFate } from '../message/message-fate.ts'
import type { ReceiptJournal } from './ports.ts'
import type { Receipt } from '../message/receipt.ts'
import { decodeReceipt } from '../message/receipt.ts'

export interface ReceiptLogOptions {
  /** Receipts are synced together, this often. A crash may deliver again what the last interval covered. */
  readonly receiptInterval: number
  /** Receipts that nothing needs any more are kept up to this many bytes, to tell what became of messages. */
  readonly receiptBytesMax: number
}

export interface ReceiptLogObserver {
  /** A write failed; it is tried again. */
  failing(error: unknown): void
  /** Receipts can't be written any more, for a reason that time won't mend. */
  broken(error: unknown): void
}

/** The forwarder ends; receipts that are not durable yet are given up. Their messages are sent again by the next start. */
export class ReceiptsClosedError extends OutriggerError {
  override readonly name = 'ReceiptsClosedError'
  override readonly code = 'receipts_closed'
}

/** Above this many messages whose receipts are not durable yet, lanes wait. */
const pendingMessagesMax = 200_000
/** After a failed write. */
const rewriteDelayMs = 500
/** An index entry is closed when it covers this many receipts. */
const indexedReceipts = 256

/** Where to look for the receipts of the messages from `seqMin` to `seqMax`. */
interface IndexEntry {
  readonly from: number
  to: number
  seqMin: number
  seqMax: number
}

/** Writes receipts in groups, off the accepting path, and finds them again. */
export class ReceiptLog {
  readonly #journal: ReceiptJournal
  readonly #options: ReceiptLogOptions
  readonly #observer: ReceiptLogObserver
  /** Oldest first; what is being written stays here until it is durable. */
  #pending: Receipt[] = []
  #pendingFrom = 0
  #pendingMessages = 0
  #writing = false
  /** Somebody waits for the next group. */
  #urgent = false
  readonly #hurry: Wakeup
  readonly #progress: Wakeup
  readonly #stop = new AbortController()
  /** The seq of the newest receipt that this run made durable. */
  #lastSeq = 0
  readonly #index: IndexEntry[] = []
  /** Receipts below this seq were there at the start; they are indexed when somebody asks. */
  readonly #startSeq: number
  #indexing: Promise<void> | null = null
  #finding = 0

  constructor(journal: ReceiptJournal, clock: Clock, options: ReceiptLogOptions, observer: ReceiptLogObserver) {
    this.#journal = journal
    this.#options = options
    this.#observer = observer
    this.#hurry = new Wakeup(clock)
    this.#progress = new Wakeup(clock)
    this.#startSeq = journal.end.nextSeq
  }

  /** Messages whose receipts are not durable yet. */
  get pendingMessages(): number {
    return this.#pendingMessages
  }

  /** Resolves at once, or when the backlog of receipts that are not durable yet has shrunk, or when the signal aborts. */
  async record(receipt: Receipt, signal: AbortSignal): Promise<void> {
    this.#add(receipt)
    while (this.#pendingMessages > pendingMessagesMax && !signal.aborted && !this.#stop.signal.aborted)
      await this.#progress.wait(signal, 1000)
  }

  /**
   * Resolves with the receipt's seq in its journal as soon as it, and with it all before it, is durable. Rejects with a
   * `ReceiptsClosedError` when that will not be.
   */
  async recordDurably(receipt: Receipt): Promise<number> {
    const position = this.#pendingFrom + this.#pending.length
    this.#add(receipt)
    this.#urgent = true
    this.#hurry.wake()
    while (this.#pendingFrom <= position) {
      this.#stop.signal.throwIfAborted()
      await this.#progress.wait(this.#stop.signal, 1000)
    }
    // The receipts of one group got consecutive seqs, and this one was in the newest group.
    return this.#lastSeq - (this.#pendingFrom - 1 - position)
  }

  /** Gives up what is not durable yet. Idempotent. */
  close(): void {
    this.#stop.abort(new ReceiptsClosedError('the forwarder is closing, and receipts could not be written'))
  }

  /** All receipts from `seq` on that are durable, in order. */
  async replay(seq: number, visit: (receipt: Receipt) => void): Promise<void> {
    const reader = this.#journal.reader(seq)
    try {
      for (let block = await reader.next(); block; block = await reader.next())
        block.forEach((at, bytes, start, end) => {
          if (at >= seq) visit(decodeReceipt(bytes, start, end))
        })
    } finally {
      await reader.close()
    }
  }

  /** What became of a message, or null when no receipt of it is held. */
  async find(seq: number): Promise<MessageFate | null> {
    for (const receipt of this.#pending) {
      const fate = fateIn(receipt, seq)
      if (fate) return fate
    }
    this.#finding++
    try {
      const fate = await this.#findIndexed(seq)
      if (fate || this.#journal.firstSeq >= this.#startSeq) return fate
      this.#indexing ??= this.#indexOlder()
      await this.#indexing
      return await this.#findIndexed(seq)
    } catch (error) {
      this.#indexing = null
      throw error
    } finally {
      this.#finding--
    }
  }

  /** Deletes old receipts beyond what is to be kept, but none from `neededFrom` on, and none while somebody looks for one. */
  async trim(neededFrom: number): Promise<void> {
    const excess = this.#journal.bytes - this.#options.receiptBytesMax
    if (excess <= 0 || this.#finding > 0) return
    const held = this.#journal.end.nextSeq - this.#journal.firstSeq
    const share = Math.floor(held * (excess / this.#journal.bytes))
    try {
      await this.#journal.release(Math.min(this.#journal.firstSeq + share, neededFrom))
    } catch (error) {
      this.#observer.failing(error) // it is tried again after the next checkpoint
    }
    const gone = this.#index.findIndex((entry) => entry.to > this.#journal.firstSeq)
    this.#index.splice(0, gone === -1 ? this.#index.length : gone)
  }

  #add(receipt: Receipt): void {
    this.#pending.push(receipt)
    this.#pendingMessages += messagesOf(receipt)
    if (this.#writing) return
    this.#writing = true
    this.#write().catch((error: unknown) => {
      this.#stop.abort(error)
      this.#observer.broken(error)
    })
  }

  async #write(): Promise<void> {
    const { signal } = this.#stop
    while (this.#pending.length > 0 && !signal.aborted) {
      if (!this.#urgent) await this.#hurry.wait(signal, this.#options.receiptInterval)
      this.#urgent = false
      const group = this.#pending.slice()
      try {
        const seq = await this.#journal.append(group)
        this.#lastSeq = seq + group.length - 1
        this.#addToIndex(seq, group)
        this.#pending.splice(0, group.length)
        this.#pendingFrom += group.length
        for (const receipt of group) this.#pendingMessages -= messagesOf(receipt)
        this.#progress.wake()
      } catch (error) {
        if (!(error instanceof UnavailableError)) throw error
        if (signal.aborted) break
        this.#observer.failing(error)
        await this.#progress.wait(signal, rewriteDelayMs)
      }
    }
    this.#writing = false
  }

  #addToIndex(from: number, group: readonly Receipt[], entries = this.#index): void {
    let seqMin = Number.POSITIVE_INFINITY
    let seqMax = Number.NEGATIVE_INFINITY
    for (const receipt of group) {
      if (receipt.kind === 'checkpoint') continue
      const isOne = receipt.kind === 'dead'
      seqMin = Math.min(seqMin, isOne ? receipt.seq : (receipt.seqs[0] as number))
      seqMax = Math.max(seqMax, isOne ? receipt.seq : (receipt.seqs.at(-1) as number))
    }
    if (seqMax < seqMin) return
    const last = entries.at(-1)
    if (last && from + group.length - last.from <= indexedReceipts) {
      last.to = from + group.length
      last.seqMin = Math.min(last.seqMin, seqMin)
      last.seqMax = Math.max(last.seqMax, seqMax)
    } else {
      entries.push({ from, to: from + group.length, seqMin, seqMax })
    }
  }

  async #indexOlder(): Promise<void> {
    const older: IndexEntry[] = []
    let at = this.#journal.firstSeq
    const reader = this.#journal.reader(at)
    try {
      while (at < this.#startSeq) {
        const block = await reader.next()
        if (block === null) break
        const group: Receipt[] = []
        block.forEach((_, bytes, start, end) => group.push(decodeReceipt(bytes, start, end)))
        this.#addToIndex(block.firstSeq, group, older)
        at = block.firstSeq + block.count
      }
    } finally {
      await reader.close()
    }
    this.#index.unshift(...older)
  }

  async #findIndexed(seq: number): Promise<MessageFate | null> {
    for (const entry of this.#index.toReversed()) {
      if (seq < entry.seqMin || seq > entry.seqMax) continue
      const fate = await this.#findBetween(entry.from, entry.to, seq)
      if (fate) return fate
    }
    return null
  }

  async #findBetween(from: number, to: number, seq: number): Promise<MessageFate | null> {
    const reader = this.#journal.reader(from)
    try {
      while (reader.nextSeq < to) {
        const block = await reader.next()
        if (block === null) return null
        let found: MessageFate | null = null
        block.forEach((_, bytes, start, end) => {
          found ??= fateIn(decodeReceipt(bytes, start, end), seq)
        })
        if (found) return found
      }
      return null
    } finally {
      await reader.close()
    }
  }
}

function messagesOf(receipt: Receipt): number {
  return receipt.kind === 'delivered' ? receipt.seqs.length : 1
}

function fateIn(receipt: Receipt, seq: number): MessageFate | null {
  switch (receipt.kind) {
    case 'delivered': {
      const { topic, deliveredAt, attempts, seqs } = receipt
      if (seq < (seqs[0] as number) || seq > (seqs.at(-1) as number)) return null
      const i = seqs.indexOf(seq)
      if (i === -1) return null
      const partition = receipt.partitions[i] as number
      const offset = receipt.offsets[i] as number
      return { state: 'delivered', topic, partition, offset, deliveredAt, attempts }
    }
    case 'dead': {
      const { topic, reason, diedAt, attempts } = receipt
      return receipt.seq === seq ? { state: 'dead', topic, reason, diedAt, attempts } : null
    }
    case 'checkpoint':
      return null
  }
}
