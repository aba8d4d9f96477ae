import { expect, test } from 'vitest'
import { BrokerError } from '../../src/forwarder/broker.ts'
import type { AnswerOf } from '../../src/kafka/shared-requests.ts'
import { SharedRequests } from '../../src/kafka/shared-requests.ts'

/** A broker that holds its answers back until it is told to give them. */
class FakeBroker {
  readonly requests: (readonly string[])[] = []
  readonly shared: SharedRequests<string, string>
  readonly #answers: PromiseWithResolvers<AnswerOf<string>>[] = []

  constructor(weightMax = 100, weightOf: (subject: string) => number = () => 1) {
    const send = (subjects: readonly string[]): Promise<AnswerOf<string>> => {
      const answer = Promise.withResolvers<AnswerOf<string>>()
      this.requests.push(subjects)
      this.#answers.push(answer)
      return answer.promise
    }
    this.shared = new SharedRequests(send, { weightOf, weightMax })
  }

  ask(...names: string[]): Promise<string>[] {
    return names.map((name) => this.shared.ask(name, name))
  }

  answer(request: number, answerOf: AnswerOf<string> = (name) => `${name} in ${request}`): void {
    this.#answers[request]?.resolve(answerOf)
  }

  fail(request: number, error: unknown): void {
    this.#answers[request]?.reject(error)
  }

  /** How many requests were made, once all that may be made now are. */
  async asked(): Promise<number> {
    for (let i = 0; i < 3; i++) await turn()
    return this.requests.length
  }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

test('what is asked in the same turn shares a request, and each gets its own answer', async () => {
  const broker = new FakeBroker()
  const answers = broker.ask('a', 'b')
  await Promise.resolve()
  answers.push(...broker.ask('c'))
  expect(await broker.asked()).toBe(1)
  expect(broker.requests).toEqual([['a', 'b', 'c']])
  broker.answer(0)
  expect(await Promise.all(answers)).toEqual(['a in 0', 'b in 0', 'c in 0'])
})

test('one request is under way, and what comes meanwhile shares the next', async () => {
  const broker = new FakeBroker()
  void broker.ask('a')
  expect(await broker.asked()).toBe(1)
  for (const name of ['b', 'c', 'd']) {
    void broker.ask(name)
    await turn()
  }
  expect(await broker.asked()).toBe(1)
  broker.answer(0)
  expect(await broker.asked()).toBe(2)
  expect(broker.requests[1]).toEqual(['b', 'c', 'd'])
  broker.answer(1)
  await turn()
  // It rests, and begins again.
  const [answer] = broker.ask('e')
  expect(await broker.asked()).toBe(3)
  broker.answer(2)
  expect(await answer).toBe('e in 2')
})

test('the same name is asked about once, unless the request about it is on its way already', async () => {
  const broker = new FakeBroker()
  const first = broker.ask('a', 'a')
  expect(await broker.asked()).toBe(1)
  expect(broker.requests[0]).toEqual(['a'])
  // The answer to the first may be older than the reason to ask again.
  const second = broker.ask('a')
  broker.answer(0)
  expect(await Promise.all(first)).toEqual(['a in 0', 'a in 0'])
  expect(await broker.asked()).toBe(2)
  broker.answer(1)
  expect(await Promise.all(second)).toEqual(['a in 1'])
})

test('a request holds so much and no more, in the order of asking; what is too much goes alone', async () => {
  const broker = new FakeBroker(4, (subject) => subject.length)
  void broker.ask('aa', 'b', 'cc', 'dddddd', 'e', 'f')
  for (let request = 0; request < 4; request++) {
    expect(await broker.asked()).toBe(request + 1)
    broker.answer(request)
  }
  expect(broker.requests).toEqual([['aa', 'b'], ['cc'], ['dddddd'], ['e', 'f']])
})

test('a thousand names are asked about with a few requests, one after another', async () => {
  const broker = new FakeBroker(100)
  const answers = broker.ask(...Array.from({ length: 1000 }, (_, i) => `topic-${i}`))
  for (let request = 0; request < 10; request++) {
    expect(await broker.asked()).toBe(request + 1)
    broker.answer(request)
  }
  expect(new Set(await Promise.all(answers)).size).toBe(1000)
  expect(await broker.asked()).toBe(10)
})

test('what failed for one of them fails that one alone', async () => {
  const broker = new FakeBroker()
  const [good, bad] = broker.ask('good', 'bad')
  expect(await broker.asked()).toBe(1)
  broker.answer(0, (name) => {
    if (name === 'bad') throw new Error('not this one')
    return 'fine'
  })
  expect(await good).toBe('fine')
  await expect(bad).rejects.toThrow('not this one')
})

test('a request that failed fails those in it; those behind it too, when the cluster is away', async () => {
  const broker = new FakeBroker(1)
  const slow = new BrokerError('blocked', 'REQUEST_TIMEOUT', 'slow')
  const away = new BrokerError('transient', 'ECONNREFUSED', 'away')
  const [first, second, third, fourth] = broker.ask('a', 'b', 'c', 'd')
  expect(await broker.asked()).toBe(1)
  broker.fail(0, slow)
  await expect(first).rejects.toBe(slow)
  expect(await broker.asked()).toBe(2)
  broker.fail(1, away)
  await expect(second).rejects.toBe(away)
  await expect(third).rejects.toBe(away)
  await expect(fourth).rejects.toBe(away)
  expect(await broker.asked()).toBe(2)
  const [again] = broker.ask('e')
  expect(await broker.asked()).toBe(3)
  broker.answer(2)
  expect(await again).toBe('e in 2')
})
