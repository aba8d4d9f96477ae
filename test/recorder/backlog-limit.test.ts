import { expect, test } from 'vitest'
import { BacklogLimit } from '../../src/recorder/backlog-limit.ts'

/** A journal in which each message takes a byte, and the time. */
function limit(backlogBytesMax: number) {
  const journal = { bytes: 0, heldBytes: 0, seqAfter: (bytes: number) => bytes }
  const clock = { now: 0, monotonic: () => clock.now }
  return { journal, clock, limit: new BacklogLimit(journal, clock, { backlogBytesMax, journalBytesMax: 10_000 }) }
}

test('while no more is held than may be, nothing is given up', () => {
  const { journal, clock, limit: checked } = limit(1000)
  journal.heldBytes = 1000
  for (clock.now = 0; clock.now < 60_000; clock.now += 1000) expect(checked.check()).toBeNull()
})

test('what is too much for long is given up, and a tenth more, so that it is not done again at once', () => {
  const { journal, clock, limit: checked } = limit(1000)
  journal.heldBytes = 5000
  expect(checked.check()).toBeNull()
  clock.now = 9999
  expect(checked.check()).toBeNull()
  clock.now = 10_000
  expect(checked.check()).toEqual({ seq: 4100, isUrgent: false })
})

test('what others have just let go is not held against anybody', () => {
  const { journal, clock, limit: checked } = limit(1000)
  journal.heldBytes = 5000
  expect(checked.check()).toBeNull()
  clock.now = 9000
  journal.heldBytes = 0
  expect(checked.check()).toBeNull()
  journal.heldBytes = 5000
  clock.now = 12_000
  expect(checked.check()).toBeNull()
})

test('it is urgent when the journal is nearly full', () => {
  const { journal, clock, limit: checked } = limit(1000)
  Object.assign(journal, { heldBytes: 1001, bytes: 8001 })
  checked.check()
  clock.now = 10_000
  expect(checked.check()).toEqual({ seq: 101, isUrgent: true })
})

test('never more is given up than is held', () => {
  const { journal, clock, limit: checked } = limit(0)
  journal.heldBytes = 10
  checked.check()
  clock.now = 10_000
  expect(checked.check()?.seq).toBe(10)
})
