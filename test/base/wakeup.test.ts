import { getEventListeners } from 'node:events'
import { expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { Wakeup } from '../../src/base/wakeup.ts'

test('wakes all that wait, once', async () => {
  const wakeup = new Wakeup(systemClock)
  const { signal } = new AbortController()
  const waits = Array.from({ length: 10 }, () => wakeup.wait(signal, 60_000))
  expect(wakeup.waiting).toBe(10)
  wakeup.wake()
  expect(wakeup.waiting).toBe(0)
  const later = wakeup.wait(signal, 60_000)
  await Promise.all(waits)
  expect(wakeup.waiting).toBe(1)
  wakeup.wake()
  await later
  expect(getEventListeners(signal, 'abort')).toEqual([])
})

test('ends after its time, and at the abort of the signal, and leaves nothing behind', async () => {
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  const before = timers()
  const wakeup = new Wakeup(systemClock)
  const abort = new AbortController()
  await wakeup.wait(abort.signal, 5)
  const wait = wakeup.wait(abort.signal, 60_000)
  abort.abort()
  await wait
  await wakeup.wait(abort.signal, 60_000)
  expect(wakeup.waiting).toBe(0)
  expect(timers()).toBe(before)
  expect(getEventListeners(abort.signal, 'abort')).toEqual([])
})

test('passes on the failure of a clock', async () => {
  const failure = new Error('no time')
  const wakeup = new Wakeup({ ...systemClock, sleep: () => Promise.reject(failure) })
  await expect(wakeup.wait(new AbortController().signal, 1)).rejects.toBe(failure)
})
