import { describe, expect, test } from 'vitest'
import { insertStatements } from '../../src/mysql/row-statements.ts'
import { metadataRow } from '../recorder/metadata-store-contract.ts'
import { StoreError } from '../../src/recorder/store-error.ts'

const rows = Array.from({ length: 100 }, (_, i) =>
  metadataRow({ seq: i + 1, producer: 'é'.repeat(i), key: Buffer.from([i]) }),
)

describe('statements that write rows', () => {
  test('are one, when the server takes it', () => {
    const statements = insertStatements(rows, 1_000_000)
    expect(statements).toHaveLength(1)
    expect(statements[0]).toMatch(/^INSERT INTO message_metadata \(.*ON DUPLICATE KEY UPDATE status = VALUES/s)
    // What makes a row what it is stays as it is.
    expect(statements[0]).not.toMatch(/UPDATE.*(journal_id|seq|accepted_at) = VALUES/s)
  })

  test.each([2000, 2001, 2002, 5000, 12_345])(
    'are at most %i bytes long, have every row once, and no fewer than fit',
    (bytesMax) => {
      const statements = insertStatements(rows, bytesMax)
      const lengths = statements.map((statement) => Buffer.byteLength(statement))
      expect(Math.max(...lengths)).toBeLessThanOrEqual(bytesMax)
      expect(statements.flatMap((statement) => statement.match(/'never-written',\d+/g))).toEqual(
        rows.map(({ seq }) => `'never-written',${seq}`),
      )
      for (const [i, bytes] of lengths.slice(0, -1).entries()) {
        const [first] = /\('never-written'.*/.exec(statements[i + 1]!)!
        expect(bytes + Buffer.byteLength(first)).toBeGreaterThan(bytesMax - 3)
      }
    },
  )

  test('that no server takes are permanent failures that name the message', () => {
    const write = () => insertStatements([metadataRow({ seq: 77, headers: 'x'.repeat(4096) })], 4096)
    expect(write).toThrow(StoreError)
    expect(write).toThrow(/never-written-77/)
  })

  test('of nothing are none', () => {
    expect(insertStatements([], 4096)).toEqual([])
  })
})
