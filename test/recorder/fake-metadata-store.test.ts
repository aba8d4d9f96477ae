import { expect, test } from 'vitest'
import { StoreError } from '../../src/recorder/store-error.ts'
import { FakeMetadataStore } from './fake-metadata-store.ts'
import { storeFailureOf } from './ledger-schema-contract.ts'
import { contractRetentionMs, describeMetadataStoreContract, metadataRow } from './metadata-store-contract.ts'

const never = new AbortController().signal

describeMetadataStoreContract('the fake', async () => {
  const store = new FakeMetadataStore({ retentionMs: contractRetentionMs, schemaVersion: 0 })
  return { store, another: () => store.another(), close: () => store.close() }
})

const rows = [1, 2, 3].map((seq) => metadataRow({ seq }))

test('the fake fails as often as it was told, and then keeps', async () => {
  const store = new FakeMetadataStore()
  store.writes.next(2, new StoreError('transient', 'ECONNREFUSED', 'away'))
  expect(await storeFailureOf(store.write(rows, never))).toMatchObject({ reason: 'ECONNREFUSED' })
  await storeFailureOf(store.write(rows.slice(1), never))
  expect(store.rows.size).toBe(0)
  await store.write(rows, never)
  expect([...store.rows.keys()]).toEqual(['never-written-1', 'never-written-2', 'never-written-3'])
  expect(store.writes).toMatchObject({ count: 3, sizes: [3, 2, 3], done: 1 })
})

test('the fake refuses what it is told to for good, and with it all of the write', async () => {
  const store = new FakeMetadataStore()
  const lift = store.writes.refuse(({ seq }) => seq === 2)
  expect(await storeFailureOf(store.write(rows, never))).toMatchObject({ failure: 'permanent' })
  expect(store.rows.size).toBe(0)
  await store.write(
    rows.filter(({ seq }) => seq !== 2),
    never,
  )
  lift()
  await store.write(rows, never)
  expect(store.rows.size).toBe(3)
})

test('the fake can lose an answer: the rows are kept, and the write fails', async () => {
  const store = new FakeMetadataStore()
  store.writes.next(1, 'lost-answer')
  await storeFailureOf(store.write(rows, never))
  expect(store.rows.size).toBe(3)
})

test('the fake hangs until it is released, or until the signal is aborted', async () => {
  const store = new FakeMetadataStore()
  const lift = store.writes.hang()
  const abort = new AbortController()
  const aborted = store.write(rows.slice(0, 1), abort.signal)
  const released = store.write(rows.slice(1), never)
  setTimeout(() => abort.abort(new Error('enough')), 5)
  await expect(aborted).rejects.toThrow('enough')
  expect(store.writes).toMatchObject({ inFlight: 1, inFlightMax: 2 })
  lift()
  store.writes.release()
  await released
  expect(store.rows.size).toBe(2)
})

test('the fake refuses a schema that is newer than it knows', async () => {
  const store = new FakeMetadataStore({ schemaVersion: 3 })
  const calls = [store.write(rows, never), store.schema.inspect(never), store.schema.migrate(never, () => {})]
  for (const call of calls) {
    expect(await storeFailureOf(call)).toMatchObject({ failure: 'fatal', reason: 'SCHEMA_TOO_NEW' })
  }
})
