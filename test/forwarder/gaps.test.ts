import { readFile, readdir, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { BrokerError } from '../../src/forwarder/broker.ts'
import { FakeBroker } from './fake-broker.ts'
import type { RigOptions } from './rig.ts'
import { Rig, finishedBy, lostBy, message, seqOf, until, withDirectory, withRig } from './rig.ts'

const away = new BrokerError('transient', 'ECONNREFUSED', 'the broker is away')
const blocked = new BrokerError('blocked', 'UNKNOWN_TOPIC', 'no such topic')
const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i)
const ascending = (seqs: readonly number[]): number[] => seqs.toSorted((a, b) => a - b)
const delivered = (broker: FakeBroker): number[] =>
  ascending(
    broker.attempts.filter(({ outcome }) => outcome === 'delivered').flatMap(({ messages }) => messages.map(seqOf)),
  )
const options: RigOptions = { segmentBytes: 130 * 1024 }

/** The files of the journal and where each begins, oldest first. */
async function segmentsOf(directory: string, folder = 'journal'): Promise<{ path: string; base: number }[]> {
  const names = (await readdir(join(directory, folder))).filter((name) => name.endsWith('.segment')).toSorted()
  return names.map((name) => ({ path: join(directory, folder, name), base: Number(name.slice(0, 16)) }))
}

/** Makes a whole segment unreadable. */
async function spoil(path: string): Promise<void> {
  const bytes = await readFile(path)
  bytes.fill(0xee, 0, 200)
  await writeFile(path, bytes)
}

/** Publishes messages of 1 KiB to some topics in turn, each in a block of its own. */
async function publish(rig: Rig, count: number, topics: readonly string[]): Promise<void> {
  for (let i = 0; i < count; i++) await rig.publish(message(topics[i % topics.length] as string, Buffer.alloc(1000)))
}

/** What is published while the broker is away, and what a start on it after `between` makes of it. */
async function filled(
  directory: string,
  between: (segments: { path: string; base: number }[]) => Promise<void>,
  broker: FakeBroker,
): Promise<Rig> {
  const none = new FakeBroker()
  none.fail(away)
  const first = await Rig.start(directory, none, options)
  await publish(first, 500, ['a', 'b', 'c'])
  await first.close(10)
  await between(await segmentsOf(directory))
  const rig = await Rig.start(directory, broker, options)
  await rig.finished()
  return rig
}

describe('what is gone in the journal', () => {
  test('is lost, exactly and durably; everything else is delivered, and the cursor goes to the end', async () => {
    await withDirectory(async (directory) => {
      const broker = new FakeBroker()
      let gap: number[] = []
      const rig = await filled(
        directory,
        async (segments) => {
          gap = range(segments[1]?.base as number, segments[2]?.base as number)
          await spoil(segments[1]?.path as string)
        },
        broker,
      )
      expect(gap.length).toBeGreaterThan(50)
      await until(() => rig.cursor.position.seq === 501)
      expect(lostBy(await rig.allReceipts())).toEqual(gap)
      expect(delivered(broker)).toEqual(range(1, 501).filter((seq) => !gap.includes(seq)))
      expect(await rig.forwarder.find(gap[0] as number)).toMatchObject({ state: 'lost', reason: 'corrupt' })
      expect(await rig.forwarder.find((gap[0] as number) - 1)).toMatchObject({ state: 'delivered' })
      expect(rig.events).toContain(`lost null ${gap.length} corrupt`)
      await until(async () => (await segmentsOf(directory)).length === 1)
      await rig.close()
    })
  })

  test('because a file is missing in the middle, at the beginning, or both, is lost for that reason', async () => {
    for (const gone of [[1], [0], [0, 1], [0, 2]])
      await withDirectory(async (directory) => {
        const broker = new FakeBroker()
        let gap: number[] = []
        const rig = await filled(
          directory,
          async (segments) => {
            for (const i of gone) {
              await unlink(segments[i]?.path as string)
              gap.push(...range(segments[i]?.base as number, segments[i + 1]?.base as number))
            }
          },
          broker,
        )
        await until(() => rig.cursor.position.seq === 501)
        expect(lostBy(await rig.allReceipts())).toEqual(gap)
        expect(await rig.forwarder.find(gap[0] as number)).toMatchObject({ state: 'lost', reason: 'missing' })
        expect(delivered(broker)).toEqual(range(1, 501).filter((seq) => !gap.includes(seq)))
        gap = []
        await rig.close()
      })
  })

  test('because the end of the journal was lost is lost, too, as far as it was not finished', async () => {
    await withDirectory(async (directory) => {
      const broker = new FakeBroker()
      broker.fail(blocked, 'stuck')
      const first = await Rig.start(directory, broker, options)
      for (const topic of ['fine', 'stuck', 'fine', 'stuck', 'fine', 'stuck', 'fine', 'stuck'])
        await first.publish(message(topic))
      await until(() => delivered(broker).length === 4)
      await first.close()
      const [last] = await segmentsOf(directory)
      const bytes = await readFile(last?.path as string)
      await writeFile(last?.path as string, bytes.subarray(0, 4096 + Math.floor((bytes.length - 4096) / 3)))
      const rest = new FakeBroker()
      const rig = await Rig.open(directory, rest, options)
      const left = rig.messages.nextSeq
      expect(left).toBeLessThan(7)
      // As far as receipts and cursor know of it.
      const known = await rig.forwarder.start()
      await rig.messages.skipTo(known, true)
      await rig.messages.skipTo(1e9)
      await rig.publish(message('fine'))
      await rig.finished()
      await until(() => rig.cursor.position.seq === 1e9 + 1)
      const lost = range(left, known).filter((seq) => seq % 2 === 0)
      expect(lostBy(await rig.allReceipts())).toEqual(lost)
      expect(await rig.forwarder.find(lost[0] as number)).toMatchObject({ state: 'lost', reason: 'corrupt' })
      // What was skipped without anybody knowing of it is not said to be lost.
      expect(await rig.forwarder.find(1000)).toBeNull()
      expect(delivered(rest)).toEqual([...range(1, left).filter((seq) => seq % 2 === 0), 1e9])
      await rig.close()
    })
  })

  test('is lost only as far as it was not finished: what a receipt covers is not', async () => {
    await withDirectory(async (directory) => {
      const brokers = range(0, 4).map(() => new FakeBroker())
      for (const broker of brokers.slice(0, 3)) broker.fail(blocked, 'stuck')
      const all = (): number[] => ascending(brokers.flatMap(delivered))
      const first = await Rig.start(directory, brokers[0] as FakeBroker, options)
      await publish(first, 500, ['fine', 'stuck', 'good'])
      await until(() => all().length === 333)
      await first.close()
      const segments = await segmentsOf(directory)
      await spoil(segments[1]?.path as string)
      await spoil(segments[3]?.path as string)
      const gap = [1, 3].flatMap((i) => range(segments[i]?.base as number, segments[i + 1]?.base as number))
      const stuck = gap.filter((seq) => seq % 3 === 2)
      // Twice: the second start comes to the gaps again, and does not note them again.
      for (const broker of brokers.slice(1, 3)) {
        const rig = await Rig.start(directory, broker, options)
        await until(async () => lostBy(await rig.allReceipts()).length >= stuck.length)
        await rig.life.clock.sleep(30)
        expect(ascending(lostBy(await rig.allReceipts()))).toEqual(stuck)
        await rig.close()
      }
      const rig = await Rig.start(directory, brokers[3] as FakeBroker, options)
      await rig.finished()
      await until(() => rig.cursor.position.seq === 501)
      expect(ascending(lostBy(await rig.allReceipts()))).toEqual(stuck)
      expect(all()).toEqual(range(1, 501).filter((seq) => !stuck.includes(seq)))
      for (const seq of gap)
        expect(await rig.forwarder.find(seq)).toMatchObject({ state: stuck.includes(seq) ? 'lost' : 'delivered' })
      await rig.close()
    })
  })

  test('when lanes read back what the head has passed long ago is lost for them, and noted once', async () => {
    const broker = new FakeBroker()
    const lifts = ['stuck', 'stopped'].map((topic) => broker.fail(blocked, topic))
    await withRig(broker, { ...options, laneBytesMax: 3000, keepAll: true }, async (rig) => {
      await publish(rig, 500, ['fine', 'stuck', 'good', 'stopped'])
      await until(() => delivered(broker).length === 250)
      const segments = await segmentsOf(rig.directory)
      await spoil(segments[2]?.path as string)
      const gap = range(segments[2]?.base as number, segments[3]?.base as number).filter((seq) => seq % 2 === 0)
      for (const lift of lifts) lift()
      await rig.finished()
      await until(() => rig.cursor.position.seq === 501)
      expect(ascending(lostBy(await rig.allReceipts()))).toEqual(gap)
      expect(delivered(broker)).toEqual(range(1, 501).filter((seq) => !gap.includes(seq)))
    })
  })

  test('when a lane reads back is not lost for another that has it in memory', async () => {
    const broker = new FakeBroker()
    const [liftStuck, liftSlow] = ['stuck', 'slow'].map((topic) => broker.fail(blocked, topic))
    await withRig(broker, { ...options, laneBytesMax: 20_000, keepAll: true }, async (rig) => {
      for (let i = 0; i < 500; i++)
        await rig.publish(message(i % 50 === 7 ? 'slow' : i % 2 === 0 ? 'stuck' : 'fine', Buffer.alloc(1000)))
      await until(() => delivered(broker).length === 240)
      const segments = await segmentsOf(rig.directory)
      await spoil(segments[2]?.path as string)
      const gap = range(segments[2]?.base as number, segments[3]?.base as number).filter((seq) => seq % 2 === 1)
      liftStuck?.()
      await until(async () => lostBy(await rig.allReceipts()).length >= gap.length)
      liftSlow?.()
      await rig.finished()
      await until(() => rig.cursor.position.seq === 501)
      expect(ascending(lostBy(await rig.allReceipts()))).toEqual(gap)
      expect(delivered(broker)).toEqual(range(1, 501).filter((seq) => !gap.includes(seq)))
    })
  })

  test('is not lost when it is in memory already', async () => {
    const broker = new FakeBroker()
    const lift = broker.fail(blocked)
    await withRig(broker, options, async (rig) => {
      await publish(rig, 400, ['a', 'b'])
      await until(
        () => rig.forwarder.status().lanes.reduce((sum, { queuedMessages }) => sum + queuedMessages, 0) === 400,
      )
      for (const { path } of (await segmentsOf(rig.directory)).slice(0, -1)) await spoil(path)
      lift()
      await rig.finished()
      expect(delivered(broker)).toEqual(range(1, 401))
      expect(lostBy(await rig.allReceipts())).toEqual([])
    })
  })
})

describe('receipts that are damaged', () => {
  test('cost nothing but that messages are delivered again', async () => {
    await withDirectory(async (directory) => {
      const broker = new FakeBroker()
      const lift = broker.fail(blocked, 'stuck')
      const first = await Rig.start(directory, broker, { ...options, checkpointInterval: 60_000 })
      await publish(first, 100, ['fine', 'stuck'])
      await until(async () => finishedBy(await first.allReceipts()).length === 50)
      await first.crash()
      const [receipts] = await segmentsOf(directory, 'receipts')
      const bytes = await readFile(receipts?.path as string)
      // In the midst of what the receipts take.
      bytes.fill(0xee, 4096 + 300, 4096 + 900)
      await writeFile(receipts?.path as string, bytes)
      lift()
      const rig = await Rig.start(directory, broker, options)
      await rig.finished()
      await until(() => rig.cursor.position.seq === 101)
      expect([...new Set(delivered(broker))]).toEqual(range(1, 101))
      expect(lostBy(await rig.allReceipts())).toEqual([])
      await rig.close()
    })
  })
})

describe('dead letters that are damaged', () => {
  test('are missing in the list; the others are listed', async () => {
    const broker = new FakeBroker()
    broker.refuse(() => true)
    await withRig(broker, options, async (rig) => {
      for (let i = 0; i < 5; i++) {
        await rig.publish(message('t', `value ${i}`))
        await rig.finished()
      }
      const [letters] = await segmentsOf(rig.directory, 'dead-letters')
      const bytes = await readFile(letters?.path as string)
      const at = bytes.indexOf('value 2')
      bytes[at] = 0
      await writeFile(letters?.path as string, bytes)
      expect(await rig.allLetters(({ message: { value } }) => String(value))).toEqual(
        [0, 1, 3, 4].map((i) => `value ${i}`),
      )
    })
  })
})

describe('what nobody ever had', () => {
  test('as a restored journal goes on a long way behind, is not lost, also when what comes behind it is finished first', async () => {
    await withDirectory(async (directory) => {
      const broker = new FakeBroker()
      broker.fail(blocked, 'stuck')
      const first = await Rig.start(directory, broker, options)
      await first.publish(message('stuck'))
      await first.messages.skipTo(2 ** 32)
      await first.publish(message('fine'))
      await until(() => delivered(broker).length === 1)
      await first.close()
      const rest = new FakeBroker()
      const rig = await Rig.start(directory, rest, options)
      await rig.publish(message('fine'))
      await rig.finished()
      expect(lostBy(await rig.allReceipts())).toEqual([])
      // The first one of 'fine' was delivered before.
      expect(delivered(rest)).toEqual([1, 2 ** 32 + 1])
      await rig.close()
    })
  })
})

test('files that are gone while a detached lane still needs them are lost by name', async () => {
  const broker = new FakeBroker()
  const lift = broker.fail(blocked, 'stuck')
  await withRig(broker, { laneBytesMax: 3000, keepAll: true, segmentBytes: 64 * 1024 }, async (rig) => {
    for (let i = 0; i < 300; i++) await rig.publish(message('stuck', Buffer.alloc(1000)))
    await until(() => rig.forwarder.progress().head > 300)
    const files = await segmentsOf(rig.messages.directory, '')
    for (const { path } of files.slice(0, 3)) await unlink(path)
    lift()
    await rig.finished()
    const lost = lostBy(await rig.allReceipts())
    expect(lost.length).toBeGreaterThan(100)
    expect(ascending([...lost, ...delivered(broker)])).toEqual(range(1, 301))
  })
})
