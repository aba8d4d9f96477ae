import { Worker } from 'node:worker_threads'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { JournalEnd } from '../../src/journal/journal-end.ts'

const soon = (): AbortSignal => AbortSignal.timeout(10_000)

/** A thread that answers every `{ seq }` with the end it was woken at. */
async function waitingThread(end: JournalEnd): Promise<Worker> {
  const worker = new Worker(new URL('./end-worker.ts', import.meta.url), { workerData: end.shared })
  onTestFinished(async () => {
    await worker.terminate()
  })
  await new Promise((resolve) => worker.once('online', resolve))
  return worker
}

describe('waiting for the end of a journal', () => {
  test('is over at once when there is more already', async () => {
    const end = new JournalEnd()
    end.publish(5, 1)
    await end.wait(4, soon())
    await end.wait(1, soon())
    expect([end.nextSeq, end.activeBase]).toEqual([5, 1])
  })

  test('ends when there is more than the seq, and not before', async () => {
    const end = new JournalEnd()
    end.publish(5, 1)
    let woken = 0
    const waiting = end.wait(7, soon()).then(() => woken++)
    for (const nextSeq of [6, 7]) {
      end.publish(nextSeq, 1)
      await new Promise<void>((resolve) => setTimeout(resolve, 10))
      expect(woken).toBe(0)
    }
    end.publish(8, 1)
    await waiting
    expect(woken).toBe(1)
  })

  test('wakes all who wait', async () => {
    const end = new JournalEnd()
    end.publish(1, 1)
    const waiting = Promise.all(Array.from({ length: 50 }, () => end.wait(1, soon()).then(() => end.nextSeq)))
    end.publish(2, 1)
    expect(await waiting).toEqual(Array.from({ length: 50 }, () => 2))
  })

  test('rejects with the reason of its signal, before and while it waits', async () => {
    const end = new JournalEnd()
    end.publish(1, 1)
    const reason = new Error('enough')
    await expect(end.wait(1, AbortSignal.abort(reason))).rejects.toBe(reason)
    const controller = new AbortController()
    const waiting = end.wait(1, controller.signal)
    setTimeout(() => controller.abort(reason), 10)
    await expect(waiting).rejects.toBe(reason)
    // A later publish finds nobody, and no rejection is left over.
    end.publish(2, 1)
    await new Promise<void>((resolve) => setTimeout(resolve, 10))
  })

  test('holds numbers of 53 bits', () => {
    const end = new JournalEnd()
    end.publish(Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER - 1)
    const other = new JournalEnd(end.shared)
    expect([other.nextSeq, other.activeBase]).toEqual([Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER - 1])
  })

  test.each([0, 1, 2, 3])('is woken by what another thread publishes between its own steps (%i)', async (step) => {
    const end = new JournalEnd()
    end.publish(1, 1)
    let steps = 0
    const load = Atomics.load.bind(Atomics) as (array: BigInt64Array, index: number) => bigint
    const spy = vi.spyOn(Atomics, 'load').mockImplementation((array: BigInt64Array | BigUint64Array, index: number) => {
      const value = load(array as BigInt64Array, index)
      if (steps++ === step) end.publish(2, 1)
      return value
    })
    onTestFinished(() => spy.mockRestore())
    const waiting = end.wait(1, AbortSignal.timeout(2000))
    spy.mockRestore()
    if (steps <= step) end.publish(2, 1)
    await expect(waiting).resolves.toBeUndefined()
  })

  test('wakes in another thread', async () => {
    const end = new JournalEnd()
    end.publish(1, 1)
    const worker = await waitingThread(end)
    for (let seq = 1; seq <= 20; seq++) {
      const woken = new Promise((resolve) => worker.once('message', resolve))
      worker.postMessage({ seq })
      await new Promise<void>((resolve) => setTimeout(resolve, seq % 3))
      end.publish(seq + 1, 1)
      expect(await woken).toBe(seq + 1)
    }
  })

  test('loses no wake-up, however close publishing and waiting come together', async () => {
    const end = new JournalEnd()
    end.publish(1, 1)
    const worker = await waitingThread(end)
    // Each side moves only after the other was woken: a single lost wake-up would stop both.
    const back = new JournalEnd()
    const rounds = 5000
    const done = new Promise((resolve) => worker.once('message', resolve))
    worker.postMessage({ pingPong: back.shared, rounds })
    for (let round = 1; round <= rounds; round++) {
      end.publish(round + 1, 1)
      await back.wait(round, soon())
    }
    expect(await done).toBe(rounds + 1)
  })
})
