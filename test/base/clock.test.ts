import { getEventListeners } from 'node:events'
import { expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'

test('sleeps as long as it is told, by a clock that never goes back', async () => {
  const from = systemClock.monotonic()
  await systemClock.sleep(20)
  expect(systemClock.monotonic() - from).toBeGreaterThanOrEqual(19)
  expect(Math.abs(systemClock.now() - Date.now())).toBeLessThan(1000)
})

test("a sleep ends with the signal's reason as soon as it aborts, and leaves no timer and no listener", async () => {
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  const before = timers()
  const abort = new AbortController()
  const reason = new Error('enough')
  await systemClock.sleep(1, abort.signal)
  const sleeping = systemClock.sleep(60_000, abort.signal)
  abort.abort(reason)
  await expect(sleeping).rejects.toBe(reason)
  await expect(systemClock.sleep(60_000, abort.signal)).rejects.toBe(reason)
  expect(getEventListeners(abort.signal, 'abort')).toEqual([])
  expect(timers()).toBe(before)
})
