import { expect, test } from 'vitest'
import { KnownRows } from '../../src/cassandra/known-rows.ts'

test('a row is known up to the latest time that was written', () => {
  const known = new KnownRows(10)
  expect(known.covers('a', 1)).toBe(false)
  known.add('a', 20)
  known.add('a', 10)
  expect([known.covers('a', 20), known.covers('a', 21), known.covers('b', 1)]).toEqual([true, false, false])
})

test('what was written longest ago is forgotten when there are too many', () => {
  const known = new KnownRows(2)
  known.add('a', 1)
  known.add('b', 1)
  known.add('a', 2)
  known.add('c', 1)
  expect(['a', 'b', 'c'].map((row) => known.covers(row, 1))).toEqual([true, false, true])
})

test('nothing is known once it may be gone', () => {
  const known = new KnownRows(2)
  known.add('a', 1)
  known.clear()
  expect(known.covers('a', 1)).toBe(false)
})
