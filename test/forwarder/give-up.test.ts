import { describe, expect, test } from 'vitest'
import { BrokerError } from '../../src/forwarder/broker.ts'
import { FakeBroker } from './fake-broker.ts'
import { Life } from './life.ts'
import { Rig, finishedBy, lostBy, message, seqOf, until, withDirectory, withRig } from './rig.ts'

const away = new BrokerError('transient', 'ECONNREFUSED', 'the broker is away')
const blocked = new BrokerError('blocked', 'UNKNOWN_TOPIC', 'no such topic')
const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i)
const delivered = (broker: FakeBroker): number[] =>
  broker.attempts
    .filter(({ outcome }) => outcome === 'delivered')
    .flatMap(({ messages }) => messages.map(seqOf))
    .toSorted((a, b) => a - b)

describe('giving up the oldest messages', () => {
  test('while the broker is away: exactly those below are lost, durably, and the rest goes out when it is back', async () => {
    const broker = new FakeBroker()
    const lift = broker.fail(away)
    await withRig(broker, { retryDelay: 60_000, retryDelayMax: 60_000, breakerDelayMax: 60_000 }, async (rig) => {
      await rig.publish(...range(0, 100).map((i) => message(`t${i % 7}`)))
      await until(() => rig.events.includes('breaker open'))
      await rig.forwarder.giveUpBelow(61)
      expect(lostBy(await rig.allReceipts()).toSorted((a, b) => a - b)).toEqual(range(1, 61))
      expect(rig.cursor.position.seq).toBe(61)
      expect(rig.passed.at(-1)).toBe(61)
      expect(await rig.forwarder.find(60)).toMatchObject({
        state: 'lost',
        reason: 'dropped',
        lostAt: expect.any(Number),
      })
      expect(await rig.forwarder.find(61)).toEqual({ state: 'accepted' })
      expect(rig.events.filter((event) => event.startsWith('lost')).toSorted()).toEqual(
        // 60 messages of 7 topics.
        range(0, 7).map((i) => `lost t${i} ${i < 4 ? 9 : 8} dropped`),
      )
      lift()
    })
  })

  test('goes on behind them, and delivers the rest', async () => {
    const broker = new FakeBroker()
    const lift = broker.fail(away)
    await withRig(broker, {}, async (rig) => {
      await rig.publish(...range(0, 30).map((i) => message(`t${i % 3}`)))
      await until(() => rig.retries.length > 0)
      await rig.forwarder.giveUpBelow(11)
      lift()
      await rig.finished()
      expect(delivered(broker)).toEqual(range(11, 31))
    })
  })

  test('of which nothing is in memory yet: they are dropped as they are read, and memory stays bounded', async () => {
    const broker = new FakeBroker()
    const lift = broker.fail(away)
    await withRig(broker, { memoryBytesMax: 20_000, laneBytesMax: 5000 }, async (rig) => {
      for (let i = 0; i < 40; i++) await rig.publish(...range(0, 10).map((t) => message(`t${t}`, Buffer.alloc(1000))))
      await until(() => rig.retries.length > 10)
      await rig.forwarder.giveUpBelow(381)
      expect(rig.forwarder.status().memoryBytes).toBeLessThan(60_000)
      expect(lostBy(await rig.allReceipts()).toSorted((a, b) => a - b)).toEqual(range(1, 381))
      lift()
      await rig.finished()
      expect(delivered(broker)).toEqual(range(381, 401))
    })
  })

  test('also those of a lane that is detached and has to read them back', async () => {
    const broker = new FakeBroker()
    const lift = broker.fail(blocked, 'stuck')
    await withRig(broker, { laneBytesMax: 3000, keepAll: true }, async (rig) => {
      for (let i = 0; i < 60; i++) await rig.publish(message('stuck', Buffer.alloc(500)), message('fine'))
      await until(async () => delivered(broker).length === 60)
      await rig.forwarder.giveUpBelow(101)
      const odd = range(1, 101).filter((seq) => seq % 2 === 1)
      expect(lostBy(await rig.allReceipts()).toSorted((a, b) => a - b)).toEqual(odd)
      lift()
      await rig.finished()
      expect(delivered(broker)).toEqual(range(1, 121).filter((seq) => seq > 100 || seq % 2 === 0))
    })
  })

  test('does not wait until a lane whose memory was taken away would have tried again', async () => {
    const broker = new FakeBroker()
    const lift = broker.fail(blocked)
    const options = {
      memoryBytesMax: 20_000,
      laneBytesMax: 5000,
      retryDelay: 60_000,
      retryDelayMax: 60_000,
      keepAll: true,
    }
    await withRig(broker, options, async (rig) => {
      for (let i = 0; i < 40; i++) await rig.publish(...range(0, 10).map((t) => message(`t${t}`, Buffer.alloc(1000))))
      await until(() => rig.forwarder.status().lanes.some(({ queuedMessages }) => queuedMessages === 0))
      await until(() => rig.retries.length === 10 && rig.forwarder.progress().head === 401)
      await rig.forwarder.giveUpBelow(401)
      expect(lostBy(await rig.allReceipts()).toSorted((a, b) => a - b)).toEqual(range(1, 401))
      lift()
    })
  }, 20_000)

  test('leaves a batch that is being sent alone: it is delivered when the broker takes it', async () => {
    const broker = new FakeBroker()
    broker.next(1, 'hang')
    await withRig(broker, { batchMessagesMax: 5 }, async (rig) => {
      await rig.publish(...range(0, 20).map(() => message('t')))
      await until(() => broker.attempts.length === 1)
      const givingUp = rig.forwarder.giveUpBelow(16)
      await rig.life.clock.sleep(20)
      expect(rig.passed).toEqual([])
      expect(await rig.forwarder.find(1)).toEqual({ state: 'accepted' })
      broker.release()
      await givingUp
      const receipts = await rig.allReceipts()
      expect(lostBy(receipts)).toEqual(range(6, 16))
      await rig.finished()
      expect(delivered(broker)).toEqual([...range(1, 6), ...range(16, 21)])
      expect(await rig.forwarder.find(5)).toMatchObject({ state: 'delivered' })
    })
  })

  test('and when the broker does not take that batch, it is not sent again', async () => {
    const broker = new FakeBroker()
    broker.next(1, 'hang')
    await withRig(broker, { batchMessagesMax: 5, sendTimeout: 30 }, async (rig) => {
      await rig.publish(...range(0, 20).map(() => message('t')))
      await until(() => broker.attempts.length === 1)
      await rig.forwarder.giveUpBelow(13)
      expect(lostBy(await rig.allReceipts())).toEqual(range(1, 13))
      await rig.finished()
      expect(delivered(broker)).toEqual(range(13, 21))
      expect(rig.retries).toEqual([])
    })
  })

  test('that are all finished changes nothing, and what is accepted later is never meant', async () => {
    const broker = new FakeBroker()
    await withRig(broker, {}, async (rig) => {
      await rig.publish(message('t'), message('t'))
      await rig.finished()
      await rig.forwarder.giveUpBelow(3)
      await rig.forwarder.giveUpBelow(1000)
      await rig.publish(message('t'), message('t'))
      await rig.finished()
      expect(lostBy(await rig.allReceipts())).toEqual([])
      expect(delivered(broker)).toEqual([1, 2, 3, 4])
    })
  })

  test('sends nothing behind them before their receipts are durable: a crash would bring them back, out of order', async () => {
    const broker = new FakeBroker()
    const lift = broker.fail(away)
    await withRig(broker, {}, async (rig) => {
      await rig.publish(message('t'), message('t'), message('t'))
      await until(() => rig.retries.length > 0)
      rig.life.failDisk = (call, path) =>
        path.includes('receipts') && (call === 'write' || call === 'create') ? new Error('ENOSPC') : undefined
      const givingUp = rig.forwarder.giveUpBelow(3)
      lift()
      await until(() => rig.events.some((event) => event.startsWith('receipts failed')))
      await rig.life.clock.sleep(50)
      expect(delivered(broker)).toEqual([])
      rig.life.failDisk = () => undefined
      await givingUp
      await rig.finished()
      expect(delivered(broker)).toEqual([3])
    })
  })

  test('ends with the forwarder, and the next run can do it', async () => {
    const broker = new FakeBroker()
    broker.rule(() => 'hang')
    await withDirectory(async (directory) => {
      const first = await Rig.start(directory, broker)
      await first.publish(message('a'), message('b'))
      await until(() => broker.attempts.length === 2)
      const givingUp = first.forwarder.giveUpBelow(2)
      await first.close(10)
      await givingUp
      const second = await Rig.start(directory, new FakeBroker())
      await second.finished()
      await until(async () => finishedBy(await second.allReceipts()).length === 2)
      expect(finishedBy(await second.allReceipts()).toSorted((a, b) => a - b)).toEqual([1, 2])
      await second.close()
    })
  })

  test('survives a kill right behind its receipts: none of them is sent by the next run', async () => {
    for (let call = 1; call < 40; call += 3) {
      const broker = new FakeBroker()
      const lift = broker.fail(away)
      await withDirectory(async (directory) => {
        const life = new Life()
        const first = await Rig.start(directory, broker, { life, checkpointInterval: 60_000 })
        await first.publish(...range(0, 12).map((i) => message(`t${i % 3}`)))
        await until(() => first.retries.length > 0)
        life.killAt = { call: life.calls + call, done: call % 2 === 0 }
        await Promise.race([first.forwarder.giveUpBelow(8), life.died])
        await life.kill()
        const lost = lostBy(first.durableReceipts)
        expect(lost.every((seq) => seq < 8)).toBe(true)
        lift()
        broker.attempts.splice(0)
        const second = await Rig.start(directory, broker)
        await second.finished()
        const all = [...lostBy(await second.allReceipts()), ...delivered(broker)]
        expect(delivered(broker).filter((seq) => lost.includes(seq))).toEqual([])
        expect(all.toSorted((a, b) => a - b)).toEqual(range(1, 13))
        await second.close()
      })
    }
  })
})

test('a lane that was detached while it fails gives up as a whole, too', async () => {
  const broker = new FakeBroker()
  broker.fail(blocked, 'stuck')
  await withRig(broker, { laneBytesMax: 3000, keepAll: true }, async (rig) => {
    for (let i = 0; i < 10; i++)
      await rig.publish(...Array.from({ length: 100 }, () => message('stuck', Buffer.alloc(100))))
    await until(() => rig.forwarder.progress().head > 1000)
    await rig.forwarder.giveUpBelow(1001)
    const receipts = await rig.allReceipts()
    expect(lostBy(receipts)).toEqual(range(1, 1001))
    // Each of them waits for the disk.
    expect(receipts.filter(({ kind }) => kind === 'lost').length).toBeLessThan(100)
  })
})
