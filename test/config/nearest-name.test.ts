import * as fc from 'fast-check'
import { expect, it, test } from 'vitest'
import { editDistance, nearestName } from '../../src/config/nearest-name.ts'

const names = ['listen', 'socketMode', 'bodyBytesMax', 'lineBytesMax', 'headersMax', 'ca', 'acks']

it.each([
  ['lisen', 'listen'],
  ['listne', 'listen'],
  ['LISTEN', 'listen'],
  ['bodyByteMax', 'bodyBytesMax'],
  ['socket_mode', 'socketMode'],
  ['asks', 'acks'],
])('%s is nearest to %s', (name, nearest) => {
  expect(nearestName(name, names)).toBe(nearest)
})

it.each(['compression', 'x', 'cx', 'zzzz', ''])('nothing is near %j', (name) => {
  expect(nearestName(name, names)).toBeUndefined()
})

test('the distance counts insertions, deletions, substitutions and swaps', () => {
  expect(editDistance('kitten', 'sitting', 99)).toBe(3)
  expect(editDistance('ab', 'ba', 99)).toBe(1)
  expect(editDistance('', 'abc', 99)).toBe(3)
  expect(editDistance('abc', 'xyz', 2)).toBe(2)
})

test('the distance is symmetric, and 0 only between equal texts', () => {
  const word = fc.string({ maxLength: 8 })
  fc.assert(
    fc.property(word, word, (a, b) => {
      expect(editDistance(a, b, 99)).toBe(editDistance(b, a, 99))
      expect(editDistance(a, b, 99) === 0).toBe(a === b)
    }),
  )
})
