import { expect, test } from 'vitest'
import { FakeBroker } from './fake-broker.ts'
import { BrokerError } from '../../src/forwarder/broker.ts'
import { Rig, message, seqOf, until, withDirectory, withRig } from './rig.ts'

const numbers = (broker: FakeBroker, topic: string): number[] =>
  broker.attempts
    .filter((attempt) => attempt.topic === topic && attempt.outcome === 'delivered')
    .flatMap((attempt) => attempt.messages.map(({ value }) => Number(value)))

const range = (count: number, from = 0): number[] => Array.from({ length: count }, (_, i) => from + i)

test('delivers every message once, each topic in order', async () => {
  const broker = new FakeBroker()
  await withRig(broker, {}, async (rig) => {
    for (let i = 0; i < 50; i++)
      await rig.publish(...range(40).map((j) => message(`topic-${(i + j) % 7}`, String(i * 40 + j))))
    await rig.finished()
    let total = 0
    for (const t of range(7)) {
      const got = numbers(broker, `topic-${t}`)
      expect(got).toEqual(got.toSorted((a, b) => a - b))
      expect(new Set(got).size).toBe(got.length)
      total += got.length
    }
    expect(total).toBe(2000)
    expect(rig.retries).toEqual([])
  })
})

test('tells topics apart whose names are alike', async () => {
  const broker = new FakeBroker()
  const topics = ['a', 'aa', 'ba', 'ab', 'a-a', 'b-a', 'ab-a', 'A', 'x'.repeat(249), `y${'x'.repeat(248)}`]
  await withRig(broker, {}, async (rig) => {
    await rig.publish(...range(200).map((i) => message(topics[(i * 7) % 10] as string, topics[(i * 7) % 10])))
    await rig.finished()
    for (const topic of topics) {
      const values = broker.records(topic).map(({ value }) => String(value))
      expect(values).toEqual(Array.from({ length: 20 }, () => topic))
    }
  })
})

test('sends what a message carries, and adds its id and when it was accepted', async () => {
  const broker = new FakeBroker()
  await withRig(broker, {}, async (rig) => {
    await rig.publish(
      message('t', Buffer.from([0, 255, 10]), {
        key: Buffer.from([1, 2]),
        partition: 2,
        timestamp: 1_600_000_000_123,
        acceptedAt: 1_700_000_000_456,
        contentType: 'application/json',
        traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
        tracestate: 'vendor=x',
        producer: 'someone',
        idempotencyKey: 'once',
        headers: [
          ['own', 'first'],
          ['content-type', Buffer.from('odd')],
          ['own', Buffer.from([0, 1])],
        ],
      }),
      message('t', 'plain'),
      { ...message('t'), key: 'k', value: null },
    )
    await rig.finished()
    const [full, plain, tombstone] = broker.attempts.flatMap(({ messages }) => messages)
    expect(full).toEqual({
      key: Buffer.from([1, 2]),
      value: Buffer.from([0, 255, 10]),
      partition: 2,
      timestamp: 1_600_000_000_123,
      headers: [
        ['outrigger-id', `${rig.messages.id}-1`],
        ['outrigger-accepted-at', '1700000000456'],
        ['content-type', 'application/json'],
        ['traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
        ['tracestate', 'vendor=x'],
        ['own', Buffer.from('first')],
        ['content-type', Buffer.from('odd')],
        ['own', Buffer.from([0, 1])],
      ],
    })
    expect(plain).toEqual({
      key: null,
      value: Buffer.from('plain'),
      partition: null,
      timestamp: 1_700_000_000_000,
      headers: [
        ['outrigger-id', `${rig.messages.id}-2`],
        ['outrigger-accepted-at', '1700000000000'],
      ],
    })
    expect(tombstone).toMatchObject({ key: Buffer.from('k'), value: null })
  })
})

test('never puts more messages or more bytes into a batch than it may, but sends a larger message alone', async () => {
  const broker = new FakeBroker()
  await withRig(broker, { batchMessagesMax: 10, batchBytesMax: 4000 }, async (rig) => {
    await rig.publish(...range(45).map((i) => message('many', String(i))))
    await rig.publish(...range(20).map((i) => message('bytes', Buffer.alloc(900, i))))
    await rig.publish(...[100, 9000, 100, 9000].map((size) => message('large', Buffer.alloc(size))))
    await rig.finished()
    const batches = (topic: string) => broker.attempts.filter((attempt) => attempt.topic === topic)
    const counts = (topic: string) => batches(topic).map(({ messages }) => messages.length)
    expect(Math.max(...counts('many'))).toBe(10)
    expect(counts('many')).toHaveLength(5)
    expect(Math.max(...counts('bytes'))).toBe(3)
    expect(counts('large')).toEqual([1, 1, 1, 1])
  })
})

test('has one batch of a topic under way, and those of many topics at once', async () => {
  const broker = new FakeBroker()
  await withRig(broker, { batchMessagesMax: 2 }, async (rig) => {
    broker.next(50, 'hang')
    await rig.publish(...range(200).map((i) => message(`t${i % 50}`, String(i))))
    await until(() => broker.attempts.length >= 50)
    expect(broker.attempts).toHaveLength(50)
    expect(new Set(broker.attempts.map(({ topic }) => topic)).size).toBe(50)
    broker.release()
    await rig.finished()
    expect(Math.max(...broker.inFlightMax.values())).toBe(1)
    expect(broker.attempts).toHaveLength(100)
  })
})

test('makes a full batch ready while the one before it is under way, and sends that very one', async () => {
  const broker = new FakeBroker()
  await withRig(broker, { batchMessagesMax: 3, linger: 0 }, async (rig) => {
    broker.next(1, 'hang')
    await rig.publish(...Array.from({ length: 8 }, (_, i) => message('t', `${i}`)))
    await until(() => broker.prepared.length > 0)
    expect(broker.prepared.map((messages) => messages.map(({ value }) => String(value)))).toEqual([['3', '4', '5']])
    expect(broker.attempts).toHaveLength(1)
    broker.release()
    await rig.finished()
    expect(broker.attempts.map(({ messages }) => messages.map(({ value }) => String(value)))).toEqual([['0', '1', '2'], ['3', '4', '5'], ['6', '7']]) // prettier-ignore
    // The last one was not full: it might have grown.
    expect(broker.prepared).toHaveLength(1)
    expect(broker.attempts[1]?.given).toBe(broker.prepared[0])
  })
})

test('what was made ready waits until what failed before it has got through', async () => {
  const broker = new FakeBroker()
  await withRig(broker, { batchMessagesMax: 3, linger: 0, retryDelay: 1 }, async (rig) => {
    broker.next(1, 'lost-answer')
    broker.next(2, new BrokerError('transient', 'ECONNRESET', 'reset'))
    await rig.publish(...Array.from({ length: 9 }, (_, i) => message('t', `${i}`)))
    await rig.finished()
    expect(broker.attempts.map(({ messages }) => messages.map(({ value }) => Number(value))).slice(-3)).toEqual([[0, 1, 2], [3, 4, 5], [6, 7, 8]]) // prettier-ignore
  })
})

test('tells of what it delivered, and of nothing more in the end', async () => {
  const broker = new FakeBroker()
  await withRig(broker, {}, async (rig) => {
    await rig.publish(message('t', '', { acceptedAt: 5 }), message('t', '', { acceptedAt: 6 }))
    await rig.finished()
    expect(rig.events).toEqual(['delivered t 2 5'])
    await until(() => rig.cursor.position.seq === 3)
    expect(rig.forwarder.status()).toEqual({
      breaker: 'closed',
      backlogMessages: 0,
      oldestAcceptedAt: null,
      memoryBytes: 0,
      pendingReceipts: 0,
      lanes: [],
    })
  })
})

test('writes no receipts, checkpoints or cursors while nothing happens', async () => {
  const broker = new FakeBroker()
  await withRig(broker, { checkpointInterval: 2 }, async (rig) => {
    await rig.publish(message('t'))
    await until(() => rig.cursor.position.seq === 2)
    const { calls } = rig.life
    const { nextSeq } = rig.receipts
    await new Promise((resolve) => {
      setTimeout(resolve, 60)
    })
    expect(rig.receipts.nextSeq).toBe(nextSeq)
    expect(rig.life.calls - calls).toBeLessThan(70) // the checks' own sleeps
  })
})

test('delivers what came before it was started', async () => {
  const broker = new FakeBroker()
  await withDirectory(async (directory) => {
    const rig = await Rig.open(directory, broker)
    await rig.publish(message('t', '1'), message('t', '2'))
    await rig.forwarder.start()
    await rig.finished()
    expect(broker.attempts.flatMap(({ messages }) => messages.map(seqOf))).toEqual([1, 2])
    await rig.close()
  })
})
