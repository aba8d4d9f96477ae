import { expect, test } from 'vitest'
import type { LogEntry } from '../../src/recorder/message-log.ts'
import type { MetadataRow } from '../../src/recorder/metadata-store.ts'
import type { ConsumedRecord } from '../../src/subscriptions/consumer.ts'
import { isComplete, LedgerTrial, type LedgerVerdict, type StoreVerdict } from './ledger-trial.ts'
import type { SentMessage } from './verdict.ts'

const journalId = '0123456789abc'

function sent(n: number): SentMessage {
  const headers = [
    ['content-type', Buffer.from('text/plain')],
    ['tag', Buffer.from(String(n))],
  ] as const
  return { topic: 'topic', key: Buffer.from(`key ${n}`), value: Buffer.from(`value ${n}`), headers }
}

function record(n: number, offset = n): ConsumedRecord {
  const { topic, key, value, headers } = sent(n)
  const id = ['outrigger-id', Buffer.from(`${journalId}-${n}`)] as const
  const acceptedAt = ['outrigger-accepted-at', Buffer.from(String(n * 10))] as const
  return { topic, partition: 0, offset, timestamp: 0, key, value, headers: [id, acceptedAt, ...headers] }
}

function row(n: number, changes: Partial<MetadataRow> = {}): MetadataRow {
  return {
    journalId,
    seq: n,
    status: 'delivered',
    topic: 'topic',
    partition: 0,
    offset: n,
    key: Buffer.from(`key ${n}`),
    producer: null,
    contentType: 'text/plain',
    valueBytes: 7,
    headers: `[{"name":"tag","value":"${n}"}]`,
    traceId: null,
    acceptedAt: n * 10,
    finishedAt: n * 10 + 5,
    recordedAt: n * 10 + 9,
    attempts: 1,
    reason: null,
    ...changes,
  }
}

function entry(n: number, changes: Partial<LogEntry> = {}): LogEntry {
  return {
    topic: 'topic',
    partition: 0,
    offset: n,
    journalId,
    seq: n,
    key: Buffer.from(`key ${n}`),
    value: Buffer.from(`value ${n}`),
    headers: [['tag', Buffer.from(String(n))]],
    contentType: 'text/plain',
    timestamp: n * 10,
    acceptedAt: n * 10,
    deliveredAt: n * 10 + 5,
    ...changes,
  }
}

interface Found {
  readonly records: readonly ConsumedRecord[]
  readonly rows?: readonly MetadataRow[]
  readonly entries?: readonly LogEntry[]
}

/** Where rows or entries are not given, they are right. */
function judge({ records, rows = [row(1)], entries = [entry(1)] }: Found): LedgerVerdict {
  const trial = new LedgerTrial('tag', (tag) => (/^[1-9]$/.test(tag) ? sent(Number(tag)) : null))
  for (const each of records) trial.addRecord(each)
  for (const each of rows) trial.addRow(each)
  for (const each of entries) trial.addEntry(each)
  return trial.verdict()
}

const flawless: StoreVerdict = { recorded: 1, missing: [], repeated: [], misplaced: [], damaged: [], unknown: [] }
const first = `${journalId}-1`

test('one row and one entry for a message in the broker are complete, at whichever of its records they stand', () => {
  expect(judge({ records: [record(1)] })).toEqual({ metadata: flawless, log: flawless })
  const twice = [record(1), record(1, 8)]
  expect(isComplete(judge({ records: twice }))).toBe(true)
  expect(isComplete(judge({ records: twice, rows: [row(1, { offset: 8 })] }))).toBe(true)
})

test.each<[keyof StoreVerdict, Omit<Found, 'records'>, Partial<LedgerVerdict>]>([
  ['missing', { rows: [] }, { metadata: { ...flawless, recorded: 0, missing: [first] } }],
  ['missing', { entries: [] }, { log: { ...flawless, recorded: 0, missing: [first] } }],
  ['repeated', { rows: [row(1), row(1)] }, { metadata: { ...flawless, recorded: 2, repeated: [first] } }],
  ['repeated', { entries: [entry(1), entry(1)] }, { log: { ...flawless, recorded: 2, repeated: [first] } }],
  ['misplaced', { rows: [row(1, { offset: 2 })] }, { metadata: { ...flawless, misplaced: [first] } }],
  ['misplaced', { entries: [entry(1, { partition: 1 })] }, { log: { ...flawless, misplaced: [first] } }],
  [
    'unknown',
    { rows: [row(1), row(2)] },
    { metadata: { ...flawless, recorded: 2, unknown: [first.replace('-1', '-2')] } },
  ],
])('what is %s is found', (_, found, verdict) => {
  const result = judge({ records: [record(1)], ...found })
  expect(result).toEqual({ metadata: flawless, log: flawless, ...verdict })
  expect(isComplete(result)).toBe(false)
})

test.each<Partial<MetadataRow>>([
  { status: 'dead' },
  { key: null },
  { key: Buffer.from('key 2') },
  { contentType: null },
  { valueBytes: 8 },
  { valueBytes: null },
  { headers: null },
  { headers: '[]' },
  { acceptedAt: 11 },
  { finishedAt: 9 },
  { recordedAt: 14 },
  { attempts: 0 },
  { reason: 'a reason' },
])('a row with %o is damaged', (changes) => {
  expect(judge({ records: [record(1)], rows: [row(1, changes)] }).metadata.damaged).toEqual([first])
})

test.each<Partial<LogEntry>>([
  { key: Buffer.from('key 2') },
  { value: Buffer.from('value 2') },
  { value: null },
  { headers: [] },
  { headers: [['tag', Buffer.from('2')]] },
  { contentType: 'text/html' },
  { acceptedAt: 11 },
  { deliveredAt: 9 },
])('an entry with %o is damaged', (changes) => {
  expect(judge({ records: [record(1)], entries: [entry(1, changes)] }).log.damaged).toEqual([first])
})
