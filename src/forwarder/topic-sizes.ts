import type { ReadableJournal } from '../base/record-reader.ts'
import { isSameTopic, topicOf } from '../message/message-codec.ts'

/** A part of the journal that is to be measured; it ends sooner when it is larger than `bytesMax`. */
export interface SizesQuery {
  readonly fromSeq: number
  readonly toSeq: number
  readonly bytesMax: number
}

/** What a part of the journal holds of each topic. */
export interface TopicSizes {
  readonly fromSeq: number
  /** One past the last seq that was measured. */
  readonly toSeq: number
  readonly topics: readonly TopicSize[]
}

interface TopicSize {
  readonly topic: string
  readonly bytes: number
  readonly firstSeq: number
  readonly lastSeq: number
}

/** Each record has its length before it. */
const lengthBytes = 4

/** Reads a part of the journal, and tells how many bytes of it are whose. Whole blocks, so it may come to more than was asked for. */
export async function measureTopics(
  journal: ReadableJournal,
  { fromSeq, toSeq, bytesMax }: SizesQuery,
): Promise<TopicSizes> {
  const sizes = new Map<string, { topic: string; bytes: number; firstSeq: number; lastSeq: number }>()
  const measured = { bytes: 0 }
  const reader = journal.reader(fromSeq)
  try {
    while (reader.nextSeq < toSeq && measured.bytes < bytesMax) {
      const block = await reader.next()
      if (block === null) break
      let topic = ''
      let topicStart = -1
      block.forEach((seq, record, start, end) => {
        if (topicStart === -1 || !isSameTopic(record, start, topicStart)) topic = topicOf(record, start)
        topicStart = start
        if (seq < fromSeq || seq >= toSeq) return
        let size = sizes.get(topic)
        if (size === undefined) {
          size = { topic, bytes: 0, firstSeq: seq, lastSeq: seq }
          sizes.set(topic, size)
        }
        size.bytes += end - start + lengthBytes
        size.lastSeq = seq
        measured.bytes += end - start + lengthBytes
      })
    }
    return { fromSeq, toSeq: Math.min(reader.nextSeq, toSeq), topics: [...sizes.values()] }
  } finally {
    await reader.close()
  }
}
