import { expect, test } from 'vitest'
import { StoreError } from '../../src/recorder/store-error.ts'
import { FakeMessageLog } from './fake-message-log.ts'
import { storeFailureOf } from './ledger-schema-contract.ts'
import { describeMessageLogContract, logEntry } from './message-log-contract.ts'
import { contractRetentionMs } from './metadata-store-contract.ts'

const never = new AbortController().signal

describeMessageLogContract('the fake', async () => {
  const log = new FakeMessageLog({ retentionMs: contractRetentionMs, schemaVersion: 0 })
  return { log, another: () => log.another(), close: () => log.close() }
})

test('the fake fails as it is told, and tells what it holds of a message', async () => {
  const log = new FakeMessageLog()
  log.writes.next(1, new StoreError('transient', 'ECONNREFUSED', 'away'))
  // One message that was delivered twice.
  const entries = [logEntry({ topic: 't', offset: 4, seq: 7 }), logEntry({ topic: 't', offset: 9, seq: 7 })]
  expect(await storeFailureOf(log.write(entries, 0, never))).toMatchObject({ reason: 'ECONNREFUSED' })
  expect(log.entries.size).toBe(0)
  await log.write(entries, 0, never)
  expect([...log.entries.keys()]).toEqual(['t/0/4', 't/0/9'])
  expect(log.entriesOf('0123456789abc', 7).map(({ offset }) => offset)).toEqual([4, 9])
  expect(log.writes).toMatchObject({ count: 2, sizes: [2, 2], done: 1 })
})
