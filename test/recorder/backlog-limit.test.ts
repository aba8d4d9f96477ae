import { expect, test } from 'vitest'
import { giveUpPoint } from '../../src/recorder/backlog-limit.ts'

/** A journal of which all is held; each message takes a byte. */
const held = (bytes: number) => ({ heldBytes: bytes, seqAfter: (wanted: number) => wanted })

test('while no more is held than may be, nothing is given up', () => {
  expect(giveUpPoint(held(0), 1000)).toBeNull()
  expect(giveUpPoint(held(1000), 1000)).toBeNull()
})

test('what is too much is given up, and a tenth more, so that it is not done again at once', () => {
  expect(giveUpPoint(held(1001), 1000)).toBe(101)
  expect(giveUpPoint(held(5000), 1000)).toBe(4100)
})

test('never more than is held', () => {
  expect(giveUpPoint(held(10), 1)).toBe(9.1)
  expect(giveUpPoint(held(10), 0)).toBe(10)
})
