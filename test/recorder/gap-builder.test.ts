import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { FinishedMessage } from '../../src/recorder/finished-message.ts'
import { GapBuilder } from '../../src/recorder/gap-builder.ts'

const delivered = (seq: number, offset: number, partition = 0, topic = 't'): FinishedMessage => ({
  seq,
  topic,
  status: 'delivered',
  partition,
  offset,
  finishedAt: 1,
  attempts: 1,
  reason: null,
})

test('neighbours in a partition are one range, and dead ones are named by their seqs', () => {
  const gap = new GapBuilder('backlog', 77)
  for (const message of [delivered(1, 10), delivered(2, 5, 1), delivered(3, 11), delivered(4, 13)]) gap.add(message)
  gap.add({ ...delivered(5, 0), status: 'dead', partition: null, offset: null })
  expect(gap.build()).toEqual([
    {
      kind: 'gap',
      at: 77,
      cause: 'backlog',
      fromSeq: 1,
      toSeq: 6,
      messages: 5,
      ranges: [
        { topic: 't', partition: 0, fromOffset: 10, toOffset: 12 },
        { topic: 't', partition: 1, fromOffset: 5, toOffset: 6 },
        { topic: 't', partition: 0, fromOffset: 13, toOffset: 14 },
      ],
      deadSeqs: [5],
      lostSeqs: [],
    },
  ])
})

test('lost ones are named by their seqs, neighbours together', () => {
  const gap = new GapBuilder('lost', 77)
  for (const [fromSeq, toSeq] of [[3, 5], [5, 9], [11, 12]] as const) gap.addLost([fromSeq, toSeq]) // prettier-ignore
  expect(gap.messages).toBe(7)
  expect(gap.build()).toMatchObject([
    {
      fromSeq: 3,
      toSeq: 12,
      messages: 7,
      ranges: [],
      deadSeqs: [],
      lostSeqs: [
        { fromSeq: 3, toSeq: 9 },
        { fromSeq: 11, toSeq: 12 },
      ],
    },
  ])
})

test('a gap of nothing is none', () => {
  expect(new GapBuilder('lost', 1).build()).toEqual([])
})

test('a large gap is cut into several, each small enough for a record', () => {
  const gap = new GapBuilder('backlog', 1)
  for (let i = 0; i < 2500; i++) gap.add(delivered(i, i * 2))
  const built = gap.build()
  expect(built.map(({ messages }) => messages)).toEqual([1000, 1000, 500])
  expect(gap.messages).toBe(2500)
})

test('names exactly what was added', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.tuple(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 0, max: 60 })), { selector: String }),
      (places) => {
        // prettier-ignore
        const gap = new GapBuilder('backlog', 1)
        places.forEach(([partition, offset], seq) => gap.add(delivered(seq, offset, partition)))
        const named = gap
          .build()
          .flatMap(({ ranges }) =>
            ranges.flatMap(({ partition, fromOffset, toOffset }) =>
              Array.from({ length: toOffset - fromOffset }, (_, i) => `${partition},${fromOffset + i}`),
            ),
          )
        expect(named.toSorted()).toEqual(places.map(String).toSorted())
      },
    ),
  )
})
