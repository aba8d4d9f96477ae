import type { Clock } from '../base/clock.ts'
import { OutriggerError, UnavailableError } from '../base/errors.ts'
import { Wakeup } from '../base/wakeup.ts'
import type { MessageFate } from '../message/message-fate.ts'
import type { ReceiptJournal } from './ports.ts'
import type { Receipt, SeqRange } from '../message/receipt.ts'
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
   * `ReceiptsClosedError` when that will not be, or with the signal's reason.
   */
  async recordDurably(receipt: Receipt, signal: AbortSignal = this.#stop.signal): Promise<number> {
    const position = this.#pendingFrom + this.#pending.length
    this.#add(receipt)
    this.#urgent = true
    this.#hurry.wake()
    const either = AbortSignal.any([this.#stop.signal, signal])
    while (this.#pendingFrom <= position) {
      either.throwIfAborted()
      await this.#progress.wait(either, 1000)
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

  /**
   * What became of a message, or null when no receipt of it is held. What was delivered after all (a file that could not be
   * read was put right) is not lost.
   */
  async find(seq: number): Promise<MessageFate | null> {
    let pending: MessageFate | null = null
    for (const receipt of this.#pending) {
      pending = better(pending, fateIn(receipt, seq))
      if (isFinal(pending)) return pending
    }
    this.#finding++
    try {
      const fate = better(pending, await this.#findIndexed(seq))
      if (isFinal(fate) || this.#journal.firstSeq >= this.#startSeq) return fate
      this.#indexing ??= this.#indexOlder()
      await this.#indexing
      return better(pending, await this.#findIndexed(seq))
    } catch (error) {
      this.#indexing = null
      throw error
    } finally {
      this.#finding--
    }
  }

  /** Calls `visit` for the seqs that receipts have which are held: each part of them that lies between `fromSeq` and below `toSeq`. */
  async finishedBetween(fromSeq: number, toSeq: number, visit: (range: SeqRange) => void): Promise<void> {
    const visitIn = (receipt: Receipt): void => {
      for (const [from, to] of rangesOf(receipt))
        if (from < toSeq && to > fromSeq) visit([Math.max(from, fromSeq), Math.min(to, toSeq)])
    }
    // Before anything else: what is pending now may be durable, and behind the reader, when it is through.
    for (const receipt of this.#pending) visitIn(receipt)
    this.#finding++
    try {
      await this.replay(this.#journal.firstSeq, visitIn)
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
      const [first, last] = extentOf(receipt)
      seqMin = Math.min(seqMin, first)
      seqMax = Math.max(seqMax, last)
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
    let found: MessageFate | null = null
    for (const entry of this.#index.toReversed()) {
      if (seq < entry.seqMin || seq > entry.seqMax) continue
      found = better(found, await this.#findBetween(entry.from, entry.to, seq))
      if (isFinal(found)) return found
    }
    return found
  }

  async #findBetween(from: number, to: number, seq: number): Promise<MessageFate | null> {
    const reader = this.#journal.reader(from)
    let found: MessageFate | null = null
    try {
      while (reader.nextSeq < to && !isFinal(found)) {
        const block = await reader.next()
        if (block === null) break
        block.forEach((_, bytes, start, end) => {
          found = better(found, fateIn(decodeReceipt(bytes, start, end), seq))
        })
      }
      return found
    } finally {
      await reader.close()
    }
  }
}

/** How many messages a receipt finishes; a checkpoint counts as one. */
function messagesOf(receipt: Receipt): number {
  switch (receipt.kind) {
    case 'delivered':
      return receipt.seqs.length
    case 'lost':
      return receipt.ranges.reduce((sum, [fromSeq, toSeq]) => sum + toSeq - fromSeq, 0)
    case 'dead':
    case 'checkpoint':
      return 1
  }
}

/** The lowest and the highest seq of a receipt; the other way round when it has none. */
function extentOf(receipt: Receipt): readonly [first: number, last: number] {
  switch (receipt.kind) {
    case 'delivered':
      return [receipt.seqs[0] as number, receipt.seqs.at(-1) as number]
    case 'dead':
      return [receipt.seq, receipt.seq]
    case 'lost':
      return [(receipt.ranges[0] as SeqRange)[0], (receipt.ranges.at(-1) as SeqRange)[1] - 1]
    case 'checkpoint':
      return [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  }
}

function rangesOf(receipt: Receipt): readonly SeqRange[] {
  switch (receipt.kind) {
    case 'delivered':
      return receipt.seqs.map((seq): SeqRange => [seq, seq + 1])
    case 'dead':
      return [[receipt.seq, receipt.seq + 1]]
    case 'lost':
      return receipt.ranges
    case 'checkpoint':
      return []
  }
}

/** Whether nothing that another receipt says changes it. */
function isFinal(fate: MessageFate | null): boolean {
  return fate !== null && fate.state !== 'lost'
}

function better(a: MessageFate | null, b: MessageFate | null): MessageFate | null {
  return isFinal(a) ? a : isFinal(b) ? b : (a ?? b)
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
    case 'lost': {
      const { reason, lostAt, ranges } = receipt
      return ranges.some(([fromSeq, toSeq]) => fromSeq <= seq && seq < toSeq) ? { state: 'lost', reason, lostAt } : null
    }
    case 'checkpoint':
      return null
  }
}
