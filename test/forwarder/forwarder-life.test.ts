import { getEventListeners } from 'node:events'
import { describe, expect, test } from 'vitest'
import type { Broker } from '../../src/forwarder/broker.ts'
import { BrokerError } from '../../src/forwarder/broker.ts'
import { FakeBroker } from './fake-broker.ts'
import type { RigOptions } from './rig.ts'
import { Rig, finishedBy, message, seqOf, until, withDirectory, withRig } from './rig.ts'

const away = new BrokerError('transient', 'ECONNREFUSED', 'the broker is away')
const blocked = new BrokerError('blocked', 'UNKNOWN_TOPIC', 'no such topic')
const range = (count: number, from = 0): number[] => Array.from({ length: count }, (_, i) => from + i)
const sent = (broker: FakeBroker): number[] => broker.attempts.flatMap(({ messages }) => messages.map(seqOf))
const many = (count: number, topic = 't') => range(count).map(() => message(topic))

describe('draining', () => {
  test('ends when all that was there is finished, whatever comes afterwards', async () => {
    const broker = new FakeBroker()
    await withRig(broker, { batchMessagesMax: 5 }, async (rig) => {
      await rig.publish(...many(50))
      const ended = new AbortController()
      const draining = rig.forwarder.drain(AbortSignal.timeout(5000)).then(() => ended.abort())
      while (!ended.signal.aborted) await rig.publish(message('t'))
      await draining
      expect(sent(broker).slice(0, 50)).toEqual(range(50, 1))
    })
  })

  test('ends at once when there is nothing', async () => {
    await withRig(new FakeBroker(), {}, async (rig) => {
      const limit = AbortSignal.timeout(1000)
      await rig.forwarder.drain(limit)
      expect(limit.aborted).toBe(false)
    })
  })

  test('ends soon after the last delivery, not at some next look', async () => {
    const broker = new FakeBroker()
    await withRig(broker, {}, async (rig) => {
      broker.next(1, 'hang')
      await rig.publish(message('t'))
      await until(() => broker.attempts.length === 1)
      const draining = rig.forwarder.drain(AbortSignal.timeout(5000))
      broker.release()
      const from = performance.now()
      await draining
      expect(performance.now() - from).toBeLessThan(300)
    })
  })

  test("ends at the signal's abort, and when the forwarder is closed", async () => {
    const broker = new FakeBroker()
    await withRig(broker, {}, async (rig) => {
      broker.fail(away)
      await rig.publish(message('t'))
      await rig.forwarder.drain(AbortSignal.timeout(30))
      const never = new AbortController()
      const draining = rig.forwarder.drain(never.signal)
      await rig.forwarder.close(10)
      await draining
      expect(getEventListeners(never.signal, 'abort')).toEqual([])
    })
  })
})

describe('closing', () => {
  test('lets what is being sent end within its grace, and remembers it', async () => {
    const broker = new FakeBroker()
    await twice(
      broker,
      { batchMessagesMax: 3, receiptInterval: 60_000, checkpointInterval: 60_000 },
      async (rig) => {
        broker.next(1, 'hang')
        await rig.publish(...many(10))
        await until(() => broker.attempts.length === 1)
        const closing = rig.close(5000)
        setTimeout(() => broker.release(), 30)
        await closing
        // Nothing new was begun.
        expect(sent(broker)).toEqual([1, 2, 3])
        expect(broker.closed).toBe(true)
        broker.closed = false
      },
      async (rig) => {
        await rig.finished()
        expect(sent(broker)).toEqual(range(10, 1))
      },
    )
  })

  test('aborts what is being sent after the grace; the next start sends it again', async () => {
    const broker = new FakeBroker()
    await twice(
      broker,
      {},
      async (rig) => {
        broker.next(2, 'hang')
        await rig.publish(message('a'), message('b'))
        await until(() => broker.attempts.length === 2)
        const from = performance.now()
        await rig.close(50)
        expect(performance.now() - from).toBeGreaterThan(45)
        expect(performance.now() - from).toBeLessThan(1000)
        expect(broker.attempts.map(({ outcome }) => outcome)).toEqual(['aborted', 'aborted'])
        broker.closed = false
      },
      async (rig) => {
        await rig.finished()
        expect(sent(broker).toSorted((a, b) => a - b)).toEqual([1, 1, 2, 2])
      },
    )
  })

  test('does not wait for a broker that heeds no signal', async () => {
    const broker: Broker = { send: () => new Promise(() => {}), close: async () => {} }
    await withRig(broker, {}, async (rig) => {
      await rig.publish(message('t'))
      await rig.life.clock.sleep(10)
      const from = performance.now()
      await rig.forwarder.close(30)
      expect(performance.now() - from).toBeLessThan(1000)
    })
  })

  test('is one and the same, however often it is asked for', async () => {
    let closes = 0
    const broker = new FakeBroker()
    broker.close = async () => {
      closes++
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    await withRig(broker, {}, async (rig) => {
      const first = rig.forwarder.close()
      const second = rig.forwarder.close()
      let isFirstDone = false
      void first.then(() => {
        isFirstDone = true
      })
      await second
      expect(isFirstDone).toBe(true)
      await rig.forwarder.close()
      expect(closes).toBe(1)
    })
  })

  test('ends within its grace when receipts can not be written, and tries no more afterwards', async () => {
    const broker = new FakeBroker()
    await twice(
      broker,
      { receiptInterval: 0, checkpointInterval: 1 },
      async (rig) => {
        rig.life.failDisk = (call, path) =>
          path.includes('receipts') && (call === 'write' || call === 'create') ? new Error('ENOSPC') : undefined
        await rig.publish(...many(10))
        await until(() => rig.events.some((event) => event.startsWith('receipts failed')))
        await until(() => sent(broker).length === 10)
        const from = performance.now()
        await rig.forwarder.close(50)
        expect(performance.now() - from).toBeLessThan(1000)
        const { calls } = rig.life
        await new Promise((resolve) => setTimeout(resolve, 700))
        expect(rig.life.calls).toBe(calls)
        expect(rig.passed.every((seq) => seq === 1)).toBe(true)
        rig.life.failDisk = () => undefined
        await rig.close()
        broker.closed = false
      },
      async (rig) => {
        await rig.finished()
        expect(sent(broker)).toEqual([...range(10, 1), ...range(10, 1)])
      },
    )
  })

  test('ends when lanes wait for receipts that can not be written', { timeout: 30_000 }, async () => {
    const broker: Broker = {
      send: async (_, messages) => ({ partitions: messages.map(() => 0), offsets: messages.map((_m, i) => i) }),
      close: async () => {},
    }
    await withRig(broker, { laneBytesMax: 64 * 1024 * 1024, memoryBytesMax: 64 * 1024 * 1024 }, async (rig) => {
      rig.life.failDisk = (call, path) =>
        path.includes('receipts') && (call === 'write' || call === 'create') ? new Error('ENOSPC') : undefined
      for (const _ of range(43)) await rig.publish(...many(5000))
      // More than it may have delivered without a receipt that is durable.
      await until(() => rig.forwarder.status().backlogMessages <= 15_000, 20_000)
      await rig.life.clock.sleep(50)
      expect(rig.forwarder.status().backlogMessages).toBeGreaterThan(0)
      const from = performance.now()
      await rig.forwarder.close(50)
      expect(performance.now() - from).toBeLessThan(1000)
    })
  })

  test('leaves no timers and no files open', async () => {
    const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
    const before = timers()
    const broker = new FakeBroker()
    broker.rule((topic) => (topic === 'good' ? undefined : topic === 'bad' ? blocked : 'hang'))
    await withDirectory(async (directory) => {
      const rig = await Rig.start(directory, broker, { laneBytesMax: 2000, memoryBytesMax: 4000 })
      for (const _ of range(20)) await rig.publish(...['good', 'bad', 'hung'].map((t) => message(t, Buffer.alloc(300))))
      await until(() => rig.retries.length > 2)
      await rig.close(20)
      await until(() => timers() <= before, 500) // others than ours may end
      expect([...rig.life.openFiles.values()]).toEqual([])
      const { calls } = rig.life
      await new Promise((resolve) => setTimeout(resolve, 50))
      expect(rig.life.calls).toBe(calls)
    })
  })

  test('before the start changes nothing', async () => {
    const broker = new FakeBroker()
    await withDirectory(async (directory) => {
      const rig = await Rig.start(directory, broker)
      await rig.publish(...many(3))
      await rig.finished()
      await rig.close()
      const unused = await Rig.open(directory, broker)
      const { position } = unused.cursor
      await unused.close()
      expect(unused.cursor.position).toEqual(position)
      expect(position.seq).toBe(4)
      expect(unused.passed).toEqual([])
    })
  })
})

describe('starting again', () => {
  test('after a clean end sends nothing twice, and forgets no topic that is far behind', async () => {
    const broker = new FakeBroker()
    const lift = broker.rule((topic) => (topic.startsWith('bad') ? blocked : undefined))
    const options = { laneBytesMax: 3000, memoryBytesMax: 6000, batchMessagesMax: 4 }
    await twice(
      broker,
      options,
      async (rig) => {
        for (const i of range(40)) await rig.publish(message(`bad-${i % 3}`, Buffer.alloc(300)), message('good'))
        await until(() => kept(broker, 'good').length === 40)
        await rig.close()
        broker.closed = false
      },
      async (rig) => {
        await rig.publish(message('good'), message('bad-0'))
        await until(() => kept(broker, 'good').length === 41)
        lift()
        await rig.finished()
        expect(kept(broker, 'good')).toEqual(range(41).map((i) => 2 + 2 * i - (i === 40 ? 1 : 0)))
        for (const t of range(3))
          expect(kept(broker, `bad-${t}`)).toEqual(
            [...range(40), 40]
              .filter((i) => (i === 40 ? t === 0 : i % 3 === t))
              .map((i) => 1 + 2 * i + (i === 40 ? 1 : 0)),
          )
      },
    )
  })

  test('once more, before all of the first resumption was done, still sends nothing twice', async () => {
    const broker = new FakeBroker()
    const lift = broker.rule((topic) => (topic === 'bad-1' ? blocked : undefined))
    let allowed = 0
    broker.rule((topic) => (topic === 'bad-0' && allowed-- <= 0 ? blocked : undefined))
    const options = { laneBytesMax: 1500, memoryBytesMax: 3000, batchMessagesMax: 2, checkpointInterval: 1 }
    await withDirectory(async (directory) => {
      const rig = await Rig.start(directory, broker, options)
      for (const i of range(60)) await rig.publish(message(`bad-${i % 2}`, Buffer.alloc(300)), message('good'))
      await until(() => kept(broker, 'good').length === 60 && rig.cursor.position.mark > 1)
      await rig.crash()
      // Each run delivers a little of a blocked topic, and dies long before it stands where the first one stood.
      for (const _ of range(5)) {
        const next = await Rig.open(directory, broker, options)
        const covered = new Set(finishedBy(await next.allReceipts()))
        const at = broker.attempts.length
        allowed = 3
        await next.forwarder.start()
        await until(() => next.durableReceipts.filter(({ kind }) => kind === 'delivered').length >= 3)
        await until(() => next.durableReceipts.at(-1)?.kind === 'checkpoint')
        await next.crash()
        expect(sentAfter(broker, at).filter((seq) => covered.has(seq))).toEqual([])
      }
      // What the dead were still sending is refused like all before; else it would rightly be there twice.
      await until(() => broker.attempts.every(({ outcome }) => outcome !== 'pending'))
      lift()
      allowed = 1000
      const last = await Rig.start(directory, broker, options)
      await last.finished()
      await last.close()
      expect(new Set(kept(broker, 'bad-0'))).toEqual(new Set(range(30).map((i) => 1 + 4 * i)))
      expect(kept(broker, 'bad-1')).toEqual(range(30).map((i) => 3 + 4 * i))
    })
  })
})

describe('the cursor', () => {
  test('stands at the oldest unfinished message, and is on disk before the journal may let anything go', async () => {
    const broker = new FakeBroker()
    const synced: number[] = []
    await withDirectory(async (directory) => {
      const lift = broker.fail(blocked, 'bad')
      const rig: Rig = await Rig.open(directory, broker, {
        onPassed: (seq) => synced.push(seq, rig.cursor.position.seq),
      })
      await rig.forwarder.start()
      await rig.publish(message('good'), message('bad'), message('good'))
      await until(() => rig.cursor.position.seq === 2)
      await rig.publish(message('good'))
      await rig.life.clock.sleep(50)
      expect(rig.cursor.position.seq).toBe(2)
      lift()
      await until(() => rig.cursor.position.seq === 5)
      expect(synced.filter((_, i) => i % 2 === 0)).toEqual(synced.filter((_, i) => i % 2 === 1))
      await rig.close()
    })
  })

  test('that can not be written ends forwarding', async () => {
    const broker = new FakeBroker()
    await withRig(broker, {}, async (rig) => {
      rig.life.failDisk = (call, path) => (call === 'sync' && path.endsWith('cursor') ? new Error('EIO') : undefined)
      await rig.publish(message('t'))
      await expect(rig.forwarder.failed).rejects.toThrow('EIO')
      expect(rig.passed).toEqual([])
      rig.life.failDisk = () => undefined
    })
  })
})

test('a message is always found: accepted, then delivered or dead, also after a restart', async () => {
  const broker = new FakeBroker()
  broker.refuse(({ value }) => String(value) === 'poison')
  const lift = broker.fail(blocked, 'bad')
  await twice(
    broker,
    {},
    async (rig) => {
      expect(await rig.forwarder.find(1)).toBeNull()
      await rig.publish(...many(20), message('bad'), message('t', 'poison'))
      const states = new Set<string | undefined>()
      while (!states.has('delivered') && !states.has(undefined)) {
        states.add((await rig.forwarder.find(7))?.state)
        await new Promise((resolve) => setImmediate(resolve))
      }
      expect([...states]).toEqual(['accepted', 'delivered'])
      await until(async () => (await rig.forwarder.find(22))?.state === 'dead')
      expect(await rig.forwarder.find(21)).toEqual({ state: 'accepted' })
      expect(await rig.forwarder.find(23)).toBeNull()
      expect(await rig.forwarder.find(0)).toBeNull()
      await rig.close()
      broker.closed = false
    },
    async (rig) => {
      expect(await rig.forwarder.find(7)).toMatchObject({ state: 'delivered', topic: 't' })
      expect(await rig.forwarder.find(22)).toMatchObject({ state: 'dead', reason: 'MESSAGE_TOO_LARGE' })
      expect(await rig.forwarder.find(21)).toEqual({ state: 'accepted' })
      // It is finished while it is looked for on a slow disk.
      const gate = Promise.withResolvers<void>()
      rig.life.failDisk = (call, path) => (call === 'read' && path.includes('receipts') ? gate.promise : undefined)
      const finding = rig.forwarder.find(21)
      lift()
      await rig.finished()
      gate.resolve()
      expect(await finding).not.toBeNull()
      expect(await rig.forwarder.find(21)).toMatchObject({ state: 'delivered', topic: 'bad' })
    },
  )
})

test('thousands of topics at once are no trouble, with the broker away and back', { timeout: 30_000 }, async () => {
  const warnings: string[] = []
  const onWarning = (warning: Error): void => void warnings.push(warning.message)
  process.on('warning', onWarning)
  const broker = new FakeBroker()
  const lift = broker.fail(away)
  await withRig(broker, { retryDelay: 20, retryDelayMax: 200, breakerDelayMax: 200 }, async (rig) => {
    for (const i of range(10)) await rig.publish(...range(300).map((j) => message(`a-topic-among-many-${i * 300 + j}`)))
    await until(() => rig.forwarder.status().lanes.length === 3000)
    await until(() => rig.cursor.position.mark > 1 || rig.receipts.end.nextSeq > 1, 2000).catch(() => {})
    lift()
    await rig.finished(20_000)
    expect(new Set(sent(broker)).size).toBe(3000)
  })
  process.off('warning', onWarning)
  expect(warnings).toEqual([])
})

function kept(broker: FakeBroker, topic: string): number[] {
  return broker.attempts
    .filter((attempt) => attempt.topic === topic && attempt.outcome === 'delivered')
    .flatMap(({ messages }) => messages.map(seqOf))
}

function sentAfter(broker: FakeBroker, from: number, outcome?: string): number[] {
  return broker.attempts
    .slice(from)
    .filter((attempt) => outcome === undefined || attempt.outcome === outcome)
    .flatMap(({ messages }) => messages.map(seqOf))
}

/** Two runs on the same directory. The first closes (or kills) its rig itself. */
function twice(
  broker: Broker,
  options: RigOptions,
  first: (rig: Rig) => Promise<void>,
  second: (rig: Rig) => Promise<void>,
): Promise<void> {
  return withDirectory(async (directory) => {
    await first(await Rig.start(directory, broker, options))
    const rig = await Rig.start(directory, broker, options)
    try {
      await second(rig)
    } finally {
      await rig.close(50)
    }
  })
}
