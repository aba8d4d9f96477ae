import { expect, test } from 'vitest'
import { BrokerError } from '../../src/forwarder/broker.ts'
import type { Ask } from '../../src/kafka/kafka-node.ts'
import { ProduceQueue } from '../../src/kafka/produce-queue.ts'
import type { PartitionAnswer, ProduceArguments } from '../../src/kafka/produce-request.ts'

/** A node that holds its answers back until it is told to give them. */
class FakeNode {
  readonly requests: ProduceArguments[] = []
  readonly #answers: PromiseWithResolvers<PartitionAnswer[]>[] = []
  away: BrokerError | undefined

  async connected(): Promise<Ask> {
    if (this.away) throw this.away
    const ask = (_key: number, _definition: unknown, args: ProduceArguments): Promise<PartitionAnswer[]> => {
      const answer = Promise.withResolvers<PartitionAnswer[]>()
      this.requests.push(args)
      this.#answers.push(answer)
      return answer.promise
    }
    return ask as Ask
  }

  answer(request: number, errorCode = 0): void {
    const { batches } = this.requests[request] as ProduceArguments
    this.#answers[request]?.resolve(
      batches.map(({ topic, partition }) => ({ topic, partition, errorCode, baseOffset: request * 100 })),
    )
  }

  fail(request: number, error: BrokerError): void {
    this.#answers[request]?.reject(error)
  }
}

const options = { acks: 'all', timeoutMs: 1000 } as const
const parcel = (topic: string, partition = 0, size = 10) => ({ topic, partition, bytes: Buffer.alloc(size) })
const topicsOf = (node: FakeNode): string[][] => node.requests.map(({ batches }) => batches.map(({ topic }) => topic))

test('two requests are under way, and what comes meanwhile shares the next', async () => {
  const node = new FakeNode()
  const queue = new ProduceQueue(node, options)
  const added = ['a', 'b', 'c', 'd', 'e'].map((topic) => {
    const { outcome } = queue.add(parcel(topic))
    return outcome
  })
  await expect.poll(() => node.requests.length).toBe(1)
  // All that came in the same turn is together already.
  expect(topicsOf(node)).toEqual([['a', 'b', 'c', 'd', 'e']])
  node.answer(0)
  expect(await Promise.all(added)).toEqual(Array.from({ length: 5 }, () => ({ kind: 'answered', errorCode: 0, baseOffset: 0 }))) // prettier-ignore

  for (const topic of ['f', 'g', 'h', 'i']) {
    queue.add(parcel(topic))
    await new Promise((resolve) => setImmediate(resolve))
  }
  expect(topicsOf(node).slice(1)).toEqual([['f'], ['g']])
  node.answer(1)
  await expect.poll(() => node.requests.length).toBe(4)
  expect(topicsOf(node)[3]).toEqual(['h', 'i'])
})

test('a partition stands only once in a request, and a request does not grow beyond its limit', async () => {
  const node = new FakeNode()
  const queue = new ProduceQueue(node, options)
  queue.add(parcel('a'))
  queue.add(parcel('a'))
  queue.add(parcel('b', 0, 9 * 1024 * 1024))
  await expect.poll(() => node.requests.length).toBe(2)
  expect(topicsOf(node)).toEqual([['a'], ['a']])
  node.answer(0)
  await expect.poll(() => topicsOf(node)[2]).toEqual(['b'])
})

test('a node that is away got nothing; one that fails to answer may have it', async () => {
  const node = new FakeNode()
  const queue = new ProduceQueue(node, options)
  const error = new BrokerError('transient', 'ECONNREFUSED', 'away')
  node.away = error
  expect(await queue.add(parcel('a')).outcome).toEqual({ kind: 'unanswered', error, wasSent: false })
  node.away = undefined
  const { outcome, withdraw } = queue.add(parcel('a'))
  await expect.poll(() => node.requests.length).toBe(1)
  expect(withdraw()).toBe(false)
  node.fail(0, error)
  expect(await outcome).toEqual({ kind: 'unanswered', error, wasSent: true })
})

test('what was withdrawn is not sent', async () => {
  const node = new FakeNode()
  const queue = new ProduceQueue(node, options)
  queue.add(parcel('a'))
  const { withdraw } = queue.add(parcel('b'))
  expect(withdraw()).toBe(true)
  await expect.poll(() => node.requests.length).toBe(1)
  expect(topicsOf(node)).toEqual([['a']])
})
