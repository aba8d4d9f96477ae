import { expect, test } from 'vitest'
import { BrokerError } from '../../src/forwarder/broker.ts'
import { describeBrokerContract, failureOf, outgoing } from './broker-contract.ts'
import { FakeBroker } from './fake-broker.ts'

const never = new AbortController().signal

describeBrokerContract('the fake', async () => {
  const broker = new FakeBroker(3)
  let topics = 0
  return {
    broker,
    partitions: 3,
    freshTopic: async () => `topic-${topics++}`,
    readAll: async (topic) => [...broker.records(topic), ...others.flatMap((other) => other.records(topic))],
    another: () => {
      const other = new FakeBroker(3)
      others.push(other)
      return other
    },
    close: () => broker.close(),
  }
})
const others: FakeBroker[] = []

test('the fake fails as often as it was told, and then delivers', async () => {
  const broker = new FakeBroker()
  broker.next(2, new BrokerError('transient', 'ECONNREFUSED', 'away'))
  expect(await failureOf(broker.send('t', [outgoing()], never))).toMatchObject({ reason: 'ECONNREFUSED' })
  await failureOf(broker.send('t', [outgoing()], never))
  await broker.send('t', [outgoing()], never)
  expect(broker.records('t')).toHaveLength(1)
  expect(broker.attempts.map(({ outcome }) => outcome)).toEqual(['failed', 'failed', 'delivered'])
})

test('the fake can lose an answer: the batch is kept, and the send fails', async () => {
  const broker = new FakeBroker()
  broker.next(1, 'lost-answer')
  await failureOf(broker.send('t', [outgoing()], never))
  expect(broker.records('t')).toHaveLength(1)
})

test('the fake hangs until it is released, or until the signal is aborted', async () => {
  const broker = new FakeBroker()
  broker.next(2, 'hang')
  const abort = new AbortController()
  const aborted = broker.send('t', [outgoing()], abort.signal)
  const released = broker.send('t', [outgoing()], never)
  setTimeout(() => abort.abort(new Error('enough')), 5)
  await expect(aborted).rejects.toThrow('enough')
  broker.release()
  expect((await released).offsets).toEqual([0])
})
