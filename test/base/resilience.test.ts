import { getEventListeners } from 'node:events'
import { describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import type { BreakerState } from '../../src/base/resilience.ts'
import { Backoff, Breaker, CircuitOpenError, TimeoutError, withTimeout } from '../../src/base/resilience.ts'

const sleep = (ms: number): Promise<void> => systemClock.sleep(ms)
const never = new AbortController().signal

describe('a backoff', () => {
  test('grows up to its limit, stays there however long it goes on, and begins anew after a success', () => {
    const median = (values: number[]): number =>
      values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] as number
    const backoffs = Array.from({ length: 101 }, () => new Backoff({ initialMs: 10, maxMs: 500 }))
    const rounds = Array.from({ length: 12 }, () => backoffs.map((backoff) => backoff.nextDelayMs()))
    const medians = rounds.map(median)
    expect(medians[0]).toBeLessThan(20)
    for (const i of [1, 2, 3, 4]) expect(medians[i]).toBeGreaterThan(medians[i - 1] as number)
    expect(medians.at(-1)).toBe(500)
    expect(Math.max(...rounds.flat())).toBe(500)
    // Not all the same: those that failed together don't come back together.
    expect(new Set(rounds[2]).size).toBeGreaterThan(50)

    const [backoff] = backoffs as [Backoff]
    const late = Array.from({ length: 3000 }, () => backoff.nextDelayMs())
    expect(late.every((delay) => delay === 500)).toBe(true)
    backoff.reset()
    expect(backoff.nextDelayMs()).toBeLessThan(20)
  })
})

describe('a breaker', () => {
  const failure = new Error('away')
  const answer = new Error('no')
  const make = (options: { failures?: number; delayMs?: number; delayMaxMs?: number } = {}) => {
    const states: BreakerState[] = []
    const breaker = new Breaker(systemClock, {
      failures: options.failures ?? 3,
      delayMs: options.delayMs ?? 20,
      delayMaxMs: options.delayMaxMs ?? 20,
      counts: (error) => error === failure,
      onStateChange: (state) => states.push(state),
    })
    return { breaker, states }
  }
  const fail = (breaker: Breaker, error: Error = failure) => outcome(breaker.execute(() => Promise.reject(error)))
  const open = async (breaker: Breaker): Promise<void> => {
    while (breaker.state !== 'open') await fail(breaker)
  }

  test('opens after so many failures in a row, and refuses without a try then', async () => {
    const { breaker, states } = make()
    await fail(breaker)
    await fail(breaker)
    expect(await breaker.execute(() => Promise.resolve('fine'))).toBe('fine')
    await fail(breaker)
    await fail(breaker)
    expect(breaker.state).toBe('closed')
    expect(await fail(breaker)).toBe(failure)
    expect(breaker.state).toBe('open')
    let calls = 0
    const call = async (): Promise<void> => {
      calls++
    }
    expect(await outcome(breaker.execute(call))).toBeInstanceOf(CircuitOpenError)
    expect(calls).toBe(0)
    expect(states).toEqual(['open'])
  })

  test('does not count other errors', async () => {
    const { breaker } = make({ failures: 1 })
    for (let i = 0; i < 10; i++) expect(await fail(breaker, answer)).toBe(answer)
    expect(breaker.state).toBe('closed')
  })

  test('lets a single call try after its delay: that one decides, and the others wait for it', async () => {
    const { breaker, states } = make({ failures: 1 })
    await open(breaker)
    await sleep(30)
    let calls = 0
    const attempts = Array.from({ length: 5 }, () =>
      outcome(
        breaker.execute(async () => {
          calls++
          await sleep(10)
          throw failure
        }),
      ),
    )
    const errors = await Promise.all(attempts)
    expect(calls).toBe(1)
    expect(errors[0]).toBe(failure)
    expect(errors.slice(1).every((error) => error instanceof CircuitOpenError)).toBe(true)
    expect(states).toEqual(['open', 'half-open', 'open'])

    await sleep(30)
    expect(await Promise.all([1, 2, 3].map((n) => breaker.execute(async () => n)))).toEqual([1, 2, 3])
    expect(states.slice(3)).toEqual(['half-open', 'closed'])
  })

  test('takes an error that does not count for an answer: it closes', async () => {
    const { breaker } = make({ failures: 1 })
    await open(breaker)
    await sleep(30)
    expect(await fail(breaker, answer)).toBe(answer)
    expect(breaker.state).toBe('closed')
  })

  test('waits longer while the tries keep failing, up to its limit', async () => {
    const { breaker } = make({ failures: 1, delayMs: 2, delayMaxMs: 40 })
    await open(breaker)
    let waitedMs = 0
    for (let i = 0; i < 12; i++) {
      const from = performance.now()
      while (!(await tried(breaker, failure))) await sleep(1)
      waitedMs = performance.now() - from
    }
    expect(waitedMs).toBeGreaterThan(20)
    expect(waitedMs).toBeLessThan(500)
  })

  test('wakes whoever waits for it as soon as it closes', async () => {
    const { breaker } = make({ failures: 1, delayMs: 5, delayMaxMs: 60_000 })
    await open(breaker)
    const abort = new AbortController()
    const waits = Array.from({ length: 100 }, () => breaker.untilClosed(abort.signal, 60_000))
    await sleep(30)
    await breaker.execute(() => Promise.resolve())
    await Promise.all(waits)
    expect(getEventListeners(abort.signal, 'abort')).toEqual([])
  })

  test('is tried about once in a delay, however many wait for the next try', async () => {
    const { breaker } = make({ failures: 1, delayMs: 10, delayMaxMs: 60_000 })
    await open(breaker)
    let tries = 0
    const stop = new AbortController()
    const waiter = async (): Promise<void> => {
      for (;;) {
        await breaker.untilNextTry(stop.signal)
        if (stop.signal.aborted) return
        tries++
      }
    }
    const waiters = Array.from({ length: 200 }, waiter)
    await sleep(300)
    stop.abort()
    await Promise.all(waiters)
    expect(tries).toBeGreaterThan(3)
    expect(tries).toBeLessThan(150)
  })
})

describe('a timeout', () => {
  test('gives what came in time, and leaves nothing behind', async () => {
    const outer = new AbortController()
    const timers = activeTimers()
    let inner: AbortSignal | undefined
    const result = await withTimeout(60_000, outer.signal, async (signal) => {
      inner = signal
      return 7
    })
    expect(result).toBe(7)
    expect(inner?.aborted).toBe(false)
    expect(activeTimers()).toBe(timers)
    expect(getEventListeners(outer.signal, 'abort')).toEqual([])
  })

  test('passes on the failure of the call', async () => {
    const error = new Error('broken')
    await expect(withTimeout(1000, never, () => Promise.reject(error))).rejects.toBe(error)
  })

  test('aborts the call and rejects when time is up, even if the call heeds nothing and fails later', async () => {
    let signal: AbortSignal | undefined
    const from = performance.now()
    const error = await outcome(
      withTimeout(20, never, async (inner) => {
        signal = inner
        await sleep(60)
        throw new Error('too late')
      }),
    )
    expect(error).toBeInstanceOf(TimeoutError)
    expect(error).toMatchObject({ code: 'timeout', message: 'no answer within 20 ms' })
    expect(performance.now() - from).toBeLessThan(55)
    expect(signal?.aborted).toBe(true)
    await sleep(60) // an unhandled rejection would fail the run
  })

  test("rejects with the outer signal's reason at once", async () => {
    const reason = new Error('closing')
    const outer = new AbortController()
    const call = withTimeout(60_000, outer.signal, () => new Promise(() => {}))
    outer.abort(reason)
    await expect(call).rejects.toBe(reason)
    await expect(withTimeout(60_000, outer.signal, () => new Promise(() => {}))).rejects.toBe(reason)
  })

  test('leaves no listener on a signal that lives for ever', async () => {
    const outer = new AbortController()
    for (let i = 0; i < 200; i++)
      await withTimeout(1, outer.signal, () => (i % 2 ? Promise.resolve() : new Promise(() => {}))).catch(() => {})
    expect(getEventListeners(outer.signal, 'abort')).toEqual([])
  })
})

function activeTimers(): number {
  return process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
}

/** Whether the breaker let a call through, which failed. */
async function tried(breaker: Breaker, failure: Error): Promise<boolean> {
  return (await outcome(breaker.execute(() => Promise.reject(failure)))) === failure
}

function outcome(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => 'it was fine',
    (error: unknown) => error,
  )
}
