import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Crashes } from './crashes.ts'

beforeEach(() => {
  vi.useFakeTimers({ now: 0 })
})

afterEach(() => {
  vi.useRealTimers()
})

/** A kill at 10 s, and Kafka away from 30 s to 40 s. */
function crashes(): Crashes {
  const result = new Crashes()
  vi.setSystemTime(10_000)
  const kill = result.killBegins()
  vi.setSystemTime(10_020)
  kill.ends()
  vi.setSystemTime(30_000)
  const outage = result.outageBegins()
  vi.setSystemTime(40_000)
  outage.ends()
  return result
}

test.each([
  ['just before a kill and after it', 9900, 11_000, 'byKill'],
  ['a moment after a kill, from what was on its way, and later', 10_100, 11_000, 'byKill'],
  ['before Kafka went away and after it came back', 29_900, 41_000, 'byOutage'],
  ['twice while Kafka came back', 39_000, 42_000, 'byOutage'],
  ['long before a kill and after it', 8000, 11_000, 'unexplained'],
  ['twice before a kill', 9800, 9900, 'unexplained'],
  ['twice long after a kill', 12_000, 12_100, 'unexplained'],
  ['twice long after Kafka came back', 60_000, 60_100, 'unexplained'],
])('a record written %s is told for what it is', (_, firstAt, againAt, kind) => {
  const { byKill, byOutage, unexplained } = crashes().explain([{ id: 'id', firstAt, againAt }], 0)
  expect({ byKill, byOutage, unexplained: unexplained.length }).toEqual({
    byKill: 0,
    byOutage: 0,
    unexplained: 0,
    [kind]: 1,
  })
})

test('a machine that stalled may have been late with a receipt', () => {
  const duplicate = { id: 'id', firstAt: 8000, againAt: 11_000 }
  expect(crashes().explain([duplicate], 600)).toMatchObject({ byKill: 1, beforeKillMsMax: 2000 })
})

test('the time before a kill is counted to the first kill after the record was written', () => {
  const later = crashes()
  vi.setSystemTime(50_000)
  later.killBegins().ends()
  vi.setSystemTime(50_800)
  later.killBegins().ends()
  const duplicate = { id: 'id', firstAt: 49_900, againAt: 52_000 }
  expect(later.explain([duplicate], 0)).toMatchObject({ byKill: 1, beforeKillMsMax: 100 })
})
