/** How far delivering has come: below its position a topic's messages are finished; without one, below `head`. */
export interface TopicProgress {
  readonly head: number
  readonly positions: readonly (readonly [topic: string, seq: number])[]
}

/** What a stretch of the journal holds, by topic. */
export interface JournalStretch {
  readonly fromSeq: number
  /** One past its last seq. */
  readonly toSeq: number
  readonly topics: readonly TopicStretch[]
}

export interface TopicStretch {
  readonly topic: string
  readonly bytes: number
  readonly firstSeq: number
  readonly lastSeq: number
}

/** Counts one block's records while it fills; `keep` when it is on stable storage. */
export interface BlockTally<T> {
  add(record: T, bytes: number): void
  keep(): void
}

/** Counts what a journal keeps, block by block. */
export interface RecordTally<T> {
  /** For a block that begins with `firstSeq`. */
  begin(firstSeq: number): BlockTally<T>
}

interface Sum {
  bytes: number
  firstSeq: number
  lastSeq: number
}

interface Bucket {
  readonly fromSeq: number
  toSeq: number
  bytes: number
  readonly sums: Map<string, Sum>
}

/** Above this many sums, neighbouring buckets are merged; and when that does not help, the smallest topics are forgotten. */
const sumsMax = 50_000
/** So many buckets are kept: with one alone it could not be told what was finished first. */
const bucketsMin = 2
/** The journal is counted in about so many pieces. */
const bucketsWanted = 128
const bucketBytesMin = 16 * 1024

/**
 * How many bytes of each topic wait in the journal: accepted, and not finished. What is accepted is counted in buckets, from
 * seq to seq; where delivering stands in each topic says how much of them is finished. So nothing has to be counted when a
 * message is finished, given up or lost, and no error adds up. Within a bucket, bytes count by the share of its seqs.
 *
 * Memory is bounded. Among very many topics, those with the least waiting are not counted: they are nowhere near a share.
 */
export class TopicBacklogs<T extends { readonly topic: string }> implements RecordTally<T> {
  readonly #bucketBytes: number
  readonly #grown: (topic: string, bytes: number) => void
  /** In no order: what was there at the start is counted later. */
  #buckets: Bucket[] = []
  #last: Bucket | null = null
  #sumCount = 0
  #bytes = new Map<string, number>()

  /** `grown` is told what a topic has waiting when more of it was kept, for each block. */
  constructor(journalBytesMax: number, grown: (topic: string, bytes: number) => void) {
    this.#bucketBytes = Math.max(bucketBytesMin, Math.floor(journalBytesMax / bucketsWanted))
    this.#grown = grown
  }

  /** Topics with something waiting, as far as is known. */
  get size(): number {
    return this.#bytes.size
  }

  /** How many sums are kept, which is what takes memory. */
  get sums(): number {
    return this.#sumCount
  }

  /** What waits of a topic, as of the last `settle`, and what was kept since. */
  bytesOf(topic: string): number {
    return this.#bytes.get(topic) ?? 0
  }

  /** Of all topics. */
  get entries(): IterableIterator<[topic: string, bytes: number]> {
    return this.#bytes.entries()
  }

  begin(firstSeq: number): BlockTally<T> {
    return new TopicTally(firstSeq, (tally) => this.#keep(tally))
  }

  /** What the journal held at the start, found out later. It counts from the next `settle` on. */
  addOlder({ fromSeq, toSeq, topics }: JournalStretch): void {
    const bucket: Bucket = { fromSeq, toSeq, bytes: 0, sums: new Map() }
    for (const { topic, bytes, firstSeq, lastSeq } of topics) {
      bucket.sums.set(topic, { bytes, firstSeq, lastSeq })
      bucket.bytes += bytes
    }
    this.#sumCount += bucket.sums.size
    this.#buckets.push(bucket)
    this.#mergeBuckets()
  }

  /** Forgets what is finished. */
  settle({ head, positions }: TopicProgress): void {
    const byTopic = new Map(positions)
    const waiting = new Map<string, number>()
    for (const bucket of this.#buckets)
      for (const [topic, sum] of bucket.sums) {
        const left = leftOf(sum, byTopic.get(topic) ?? head)
        if (left > 0) waiting.set(topic, (waiting.get(topic) ?? 0) + left)
        else if (bucket.sums.delete(topic)) this.#sumCount--
      }
    this.#buckets = this.#buckets.filter((bucket) => bucket.sums.size > 0)
    if (this.#last !== null && this.#last.sums.size === 0) this.#last = null
    this.#bytes = waiting
  }

  #keep(tally: TopicTally<T>): void {
    let bucket = this.#last
    if (bucket === null || bucket.bytes >= this.#bucketBytes) {
      bucket = { fromSeq: tally.firstSeq, toSeq: tally.firstSeq, bytes: 0, sums: new Map() }
      this.#last = bucket
      this.#buckets.push(bucket)
    }
    bucket.toSeq = tally.nextSeq
    for (const [topic, sum] of tally.sums) {
      this.#add(bucket, topic, sum)
      const bytes = this.bytesOf(topic) + sum.bytes
      this.#bytes.set(topic, bytes)
      this.#grown(topic, bytes)
    }
    // Not before: the bucket may go into another.
    this.#mergeBuckets()
  }

  #add(bucket: Bucket, topic: string, { bytes, firstSeq, lastSeq }: Sum): void {
    const sum = bucket.sums.get(topic)
    bucket.bytes += bytes
    if (sum === undefined) {
      bucket.sums.set(topic, { bytes, firstSeq, lastSeq })
      this.#sumCount++
      return
    }
    sum.bytes += bytes
    sum.firstSeq = Math.min(sum.firstSeq, firstSeq)
    sum.lastSeq = Math.max(sum.lastSeq, lastSeq)
  }

  /** Halves the buckets, as long as they take too much memory. */
  #mergeBuckets(): void {
    while (this.#sumCount > sumsMax && this.#buckets.length > bucketsMin) {
      const ordered = this.#buckets.toSorted((a, b) => a.fromSeq - b.fromSeq)
      this.#buckets = []
      this.#sumCount = 0
      for (let i = 0; i < ordered.length; i += 2) {
        const merged = ordered[i] as Bucket
        const next = ordered[i + 1]
        this.#sumCount += merged.sums.size
        this.#buckets.push(merged)
        if (next === undefined) continue
        merged.toSeq = next.toSeq
        for (const [topic, sum] of next.sums) this.#add(merged, topic, sum)
      }
      // What comes next belongs behind the last.
      this.#last = this.#buckets.at(-1) ?? null
    }
    if (this.#sumCount > sumsMax) this.#forgetSmallest()
  }

  /**
   * Half of the sums go, so that it is not done again for every block. A topic that is among the smallest of so many each time
   * has less than a ten-thousandth of what waits.
   */
  #forgetSmallest(): void {
    const waiting = new Map<string, number>()
    for (const { sums } of this.#buckets)
      for (const [topic, { bytes }] of sums) waiting.set(topic, (waiting.get(topic) ?? 0) + bytes)
    const kept = Math.floor(sumsMax / 2 / bucketsMin)
    const smallest = [...waiting].toSorted(([, a], [, b]) => b - a).slice(kept)
    for (const [topic] of smallest) {
      this.#bytes.delete(topic)
      for (const { sums } of this.#buckets) if (sums.delete(topic)) this.#sumCount--
    }
  }
}

/** What of a sum is at or above `position`; nothing when it is 0 or less. */
function leftOf({ bytes, firstSeq, lastSeq }: Sum, position: number): number {
  if (position <= firstSeq) return bytes
  return (bytes * (lastSeq - position + 1)) / (lastSeq - firstSeq + 1)
}

/** Counts a block's records by topic. On the way of every message: often the topic is that of the one before. */
class TopicTally<T extends { readonly topic: string }> implements BlockTally<T> {
  readonly firstSeq: number
  readonly sums = new Map<string, Sum>()
  nextSeq: number
  readonly #keep: (tally: TopicTally<T>) => void
  #topic = ''
  #sum: Sum | null = null

  constructor(firstSeq: number, keep: (tally: TopicTally<T>) => void) {
    this.firstSeq = firstSeq
    this.nextSeq = firstSeq
    this.#keep = keep
  }

  add(record: T, bytes: number): void {
    const seq = this.nextSeq++
    if (this.#sum === null || record.topic !== this.#topic) this.#turnTo(record.topic, seq)
    const sum = this.#sum as Sum
    sum.bytes += bytes
    sum.lastSeq = seq
  }

  keep(): void {
    this.#keep(this)
  }

  #turnTo(topic: string, seq: number): void {
    let sum = this.sums.get(topic)
    if (sum === undefined) {
      sum = { bytes: 0, firstSeq: seq, lastSeq: seq }
      this.sums.set(topic, sum)
    }
    this.#topic = topic
    this.#sum = sum
  }
}
