import * as fc from 'fast-check'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { EmbeddedMetadataStore } from '../../src/embedded/embedded-metadata-store.ts'
import type { MetadataQuery, MetadataRow, MetadataStore } from '../../src/recorder/metadata-store.ts'
import { FakeMetadataStore } from '../recorder/fake-metadata-store.ts'
import { deadRow, metadataRow } from '../recorder/metadata-store-contract.ts'

const never = new AbortController().signal
let directory: string
let files = 0

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'outrigger-ledger-'))
})
afterAll(() => rm(directory, { recursive: true }))

// Few values of each, so that rows meet.
const topic = fc.constantFrom('a', 'A', 'a.b')
const partition = fc.integer({ min: 0, max: 2 })
const key = fc.constantFrom(...['', 'k', 'K', 'k\0'].map((text) => Buffer.from(text)))
const time = fc.integer({ min: 1000, max: 1012 })
const offset = fc.integer({ min: 0, max: 30 })

const row: fc.Arbitrary<MetadataRow> = fc
  .record({
    journalId: fc.constantFrom('0', 'a', 'zz'),
    seq: fc.integer({ min: 1, max: 40 }),
    topic,
    partition,
    offset,
    key: fc.option(key),
    isDead: fc.boolean(),
  })
  .map(({ isDead, partition: at, offset: place, ...parts }) => {
    // A message's time is a part of what it is: it does not change when its row is written anew.
    const acceptedAt = 1000 + ((parts.seq * 7) % 13)
    return isDead
      ? deadRow({ ...parts, acceptedAt })
      : metadataRow({ ...parts, acceptedAt, partition: at, offset: place })
  })

const query: fc.Arbitrary<MetadataQuery> = fc.record(
  {
    topic,
    partition,
    key,
    status: fc.constantFrom('delivered', 'dead'),
    from: time,
    to: time,
    after: fc.record({
      acceptedAt: time,
      journalId: fc.constantFrom('0', 'a', 'zz'),
      seq: fc.integer({ min: 1, max: 40 }),
    }),
    limit: fc.integer({ min: 1, max: 60 }),
  },
  { requiredKeys: ['limit'] },
)

const range = fc.record({ topic, partition, from: offset, to: offset, limit: fc.integer({ min: 1, max: 30 }) })

test('the embedded store lists just what the fake lists, whatever is written and asked for', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(row, { maxLength: 60 }), { maxLength: 4 }),
      fc.array(query, { minLength: 1, maxLength: 20 }),
      fc.array(range, { maxLength: 10 }),
      async (writes, queries, ranges) => {
        const file = join(directory, `ledger-${files++}.sqlite`)
        const embedded = new EmbeddedMetadataStore(systemClock, silentLog, { file, retentionMs: 1000 })
        await embedded.schema.migrate(never, () => {})
        const fake = new FakeMetadataStore({ retentionMs: 1000 })
        for (const rows of writes) {
          await fake.write(rows, never)
          await embedded.write(rows, never)
        }
        for (const asked of queries) {
          expect(await embedded.list(asked, never)).toEqual(await fake.list(asked, never))
          expect(await pagesOf(embedded, asked)).toEqual(await pagesOf(fake, asked))
        }
        for (const { topic: of, partition: at, from, to, limit } of ranges) {
          const found = await embedded.listOffsets(of, at, from, to, limit, never)
          const expected = await fake.listOffsets(of, at, from, to, limit, never)
          // Two messages may have one offset, when a topic was made anew; their order is nobody's business.
          expect(found.map((one) => one.offset)).toEqual(expected.map((one) => one.offset))
        }
        await embedded.close()
        await rm(file)
      },
    ),
    { numRuns: 40 },
  )
})

/** All pages of a query, in sizes of its limit. */
async function pagesOf(store: MetadataStore, asked: MetadataQuery): Promise<MetadataRow[][]> {
  const pages: MetadataRow[][] = []
  let after = asked.after
  for (;;) {
    const page = await store.list(after ? { ...asked, after } : asked, never)
    if (page.length === 0) return pages
    pages.push([...page])
    after = page.at(-1)
  }
}
