import { expect, test } from 'vitest'
import { BrokerError } from '../../src/forwarder/broker.ts'
import { measureTopics } from '../../src/forwarder/topic-sizes.ts'
import { messageCodec } from '../../src/message/message-codec.ts'
import { FakeBroker } from './fake-broker.ts'
import { Life } from './life.ts'
import { message, until, withDirectory, withRig, Rig } from './rig.ts'

const blocked = new BrokerError('blocked', 'UNKNOWN_TOPIC', 'no such topic')

test('progress says of each topic below which message everything is finished, and when the oldest was accepted', async () => {
  const broker = new FakeBroker()
  const lift = broker.fail(blocked, 'stuck')
  await withRig(broker, {}, async (rig) => {
    await rig.publish(message('fine'), message('stuck'), message('fine'), message('stuck'))
    await until(() => rig.retries.length > 0 && rig.events.some((event) => event.startsWith('delivered fine')))
    await until(() => rig.forwarder.progress().positions.length === 1)
    const progress = rig.forwarder.progress()
    expect(progress.head).toBe(5)
    expect(progress.positions).toEqual([['stuck', 2]])
    expect(progress.oldestAcceptedAt).toBe(rig.forwarder.status().oldestAcceptedAt)
    lift()
    await rig.finished()
    await until(() => rig.forwarder.progress().positions.length === 0)
    expect(rig.forwarder.progress()).toEqual({ head: 5, positions: [], oldestAcceptedAt: null })
  })
})

test('when the oldest was accepted is known also while it is not in memory', async () => {
  const broker = new FakeBroker()
  const lift = broker.fail(blocked, 'stuck')
  const options = { memoryBytesMax: 20_000, laneBytesMax: 5000, retryDelay: 300, retryDelayMax: 300, keepAll: true }
  await withRig(broker, options, async (rig) => {
    await rig.publish(...Array.from({ length: 30 }, () => message('stuck', Buffer.alloc(1000))))
    await until(() => rig.forwarder.status().lanes.some(({ queuedMessages }) => queuedMessages === 0))
    const oldest = rig.forwarder.progress().oldestAcceptedAt
    expect(oldest).toEqual(expect.any(Number))
    for (let i = 0; i < 40; i++) {
      expect(rig.forwarder.progress().oldestAcceptedAt).toBe(oldest)
      await rig.life.clock.sleep(20)
    }
    lift()
    await rig.finished()
    await until(() => rig.forwarder.progress().oldestAcceptedAt === null)
  })
})

test('a part of the journal is measured by topic, in the bytes that it takes there, and no further than was asked for', async () => {
  await withDirectory(async (directory) => {
    const rig = await Rig.open(directory, new FakeBroker())
    const sizes = { a: 0, b: 0 }
    for (let i = 0; i < 20; i++) {
      const each = message(i % 3 === 0 ? 'a' : 'b', Buffer.alloc(i))
      await rig.publish(each)
      if (i >= 5 && i < 15)
        sizes[each.topic as 'a' | 'b'] += 4 + messageCodec.encode(each, Buffer.alloc(messageCodec.sizeMax(each)), 0)
    }
    const all = await measureTopics(rig.messages, { fromSeq: 6, toSeq: 16, bytesMax: 1e9 })
    expect(all).toEqual({
      fromSeq: 6,
      toSeq: 16,
      topics: expect.arrayContaining([
        { topic: 'a', bytes: sizes.a, firstSeq: 7, lastSeq: 13 },
        { topic: 'b', bytes: sizes.b, firstSeq: 6, lastSeq: 15 },
      ]) as unknown,
    })
    const part = await measureTopics(rig.messages, { fromSeq: 6, toSeq: 16, bytesMax: 1 })
    expect(part.toSeq).toBe(7)
    expect(await measureTopics(rig.messages, { fromSeq: 21, toSeq: 30, bytesMax: 1 })).toMatchObject({ toSeq: 21, topics: [] }) // prettier-ignore
    expect(rig.life.openFiles.size).toBeLessThanOrEqual(4)
    await rig.close()
  })
})

test.each(['ENOSPC', 'EIO'])(
  'a cursor that the disk does not take (%s) is written with the next checkpoint, and forwarding goes on',
  async (code) => {
    const life = new Life()
    const broker = new FakeBroker()
    await withRig(broker, { life }, async (rig) => {
      let failures = 0
      life.failDisk = (call, path) => {
        if (call !== 'write' || !path.endsWith('.cursor') || failures >= 3) return undefined
        failures++
        return Object.assign(new Error('no space'), { code })
      }
      await rig.publish(message('a'), message('b'))
      await until(() => rig.cursor.position.seq === 3)
      expect(failures).toBe(3)
      expect(rig.events.filter((event) => event.startsWith('receipts failed'))).toHaveLength(3)
      expect(rig.passed).toEqual([3])
    })
  },
)

test('a cursor that can not be written for another reason ends it', async () => {
  const life = new Life()
  await withRig(new FakeBroker(), { life }, async (rig) => {
    life.failDisk = (call, path) => (call === 'write' && path.endsWith('.cursor') ? new Error('a bug') : undefined)
    await rig.publish(message('a'))
    await expect(rig.forwarder.failed).rejects.toThrow('a bug')
    life.failDisk = () => undefined
  })
})
