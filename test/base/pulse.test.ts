import { expect, test } from 'vitest'
import type { Clock } from '../../src/base/clock.ts'
import { Pulse } from '../../src/base/pulse.ts'

/** A pulse whose answers and whose time the test gives. */
function pulse(): {
  look(): number
  answer(): Promise<void>
  refuse(): Promise<void>
  pass(ms: number): void
  asked: number
} {
  let now = 1000
  const clock: Clock = { now: () => 0, monotonic: () => now, sleep: () => Promise.resolve() }
  const questions: PromiseWithResolvers<unknown>[] = []
  const ask = (): Promise<unknown> => {
    const question = Promise.withResolvers<unknown>()
    questions.push(question)
    return question.promise
  }
  const made = new Pulse(ask, clock)
  const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve))
  return {
    look: () => made.silentMs(),
    answer: () => (questions.at(-1)?.resolve(null), turn()),
    refuse: () => (questions.at(-1)?.reject(new Error('no')), turn()),
    pass: (ms) => void (now += ms),
    get asked() {
      return questions.length
    },
  }
}

test('who has answered is not silent, however long ago that was', async () => {
  const one = pulse()
  expect(one.look()).toBe(0)
  await one.answer()
  one.pass(100_000)
  expect(one.look()).toBe(0)
  await one.refuse()
  one.pass(100_000)
  expect(one.look()).toBe(0)
  expect(one.asked).toBe(3)
})

test('who does not answer is silent for as long as that, is asked once, and is not silent any more when it answers', async () => {
  const one = pulse()
  one.look()
  one.pass(10_000)
  expect(one.look()).toBe(10_000)
  one.pass(25_000)
  expect(one.look()).toBe(35_000)
  expect(one.asked).toBe(1)
  await one.answer()
  expect(one.look()).toBe(0)
})
