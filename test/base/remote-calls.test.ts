import { MessageChannel } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { RemoteCaller, answerCalls } from '../../src/base/remote-calls.ts'

type Offered = {
  add(numbers: { a: number; b: number }): Promise<number>
  echo(value: unknown): Promise<unknown>
  fail(message: string): Promise<never>
  failAtOnce(nothing: null): Promise<never>
  unclonable(nothing: null): Promise<unknown>
  hang(nothing: null): Promise<never>
}

const offered: Offered = {
  add: async ({ a, b }) => a + b,
  echo: async (value) => value,
  fail: (message) => Promise.reject(new Error(message)),
  failAtOnce: () => {
    throw new Error('at once')
  },
  unclonable: async () => () => {},
  hang: () => new Promise(() => {}),
}

async function withChannel(use: (caller: RemoteCaller<Offered>) => Promise<void>): Promise<void> {
  const { port1, port2 } = new MessageChannel()
  answerCalls(port2, offered)
  try {
    await use(new RemoteCaller<Offered>(port1))
  } finally {
    port1.close()
  }
}

test('gives each caller the result of its own call, in whatever order they come', async () => {
  await withChannel(async (caller) => {
    const sums = Array.from({ length: 100 }, (_, i) => caller.call('add', { a: i, b: 1 }))
    expect(await Promise.all(sums)).toEqual(Array.from({ length: 100 }, (_, i) => i + 1))
    const value = { at: new Date(5), map: new Map([['k', [1, null]]]), bytes: new Uint8Array([1, 2]) }
    expect(await caller.call('echo', value)).toEqual(value)
    expect(await caller.call('echo', undefined)).toBeUndefined()
  })
})

test('tells the caller what went wrong: a failure, a throw, an unknown name, a result that can not be sent', async () => {
  await withChannel(async (caller) => {
    const remote = (message: unknown) => ({ name: 'RemoteCallError', code: 'remote_call_failed', message })
    await expect(caller.call('fail', 'broken')).rejects.toMatchObject(remote('broken'))
    await expect(caller.call('failAtOnce', null)).rejects.toMatchObject(remote('at once'))
    await expect(caller.call('unclonable', null)).rejects.toMatchObject(remote(expect.stringContaining('cloned')))
    await expect(caller.call('missing' as 'hang', null)).rejects.toMatchObject(
      remote(expect.stringContaining('missing')),
    )
    expect(await caller.call('add', { a: 1, b: 1 })).toBe(2)
  })
})

test('an argument that can not be sent fails the call, and no other', async () => {
  await withChannel(async (caller) => {
    await expect(caller.call('echo', () => {})).rejects.toThrow(/cloned/)
    expect(await caller.call('echo', 1)).toBe(1)
  })
})

test('when the other thread is gone, who waits is told, and who calls afterwards', async () => {
  await withChannel(async (caller) => {
    const waiting = [caller.call('hang', null), caller.call('hang', null)]
    const gone = new Error('the delivery thread has ended')
    caller.end(gone)
    for (const call of waiting) await expect(call).rejects.toBe(gone)
    await expect(caller.call('add', { a: 1, b: 1 })).rejects.toBe(gone)
  })
})
