import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { journalIdOf } from '../../src/message/message-id.ts'
import type { MetadataQuery, MetadataRow, MetadataStore } from '../../src/recorder/metadata-store.ts'
import { headersBytesMax, keyBytesMax, textMax } from '../../src/recorder/metadata-store.ts'
import type { SchemaLife } from './ledger-schema-contract.ts'
import { bringUp, storeFailureOf, testSchemaLife } from './ledger-schema-contract.ts'

/** A store of metadata to be held against the contract of the port. */
export interface MetadataStoreUnderTest {
  /** Not migrated yet. Its retention is 7 days (`contractRetentionMs`). */
  readonly store: MetadataStore
  /** Another store object on the same data, to be closed by the test. */
  another(): MetadataStore | Promise<MetadataStore>
  /** Closes the store, and cleans up. */
  close(): Promise<void>
}

const day = 86_400_000
export const contractRetentionMs = 7 * day

const never = new AbortController().signal
const largest = Number.MAX_SAFE_INTEGER
/** Nothing is older than the retention unless a test is about that. */
const recently = Date.now() - 3_600_000

/** Suites may share a server: nothing that one writes is another's. */
export const freshJournalId = (): string => journalIdOf(randomBytes(8))
export const freshTopic = (): string => `topic-${randomBytes(6).toString('hex')}`

/** A row with nothing but what a test is about. */
export function metadataRow(parts: Partial<MetadataRow> = {}): MetadataRow {
  return {
    journalId: 'never-written',
    seq: 1,
    status: 'delivered',
    topic: 'orders',
    partition: 0,
    offset: 0,
    key: null,
    producer: null,
    contentType: null,
    valueBytes: 5,
    headers: null,
    traceId: null,
    acceptedAt: recently,
    finishedAt: recently + 20,
    recordedAt: recently + 70,
    attempts: 1,
    reason: null,
    ...parts,
  }
}

/** What a row of a message that died looks like. */
export function deadRow(parts: Partial<MetadataRow> = {}): MetadataRow {
  return metadataRow({ status: 'dead', partition: null, offset: null, reason: 'MESSAGE_TOO_LARGE', ...parts })
}

type Conditions = Omit<MetadataQuery, 'limit' | 'after'>

/** What every implementation of `MetadataStore` does alike. */
export function describeMetadataStoreContract(name: string, setUp: () => Promise<MetadataStoreUnderTest>): void {
  describe(`${name}, as a store of metadata,`, () => {
    let under: MetadataStoreUnderTest
    let store: MetadataStore
    let life: SchemaLife
    beforeAll(async () => {
      under = await setUp()
      store = under.store
      const other = await under.another()
      life = await bringUp(store.schema, other.schema, () => store.find(freshJournalId(), 1, never))
      await other.close()
      // As every sidecar does at its start.
      await store.maintain(Date.now(), never)
    })
    afterAll(() => under.close())

    /** All pages, up to the empty one. */
    const listAll = async (conditions: Conditions, limit = 1000): Promise<MetadataRow[]> => {
      const rows: MetadataRow[] = []
      for (;;) {
        const last = rows.at(-1)
        const page = await store.list({ ...conditions, limit, ...(last && { after: last }) }, never)
        expect(page.length).toBeLessThanOrEqual(limit)
        if (page.length === 0) return rows
        rows.push(...page)
      }
    }

    /** Writes rows, and gives what is found of them. */
    const kept = async (rows: readonly MetadataRow[]): Promise<(MetadataRow | null)[]> => {
      await store.write(rows, never)
      return Promise.all(rows.map(({ journalId, seq }) => store.find(journalId, seq, never)))
    }

    testSchemaLife(() => life)

    test('keeps every field as it was', async () => {
      const journalId = freshJournalId()
      const written = [
        metadataRow({
          journalId,
          seq: 7,
          topic: 'orders.eu-west_1',
          partition: 11,
          offset: 123_456,
          key: Buffer.from('key'),
          producer: 'billing',
          contentType: 'application/json; charset=utf-8',
          valueBytes: 1024,
          headers: '[{"name":"b","value":"1"},{"name":"a","valueBase64":"/w=="},{"name":"b","value":"2"}]',
          traceId: '0af7651916cd43dd8448eb211c80319c',
          acceptedAt: recently + 1,
          finishedAt: recently + 33,
          recordedAt: recently + 444,
          attempts: 100_000,
        }),
        deadRow({ journalId, seq: 8, attempts: 3 }),
        // What else is null in the row of a message that has nothing.
        metadataRow({ journalId, seq: 9, valueBytes: null }),
      ]
      expect(await kept(written)).toStrictEqual(written)
    })

    test('tells a tombstone from an empty value, and no key from an empty key', async () => {
      const journalId = freshJournalId()
      const topic = freshTopic()
      const rows = [
        metadataRow({ journalId, topic, seq: 1, key: null, valueBytes: null }),
        metadataRow({ journalId, topic, seq: 2, key: null, valueBytes: 0 }),
        metadataRow({ journalId, topic, seq: 3, key: Buffer.alloc(0), valueBytes: null }),
        metadataRow({ journalId, topic, seq: 4, key: Buffer.alloc(0), valueBytes: 0 }),
      ]
      expect(await kept(rows)).toStrictEqual(rows)
      expect(seqsOf(await listAll({ topic, key: Buffer.alloc(0) }))).toEqual([4, 3])
    })

    test('keeps keys of any bytes, and finds each by just these', async () => {
      const journalId = freshJournalId()
      const topic = freshTopic()
      const every = Buffer.from(Array.from({ length: 256 }, (_, i) => 255 - i))
      const keys = [
        every.subarray(0, keyBytesMax),
        every.subarray(1),
        Buffer.from([0xc3, 0x28]),
        Buffer.from('a'),
        Buffer.from('A'),
        Buffer.from('a '),
        Buffer.from('a\0'),
        Buffer.from('ä'),
        Buffer.alloc(keyBytesMax, 0xff),
        Buffer.alloc(keyBytesMax - 1, 0xff),
      ]
      const written = keys.map((key, i) => metadataRow({ journalId, topic, seq: i + 1, key }))
      expect(await kept(written)).toStrictEqual(written)
      for (const [i, key] of keys.entries()) expect(seqsOf(await listAll({ topic, key }))).toEqual([i + 1])
    })

    test('keeps text of any kind, up to its bounds', async () => {
      const journalId = freshJournalId()
      const texts = [
        '',
        ' leading and trailing ',
        `it's "quoted" \\ \`back\` % _ ; -- /* */ ? :a @b $1 {}`,
        'line\r\nbreak\ttab',
        'NULL',
        'emoji 🚀👩‍👩‍👧 and ü, ﷽, 漢字',
        '€'.repeat(textMax),
        'x'.repeat(textMax),
      ]
      const written = texts.map((text, i) =>
        deadRow({ journalId, seq: i + 1, producer: text, contentType: text, reason: text, headers: text }),
      )
      expect(await kept(written)).toStrictEqual(written)
      const value = 'é'.repeat((headersBytesMax - '[{"name":"","value":""}]'.length) / 2)
      const longest = [metadataRow({ journalId, headers: JSON.stringify([{ name: '', value }]) })]
      expect(await kept(longest)).toStrictEqual(longest)
    })

    test('keeps the largest numbers exactly', async () => {
      const journalId = freshJournalId()
      const topic = freshTopic()
      const partition = 2 ** 31 - 1
      const written = [
        metadataRow({ journalId, topic, partition, seq: largest, offset: largest - 1, valueBytes: 2 ** 31 - 1 }),
        metadataRow({ journalId, topic, partition, seq: largest - 1, offset: largest - 2, attempts: 2 ** 31 - 1 }),
      ]
      expect(await kept(written)).toStrictEqual(written)
      expect(seqsOf(await listAll({ topic, partition }))).toEqual([largest, largest - 1])
      const found = await store.listOffsets(topic, partition, largest - 1, largest, 10, never)
      expect(seqsOf(found)).toEqual([largest])
    })

    test('tells topics apart by case and to the last character', async () => {
      const journalId = freshJournalId()
      const long = `${freshTopic()}.A_b-c.`.padEnd(textMax - 1, '.x_-')
      const short = freshTopic()
      const topics = [`${long}a`, `${long}A`, `${long}_`, long, `${short}.A`, `${short}.a`, `${short}_a`, `${short}-a`]
      const written = topics.map((topic, i) => metadataRow({ journalId, topic, seq: i + 1, offset: i }))
      expect(await kept(written)).toStrictEqual(written)
      for (const [i, topic] of topics.entries()) {
        expect(seqsOf(await listAll({ topic }))).toEqual([i + 1])
        expect(seqsOf(await store.listOffsets(topic, 0, 0, 100, 10, never))).toEqual([i + 1])
      }
    })

    test('has one row a message, however often it is written', async () => {
      const journalId = freshJournalId()
      const topic = freshTopic()
      const rows = Array.from({ length: 20 }, (_, i) => metadataRow({ journalId, topic, seq: i + 1, offset: i }))
      await store.write(rows, never)
      await store.write(rows, never)
      await store.write([...rows.slice(10), ...rows.slice(10)], never)
      expect(await listAll({ topic })).toHaveLength(20)
      expect(await store.listOffsets(topic, 0, 0, 100, 100, never)).toHaveLength(20)
    })

    test('lets a row that is written anew take the newer values, all of them', async () => {
      const journalId = freshJournalId()
      const topic = freshTopic()
      const before = deadRow({ journalId, topic, key: Buffer.from('a'), valueBytes: 1 })
      await store.write([before], never)
      const after = metadataRow({
        journalId,
        topic,
        partition: 4,
        offset: 44,
        key: Buffer.from('b'),
        producer: 'replay',
        contentType: 'text/plain',
        valueBytes: 2,
        headers: '[]',
        traceId: 'f'.repeat(32),
        finishedAt: before.finishedAt + 9,
        recordedAt: before.recordedAt + 9,
        attempts: 5,
      })
      const written = [after]
      expect(await kept(written)).toStrictEqual(written)
      expect(await listAll({ topic })).toHaveLength(1)
      expect(await listAll({ topic, status: 'dead' })).toHaveLength(0)
      expect(await store.listOffsets(topic, 4, 0, 100, 10, never)).toStrictEqual([after])
    })

    test('takes 5,000 rows in one write', async () => {
      const journalId = freshJournalId()
      const topic = freshTopic()
      const headers = JSON.stringify([{ name: 'content-language', value: 'x'.repeat(200) }])
      const rows = Array.from({ length: 5000 }, (_, i) =>
        metadataRow({ journalId, topic, seq: i + 1, offset: i, acceptedAt: recently + i, headers }),
      )
      await store.write(rows, never)
      expect(seqsOf(await listAll({ topic }))).toEqual(rows.map(({ seq }) => seq).toReversed())
    })

    test('takes a write of nothing', async () => {
      await expect(store.write([], never)).resolves.toBeUndefined()
    })

    test('finds nothing of what is unknown', async () => {
      const journalId = freshJournalId()
      const topic = freshTopic()
      await store.write([metadataRow({ journalId, topic, seq: 5 })], never)
      expect(await store.find(journalId, 4, never)).toBeNull()
      expect(await store.find(freshJournalId(), 5, never)).toBeNull()
      expect(await store.list({ topic: freshTopic(), limit: 10 }, never)).toEqual([])
      expect(await store.listOffsets(topic, 1, 0, largest, 10, never)).toEqual([])
    })

    test('keeps the messages of several journals apart', async () => {
      const topic = freshTopic()
      const journals = [freshJournalId(), freshJournalId(), freshJournalId()]
      const written = journals.map((journalId, i) => metadataRow({ journalId, topic, offset: i, attempts: i + 1 }))
      expect(await kept(written)).toStrictEqual(written)
      expect(await listAll({ topic })).toHaveLength(3)
    })

    test('shows another object on the same data what was written', async () => {
      const row = metadataRow({ journalId: freshJournalId() })
      await store.write([row], never)
      const other = await under.another()
      expect(await other.find(row.journalId, row.seq, never)).toStrictEqual(row)
      await other.close()
    })

    describe('listing', () => {
      const journals = [freshJournalId(), freshJournalId()]
      const topics = [freshTopic(), freshTopic()]
      const start = recently - 3_600_000
      // Mixed so that every value of one field meets every value of the others.
      const rows = Array.from({ length: 240 }, (_, i) => {
        const parts = {
          journalId: journals[i % 2]!,
          seq: i + 1,
          topic: topics[Math.trunc(i / 2) % 2]!,
          key: [null, Buffer.from('a'), Buffer.from('b')][i % 3]!,
          // Several rows to each millisecond.
          acceptedAt: start + Math.trunc(((i * 7) % 240) / 3),
        }
        return i % 5 === 0 ? deadRow(parts) : metadataRow({ ...parts, partition: Math.trunc(i / 4) % 3, offset: i })
      })
      const ours = (listed: readonly MetadataRow[]) => listed.filter(({ journalId }) => journals.includes(journalId))
      beforeAll(() => store.write(rows, never))

      const all: Required<Conditions> = {
        topic: topics[0]!,
        partition: 1,
        key: Buffer.from('a'),
        status: 'delivered',
        from: start + 10,
        to: start + 60,
      }
      const names = Object.keys(all) as (keyof Conditions)[]
      const pairs = names.flatMap((first, i) => names.slice(i + 1).map((second) => [first, second]))
      const subsets = [[], ...names.map((one) => [one]), ...pairs, ['topic', 'key', 'from', 'to'], names]

      test.each(subsets.map((subset) => [subset.join(' and ') || 'nothing', subset]))('by %s', async (_, subset) => {
        const conditions = Object.fromEntries(Object.entries(all).filter(([one]) => subset.includes(one)))
        // Others may write to the same store, before and behind; what is ours is as long as it should be.
        const listed = ours(await listAll({ from: start - 1, to: start + 1000, ...conditions }))
        const expected = rows.filter((row) => fits(row, conditions)).toSorted(newestFirst)
        expect(expected.length).toBeGreaterThan(0)
        expect(placesOf(listed)).toEqual(placesOf(expected))
      })

      test('by dead', async () => {
        const topic = topics[0]!
        const expected = rows.filter((row) => fits(row, { topic, status: 'dead' })).toSorted(newestFirst)
        expect(await listAll({ topic, status: 'dead' })).toStrictEqual(expected)
      })

      test.each([1, 7, 60, 120, 1000])('in pages of %i gives everything once, in order', async (limit) => {
        const topic = topics[1]!
        const expected = rows.filter((row) => row.topic === topic).toSorted(newestFirst)
        const first = await store.list({ topic, limit }, never)
        expect(first).toHaveLength(Math.min(limit, expected.length))
        // Pages of one are as many queries; a part of the way is enough.
        const to = limit === 1 ? start + 12 : start + 1000
        const wanted = expected.filter(({ acceptedAt }) => acceptedAt < to)
        expect(placesOf(await listAll({ topic, to }, limit))).toEqual(placesOf(wanted))
      })

      test('in pages gives everything that was there once, whatever is added meanwhile', async () => {
        const journalId = freshJournalId()
        const topic = freshTopic()
        const before = Array.from({ length: 40 }, (_, i) =>
          metadataRow({ journalId, topic, seq: i + 1, acceptedAt: start + Math.trunc(i / 4) }),
        )
        await store.write(before, never)
        const listed: MetadataRow[] = []
        for (let page = 0; ; page++) {
          const last = listed.at(-1)
          const rowsOfPage = await store.list({ topic, limit: 6, ...(last && { after: last }) }, never)
          if (rowsOfPage.length === 0) break
          listed.push(...rowsOfPage)
          // One that is newer than all, and one amid what was listed already.
          const added = [start + 1000 + page, start + 9].map((acceptedAt, i) =>
            metadataRow({ journalId, topic, seq: 1000 + page * 2 + i, acceptedAt }),
          )
          await store.write(added, never)
        }
        expect(seqsOf(listed).filter((seq) => seq < 1000)).toEqual(seqsOf(before.toSorted(newestFirst)))
        expect(new Set(seqsOf(listed)).size).toBe(listed.length)
      })
    })

    describe('listing offsets', () => {
      const journalId = freshJournalId()
      const topic = freshTopic()
      // Two partitions, gaps, offsets in another order than the messages.
      const rows = Array.from({ length: 100 }, (_, i) =>
        metadataRow({ journalId, topic, seq: i + 1, partition: i % 2, offset: ((i * 37) % 100) * 3 }),
      )
      beforeAll(() => store.write([...rows, deadRow({ journalId, topic, seq: 101 })], never))

      test.each([
        [0, 0, 300, 1000],
        [1, 0, 300, 1000],
        [0, 30, 36, 1000],
        [0, 31, 37, 1000],
        [1, 3, 4, 1000],
        [0, 100, 250, 5],
        [0, 300, 1000, 10],
        [0, 60, 60, 10],
        [0, largest - 1, largest, 10],
        [2, 0, largest, 10],
      ])('of partition %i from %i to below %i, at most %i', async (partition, from, to, limit) => {
        const expected = rows
          .filter((row) => row.partition === partition && row.offset! >= from && row.offset! < to)
          .toSorted((a, b) => a.offset! - b.offset!)
          .slice(0, limit)
        expect(await store.listOffsets(topic, partition, from, to, limit, never)).toStrictEqual(expected)
      })

      test('never gives a dead message', async () => {
        const dead = freshTopic()
        await store.write([deadRow({ journalId, topic: dead, seq: 200 })], never)
        expect(await store.listOffsets(dead, 0, 0, largest, 10, never)).toEqual([])
        expect(await listAll({ topic: dead })).toHaveLength(1)
      })
    })

    test('lets go what is older than the retention by a day, and nothing that is younger', async () => {
      const journalId = freshJournalId()
      const topic = freshTopic()
      const now = Date.now()
      const ages = [0, day, 6 * day, 7 * day - 60_000, 8 * day + 60_000, 9 * day, 20 * day]
      const rows = ages.map((age, i) => metadataRow({ journalId, topic, seq: i + 1, offset: i, acceptedAt: now - age }))
      await store.write(rows, never)
      await store.maintain(now, never)
      await store.maintain(now, never)
      expect(seqsOf(await listAll({ topic }))).toEqual([1, 2, 3, 4])
      expect(seqsOf(await store.listOffsets(topic, 0, 0, 100, 10, never))).toEqual([1, 2, 3, 4])
      expect(await store.find(journalId, 5, never)).toBeNull()
      // And goes on taking what comes, old or new.
      const written = [metadataRow({ journalId, topic, seq: 8, acceptedAt: now + 1 })]
      expect(await kept(written)).toStrictEqual(written)
      await store.write([metadataRow({ journalId, topic, seq: 9, acceptedAt: now - 10 * day })], never)
    })

    test('is maintained by many at once', async () => {
      const other = await under.another()
      const now = Date.now()
      const maintained = Promise.all([store, other, store].map((one) => one.maintain(now, never)))
      await expect(maintained).resolves.toHaveLength(3)
      await other.close()
    })

    test("rejects with the signal's reason when it is aborted already, and does nothing", async () => {
      const row = metadataRow({ journalId: freshJournalId() })
      const reason = new Error('no more time')
      const aborted = AbortSignal.abort(reason)
      for (const call of callsOf(store, row, aborted)) await expect(call()).rejects.toBe(reason)
      expect(await store.find(row.journalId, row.seq, never)).toBeNull()
    })

    test('closes twice without complaint, and takes nothing afterwards', async () => {
      const other = await under.another()
      const row = metadataRow({ journalId: freshJournalId() })
      await other.write([row], never)
      await other.close()
      await other.close()
      for (const call of callsOf(other, row, never)) await storeFailureOf(call())
      expect(await store.find(row.journalId, row.seq, never)).toStrictEqual(row)
    })

    test('can be closed before it was ever used', async () => {
      await expect((await under.another()).close()).resolves.toBeUndefined()
    })
  })
}

/** One call of each method. */
function callsOf(store: MetadataStore, row: MetadataRow, signal: AbortSignal): (() => Promise<unknown>)[] {
  return [
    () => store.write([row], signal),
    () => store.find(row.journalId, row.seq, signal),
    () => store.list({ topic: row.topic, limit: 1 }, signal),
    () => store.listOffsets(row.topic, 0, 0, 1, 1, signal),
    () => store.maintain(Date.now(), signal),
    () => store.schema.inspect(signal),
    () => store.schema.migrate(signal, () => {}),
  ]
}

/** Whether all conditions hold, by the words of the port. */
function fits(row: MetadataRow, { topic, partition, key, status, from, to }: Conditions): boolean {
  return (
    (topic === undefined || row.topic === topic) &&
    (partition === undefined || row.partition === partition) &&
    (key === undefined || row.key?.equals(key) === true) &&
    (status === undefined || row.status === status) &&
    (from === undefined || row.acceptedAt >= from) &&
    (to === undefined || row.acceptedAt < to)
  )
}

/** The order of listing. */
function newestFirst(a: MetadataRow, b: MetadataRow): number {
  if (a.acceptedAt !== b.acceptedAt) return b.acceptedAt - a.acceptedAt
  if (a.journalId !== b.journalId) return a.journalId < b.journalId ? 1 : -1
  return b.seq - a.seq
}

function seqsOf(rows: readonly MetadataRow[]): number[] {
  return rows.map(({ seq }) => seq)
}

/** Rows by what orders them, which is quickly compared. */
function placesOf(rows: readonly MetadataRow[]): string[] {
  return rows.map(({ acceptedAt, journalId, seq }) => `${acceptedAt}/${journalId}/${seq}`)
}
