import type { ReadableJournal, RecordBlock, RecordReader } from '../base/record-reader.ts'
import type { FinishedMessage } from './finished-message.ts'

/** So many places of the journal are kept open: topics that were held up are finished later than what came with them. */
const sectionsMax = 4
/** Beyond so many messages it is quicker to look up the place than to read on to it. */
const skippedMax = 10_000

/** A reader, and the block that it read last. */
interface Section {
  readonly reader: RecordReader
  block: RecordBlock | null
}

/** Reads finished messages back from their journal. */
export class MessageFetcher {
  readonly #journal: ReadableJournal
  /** The least recently used first. */
  readonly #sections: Section[] = []

  constructor(journal: ReadableJournal) {
    this.#journal = journal
  }

  /**
   * Calls `visit` for each message, whose seqs must ascend; its bytes are valid until `between` is called, which is awaited
   * after each block. Those that the journal does not hold any more are left out, and returned.
   */
  async fetch(
    messages: readonly FinishedMessage[],
    visit: (message: FinishedMessage, bytes: Buffer, start: number, end: number) => void,
    between: () => Promise<void>,
  ): Promise<FinishedMessage[]> {
    const gone: FinishedMessage[] = []
    let i = 0
    while (i < messages.length) {
      const block = await this.#blockOf((messages[i] as FinishedMessage).seq)
      if (block === null) {
        gone.push(messages[i++] as FinishedMessage)
        continue
      }
      block.forEach((seq, bytes, start, end) => {
        const message = messages[i]
        if (message?.seq !== seq) return
        visit(message, bytes, start, end)
        i++
      })
      // What a gap stands for.
      for (let next = messages[i]; next && next.seq < block.firstSeq + block.count; next = messages[++i])
        gone.push(next)
      await between()
    }
    return gone
  }

  async close(): Promise<void> {
    await Promise.all(this.#sections.splice(0).map(({ reader }) => reader.close()))
  }

  /** The block that holds a record, or null when that is gone. */
  async #blockOf(seq: number): Promise<RecordBlock | null> {
    const section = await this.#sectionNear(seq)
    while (section.block === null || section.block.firstSeq + section.block.count <= seq) {
      section.block = await section.reader.next()
      if (section.block === null) throw new Error(`message ${seq} has a receipt, but its journal ends before it`)
    }
    return section.block.firstSeq <= seq ? section.block : null
  }

  /** A section that holds the record in its block, or comes to it soon. */
  async #sectionNear(seq: number): Promise<Section> {
    const found = this.#sections.findLastIndex(({ reader, block }) => {
      const from = block?.firstSeq ?? reader.nextSeq
      return from <= seq && seq - reader.nextSeq <= skippedMax
    })
    const [section] = found === -1 ? [] : this.#sections.splice(found, 1)
    if (section === undefined && this.#sections.length === sectionsMax) await this.#sections.shift()?.reader.close()
    const near = section ?? { reader: this.#journal.reader(seq), block: null }
    this.#sections.push(near)
    return near
  }
}
