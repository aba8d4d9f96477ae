import { join } from 'node:path'
import { namesIn } from '../journal/disk-look.ts'
import { readCursor } from '../journal/cursor-file.ts'
import { surveyParts } from '../journal/journal-survey.ts'
import type { Receipt } from '../message/receipt.ts'
import { decodeReceipt } from '../message/receipt.ts'
import { forwarderCursor } from './journal-facts.ts'
import type { JournalTools } from './journal-folder.ts'
import { sourceOf } from './journal-folder.ts'

/** What cursor and receipts of a data directory say of its messages, as the forwarder reads them at its start. */
export class FinishedMessages {
  /** Of the journal that they are about; null without a cursor. */
  readonly journalId: string | null
  /** Every message of no topic in `#positions` is finished below it. */
  #head: number
  readonly #positions = new Map<string, number>()
  #reach: number

  private constructor(journalId: string | null, low: number, reach: number) {
    this.journalId = journalId
    this.#head = low
    this.#reach = Math.max(low, reach)
  }

  /** What receipts are damaged counts as not said: a message may be taken for unfinished that is not, and never the reverse. */
  static async read(tools: JournalTools, dataDirectory: string): Promise<FinishedMessages> {
    const path = join(dataDirectory, forwarderCursor)
    const hasCursor = (await tools.disk.sizeOf(path)) !== null
    const cursor = hasCursor ? await readCursor(tools.disk, path, tools.keys) : null
    const { seq = 0, mark = 0, reach = 0 } = cursor?.position ?? {}
    const finished = new FinishedMessages(cursor?.journalId ?? null, seq, reach)
    const receipts = join(dataDirectory, 'receipts')
    if ((await namesIn(tools.disk, receipts)).length === 0) return finished
    for await (const part of surveyParts(sourceOf(tools, receipts)))
      if (part.kind === 'block')
        part.block.forEach((at, bytes, start, end) => {
          if (at >= mark) finished.#take(decodeReceipt(bytes, start, end))
        })
    return finished
  }

  /** Whether the message is delivered, dead or lost. */
  has(seq: number, topic: string): boolean {
    return seq < (this.#positions.get(topic) ?? this.#head)
  }

  /** One past the highest seq that is known to have been given. */
  get reach(): number {
    return this.#reach
  }

  #take(receipt: Receipt): void {
    if (receipt.kind === 'checkpoint') {
      this.#head = receipt.head
      this.#positions.clear()
      for (const [topic, position] of receipt.positions) this.#positions.set(topic, position)
      this.#reach = Math.max(this.#reach, receipt.head, ...receipt.positions.values())
    } else {
      const position = positionAfter(receipt)
      if (receipt.topic !== null) this.#positions.set(receipt.topic, position)
      this.#reach = Math.max(this.#reach, position)
    }
  }
}

/** Lanes are in order: all messages of the topic below are finished. */
function positionAfter(receipt: Exclude<Receipt, { kind: 'checkpoint' }>): number {
  switch (receipt.kind) {
    case 'delivered':
      return Math.max(...receipt.seqs) + 1
    case 'dead':
      return receipt.seq + 1
    case 'lost':
      return Math.max(...receipt.ranges.map(([, toSeq]) => toSeq))
  }
}
