import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { StoreError } from '../../src/recorder/store-error.ts'
import { until } from '../forwarder/rig.ts'
import { withRecorder } from './recorder-rig.ts'
import type { RecorderRig, TestRow } from './recorder-rig.ts'

const away = new StoreError('transient', 'ECONNREFUSED', 'the store is away')
const refusing = new StoreError('permanent', 'TOO_LONG', 'a row is too long')
const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i)
const recorded = (rig: RecorderRig): number[] => [...rig.target.rows.keys()].toSorted((a, b) => a - b)

test('records every message that has a receipt, in batches no larger than they may be', () =>
  withRecorder({}, async (rig) => {
    rig.recorder.start()
    await rig.deliver(45, 15)
    await rig.accept(3)
    await rig.receipts.append([{ kind: 'dead', topic: 't', diedAt: 1, attempts: 2, seq: 46, reason: 'TOO_LARGE' }])
    await rig.caughtUp()
    expect(recorded(rig)).toEqual(range(1, 47))
    expect(rig.target.rows.get(45)).toEqual({ seq: 45, value: 'value 45', offset: 44 })
    expect(rig.target.rows.get(46)).toEqual({ seq: 46, value: 'value 46', offset: null })
    expect(Math.max(...rig.target.writes)).toBe(10)
    expect(await rig.recorder.status()).toEqual({ breaker: 'closed', lagMessages: 0, oldestFinishedAt: null, failure: null }) // prettier-ignore
  }))

test('batches are bounded by bytes, too', () =>
  withRecorder({ batchBytesMax: 20, batchMessagesMax: 1000 }, async (rig) => {
    for (let i = 0; i < 10; i++) await rig.deliver(1)
    rig.recorder.start()
    await rig.caughtUp()
    expect(recorded(rig)).toEqual(range(1, 11))
    // A block of the journal at a time; each of these holds one message.
    expect(Math.max(...rig.target.writes)).toBeLessThanOrEqual(3)
  }))

test('what waits is written in whole batches, in however many groups its receipts were synced', () =>
  withRecorder({}, async (rig) => {
    for (let i = 0; i < 30; i++) await rig.deliver(1)
    rig.recorder.start()
    await rig.caughtUp()
    expect(rig.target.writes).toEqual([10, 10, 10])
  }))

test('goes on where its cursor stands, and tells what it needs no more', () =>
  withRecorder({}, async (rig) => {
    rig.recorder.start()
    await rig.deliver(20, 5)
    await rig.checkpoint(21)
    await rig.caughtUp()
    await until(() => rig.passed.at(-1)?.mark === rig.receipts.nextSeq)
    expect(rig.passed.at(-1)).toEqual({ mark: 6, seq: 21 })
    rig.target.rows.clear()
    await rig.restart()
    await rig.deliver(5)
    await rig.caughtUp()
    expect(recorded(rig)).toEqual(range(21, 26))
  }))

test('needs messages that are not finished yet, whatever was finished meanwhile', () =>
  withRecorder({}, async (rig) => {
    rig.recorder.start()
    const slow = await rig.accept(3, 'slow')
    await rig.deliver(20, 5)
    await rig.checkpoint(24, { slow: 1 })
    await rig.caughtUp()
    await until(() => rig.passed.length > 0)
    expect(rig.passed.at(-1)?.seq).toBe(1)
    await rig.finish(slow, 'slow')
    await rig.checkpoint(24)
    await rig.caughtUp()
    await until(() => rig.passed.at(-1)?.seq === 24)
    expect(recorded(rig)).toEqual(range(1, 24))
  }))

test('tries again for as long as the store is away, and says so meanwhile', () =>
  withRecorder({}, async (rig) => {
    rig.target.verdict = () => away
    rig.recorder.start()
    await rig.deliver(25, 5)
    await until(async () => (await rig.recorder.status()).breaker === 'open')
    const { failure, oldestFinishedAt, lagMessages } = await rig.recorder.status()
    expect(lagMessages).toBe(25)
    expect(failure).toMatchObject({ reason: 'ECONNREFUSED', message: 'the store is away' })
    expect(oldestFinishedAt).not.toBeNull()
    rig.target.verdict = () => undefined
    await rig.caughtUp()
    expect(recorded(rig)).toEqual(range(1, 26))
    expect(await rig.recorder.status()).toMatchObject({ breaker: 'closed', failure: null, oldestFinishedAt: null })
  }))

test('a store that does not answer counts as away', () =>
  withRecorder({ writeTimeout: 20 }, async (rig) => {
    rig.target.verdict = () => 'hang'
    rig.recorder.start()
    await rig.deliver(3)
    await until(() => rig.events.includes('failing TIMEOUT'))
    await until(async () => (await rig.recorder.status()).breaker !== 'closed')
    rig.target.verdict = () => undefined
    await rig.caughtUp()
    expect(recorded(rig)).toEqual([1, 2, 3])
  }))

test('what the store refuses for good is found and set aside, and the rest is recorded', () =>
  withRecorder({}, async (rig) => {
    rig.target.verdict = (rows) => (rows.some(({ seq }) => seq % 7 === 0) ? refusing : undefined)
    rig.recorder.start()
    await rig.deliver(30, 10)
    await rig.caughtUp()
    expect(recorded(rig)).toEqual(range(1, 31).filter((seq) => seq % 7 !== 0))
    const aside = await rig.exceptions.list(0, 100)
    expect(aside.map((exception) => exception.kind === 'refused' && [exception.id, exception.offset, exception.reason])).toEqual([7, 14, 21, 28].map((seq) => [`${rig.messages.id}-${seq}`, seq - 1, 'TOO_LONG'])) // prettier-ignore
    // Once set aside it is never tried again, also not by the next start.
    const writes = rig.target.writes.length
    await rig.restart()
    await rig.caughtUp()
    expect(rig.target.writes).toHaveLength(writes)
    expect(rig.exceptions.count).toBe(4)
  }))

test('brings the schema up to date when it may, and records then', () =>
  withRecorder({}, async (rig) => {
    rig.target.version = 0
    rig.recorder.start()
    await rig.deliver(3)
    await rig.caughtUp()
    expect(rig.target.migrations).toBe(1)
    expect(rig.events).toContain('migrated 1')
    expect(recorded(rig)).toEqual([1, 2, 3])
  }))

test('waits for the schema when others have to bring it up to date', () =>
  withRecorder({ migrate: false }, async (rig) => {
    rig.target.version = 0
    rig.recorder.start()
    await rig.deliver(3)
    await until(async () => (await rig.recorder.status()).failure?.reason === 'SCHEMA_OUTDATED')
    expect((await rig.recorder.status()).failure?.hint).toContain('outrigger migrate')
    expect(rig.target.writes).toEqual([])
    rig.target.version = 1
    await rig.caughtUp()
    expect(rig.target.migrations).toBe(0)
    expect(recorded(rig)).toEqual([1, 2, 3])
  }))

test('looks at the schema again when the store refuses it', () =>
  withRecorder({}, async (rig) => {
    let failures = 0
    rig.target.verdict = () => (failures++ === 0 ? new StoreError('fatal', 'NO_SUCH_TABLE', 'no table') : undefined)
    rig.recorder.start()
    await rig.deliver(3)
    await rig.caughtUp()
    expect(rig.target.inspections).toBe(2)
    expect(recorded(rig)).toEqual([1, 2, 3])
  }))

test('gives up what it is told to while the store is away, notes exactly that, and records what comes after', () =>
  withRecorder({}, async (rig) => {
    rig.recorder.start()
    await rig.deliver(10)
    await rig.caughtUp()
    rig.target.verdict = () => away
    await rig.deliver(40, 8)
    await rig.checkpoint(51)
    await until(() => rig.events.includes('failing ECONNREFUSED'))
    rig.recorder.giveUpBelow(31, true)
    await until(() => rig.passed.at(-1)?.seq === 31)
    expect(await rig.missingOffsets()).toEqual(range(10, 30))
    expect(rig.events).toContain('gave up 20')
    // The receipt of the first message that is not given up is still needed: the third of these batches.
    expect(rig.passed.at(-1)).toEqual({ seq: 31, mark: 4 })
    rig.target.verdict = () => undefined
    await rig.caughtUp()
    expect(recorded(rig)).toEqual([...range(1, 11), ...range(31, 51)])
  }))

test('does not give up what is recorded already, also of a batch of receipts that is under way', () =>
  withRecorder({ batchMessagesMax: 2 }, async (rig) => {
    // A single receipt; its messages are written two by two.
    rig.target.verdict = (rows: readonly TestRow[]) => (rows.some(({ seq }) => seq === 5) ? away : undefined)
    rig.recorder.start()
    await rig.deliver(12)
    await until(() => rig.target.rows.size === 4 && rig.events.includes('failing ECONNREFUSED'))
    rig.recorder.giveUpBelow(9, true)
    await until(() => rig.passed.at(-1)?.seq === 9)
    expect(await rig.missingOffsets()).toEqual(range(4, 8))
    await rig.caughtUp()
    expect(recorded(rig)).toEqual([1, 2, 3, 4, 9, 10, 11, 12])
  }))

test('gives up nothing of a store that works, or that has just begun to fail, unless it is urgent', () =>
  withRecorder({ giveUpAfter: 300 }, async (rig) => {
    rig.recorder.start()
    await rig.deliver(5)
    await rig.caughtUp()
    rig.recorder.giveUpBelow(6, false)
    rig.target.verdict = () => away
    await rig.deliver(5)
    await until(() => rig.events.includes('failing ECONNREFUSED'))
    rig.recorder.giveUpBelow(11, false)
    expect(rig.exceptions.count).toBe(0)
    await new Promise((resolve) => setTimeout(resolve, 350))
    rig.recorder.giveUpBelow(11, false)
    await until(() => rig.passed.at(-1)?.seq === 11)
    expect(await rig.missingOffsets()).toEqual(range(5, 10))
    expect((await rig.recorder.status()).breaker).not.toBe('closed')
  }))

test('a store that refuses writes while its schema is right fails all the time, until one succeeds', () =>
  withRecorder({ giveUpAfter: 300 }, async (rig) => {
    const readOnly = new StoreError('fatal', 'READ_ONLY', 'the server is read-only')
    rig.target.verdict = () => readOnly
    rig.recorder.start()
    await rig.deliver(5)
    await until(() => rig.target.inspections >= 3)
    expect((await rig.recorder.status()).failure).toMatchObject({ reason: 'READ_ONLY' })
    await until(async () => ((await rig.recorder.status()).failure?.attempts ?? 0) >= 3)
    await new Promise((resolve) => setTimeout(resolve, 350))
    expect((await rig.recorder.status()).failure).toMatchObject({ reason: 'READ_ONLY' })
    rig.recorder.giveUpBelow(6, false)
    await until(() => rig.passed.at(-1)?.seq === 6)
    expect(await rig.missingOffsets()).toEqual(range(0, 5))
    rig.target.verdict = () => undefined
    await rig.deliver(1)
    await rig.caughtUp()
    expect((await rig.recorder.status()).failure).toBeNull()
  }))

test('a store that refuses everything is wrong, and not the messages', () =>
  withRecorder({}, async (rig) => {
    rig.target.verdict = () => refusing
    rig.recorder.start()
    await rig.deliver(300, 50)
    await until(() => rig.exceptions.count === 100)
    await until(async () => (await rig.recorder.status()).failure?.message.includes('100 messages in a row') ?? false)
    rig.target.verdict = () => undefined
    await rig.caughtUp()
    expect(recorded(rig)).toEqual(range(101, 301))
    expect(rig.exceptions.count).toBe(100)
  }))

test('says how far behind it is also before it could begin', () =>
  withRecorder({ migrate: false }, async (rig) => {
    rig.target.version = 0
    rig.recorder.start()
    await rig.deliver(25)
    const status = await rig.recorder.status()
    expect(status.lagMessages).toBe(25)
    expect(status.oldestFinishedAt).not.toBeNull()
  }))

test('what a store does not keep is not missing there', () =>
  withRecorder({}, async (rig) => {
    Object.assign(rig.target, { keepsDead: false })
    rig.target.verdict = () => away
    rig.recorder.start()
    await rig.accept(2)
    await rig.receipts.append([{ kind: 'dead', topic: 't', diedAt: 1, attempts: 2, seq: 1, reason: 'TOO_LARGE' }])
    await rig.finish([2])
    await until(() => rig.events.includes('failing ECONNREFUSED'))
    rig.recorder.giveUpBelow(3, true)
    await until(() => rig.passed.at(-1)?.seq === 3)
    expect(await rig.exceptions.list(0, 10)).toMatchObject([{ messages: 1, deadSeqs: [], fromSeq: 2 }])
  }))

test('gives up while the store hangs, without waiting for it', () =>
  withRecorder({ writeTimeout: 60_000 }, async (rig) => {
    rig.target.verdict = () => 'hang'
    rig.recorder.start()
    await rig.deliver(10)
    await until(() => rig.target.writes.length > 0)
    rig.recorder.giveUpBelow(11, true)
    await until(() => rig.passed.at(-1)?.seq === 11)
    expect(await rig.missingOffsets()).toEqual(range(0, 10))
  }))

test('what the journal has lost is a gap, and not the end', () =>
  withRecorder({}, async (rig) => {
    // Large enough for several segments.
    const seqs = await rig.accept(4000)
    await rig.messages.release(3000)
    const first = rig.messages.firstSeq
    expect(first).toBeGreaterThan(1)
    for (let from = 0; from < 4000; from += 500) await rig.finish(seqs.slice(from, from + 500))
    rig.recorder.start()
    await rig.caughtUp()
    expect(await rig.missingOffsets()).toEqual(range(0, first - 1))
    expect(recorded(rig)).toEqual(range(first, 4001))
  }))

test('what was never delivered is a gap that names it, whatever the reason, and no row', () =>
  withRecorder({}, async (rig) => {
    Object.assign(rig.target, { keepsDead: false })
    await rig.accept(40)
    await rig.finish(range(1, 11))
    await rig.lose('corrupt', [11, 15], [20, 21])
    await rig.finish(range(15, 20))
    await rig.lose('dropped', [21, 30])
    await rig.lose('missing', [30, 31])
    await rig.finish(range(31, 41))
    rig.recorder.start()
    await rig.caughtUp()
    expect(recorded(rig)).toEqual([...range(1, 11), ...range(15, 20), ...range(31, 41)])
    expect(await rig.lostSeqs('lost')).toEqual([...range(11, 15), 20, 30])
    expect(await rig.lostSeqs('dropped')).toEqual(range(21, 30))
    expect(await rig.missingOffsets()).toEqual([])
    expect((await rig.recorder.status()).lagMessages).toBe(0)
  }))

test('what was lost is noted once, also over a restart and when the store is given up', () =>
  withRecorder({}, async (rig) => {
    rig.target.verdict = () => away
    rig.recorder.start()
    await rig.accept(30)
    await rig.finish(range(1, 11))
    await rig.lose('corrupt', [11, 15])
    await rig.finish(range(15, 20))
    await rig.lose('corrupt', [20, 25])
    await rig.checkpoint(25)
    await until(() => rig.events.includes('failing ECONNREFUSED'))
    rig.recorder.giveUpBelow(20, true)
    await until(() => rig.passed.at(-1)?.seq === 20)
    rig.target.verdict = () => undefined
    await rig.finish(range(25, 31))
    await rig.restart()
    await rig.caughtUp()
    expect(await rig.lostSeqs('lost')).toEqual([...range(11, 15), ...range(20, 25)])
    expect(await rig.missingOffsets()).toEqual(range(0, 15))
    expect(recorded(rig)).toEqual(range(25, 31))
  }))

test('receipts that are damaged are a gap of all that they may have been about; what is recorded before and after is not held up', () =>
  withRecorder({}, async (rig) => {
    await rig.deliver(10)
    await rig.checkpoint(11)
    rig.recorder.start()
    await rig.caughtUp()
    await until(() => rig.passed.at(-1)?.seq === 11)
    await rig.recorder.close()
    await rig.deliver(10)
    await rig.deliver(10)
    await rig.spoilReceipt(3)
    await rig.restart()
    await rig.caughtUp()
    expect(recorded(rig)).toEqual([...range(1, 11), ...range(21, 31)])
    expect(await rig.exceptions.list(0, 10)).toMatchObject([
      { cause: 'receipts', fromSeq: 11, toSeq: 31, messages: null, lostSeqs: [] },
    ])
    expect(rig.events).toContain('receipts lost 11 31')
  }))

test('closes at once while the store hangs, and the next start records what was left', () =>
  withRecorder({ writeTimeout: 60_000 }, async (rig) => {
    rig.target.verdict = () => 'hang'
    rig.recorder.start()
    await rig.deliver(10)
    await until(() => rig.target.writes.length > 0)
    rig.target.verdict = () => undefined
    await rig.restart()
    await rig.caughtUp()
    expect(recorded(rig)).toEqual(range(1, 11))
  }))

test('keeps its store in order: at the start, and while it runs', () =>
  withRecorder({}, async (rig) => {
    rig.recorder.start()
    await until(() => rig.target.maintained > 0, 10_000)
    expect(rig.target.maintained).toBe(1)
  }))

/** What happens to a recorder in a run; topics are finished out of step with each other. */
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('accept' as const), topic: fc.constantFrom('a', 'b', 'c'), count: fc.integer({ min: 1, max: 30 }) }) }, // prettier-ignore
  { weight: 6, arbitrary: fc.record({ do: fc.constant('finish' as const), topic: fc.constantFrom('a', 'b', 'c'), count: fc.integer({ min: 1, max: 40 }) }) }, // prettier-ignore
  { weight: 2, arbitrary: fc.record({ do: fc.constant('checkpoint' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('fail' as const), times: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('give up' as const), share: fc.double({ min: 0, max: 1, noNaN: true }) }) }, // prettier-ignore
)

test('whatever happens, each finished message is recorded, or named in a gap', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      await withRecorder({ batchMessagesMax: 7, batchBytesMax: 200 }, async (rig) => {
        rig.recorder.start()
        const waiting = new Map<string, number[]>([['a', []], ['b', []], ['c', []]]) // prettier-ignore
        const offsetOf = new Map<number, number>()
        let offset = 0
        const low = (): number =>
          Math.min(rig.messages.nextSeq, ...[...waiting.values()].flatMap(([first]) => first ?? []))
        const finish = async (topic: string, count: number): Promise<void> => {
          const seqs = waiting.get(topic)?.splice(0, count) ?? []
          if (seqs.length === 0) return
          for (const seq of seqs) offsetOf.set(seq, offset++)
          await rig.finish(seqs, topic)
        }
        for (const event of steps) {
          switch (event.do) {
            case 'accept':
              waiting.get(event.topic)?.push(...(await rig.accept(event.count, event.topic)))
              break
            case 'finish':
              await finish(event.topic, event.count)
              break
            case 'checkpoint':
              await rig.checkpoint(
                rig.messages.nextSeq,
                Object.fromEntries([...waiting].flatMap(([topic, [first]]) => (first === undefined ? [] : [[topic, first]]))), // prettier-ignore
              )
              break
            case 'restart':
              await rig.restart()
              break
            case 'fail': {
              let left = event.times
              rig.target.verdict = () => (left-- > 0 ? away : undefined)
              break
            }
            case 'give up':
              rig.recorder.giveUpBelow(Math.floor(low() * event.share), true)
              break
            default:
              event satisfies never
          }
        }
        for (const topic of waiting.keys()) await finish(topic, 10_000)
        await rig.caughtUp()
        const missing = new Set(await rig.missingOffsets())
        const unaccounted = [...offsetOf].filter(([seq, at]) => !rig.target.rows.has(seq) && !missing.has(at))
        expect(unaccounted).toEqual([])
        expect([...rig.target.rows.values()].every((row) => row.value === `value ${row.seq}` && row.offset === offsetOf.get(row.seq))).toBe(true) // prettier-ignore
      })
    }),
    { numRuns: 40 },
  )
}, 60_000)
