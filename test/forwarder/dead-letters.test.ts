import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BrokerError } from '../../src/forwarder/broker.ts'
import { decodeDeadLetter, deadLetterCodec } from '../../src/forwarder/dead-letters.ts'
import type { OutgoingMessage } from '../../src/forwarder/broker.ts'
import { FakeBroker } from './fake-broker.ts'
import type { Rig } from './rig.ts'
import { message, seqOf, until, withRig } from './rig.ts'

const range = (count: number, from = 0): number[] => Array.from({ length: count }, (_, i) => from + i)
const isPoison = ({ value }: OutgoingMessage): boolean => String(value) === 'poison'
const kept = (broker: FakeBroker): number[] =>
  broker.attempts.filter(({ outcome }) => outcome === 'delivered').flatMap(({ messages }) => messages.map(seqOf))

async function publish(rig: Rig, count: number, poisons: readonly number[]): Promise<void> {
  const first = rig.messages.nextSeq
  await rig.publish(...range(count).map((i) => message('t', poisons.includes(first + i) ? 'poison' : 'good')))
}

describe('a message that is refused for good', () => {
  test('is found in its batch, kept as a dead letter with its reason, and the others are delivered in order', async () => {
    const broker = new FakeBroker()
    broker.refuse(isPoison)
    await withRig(broker, {}, async (rig) => {
      await rig.publish(
        message('t', 'good'),
        message('t', 'poison', { key: 'k', partition: 1, headers: [['h', 'v']], acceptedAt: 9, traceparent: 'trace' }),
        message('t', 'good'),
      )
      await rig.finished()
      expect(kept(broker)).toEqual([1, 3])
      const letters = await rig.allLetters((letter) => structuredClone(letter))
      expect(letters).toEqual([
        {
          number: 1,
          id: `${rig.messages.id}-2`,
          reason: 'MESSAGE_TOO_LARGE',
          detail: 'refused: MESSAGE_TOO_LARGE',
          attempts: expect.any(Number),
          diedAt: expect.any(Number),
          message: expect.objectContaining({ topic: 't', partition: 1, acceptedAt: 9, traceparent: 'trace' }),
        },
      ])
      expect(letters[0]?.message.key).toEqual(new Uint8Array(Buffer.from('k')))
      expect(rig.events.filter((event) => event.startsWith('died'))).toEqual(['died t 2 MESSAGE_TOO_LARGE'])
      expect(await rig.forwarder.find(2)).toMatchObject({ state: 'dead', topic: 't', reason: 'MESSAGE_TOO_LARGE' })
      expect(rig.letters.count).toBe(1)
    })
  })

  test('costs about 2·log2(n) sends, wherever in the batch it stands', async () => {
    const n = 512
    for (const at of [1, 2, 255, 256, 257, 300, 511, 512]) {
      const broker = new FakeBroker()
      broker.refuse(isPoison)
      await withRig(broker, { batchMessagesMax: n }, async (rig) => {
        await publish(rig, n, [at])
        await rig.finished()
        expect(kept(broker)).toEqual(range(n, 1).filter((seq) => seq !== at))
        const sends = broker.attempts.findLastIndex(({ outcome }) => outcome === 'failed') + 1
        expect(sends).toBeLessThanOrEqual(2 * Math.log2(n) + 1)
        // What is left goes out in batches that grow.
        expect(broker.attempts.length - sends).toBeLessThanOrEqual(Math.log2(n) + 1)
      })
    }
  })

  test('and was only too much of a batch is delivered in parts; the next batch is a whole one again', async () => {
    const broker = new FakeBroker()
    await withRig(broker, { batchMessagesMax: 16 }, async (rig) => {
      broker.next(1, new BrokerError('permanent', 'RECORD_LIST_TOO_LARGE', 'too large'))
      await publish(rig, 48, [])
      await rig.finished()
      expect(broker.attempts.map(({ messages }) => messages.length)).toEqual([16, 8, 8, 16, 16])
      expect(kept(broker)).toEqual(range(48, 1))
      expect(rig.letters.count).toBe(0)
    })
  })

  test('costs one send when those before it died too', async () => {
    const broker = new FakeBroker()
    broker.refuse(isPoison)
    await withRig(broker, {}, async (rig) => {
      await publish(rig, 256, range(256, 1))
      await rig.finished()
      expect(broker.attempts.length).toBeLessThanOrEqual(8 + 256)
      expect(rig.letters.count).toBe(256)
    })
  })

  test('property: exactly the poison dies, in order, and all else is delivered once, in order', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 60 }),
        fc.integer({ min: 1, max: 40 }),
        fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 12 }),
        fc.boolean(),
        async (count, batchMessagesMax, poisons, flaky) => {
          const broker = new FakeBroker()
          let sends = 0
          if (flaky)
            broker.rule(() => (++sends % 3 === 0 ? new BrokerError('transient', 'ECONNRESET', 'flaky') : undefined))
          broker.refuse(isPoison)
          await withRig(broker, { batchMessagesMax, retryDelay: 1, retryDelayMax: 1 }, async (rig) => {
            await publish(rig, count, poisons)
            await rig.finished()
            const seqs = range(count, 1)
            expect(kept(broker)).toEqual(seqs.filter((seq) => !poisons.includes(seq)))
            const dead = await rig.allLetters(({ id }) => Number(id.split('-')[1]))
            expect(dead).toEqual(seqs.filter((seq) => poisons.includes(seq)))
          })
        },
      ),
      { numRuns: 40 },
    )
  })

  test('is a dead letter on disk before its receipt is', async () => {
    const broker = new FakeBroker()
    broker.refuse(isPoison)
    await withRig(broker, { receiptInterval: 0 }, async (rig) => {
      const calls: string[] = []
      rig.life.failDisk = (call, path) => {
        if (call === 'write' || call === 'sync') calls.push(`${call} ${path.split('/').at(-2)}`)
        return undefined
      }
      await rig.publish(message('t', 'poison'))
      await until(() => rig.cursor.position.seq === 2)
      expect(calls).toContain('sync dead-letters')
      expect(calls.indexOf('sync dead-letters')).toBeLessThan(calls.indexOf('write receipts'))
    })
  })

  test('waits, with all of its topic behind it, while the dead letters are full; other topics go on', async () => {
    const broker = new FakeBroker()
    broker.refuse(isPoison)
    await withRig(broker, { deadLetterBytesMax: 3 * 4096 }, async (rig) => {
      await rig.publish(
        message('t', 'good'),
        ...range(60).map(() => message('t', 'poison')),
        message('t', 'last'),
        message('other', 'good'),
      )
      await until(() => rig.retries.length > 3)
      await until(() => kept(broker).includes(63))
      const { count } = rig.letters
      expect(count).toBeLessThan(60)
      const [lane] = rig.forwarder.status().lanes
      expect(lane).toMatchObject({ topic: 't', failure: { reason: 'DEAD_LETTERS_UNAVAILABLE' } })
      expect(lane?.failure?.message).toContain('MESSAGE_TOO_LARGE')
      expect(kept(broker).toSorted((a, b) => a - b)).toEqual([1, 63])
      // Nothing is passed over, and nothing is counted as dead that is not kept.
      expect(rig.forwarder.status().backlogMessages).toBe(63 - 1 - count)
      await until(() => rig.cursor.position.seq === 2 + count)
    })
  })

  test('goes on by itself when dead letters can be kept again, and keeps none of them twice', async () => {
    const broker = new FakeBroker()
    broker.refuse(isPoison)
    await withRig(broker, {}, async (rig) => {
      rig.life.failDisk = (_, path) => (path.includes('dead-letters') ? new Error('EIO') : undefined)
      await publish(rig, 5, [2, 4])
      await until(() => rig.retries.length > 3)
      expect(rig.letters.count).toBe(0)
      rig.life.failDisk = () => undefined
      await rig.finished()
      expect(kept(broker)).toEqual([1, 3, 5])
      expect(await rig.allLetters(({ id }) => id.split('-')[1])).toEqual(['2', '4'])
    })
  })

  test('is not forgotten in memory while it is put among the dead letters', async () => {
    const broker = new FakeBroker()
    broker.refuse(isPoison)
    broker.next(1, 'hang', 'other')
    const options = { laneBytesMax: 3000, memoryBytesMax: 3000, batchBytesMax: 2000 }
    await withRig(broker, options, async (rig) => {
      const gate = Promise.withResolvers<void>()
      let calls = 0
      // At first it fails, so that the lane counts as blocked; then it takes its time.
      rig.life.failDisk = (call, path) => {
        if (call !== 'write' || !path.includes('dead-letters')) return undefined
        return ++calls < 4 ? new Error('EIO') : gate.promise
      }
      await rig.publish(message('t', 'poison'), ...range(3).map(() => message('t', 'good')))
      await until(() => calls >= 4)
      await rig.publish(...range(10).map(() => message('other', Buffer.alloc(600))))
      await new Promise((resolve) => {
        setTimeout(resolve, 20) // the head makes room
      })
      gate.resolve()
      await until(() => kept(broker).includes(4))
      broker.release()
      await rig.finished()
      expect(rig.letters.count).toBe(1)
      expect(kept(broker).toSorted((a, b) => a - b)).toEqual(range(13, 2))
    })
  })
})

test('dead letters are listed from a number on, up to a limit', async () => {
  const broker = new FakeBroker()
  broker.refuse(isPoison)
  await withRig(broker, {}, async (rig) => {
    await publish(rig, 10, range(10, 1))
    await rig.finished()
    const list = (after: number, limit: number) => rig.letters.list(after, limit, ({ number }) => number)
    expect(await list(0, 3)).toEqual([1, 2, 3])
    expect(await list(3, 3)).toEqual([4, 5, 6])
    expect(await list(8, 100)).toEqual([9, 10])
    expect(await list(10, 100)).toEqual([])
    expect(await list(0, 0)).toEqual([])
  })
})

test('property: a dead letter comes back as it was', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'ä', '€', '\u{1f600}', '"', '\0'), maxLength: 20 })
  fc.assert(
    fc.property(
      fc.record({ id: text, reason: text, detail: text, diedAt: fc.nat(2 ** 42), attempts: fc.nat() }),
      fc.uint8Array({ maxLength: 50 }),
      (about, value) => {
        const letter = { ...about, message: message('t', Buffer.from(value), { contentType: 'x/y' }) }
        const bytes = Buffer.alloc(10 + deadLetterCodec.sizeMax(letter))
        const end = deadLetterCodec.encode(letter, bytes, 7)
        expect(end).toBeLessThanOrEqual(7 + deadLetterCodec.sizeMax(letter))
        const { message: back, ...rest } = decodeDeadLetter(bytes, 7, 3)
        expect(rest).toEqual({ ...about, number: 3 })
        expect(back).toEqual({ ...letter.message, value: Buffer.from(value), seq: 0 })
      },
    ),
  )
})
