import { expect, test } from 'vitest'
import { murmur2, partitionOfKey } from '../../src/message/partitioner.ts'

// The vectors of Kafka's own `UtilsTest.testMurmur2`, and one per length of the tail.
const vectors: [string, number][] = [
  ['21', -973932308],
  ['foobar', -790332482],
  ['a-little-bit-long-string', -985981536],
  ['a-little-bit-longer-string', -1486304829],
  ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
  ['abc', 479470107],
]

test.each(vectors)('murmur2 of %j is what Java computes', (text, hash) => {
  expect(murmur2(Buffer.from(text))).toBe(hash)
})

test('a negative hash still gives a partition within range', () => {
  expect(partitionOfKey(Buffer.from('21'), 3)).toBe((-973932308 & 0x7fffffff) % 3)
})
