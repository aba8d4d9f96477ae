import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { Journal } from '../../src/journal/journal.ts'
import { TopicBacklogs } from '../../src/journal/topic-backlogs.ts'
import { MemoryDisk } from './memory-disk.ts'
import { WatchedDisk } from './watched-disk.ts'

interface Record {
  readonly topic: string
  readonly bytes: number
}

const topics = ['a', 'b', 'c']
const block = fc.array(fc.record({ topic: fc.constantFrom(...topics), bytes: fc.constant(100) }), { minLength: 1, maxLength: 20 }) // prettier-ignore
const step = fc.oneof(
  fc.record({ kind: fc.constant('keep' as const), block }),
  fc.record({ kind: fc.constant('lose' as const), block }),
  // Each topic is finished up to some share of what it has.
  fc.record({ kind: fc.constant('settle' as const), shares: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 3, maxLength: 3 }) }), // prettier-ignore
)

function keep(backlogs: TopicBacklogs<Record>, firstSeq: number, records: readonly Record[]): void {
  const tally = backlogs.begin(firstSeq)
  for (const record of records) tally.add(record, record.bytes)
  tally.keep()
}

describe('backlogs by topic', () => {
  test('are what was kept and is not finished: exactly at the edges of buckets, and never off by more than a bucket', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (history) => {
        const bucketBytes = 16 * 1024
        const backlogs = new TopicBacklogs<Record>(0, () => {})
        const kept: Record[] = []
        const positions = new Map<string, number>()
        let head = 1
        for (const each of history) {
          if (each.kind === 'keep') {
            keep(backlogs, kept.length + 1, each.block)
            kept.push(...each.block)
          } else if (each.kind === 'lose') {
            // The block could not be written: its seqs are given again.
            const tally = backlogs.begin(kept.length + 1)
            for (const record of each.block) tally.add(record, record.bytes)
          } else {
            head = kept.length + 1
            for (const [i, topic] of topics.entries()) {
              const before = positions.get(topic) ?? 1
              const share = each.shares[i] as number
              positions.set(topic, before + Math.floor((head - before) * share))
            }
            backlogs.settle({ head, positions: [...positions] })
          }
          for (const topic of topics) {
            const from = positions.get(topic) ?? 1
            const waiting = kept.filter((record, i) => record.topic === topic && i + 1 >= from).length * 100
            const isExact = waiting === 0 || !positions.has(topic)
            const bytes = backlogs.bytesOf(topic)
            expect(Math.abs(bytes - waiting)).toBeLessThanOrEqual(isExact ? 0 : bucketBytes)
          }
        }
      }),
    )
  })

  test('of a topic without a position are what is at the head or beyond', () => {
    const backlogs = new TopicBacklogs<Record>(0, () => {})
    keep(backlogs, 1, [{ topic: 'a', bytes: 10 }, { topic: 'b', bytes: 20 }]) // prettier-ignore
    backlogs.settle({ head: 2, positions: [] })
    expect([backlogs.bytesOf('a'), backlogs.bytesOf('b')]).toEqual([0, 20])
    expect(backlogs.size).toBe(1)
  })

  test('count what was there at the start, once it is measured, as far as it is not finished', () => {
    const backlogs = new TopicBacklogs<Record>(0, () => {})
    keep(backlogs, 101, [{ topic: 'a', bytes: 1000 }])
    backlogs.addOlder({ fromSeq: 1, toSeq: 51, topics: [{ topic: 'a', bytes: 500, firstSeq: 1, lastSeq: 50 }] })
    backlogs.addOlder({ fromSeq: 51, toSeq: 101, topics: [{ topic: 'a', bytes: 500, firstSeq: 51, lastSeq: 100 }] })
    backlogs.settle({ head: 101, positions: [['a', 41]] })
    expect(backlogs.bytesOf('a')).toBe(1600)
    backlogs.settle({ head: 102, positions: [] })
    expect([backlogs.bytesOf('a'), backlogs.size]).toEqual([0, 0])
  })

  test('of very many topics take bounded memory, and are still there', () => {
    const backlogs = new TopicBacklogs<Record>(0, () => {})
    // Each bucket has 2000 topics of its own mind: 200 of them would be 400,000 sums.
    for (let i = 0; i < 200; i++)
      keep(
        backlogs,
        i * 2000 + 1,
        Array.from({ length: 2000 }, (_, n) => ({ topic: `t${n}`, bytes: 10 })),
      )
    expect(backlogs.bytesOf('t7')).toBe(2000)
    backlogs.settle({ head: 1, positions: [] })
    expect(backlogs.bytesOf('t7')).toBe(2000)
    expect(backlogs.sums).toBeLessThanOrEqual(50_000)
    backlogs.settle({ head: 400_001, positions: [] })
    expect([backlogs.size, backlogs.sums]).toEqual([0, 0])
  })

  test('of more topics than can be counted take bounded memory all the same, and large ones are counted to the byte', () => {
    const backlogs = new TopicBacklogs<Record>(0, () => {})
    for (let i = 0; i < 300; i++) {
      const strangers = Array.from({ length: 1000 }, (_, n) => ({ topic: `t${i}-${n}`, bytes: 200 }))
      // One in a hundred, which is the least that a share can be.
      keep(backlogs, i * 1001 + 1, [...strangers, { topic: 'flood', bytes: 2000 }])
    }
    expect(backlogs.sums).toBeLessThanOrEqual(50_000)
    expect(backlogs.size).toBeLessThanOrEqual(50_000)
    backlogs.settle({ head: 1, positions: [] })
    expect(backlogs.bytesOf('flood')).toBe(300 * 2000)
    backlogs.settle({ head: 300 * 1001 + 1, positions: [] })
    expect([backlogs.size, backlogs.sums]).toEqual([0, 0])
  })

  test('lose no block when buckets are merged', () => {
    const backlogs = new TopicBacklogs<Record>(0, () => {})
    let seq = 1
    for (let i = 0; i < 64; i++) {
      const records = Array.from({ length: 1000 }, (_, n) => ({ topic: `t${(seq + n) % 4000}`, bytes: 1000 }))
      keep(backlogs, seq, records)
      seq += 1000
    }
    backlogs.settle({ head: 1, positions: [] })
    expect([...backlogs.entries].reduce((sum, [, bytes]) => sum + bytes, 0)).toBe(64 * 1_000_000)
  })
})

describe('a journal counts', () => {
  const codec = {
    sizeMax: ({ topic }: { topic: string }) => topic.length + 50,
    encode: ({ topic }: { topic: string }, into: Buffer, at: number) => at + into.write(topic, at) + 10,
  }

  test('what it keeps, with the very bytes, and nothing of what it gives up', async () => {
    const watched = new WatchedDisk(new MemoryDisk(() => 0.5).boot().disk)
    const backlogs = new TopicBacklogs<{ topic: string }>(0, () => {})
    const options = { directory: '/data/journal', bytesMax: 1e9, segmentBytes: 256 * 1024 }
    const silent = { committed() {}, failed() {} }
    const journal = await Journal.open(watched, systemClock, codec, silent, options, backlogs)
    await journal.append([{ topic: 'a' }, { topic: 'bb' }, { topic: 'a' }])
    expect([backlogs.bytesOf('a'), backlogs.bytesOf('bb')]).toEqual([2 * (4 + 11), 4 + 12])
    // A block that gets through in a new segment counts once.
    watched.fail({ operation: 'write', path: /segment/ })
    await journal.append([{ topic: 'a' }])
    expect(backlogs.bytesOf('a')).toBe(3 * (4 + 11))
    watched.fail({ operation: 'open create', times: 10 })
    watched.fail({ operation: 'write', path: /segment/ })
    await expect(journal.append([{ topic: 'a' }])).rejects.toMatchObject({ code: 'journal_failed' })
    expect(backlogs.bytesOf('a')).toBe(3 * (4 + 11))
    await journal.close()
  })
})
