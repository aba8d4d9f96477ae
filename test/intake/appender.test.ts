import { expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { UnavailableError } from '../../src/base/errors.ts'
import { Appender, type Waiter } from '../../src/intake/appender.ts'
import type { Message } from '../../src/message/message.ts'
import { FakeSink } from './intake-harness.ts'
import { plainMessage } from '../message/plain-message.ts'

class Recorder implements Waiter {
  isGone = false
  readonly seqs: number[] = []
  readonly errors: unknown[] = []

  onAppended(seq: number): void {
    this.seqs.push(seq)
  }

  onAppendFailed(error: unknown): void {
    this.errors.push(error)
  }
}

const message = (key: string): Message => plainMessage({ topic: 'a', key, acceptedAt: 0 })

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1))

test('messages that come in one turn of the event loop go to the sink together, in order', async () => {
  const sink = new FakeSink()
  const appender = new Appender(sink, systemClock)
  const waiter = new Recorder()
  for (const key of ['a', 'b', 'c']) appender.add(message(key), waiter)
  await turn()
  appender.add(message('d'), waiter)
  await turn()
  expect(sink.calls).toEqual([3, 1])
  expect(sink.messages.map(({ key }) => key)).toEqual(['a', 'b', 'c', 'd'])
  expect(waiter.seqs).toEqual([1, 2, 3, 4])
})

test('messages that are appended at once do not overtake those that wait', async () => {
  const sink = new FakeSink()
  const appender = new Appender(sink, systemClock)
  const waiter = new Recorder()
  appender.add(message('a'), waiter)
  expect(await appender.append([message('b'), message('c')], () => false)).toBe(2)
  appender.add(message('d'), waiter)
  await turn()
  expect(sink.messages.map(({ key }) => key)).toEqual(['a', 'b', 'c', 'd'])
  expect(waiter.seqs).toEqual([1, 4])
})

test('what waits is handed on before there is too much of it', () => {
  const sink = new FakeSink()
  const appender = new Appender(sink, systemClock)
  for (let i = 0; i < 1200; i++) appender.add(message('a'), new Recorder())
  expect(sink.messages.length).toBe(1024)
})

test('everyone hears of a failure', async () => {
  const sink = new FakeSink()
  sink.failure = new Error('no')
  const appender = new Appender(sink, systemClock)
  const waiter = new Recorder()
  appender.add(message('a'), waiter)
  appender.add(message('b'), waiter)
  await turn()
  expect(waiter.errors).toEqual([sink.failure, sink.failure])
})

test('while messages wait for room nothing overtakes them, also when there is room again', async () => {
  const sink = new FakeSink()
  sink.roomWaitMs = 10_000
  sink.failure = new UnavailableError('journal_full', 'full', { retryAfterSeconds: 5 })
  const appender = new Appender(sink, systemClock)
  const waiter = new Recorder()
  appender.add(message('a'), waiter)
  await turn()
  await turn()
  sink.failure = null
  const appended = appender.append([message('b'), message('c')], () => false)
  appender.add(message('d'), waiter)
  expect(await appended).toBe(2)
  await expect.poll(() => waiter.seqs).toEqual([1, 4])
  expect(sink.messages.map(({ key }) => key)).toEqual(['a', 'b', 'c', 'd'])
})
