import type { RecordBlock } from '../../src/base/record-reader.ts'
import type { JournalReader } from '../../src/journal/journal-reader.ts'
import { Violation } from './faults.ts'
import type { Model } from './model.ts'

/** What a reader has come by. */
export interface Passage {
  /** The first seq that it saw; null when it saw none. */
  from: number | null
  /** One past the last. */
  to: number
}

/**
 * Reads so many blocks, or to the durable end, and holds each against the model: nothing is left out, nothing comes twice,
 * nothing differs. Only a reader for whom nothing is kept (`mayJump`) may find that what comes next is gone.
 */
export async function readOn(
  reader: JournalReader,
  model: Model,
  passage: Passage,
  blocks: number,
  mayJump = false,
): Promise<void> {
  for (let i = 0; i < blocks; i++) {
    const block = await reader.next()
    if (block === null) return
    const end = block.firstSeq + block.count
    const isFirst = passage.from === null
    if (end <= passage.to) throw new Violation(`a reader at ${passage.to} gets a block that ends before ${end}`)
    if (isFirst ? block.firstSeq > passage.to && !mayJump : block.firstSeq !== passage.to && !mayJump)
      throw new Violation(`a reader at ${passage.to} gets a block that begins with ${block.firstSeq}`)
    if (block.lost?.reason !== 'gone') check(block, model)
    else if (!mayJump) throw new Violation(`a reader at ${passage.to} is told that it is gone`)
    passage.from ??= block.firstSeq
    passage.to = end
  }
}

function check(block: RecordBlock, model: Model): void {
  const { firstSeq, count, lost } = block
  if (lost !== null) {
    model.seeLost(firstSeq, count)
    return
  }
  let expected = firstSeq
  block.forEach((seq, bytes, start, end) => {
    if (seq !== expected++) throw new Violation(`seq ${seq} stands where ${expected - 1} should`)
    model.see(seq, bytes.subarray(start, end))
  })
  if (expected !== firstSeq + count) throw new Violation(`a block of ${count} has ${expected - firstSeq} records`)
}
