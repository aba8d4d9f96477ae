import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { backfill } from '../../src/recorder/backfill.ts'
import type { BrokerRecord } from '../../src/recorder/delivered-record.ts'
import { deliveredMessage } from '../../src/recorder/delivered-record.ts'
import { logEntry } from '../../src/recorder/log-entry.ts'
import type { LogEntry } from '../../src/recorder/message-log.ts'
import { metadataRow } from '../../src/recorder/metadata-row.ts'
import type { MetadataRow } from '../../src/recorder/metadata-store.ts'
import type { ComparedRange, ComparedTotals, Difference } from '../../src/recorder/reconcile.ts'
import { reconcile } from '../../src/recorder/reconcile.ts'
import { StoreError } from '../../src/recorder/store-error.ts'
import { FakeComparedBroker, comparedJournalId } from './compared-broker.ts'
import { FakeMessageLog } from './fake-message-log.ts'
import { FakeMetadataStore } from './fake-metadata-store.ts'

const never = new AbortController().signal
const everything: ComparedRange = { from: 'beginning', to: 1e12, topics: null, keptSince: 0 }

class Rig {
  readonly broker = new FakeComparedBroker()
  readonly metadata = new FakeMetadataStore()
  readonly log = new FakeMessageLog()

  /** What the recorders would have written of a record. */
  async record(
    record: BrokerRecord,
    parts: { row?: Partial<MetadataRow>; entry?: Partial<LogEntry> } = {},
  ): Promise<void> {
    await this.recordRow(record, parts.row)
    await this.recordEntry(record, parts.entry)
  }

  async recordRow(record: BrokerRecord, parts: Partial<MetadataRow> = {}): Promise<void> {
    const { journalId, finished, message } = deliveredMessage(record) as NonNullable<
      ReturnType<typeof deliveredMessage>
    >
    await this.metadata.write([{ ...metadataRow(journalId, finished, message, 5), ...parts }], never)
  }

  async recordEntry(record: BrokerRecord, parts: Partial<LogEntry> = {}): Promise<void> {
    const { journalId, finished, message } = deliveredMessage(record) as NonNullable<
      ReturnType<typeof deliveredMessage>
    >
    await this.log.write([{ ...(logEntry(journalId, finished, message) as LogEntry), ...parts }], 5, never)
  }

  async verify(range: Partial<ComparedRange> = {}): Promise<{ found: string[]; totals: ComparedTotals }> {
    const found: string[] = []
    const totals = await reconcile(
      this.broker,
      { metadata: this.metadata, log: this.log },
      { ...everything, ...range },
      async (difference) => {
        found.push(textOf(difference))
      },
      never,
    )
    return { found, totals }
  }

  backfill(dryRun = false, refused: string[] = []) {
    return backfill(
      this.broker,
      { metadata: this.metadata, log: this.log },
      everything,
      { dryRun, batchMessagesMax: 10, batchBytesMax: 1e6, now: () => 9000 },
      (store, id, error) => refused.push(`${store} ${id} ${error.reason}`),
      never,
    )
  }
}

function textOf({ kind, store, topic, partition, offset, id, what }: Difference): string {
  return [kind, store, `${topic}/${partition}/${offset}`, id.replace(comparedJournalId, 'J'), ...what].join(' ')
}

describe('comparing the ledger with the broker', () => {
  test('finds no difference where there is none', async () => {
    const rig = new Rig()
    for (let seq = 1; seq <= 1200; seq++)
      await rig.record(
        rig.broker.send({ seq, partition: seq % 3, key: Buffer.from(`k${seq}`), headers: [['a', Buffer.from('1')]] }),
      )
    const { found, totals } = await rig.verify()
    expect(found).toEqual([])
    expect(totals).toMatchObject({ records: 1200, missing: 0, extra: 0, different: 0, duplicates: 0 })
  })

  test('names a missing row and a missing entry', async () => {
    const rig = new Rig()
    await rig.record(rig.broker.send({ seq: 1 }))
    await rig.recordEntry(rig.broker.send({ seq: 2 }))
    await rig.recordRow(rig.broker.send({ seq: 3 }))
    expect((await rig.verify()).found).toEqual(['missing metadata orders/0/1 J-2', 'missing log orders/0/2 J-3'])
  })

  test('names different bytes, and what else is different', async () => {
    const rig = new Rig()
    const send = (seq: number) => rig.broker.send({ seq, key: Buffer.from('k'), value: Buffer.from('abc') })
    await rig.record(send(1), { entry: { value: Buffer.from('abd') }, row: { valueBytes: 2 } })
    await rig.record(send(2), { entry: { value: null }, row: { valueBytes: null } })
    await rig.record(send(3), { entry: { key: Buffer.from('K') }, row: { key: null } })
    await rig.record(send(4), { entry: { headers: [['a', Buffer.from('1')]] } })
    expect((await rig.verify()).found).toEqual([
      'different metadata orders/0/0 J-1 value size',
      'different log orders/0/0 J-1 value',
      'different metadata orders/0/1 J-2 value size',
      'different log orders/0/1 J-2 value',
      'different metadata orders/0/2 J-3 key',
      'different log orders/0/2 J-3 key',
      'different log orders/0/3 J-4 headers',
    ])
  })

  test('names what the broker does not have', async () => {
    const rig = new Rig()
    for (let seq = 1; seq <= 3; seq++) await rig.record(rig.broker.send({ seq }))
    // A record that is not ours, where the ledger has something.
    rig.broker.records[1] = { ...(rig.broker.records[1] as BrokerRecord), headers: [] }
    const { found, totals } = await rig.verify()
    expect(found).toEqual(['extra metadata orders/0/1 J-2', 'extra log orders/0/1 J-2'])
    expect(totals.records).toBe(2)
  })

  test('finds no fault in what the retention of the broker took, also while it is read', async () => {
    const rig = new Rig()
    for (let seq = 1; seq <= 10; seq++) await rig.record(rig.broker.send({ seq }))
    rig.broker.begins.set(0, 3)
    expect((await rig.verify()).found).toEqual([])
    // It goes on after the range was fixed.
    const { offsetsAt } = rig.broker
    let asked = 0
    rig.broker.offsetsAt = async (topic, time) => {
      const offsets = await offsetsAt.call(rig.broker, topic, time)
      if (++asked === 2) rig.broker.begins.set(0, 6)
      return offsets
    }
    expect((await rig.verify()).found).toEqual([])
  })

  test('finds no fault in what the retention of the ledger took', async () => {
    const rig = new Rig()
    rig.broker.send({ seq: 1, acceptedAt: 1000 })
    rig.broker.send({ seq: 2, acceptedAt: 2000 })
    const { found, totals } = await rig.verify({ keptSince: 1500 })
    expect(found).toEqual(['missing metadata orders/0/1 J-2', 'missing log orders/0/1 J-2'])
    expect(totals.expired).toBe(1)
  })

  test('knows a message that was delivered twice', async () => {
    const rig = new Rig()
    rig.broker.send({ seq: 1, partition: 1 })
    await rig.record(rig.broker.send({ seq: 1, partition: 0 }))
    const { found, totals } = await rig.verify()
    expect(found).toEqual([])
    expect(totals).toMatchObject({ records: 2, duplicates: 1 })
  })

  test('knows an entry that is missing under both records of a message', async () => {
    const rig = new Rig()
    rig.broker.send({ seq: 1, partition: 1 })
    await rig.recordRow(rig.broker.send({ seq: 1, partition: 0 }))
    expect((await rig.verify()).found).toContain('missing log orders/0/0 J-1')
  })

  test('looks at the range that was asked for, and at no other topic', async () => {
    const rig = new Rig()
    for (let seq = 1; seq <= 9; seq++) rig.broker.send({ seq, acceptedAt: 100 * seq })
    rig.broker.send({ seq: 10, topic: 'others', acceptedAt: 500 })
    const { found } = await rig.verify({ from: 300, to: 500, topics: ['orders'] })
    expect(found.filter((text) => text.includes('metadata'))).toEqual([
      'missing metadata orders/0/2 J-3',
      'missing metadata orders/0/3 J-4',
    ])
  })

  test('counts only what Outrigger has sent', async () => {
    const rig = new Rig()
    rig.broker.append({ value: Buffer.from('by somebody else') }, 1000, [['outrigger-id', Buffer.from('nonsense')]])
    expect(await rig.verify()).toEqual({
      found: [],
      totals: { records: 0, duplicates: 0, expired: 0, missing: 0, extra: 0, different: 0 },
    })
  })

  test('asks for pages of entries that are small where entries are large', async () => {
    const rig = new Rig()
    const value = Buffer.alloc(1024 * 1024)
    for (let seq = 1; seq <= 40; seq++) await rig.record(rig.broker.send({ seq, value }))
    const lengths: number[] = []
    const { list } = rig.log
    rig.log.list = async (...args) => {
      const entries = await list.apply(rig.log, args)
      lengths.push(entries.length)
      return entries
    }
    expect((await rig.verify()).found).toEqual([])
    expect(Math.max(...lengths)).toBeLessThanOrEqual(8)
  })

  test('whatever is missing, different or extra: exactly that is named, and a backfill leaves nothing missing', async () => {
    const fate = fc.record({
      partition: fc.nat({ max: 2 }),
      isOurs: fc.boolean(),
      row: fc.constantFrom('right', 'missing', 'different'),
      entry: fc.constantFrom('right', 'missing', 'different'),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(fate, { maxLength: 200 }), async (fates) => {
        const rig = new Rig()
        const expected: string[] = []
        for (const [i, { partition, isOurs, row, entry }] of fates.entries()) {
          const record = rig.broker.send({ seq: i + 1, partition })
          if (row !== 'missing') await rig.recordRow(record, row === 'different' ? { valueBytes: 99 } : {})
          if (entry !== 'missing')
            await rig.recordEntry(record, entry === 'different' ? { value: Buffer.alloc(3) } : {})
          if (!isOurs) rig.broker.records[i] = { ...record, headers: [] }
          for (const [store, state] of [
            ['metadata', row],
            ['log', entry],
          ] as const) {
            const kind = isOurs ? state : state === 'missing' ? 'right' : 'extra'
            const what = kind === 'different' ? (store === 'log' ? ' value' : ' value size') : ''
            if (kind !== 'right')
              expected.push(`${kind} ${store} orders/${partition}/${record.offset} J-${i + 1}${what}`)
          }
        }
        expect((await rig.verify()).found.toSorted()).toEqual(expected.toSorted())
        await rig.backfill()
        const left = expected.filter((text) => !text.startsWith('missing'))
        expect((await rig.verify()).found.toSorted()).toEqual(left.toSorted())
      }),
      { numRuns: 60 },
    )
  })
})

describe('backfill', () => {
  test('writes rows and entries from what the broker has, and says nothing of what can not be known', async () => {
    const rig = new Rig()
    const value = Buffer.from('{"a":1}')
    rig.broker.send({
      seq: 7,
      acceptedAt: 4000,
      key: Buffer.from('k'),
      value,
      contentType: 'application/json',
      traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`,
      headers: [['tag', Buffer.from('x')]],
    })
    const { written } = await rig.backfill()
    expect(written).toEqual({ metadata: 1, log: 1 })
    expect(rig.metadata.rows.get(`${comparedJournalId}-7`)).toEqual({
      journalId: comparedJournalId,
      seq: 7,
      status: 'delivered',
      topic: 'orders',
      partition: 0,
      offset: 0,
      key: Buffer.from('k'),
      producer: null,
      contentType: 'application/json',
      valueBytes: 7,
      headers: '[{"name":"tag","value":"x"}]',
      traceId: 'a'.repeat(32),
      acceptedAt: 4000,
      finishedAt: 4000,
      recordedAt: 9000,
      attempts: 0,
      reason: null,
    })
    expect(await rig.log.read('orders', 0, 0, never)).toMatchObject({
      seq: 7,
      value,
      contentType: 'application/json',
      headers: [['tag', Buffer.from('x')]],
      acceptedAt: 4000,
      timestamp: 4000,
      deliveredAt: 4000,
    })
  })

  test('writes nothing in a dry run, and counts all the same', async () => {
    const rig = new Rig()
    for (let seq = 1; seq <= 25; seq++) rig.broker.send({ seq })
    expect((await rig.backfill(true)).written).toEqual({ metadata: 25, log: 25 })
    expect(rig.metadata.rows.size).toBe(0)
    expect(rig.log.entries.size).toBe(0)
  })

  test('writes one row of a message that the broker has twice', async () => {
    const rig = new Rig()
    rig.broker.send({ seq: 1 })
    rig.broker.send({ seq: 1 })
    rig.broker.send({ seq: 1, partition: 1 })
    await rig.backfill()
    expect(rig.metadata.rows.size).toBe(1)
    expect((await rig.verify()).found).toEqual([])
  })

  test('goes on past a message that a store refuses for good, and names it', async () => {
    const rig = new Rig()
    for (let seq = 1; seq <= 8; seq++) rig.broker.send({ seq })
    const { write } = rig.metadata
    rig.metadata.write = async (rows, signal) => {
      if (rows.some(({ seq }) => seq === 5)) throw new StoreError('permanent', 'ER_DATA_TOO_LONG', 'too long')
      return write.call(rig.metadata, rows, signal)
    }
    const refused: string[] = []
    expect(await rig.backfill(false, refused)).toMatchObject({ written: { metadata: 7, log: 8 }, refused: 1 })
    expect(refused).toEqual([`metadata ${comparedJournalId}-5 ER_DATA_TOO_LONG`])
  })

  test('ends when a store is away', async () => {
    const rig = new Rig()
    rig.broker.send({ seq: 1 })
    rig.metadata.write = () => Promise.reject(new StoreError('transient', 'ECONNREFUSED', 'away'))
    await expect(rig.backfill()).rejects.toThrow('away')
  })
})
