import { describe, expect, test } from 'vitest'
import {
  bucketOf,
  bucketOffsets,
  inlineBytesMax,
  literal,
  logStatements,
  quoted,
  timeWindows,
  ttlSeconds,
} from '../../src/cassandra/log-layout.ts'

const minute = 60_000
const day = 24 * 60 * minute

describe('the layout of the message log', () => {
  test('keeps a Cassandra partition below 100 MB and 100,000 rows', () => {
    expect(bucketOffsets * inlineBytesMax).toBeLessThanOrEqual(100 * 1024 * 1024)
    expect(bucketOffsets).toBeLessThanOrEqual(100_000)
  })

  test('finds the bucket of any offset', () => {
    expect([0, 4095, 4096, Number.MAX_SAFE_INTEGER].map(bucketOf)).toEqual([0, 0, 1, 2 ** 41 - 1])
  })

  test.each([
    [minute, 'MINUTES', 1],
    [day, 'HOURS', 1],
    [7 * day, 'HOURS', 7],
    [20 * minute, 'MINUTES', 1],
    [4 * 60 * minute, 'MINUTES', 10],
    [30 * day, 'DAYS', 2],
    [365 * day, 'DAYS', 16],
  ])('compacts what is kept %i ms in windows of some %s', (retention, unit, size) => {
    expect(timeWindows(retention)).toContain(`'compaction_window_unit': '${unit}', 'compaction_window_size': ${size}}`)
  })

  test('gives at least a second to live, and never more than Cassandra takes', () => {
    expect(ttlSeconds(10_001, 10_000)).toBe(1)
    expect(ttlSeconds(10_000, 10_000)).toBe(1)
    expect(ttlSeconds(12_001, 10_000)).toBe(3)
    expect(ttlSeconds(100 * 365 * day, 0)).toBe(20 * 365 * 86_400)
  })

  test('quotes names and texts', () => {
    expect(quoted('a"b')).toBe('"a""b"')
    expect(literal("a'b")).toBe("'a''b'")
    expect(Object.values(logStatements('Mine')).every((statement: string) => statement.includes('"Mine".message_log'))).toBe(true) // prettier-ignore
  })

  test('has as many parameters as columns in every insert', () => {
    const inserts = (Object.values(logStatements('k')) as string[])
      .map((statement) => /\(([^)]+)\) VALUES \(([^)]+)\)/.exec(statement))
      .filter((insert) => insert !== null)
    expect(inserts).toHaveLength(4)
    const counts = inserts.map(([, columns = '', values = '']) => [columns.split(',').length, values.split(',').length])
    expect(counts.filter(([columns, values]) => columns !== values)).toEqual([])
  })
})
