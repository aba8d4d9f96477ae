import { hash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { LogEntry, MessageLog } from '../../src/recorder/message-log.ts'
import type { SchemaLife } from './ledger-schema-contract.ts'
import { bringUp, storeFailureOf, testSchemaLife } from './ledger-schema-contract.ts'
import { contractRetentionMs, freshJournalId, freshTopic } from './metadata-store-contract.ts'

/** A message log to be held against the contract of the port. */
export interface MessageLogUnderTest {
  /** Not migrated yet. Its retention is 7 days (`contractRetentionMs`). */
  readonly log: MessageLog
  /** Another log object on the same data, to be closed by the test. */
  another(): MessageLog | Promise<MessageLog>
  /** Closes the log, and cleans up. */
  close(): Promise<void>
}

const day = 86_400_000
const never = new AbortController().signal
const largest = Number.MAX_SAFE_INTEGER
/** 9999-12-31T23:59:59.999Z: the latest timestamp that a message may have. */
const latestTimestamp = 253_402_300_799_999
/** Nothing is older than the retention unless a test is about that. */
const recently = Date.now() - 3_600_000

/** An entry with nothing but what a test is about. */
export function logEntry(parts: Partial<LogEntry> = {}): LogEntry {
  return {
    topic: 'never-written',
    partition: 0,
    offset: 0,
    journalId: '0123456789abc',
    seq: 1,
    key: null,
    value: Buffer.from('value'),
    headers: [],
    contentType: null,
    timestamp: recently,
    acceptedAt: recently,
    deliveredAt: recently + 20,
    ...parts,
  }
}

/** What every implementation of `MessageLog` does alike. */
export function describeMessageLogContract(name: string, setUp: () => Promise<MessageLogUnderTest>): void {
  describe(`${name}, as a message log,`, () => {
    let under: MessageLogUnderTest
    let log: MessageLog
    let life: SchemaLife
    beforeAll(async () => {
      under = await setUp()
      log = under.log
      const other = await under.another()
      life = await bringUp(log.schema, other.schema, () => log.read(freshTopic(), 0, 0, never))
      await other.close()
      // As every sidecar does at its start.
      await log.maintain(Date.now(), never)
    })
    afterAll(() => under.close())

    const write = (...entries: readonly LogEntry[]) => log.write(entries, Date.now(), never)
    const readBack = (entry: LogEntry) => log.read(entry.topic, entry.partition, entry.offset, never)

    /** Writes entries, and gives what is read of them. */
    const kept = async (entries: readonly LogEntry[]) => {
      await write(...entries)
      return (await Promise.all(entries.map(readBack))).map(comparable)
    }

    testSchemaLife(() => life)

    test('keeps every field as it was', async () => {
      const written = [
        logEntry({
          topic: freshTopic(),
          partition: 7,
          offset: 123_456,
          journalId: freshJournalId(),
          seq: 89,
          key: Buffer.from('key'),
          value: Buffer.from('{"a":1}'),
          headers: [['content-language', 'de']],
          contentType: `text/plain; charset="utf-8"; note='ü 🚀'`,
          timestamp: recently - 12_345,
          acceptedAt: recently + 1,
          deliveredAt: recently + 22,
        }),
      ]
      expect(await kept(written)).toEqual(written.map(comparable))
    })

    test('tells a tombstone from an empty value, and no key from an empty key', async () => {
      const topic = freshTopic()
      const written = [
        logEntry({ topic, offset: 0, key: null, value: null }),
        logEntry({ topic, offset: 1, key: null, value: Buffer.alloc(0) }),
        logEntry({ topic, offset: 2, key: Buffer.alloc(0), value: null, contentType: '' }),
        logEntry({ topic, offset: 3, key: Buffer.alloc(0), value: Buffer.alloc(0), contentType: null }),
      ]
      expect(await kept(written)).toEqual(written.map(comparable))
      const listed = await log.list(topic, 0, 0, 10, never)
      expect(listed.map(({ key, value }) => [key?.length, value?.length])).toEqual([
        [undefined, undefined],
        [undefined, 0],
        [0, undefined],
        [0, 0],
      ])
    })

    test('keeps any bytes', async () => {
      const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => 255 - i))
      const key = Buffer.concat([bytes, bytes, bytes, bytes])
      const written = [logEntry({ topic: freshTopic(), key, value: bytes, headers: [['all', bytes]] })]
      expect(await kept(written)).toEqual(written.map(comparable))
    })

    test('keeps headers in their order, with repeats, as bytes', async () => {
      const headers = [
        ['b', 'second letter'],
        ['a', Buffer.from([0xff, 0x00])],
        ['b', 'again'],
        ['10', 'ten'],
        ['2', ''],
        ['ü', 'ÿ€'],
        ['__proto__', 'harmless'],
        ['a', Buffer.alloc(0)],
        ['', 'without a name'],
      ] as const
      const many = Array.from({ length: 500 }, (_, i) => [`name-${i % 10}`, `value-${i}`] as const)
      const topic = freshTopic()
      const written = [logEntry({ topic, offset: 0, headers }), logEntry({ topic, offset: 1, headers: many })]
      expect(await kept(written)).toEqual(written.map(comparable))
    })

    test('keeps values of 3 MiB, beside small ones', async () => {
      const topic = freshTopic()
      const big = Buffer.alloc(3 * 1024 * 1024)
      for (let i = 0; i < big.length; i += 4) big.writeUInt32LE((i * 2_654_435_761) >>> 0, i)
      const entries = [
        logEntry({ topic, offset: 0, value: big }),
        logEntry({ topic, offset: 1 }),
        logEntry({ topic, offset: 2, value: big.subarray(1) }),
      ]
      expect(await kept(entries)).toEqual(entries.map(comparable))
      const listed = await log.list(topic, 0, 0, 10, never)
      expect(listed).toHaveLength(3)
      expect(listed.map(comparable)).toEqual(entries.map(comparable))
    })

    test('replaces a large value by a small one, and a small one by a large one', async () => {
      const topic = freshTopic()
      const large = Buffer.alloc(1_500_000, 'large')
      const larger = Buffer.alloc(2_000_000, 'larger')
      for (const value of [large, Buffer.from('small'), larger, large, null]) {
        const written = [logEntry({ topic, value })]
        expect(await kept(written)).toEqual(written.map(comparable))
      }
    })

    test('keeps the largest numbers exactly', async () => {
      const topic = freshTopic()
      const extreme = { topic, partition: 2 ** 31 - 1, seq: largest, journalId: freshJournalId() }
      const entries = [
        logEntry({ ...extreme, offset: largest - 1, timestamp: 0 }),
        logEntry({ ...extreme, offset: largest, timestamp: latestTimestamp }),
      ]
      expect(await kept(entries)).toEqual(entries.map(comparable))
      const listed = await log.list(topic, 2 ** 31 - 1, largest - 1, 10, never)
      expect(offsetsOf(listed)).toEqual([largest - 1, largest])
    })

    test('tells topics apart by case and to the last character', async () => {
      const long = `${freshTopic()}.A_b-c.`.padEnd(248, '.x_-')
      const short = freshTopic()
      const topics = [`${long}a`, `${long}A`, `${long}_`, long, `${short}.A`, `${short}.a`, `${short}_a`, `${short}-a`]
      const written = topics.map((topic) => logEntry({ topic, value: Buffer.from(topic) }))
      expect(await kept(written)).toEqual(written.map(comparable))
      for (const topic of topics) {
        expect((await log.list(topic, 0, 0, 10, never)).map(({ value }) => String(value))).toEqual([topic])
        expect((await log.positions(topic, 0, never)).map(({ partition }) => partition)).toEqual([0])
      }
    })

    test('has one entry an offset, however often it is written, with the newest fields', async () => {
      const topic = freshTopic()
      const entries = Array.from({ length: 20 }, (_, offset) =>
        logEntry({ topic, offset, key: Buffer.from('k'), headers: [['a', 'b']], contentType: 'text/plain' }),
      )
      await write(...entries)
      await write(...entries)
      await write(...entries.slice(10), ...entries.slice(10))
      expect(await log.list(topic, 0, 0, 100, never)).toHaveLength(20)
      const written = [logEntry({ topic, offset: 3, seq: 99, value: Buffer.from('new'), deliveredAt: recently + 99 })]
      expect(await kept(written)).toEqual(written.map(comparable))
      expect(await log.list(topic, 0, 0, 100, never)).toHaveLength(20)
    })

    test('takes a write of nothing', async () => {
      await expect(write()).resolves.toBeUndefined()
    })

    test('finds nothing of what is unknown', async () => {
      const topic = freshTopic()
      await write(logEntry({ topic, partition: 1, offset: 5 }))
      expect(await log.read(topic, 1, 4, never)).toBeNull()
      expect(await log.read(topic, 0, 5, never)).toBeNull()
      expect(await log.read(freshTopic(), 1, 5, never)).toBeNull()
      expect(await log.list(topic, 0, 0, 10, never)).toEqual([])
      expect(await log.list(topic, 1, 6, 10, never)).toEqual([])
      expect(await log.list(freshTopic(), 1, 0, 10, never)).toEqual([])
      expect(await log.positions(freshTopic(), 0, never)).toEqual([])
    })

    test('shows another object on the same data what was written', async () => {
      const entry = logEntry({ topic: freshTopic() })
      await write(entry)
      const other = await under.another()
      expect(comparable(await other.read(entry.topic, 0, 0, never))).toEqual(comparable(entry))
      await other.close()
    })

    describe('listing', () => {
      const topic = freshTopic()
      // Every seventh offset, with a long gap after half of them; another partition is between them in time.
      const offsets = Array.from({ length: 4000 }, (_, i) => 1_000_000 + i * 7 + (i < 2000 ? 0 : 100_000))
      const first = offsets[0]!
      const beforeGap = offsets[1999]!
      const last = offsets.at(-1)!
      beforeAll(async () => {
        const entries = offsets.flatMap((offset, i) => [
          logEntry({ topic, partition: 3, offset, seq: i + 1 }),
          logEntry({ topic, partition: 4, offset: offset + 1, seq: 5000 + i }),
        ])
        for (let i = 0; i < entries.length; i += 1000) await write(...entries.slice(i, i + 1000))
      })

      test.each([
        ['from 0', 0, 10],
        ['from the first', first, 1000],
        ['from the first, all', first, 10_000],
        ['from between two', first + 1, 5],
        ['up to the gap', beforeGap - 700, 101],
        ['over the gap', beforeGap - 700, 300],
        ['from within the gap', beforeGap + 5000, 10],
        ['from the last', last, 10],
        ['from beyond the last', last + 1, 10],
        ['just one', beforeGap, 1],
      ])('goes %s', async (_, from, limit) => {
        const expected = offsets.filter((offset) => offset >= from).slice(0, limit)
        const listed = await log.list(topic, 3, from, limit, never)
        expect(offsetsOf(listed)).toEqual(expected)
        expect(listed.every((entry) => entry.topic === topic && entry.partition === 3)).toBe(true)
        expect(listed.every(({ offset, seq }) => offsets[seq - 1] === offset)).toBe(true)
      })

      test('in pieces gives everything once', async () => {
        const seen: number[] = []
        for (;;) {
          const piece = await log.list(topic, 4, (seen.at(-1) ?? -1) + 1, 900, never)
          if (piece.length === 0) break
          seen.push(...offsetsOf(piece))
        }
        expect(seen).toEqual(offsets.map((offset) => offset + 1))
      })
    })

    describe('positions', () => {
      const topic = freshTopic()
      const start = recently - day
      // Partition 0 over a long time, 1 in the old part only, 2 in the new part only, 5 with one entry out of order.
      const entries = [
        ...Array.from({ length: 1000 }, (_, i) => logEntry({ topic, offset: 50 + i, deliveredAt: start + i * 1000 })),
        ...Array.from({ length: 10 }, (_, i) => logEntry({ topic, partition: 1, offset: i, deliveredAt: start + i })),
        ...Array.from({ length: 10 }, (_, i) =>
          logEntry({ topic, partition: 2, offset: 90_000 + i, deliveredAt: start + 900_000 + i }),
        ),
        logEntry({ topic, partition: 5, offset: 10, deliveredAt: start + 500_000 }),
        logEntry({ topic, partition: 5, offset: 11, deliveredAt: start + 400_000 }),
        logEntry({ topic, partition: 5, offset: 12, deliveredAt: start + 600_000 }),
      ]
      beforeAll(() => write(...entries))

      test.each([
        ['before everything', 0],
        ['at the first', start],
        ['amid', start + 500_000],
        ['amid, a little later', start + 500_001],
        ['near the end', start + 950_000],
        ['after everything', recently + day],
      ])('since a time %s lose nothing', async (_, since) => {
        const positions = await log.positions(topic, since, never)
        expect(positions.map(({ partition }) => partition)).toEqual([0, 1, 2, 5])
        for (const { partition, offset } of positions) {
          const wanted = entries.filter((entry) => entry.partition === partition && entry.deliveredAt >= since)
          const listed = await log.list(topic, partition, offset, 2000, never)
          const found = listed.filter(({ deliveredAt }) => deliveredAt >= since)
          expect(offsetsOf(found)).toEqual(offsetsOf(wanted))
        }
      })
    })

    test('gives positions from which a reader also sees what comes later', async () => {
      const topic = freshTopic()
      const since = recently + 1000
      const old = Array.from({ length: 5 }, (_, offset) => logEntry({ topic, offset, deliveredAt: recently }))
      await write(...old)
      const [position] = await log.positions(topic, since, never)
      await write(logEntry({ topic, offset: 5, deliveredAt: since }))
      expect(offsetsOf(await log.list(topic, 0, position!.offset, 10, never))).toContain(5)
    })

    test('lets go what is older than the retention by a day, and nothing that is younger', async () => {
      const topic = freshTopic()
      const now = Date.now()
      const ages = [20 * day, 9 * day, 8 * day + 60_000, 7 * day - 600_000, 6 * day, day, 0]
      const entries = ages.map((age, i) =>
        logEntry({ topic, offset: i, deliveredAt: now - age, acceptedAt: now - age, value: Buffer.alloc(400_000, i) }),
      )
      expect(contractRetentionMs).toBe(7 * day)
      await log.write(entries, now, never)
      await log.maintain(now, never)
      await log.maintain(now, never)
      expect(offsetsOf(await log.list(topic, 0, 0, 10, never))).toEqual([3, 4, 5, 6])
      expect(await log.read(topic, 0, 0, never)).toBeNull()
      expect(await log.read(topic, 0, 2, never)).toBeNull()
      const young = entries.slice(3)
      expect((await Promise.all(young.map(readBack))).map(comparable)).toEqual(young.map(comparable))
      // And goes on taking what comes, old or new.
      await write(logEntry({ topic, offset: 7, deliveredAt: now - 10 * day }))
      const written = [logEntry({ topic, offset: 8, deliveredAt: now })]
      expect(await kept(written)).toEqual(written.map(comparable))
    })

    test('is maintained by many at once', async () => {
      const other = await under.another()
      const now = Date.now()
      const maintained = Promise.all([log, other, log].map((one) => one.maintain(now, never)))
      await expect(maintained).resolves.toHaveLength(3)
      await other.close()
    })

    test("rejects with the signal's reason when it is aborted already, and does nothing", async () => {
      const entry = logEntry({ topic: freshTopic() })
      const reason = new Error('no more time')
      const aborted = AbortSignal.abort(reason)
      for (const call of callsOf(log, entry, aborted)) await expect(call()).rejects.toBe(reason)
      expect(await readBack(entry)).toBeNull()
    })

    test('closes twice without complaint, and takes nothing afterwards', async () => {
      const other = await under.another()
      const entry = logEntry({ topic: freshTopic() })
      await other.write([entry], Date.now(), never)
      await other.close()
      await other.close()
      for (const call of callsOf(other, entry, never)) await storeFailureOf(call())
      expect(comparable(await readBack(entry))).toEqual(comparable(entry))
    })

    test('can be closed before it was ever used', async () => {
      await expect((await under.another()).close()).resolves.toBeUndefined()
    })
  })
}

/** One call of each method. */
function callsOf(log: MessageLog, entry: LogEntry, signal: AbortSignal): (() => Promise<unknown>)[] {
  return [
    () => log.write([entry], Date.now(), signal),
    () => log.read(entry.topic, 0, 0, signal),
    () => log.list(entry.topic, 0, 0, 1, signal),
    () => log.positions(entry.topic, 0, signal),
    () => log.maintain(Date.now(), signal),
    () => log.schema.inspect(signal),
    () => log.schema.migrate(signal, () => {}),
  ]
}

/** An entry as it is when read back, with the value's digest in its place: large buffers take long to compare. */
function comparable(entry: LogEntry | null): unknown {
  return (
    entry && {
      ...entry,
      value: entry.value && [Buffer.isBuffer(entry.value), entry.value.length, hash('sha256', entry.value)],
      headers: entry.headers.map(([header, content]) => [header, Buffer.from(content as string)]),
    }
  )
}

function offsetsOf(entries: readonly LogEntry[]): number[] {
  return entries.map(({ offset }) => offset)
}
