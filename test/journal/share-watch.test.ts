import { describe, expect, test } from 'vitest'
import type { ProgressSource } from '../../src/journal/share-watch.ts'
import { ShareWatch } from '../../src/journal/share-watch.ts'
import type { JournalStretch, TopicProgress } from '../../src/journal/topic-backlogs.ts'
import { TopicShares } from '../../src/journal/topic-shares.ts'
import { ManualClock } from '../mysql/manual-clock.ts'

interface Record {
  readonly topic: string
}

const options = { journalBytesMax: 1000, shareMax: 0.5, shares: { big: 0.9, small: 0.1 } }

function keep(shares: TopicShares<Record>, seq: number, topic: string, bytes: number): void {
  const tally = shares.tally.begin(seq)
  tally.add({ topic }, bytes)
  tally.keep()
}

class Source implements ProgressSource {
  told: TopicProgress = { head: 1, positions: [] }
  asked = 0
  readonly queries: { fromSeq: number; toSeq: number }[] = []

  progress(): Promise<TopicProgress> {
    this.asked++
    return Promise.resolve(this.told)
  }

  /** Ten seqs at a time, ten bytes each. */
  measure(query: { fromSeq: number; toSeq: number }): Promise<JournalStretch> {
    this.queries.push(query)
    const { fromSeq } = query
    const toSeq = Math.min(fromSeq + 10, query.toSeq)
    const topics = [{ topic: 'old', bytes: (toSeq - fromSeq) * 10, firstSeq: fromSeq, lastSeq: toSeq - 1 }]
    return Promise.resolve({ fromSeq, toSeq, topics })
  }
}

describe('a topic’s share', () => {
  test('is its own, or that of all', () => {
    const shares = new TopicShares<Record>(options, () => {})
    expect([shares.limitOf('any'), shares.limitOf('big'), shares.limitOf('small')]).toEqual([500, 900, 100])
    const all = new TopicShares<Record>({ ...options, shareMax: 1 }, () => {})
    expect(all.limitOf('any')).toBe(Number.POSITIVE_INFINITY)
  })

  test('is used up when delivering has said how far it is, and not before; and is left well below it', () => {
    let asks = 0
    const shares = new TopicShares<Record>(options, () => asks++)
    for (let seq = 1; seq <= 5; seq++) keep(shares, seq, 'any', 100)
    expect([shares.isOver('any'), asks]).toEqual([false, 1])
    shares.settle({ head: 1, positions: [] })
    expect(shares.isOver('any')).toBe(true)
    expect(shares.over).toEqual([{ topic: 'any', bytes: 500, bytesMax: 500 }])
    keep(shares, 6, 'other', 400)
    expect(shares.isOver('other')).toBe(false)
    // 460 left: below the limit, but not well below.
    shares.settle({ head: 7, positions: [['any', 1.4]] })
    expect(shares.isOver('any')).toBe(true)
    shares.settle({ head: 7, positions: [['any', 2]] })
    expect(shares.isOver('any')).toBe(false)
  })

  test('of a topic whose messages are delivered is never used up', () => {
    const shares = new TopicShares<Record>(options, () => {
      throw new Error('nobody need ask')
    })
    for (let seq = 1; seq <= 1000; seq++) {
      keep(shares, seq, 'any', 100)
      shares.settle({ head: seq + 1, positions: [] })
      expect(shares.isOver('any')).toBe(false)
    }
    expect(shares.isEmpty).toBe(true)
  })
})

describe('watching shares', () => {
  test('asks how far delivering is as soon as a topic seems to be over its share, and not all the time', async () => {
    const source = new Source()
    const clock = new ManualClock()
    const watch = new ShareWatch<Record>(options, clock, () => {})
    await watch.begin(source, 1, 1, AbortSignal.abort())
    clock.pass(100)
    for (let i = 0; i < 10; i++) {
      // Each is finished before the next comes, so that each seems to be the first that is over.
      keep(watch.shares, i + 1, `topic${i}`, 500)
      await new Promise((resolve) => setImmediate(resolve))
      expect(source.asked).toBe(i < 5 ? 1 : 2)
      if (i === 4) clock.pass(20)
    }
    expect(watch.shares.isOver('topic0')).toBe(true)
  })

  test('measures what was there at the start piece by piece, with pauses, and then knows', async () => {
    const source = new Source()
    const clock = new ManualClock()
    const watch = new ShareWatch<Record>(options, clock, () => {})
    expect(watch.isMeasured).toBe(false)
    await watch.begin(source, 1, 61, new AbortController().signal)
    expect(source.queries.map(({ fromSeq, toSeq }) => [fromSeq, toSeq])).toEqual([1, 11, 21, 31, 41, 51].map((from) => [from, 61])) // prettier-ignore
    expect(clock.slept.length).toBe(6)
    expect(watch.isMeasured).toBe(true)
    expect(watch.shares.isOver('old')).toBe(true)
  })

  test('leaves out what is finished meanwhile', async () => {
    const source = new Source()
    const watch = new ShareWatch<Record>(options, new ManualClock(), () => {})
    const measure = source.measure.bind(source)
    source.measure = async (query) => {
      source.told = { head: 45, positions: [['old', 41]] }
      await watch.ask()
      return measure(query)
    }
    await watch.begin(source, 1, 61, new AbortController().signal)
    expect(source.queries.map(({ fromSeq }) => fromSeq)).toEqual([1, 41, 51])
  })

  test('ends when it is told to, or when there is no more', async () => {
    const stop = new AbortController()
    const source = new Source()
    const watch = new ShareWatch<Record>(options, new ManualClock(), () => {})
    source.measure = ({ fromSeq }) => {
      stop.abort()
      return Promise.resolve({ fromSeq, toSeq: fromSeq + 1, topics: [] })
    }
    await watch.begin(source, 1, 100, stop.signal)
    expect(watch.isMeasured).toBe(false)
    source.measure = ({ fromSeq }) => Promise.resolve({ fromSeq, toSeq: fromSeq, topics: [] })
    await watch.begin(source, 1, 100, new AbortController().signal)
    expect(watch.isMeasured).toBe(true)
  })
})
