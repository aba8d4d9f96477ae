import { describe, expect, test } from 'vitest'
import { RowBudget } from '../../src/mysql/row-budget.ts'
import { ManualClock } from './manual-clock.ts'

const never = new AbortController().signal

describe('a budget of rows', () => {
  test('lets a burst of one second through, and then the rate', async () => {
    const clock = new ManualClock()
    const budget = new RowBudget(clock, 100)
    for (let i = 0; i < 10; i++) await budget.take(100, never)
    // The first is the burst, the second leaves the debt that the third waits for.
    expect(clock.now()).toBe(8000)
  })

  test('lets more than a second through at once, and pays for it afterwards', async () => {
    const clock = new ManualClock()
    const budget = new RowBudget(clock, 10)
    await budget.take(1000, never)
    expect(clock.now()).toBe(0)
    await budget.take(1, never)
    expect(clock.now()).toBe(99_000)
  })

  test('saves no more than a second', async () => {
    const clock = new ManualClock()
    const budget = new RowBudget(clock, 10)
    clock.pass(3_600_000)
    await budget.take(20, never)
    await budget.take(1, never)
    expect(clock.slept).toEqual([1000])
  })

  test('takes nothing from those who give up', async () => {
    const clock = new ManualClock()
    const budget = new RowBudget(clock, 10)
    await budget.take(20, never)
    const reason = new Error('enough')
    await expect(budget.take(1000, AbortSignal.abort(reason))).rejects.toBe(reason)
    await budget.take(1, never)
    expect(clock.slept).toEqual([1000])
  })
})
