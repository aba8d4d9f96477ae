import { expect, test } from 'vitest'
import { BrokerError } from '../../src/forwarder/broker.ts'
import { FakeBroker } from './fake-broker.ts'
import { Life } from './life.ts'
import { Rig, message, until, withDirectory } from './rig.ts'

const away = new BrokerError('transient', 'AWAY', 'the broker is away')
const quick = { checkpointInterval: 5 }

test('the cursor says how far the journal is durable, also while nothing gets through, and without more receipts', async () => {
  await withDirectory(async (directory) => {
    const broker = new FakeBroker()
    const lift = broker.fail(away, 'a')
    const rig = await Rig.start(directory, broker, quick)
    await rig.publish(message('a'), message('a'))
    await until(() => rig.cursor.position.reach === 3)
    const receipts = rig.receipts.nextSeq
    for (let seq = 3; seq < 8; seq++) {
      expect(await rig.publish(message('a'))).toBe(seq)
      await until(() => rig.cursor.position.reach === seq + 1)
    }
    expect(rig.cursor.position.seq).toBe(1)
    expect(rig.receipts.nextSeq).toBe(receipts)
    expect(rig.passed).toEqual([])
    lift()
    await rig.finished()
    await until(() => rig.cursor.position.seq === 8)
    expect(rig.cursor.position.reach).toBe(8)
    await rig.close()
  })
})

test('the reach of a cursor never goes back, whatever the journal has lost, and moves on from there', async () => {
  await withDirectory(async (directory) => {
    const broker = new FakeBroker()
    broker.fail(away, 'a')
    const rig = await Rig.open(directory, broker, quick)
    await rig.cursor.write({ seq: 1, mark: 1, reach: 50 })
    await rig.forwarder.start()
    await rig.publish(message('a'))
    await rig.publish(message('b'))
    await until(() => rig.cursor.position.mark > 1)
    expect(rig.cursor.position.reach).toBe(50)
    await rig.messages.skipTo(50)
    await rig.publish(message('b'))
    await until(() => rig.cursor.position.reach === 51)
    await rig.close(100)
  })
})

test('the reach is written when the forwarder closes', async () => {
  await withDirectory(async (directory) => {
    const broker = new FakeBroker()
    broker.fail(away, 'a')
    const rig = await Rig.start(directory, broker, { checkpointInterval: 1e6 })
    await rig.publish(message('a'))
    await until(() => rig.retries.length > 0)
    await rig.close(100)
    expect(rig.cursor.position.reach).toBe(2)
  })
})

test.each(['ENOSPC', 'EIO'])('a reach that the disk does not take (%s) is told, and written later', async (code) => {
  await withDirectory(async (directory) => {
    const life = new Life()
    const broker = new FakeBroker()
    broker.fail(away, 'a')
    const rig = await Rig.start(directory, broker, { ...quick, life })
    await rig.publish(message('a'))
    await until(() => rig.cursor.position.reach === 2)
    const { write } = rig.cursor
    let failures = 0
    rig.cursor.write = () => {
      failures++
      return Promise.reject(Object.assign(new Error(code), { code }))
    }
    await rig.publish(message('a'))
    await until(() => failures > 2)
    expect(rig.events.filter((event) => event.startsWith('receipts failed')).length).toBeGreaterThan(0)
    expect(rig.cursor.position.reach).toBe(2)
    rig.cursor.write = write
    await until(() => rig.cursor.position.reach === 3)
    await rig.close(100)
  })
})

test('a cursor that is older than the receipts shows in the checkpoints that come after its own; nothing is lost or sent twice', async () => {
  await withDirectory(async (directory) => {
    const broker = new FakeBroker()
    const rig = await Rig.start(directory, broker, { ...quick, keepAll: true })
    const seen: { seq: number; mark: number }[] = []
    for (let seq = 1; seq < 6; seq++) {
      await rig.publish(message('a'))
      await until(() => rig.cursor.position.seq === seq + 1)
      seen.push(rig.cursor.position)
    }
    await rig.close()
    const start = async (position: { seq: number; mark: number }): Promise<Rig> => {
      const again = await Rig.open(directory, broker, { checkpointInterval: 1e6, keepAll: true })
      await again.cursor.write({ ...position, reach: 6 })
      await again.forwarder.start()
      await again.finished()
      return again
    }
    const newest = seen.at(-1) as (typeof seen)[number]
    const counts: number[] = []
    for (const position of [newest, seen[3], seen[0]]) {
      const again = await start(position ?? newest)
      counts.push(again.forwarder.checkpointsAtStart)
      await again.crash()
    }
    expect(counts).toEqual([1, 2, 5])
    expect(broker.records('a')).toHaveLength(5)
  })
})
