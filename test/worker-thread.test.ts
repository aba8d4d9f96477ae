import { expect, test } from 'vitest'
import { systemClock } from '../src/base/clock.ts'
import { LogOutput } from '../src/base/log-output.ts'
import { Pulse } from '../src/base/pulse.ts'
import { WorkerThread } from '../src/worker-thread.ts'

type TestCalls = {
  block: (ms: number) => Promise<null>
  fail: (nothing: null) => Promise<never>
  close: (nothing: null) => Promise<void>
}

function thread(fails: 'at once' | 'later' | 'never'): WorkerThread<TestCalls, never> {
  const output = new LogOutput({ kind: 'immediate', write: (bytes) => bytes.length }, systemClock, () => {})
  const entry = new URL('thread-entry.ts', import.meta.url)
  return new WorkerThread(entry, 'testing', { fails }, () => {}, output)
}

const why = {
  message: 'the testing thread has ended: the cursor is corrupt',
  hint: 'Move it away.',
  code: 'thread_ended',
  cause: { message: 'the cursor is corrupt', cause: { message: 'bad CRC' } },
}

test('a thread that can not start says why to whoever calls it, before and after its end, and closing it is no failure', async () => {
  const made = thread('at once')
  await expect(made.callOrFail('block', 0)).rejects.toMatchObject(why)
  await expect(made.call('block', 0)).rejects.toMatchObject(why)
  await expect(made.failed).rejects.toMatchObject(why)
  await made.close()
})

test('a thread that fails while it runs says why to whoever waits for it', async () => {
  const made = thread('never')
  await expect(made.call('fail', null)).rejects.toMatchObject(why)
  await made.close()
})

test('a thread that has closed all it had ends at once, whatever still keeps it', async () => {
  const made = thread('never')
  await made.ping()
  await made.close()
  await expect(Promise.race([made.failed, Promise.resolve('no failure')])).resolves.toBe('no failure')
})

test('a thread that can not close tells that, with the hint', async () => {
  const made = thread('later')
  await expect(made.close()).rejects.toMatchObject({ message: 'the cursor is corrupt', hint: 'Move it away.' })
})

test('a thread that is busy is silent until it has time again', async () => {
  const made = thread('never')
  await made.ping()
  const pulse = new Pulse(() => made.ping(), systemClock)
  const blocked = made.call('block', 400)
  expect(pulse.silentMs()).toBe(0)
  await new Promise((resolve) => void setTimeout(resolve, 100))
  expect(pulse.silentMs()).toBeGreaterThan(90)
  await blocked
  await expect.poll(() => pulse.silentMs(), { interval: 5 }).toBe(0)
  await made.close()
})
