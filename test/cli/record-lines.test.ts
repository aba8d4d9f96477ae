import { expect, test } from 'vitest'
import type { PrintedRecord } from '../../src/cli/record-lines.ts'
import { humanLine as lineAt, jsonLine } from '../../src/cli/record-lines.ts'

const time = 1_700_000_000_123
const record = (parts: Partial<PrintedRecord> = {}): PrintedRecord => ({
  topic: 'orders',
  partition: 2,
  offset: 41,
  timestamp: time,
  id: null,
  key: Buffer.from('k1'),
  value: Buffer.from('hello'),
  headers: [],
  ...parts,
})
const humanLine = (printed: PrintedRecord): string => lineAt(printed, time)

test('a record is one line of JSON with the fields that are promised, in their order', () => {
  const headers = [
    ['outrigger-id', Buffer.from('0123456789abc-7')],
    ['tag', Buffer.from('a')],
    ['tag', Buffer.from([0xff])],
  ] as const
  expect(jsonLine(record({ id: '0123456789abc-7', headers }))).toBe(
    '{"topic":"orders","partition":2,"offset":41,"timestamp":1700000000123,"id":"0123456789abc-7","key":"k1","value":"hello",' +
      '"headers":{"outrigger-id":["0123456789abc-7"],"tag":["a",{"base64":"/w=="}]}}\n',
  )
})

test('what is not UTF-8 stands in base64; no key and a tombstone are null, and empty is empty', () => {
  const line = (parts: Partial<PrintedRecord>): unknown => JSON.parse(jsonLine(record(parts)))
  expect(line({ key: Buffer.from([0xc3]), value: Buffer.from([0, 0x80]) })).toMatchObject({
    keyBase64: 'ww==',
    valueBase64: 'AIA=',
  })
  expect(line({ key: Buffer.from([0xc3]) })).not.toHaveProperty('key')
  expect(line({ key: null, value: null })).toMatchObject({ key: null, value: null, id: null })
  expect(line({ key: Buffer.alloc(0), value: Buffer.alloc(0) })).toMatchObject({ key: '', value: '' })
  expect(line({ value: Buffer.from('\uFEFFbom') })).toMatchObject({ value: '\uFEFFbom' })
  expect(jsonLine(record({ headers: [['__proto__', Buffer.from('x')]] }))).toContain('"__proto__":["x"]')
})

test('a line for people says when, where, which key and what', () => {
  expect(humanLine(record())).toBe('2023-11-14T22:13:20.123Z  2/41  k1:  hello\n')
  expect(humanLine(record({ key: null, value: null }))).toBe('2023-11-14T22:13:20.123Z  2/41  (tombstone)\n')
  expect(humanLine(record({ value: Buffer.from([0xff, 0xfe]) }))).toContain('(2 bytes, not UTF-8)')
  expect(humanLine(record({ value: Buffer.from('x'.repeat(5000)) })).length).toBeLessThan(500)
})

test('a line for people can do nothing to their terminal', () => {
  const line = humanLine(record({ value: Buffer.from('a\nb\u001b[2J\u202Ec') }))
  expect(line).toContain('a\\nb\\u{1b}[2J\\u{202e}c')
  expect(line.trimEnd().split('\n')).toHaveLength(1)
})

test('what is told beside the record stands between where it is and what it holds', () => {
  expect(jsonLine(record(), { acceptedAt: 1, contentType: null })).toContain(
    '"id":null,"acceptedAt":1,"contentType":null,"key":"k1"',
  )
})
