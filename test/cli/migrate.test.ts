import { describe, expect, test } from 'vitest'
import type { MigratedStore, MigrateOptions } from '../../src/cli/migrate.ts'
import { migrate } from '../../src/cli/migrate.ts'
import type { LedgerSchema } from '../../src/recorder/ledger-schema.ts'
import { StoreError } from '../../src/recorder/store-error.ts'
import { FakeMessageLog } from '../recorder/fake-message-log.ts'
import { FakeMetadataStore } from '../recorder/fake-metadata-store.ts'
import { TextOutput } from './text-output.ts'

const never = new AbortController().signal
const metadata = (schemaVersion: number): MigratedStore & { schema: LedgerSchema } => ({
  store: 'metadata',
  kind: 'mysql',
  schema: new FakeMetadataStore({ schemaVersion }).schema,
})
const log = (schemaVersion: number): MigratedStore => ({
  store: 'log',
  kind: 'cassandra',
  schema: new FakeMessageLog({ schemaVersion }).schema,
})

async function migrated(stores: readonly MigratedStore[], options: Partial<MigrateOptions> = {}, signal = never) {
  const out = new TextOutput()
  const err = new TextOutput()
  const code = await migrate(stores, { dryRun: false, json: false, ...options }, out, err, signal)
  return { code, out: out.text, err: err.text }
}

describe('migrate', () => {
  test('takes the steps that each store needs, and tells of them', async () => {
    const stores = [metadata(0), log(1)]
    expect(await migrated(stores)).toEqual({
      code: 0,
      err: '',
      out: [
        'metadata (mysql): no schema yet; version 2 is needed',
        '  done:  1, make a place',
        '  done:  2, make it tidy',
        'metadata (mysql): version 2 now',
        'log (cassandra): version 1; version 2 is needed',
        '  done:  2, make it tidy',
        'log (cassandra): version 2 now',
        '',
      ].join('\n'),
    })
    const { code, out } = await migrated(stores)
    expect(code).toBe(0)
    expect(out.match(/there is nothing to do/g)).toHaveLength(2)
    expect(out).not.toContain('done:')
  })

  test('only tells what there is to do in a dry run', async () => {
    const store = metadata(0)
    const { code, out } = await migrated([store], { dryRun: true })
    expect(code).toBe(0)
    expect(out).toContain('  to do: 1, make a place\n  to do: 2, make it tidy\n')
    expect(await store.schema.inspect(never)).toMatchObject({ found: 0 })
  })

  test('as JSON says what was found, needed, pending and taken', async () => {
    const { code, out, err } = await migrated([metadata(1), log(3)], { json: true })
    expect({ code, err }).toEqual({ code: 1, err: '' })
    expect(JSON.parse(out)).toEqual({
      dryRun: false,
      stores: [
        {
          store: 'metadata',
          kind: 'mysql',
          found: 1,
          needed: 2,
          pending: [{ version: 2, title: 'make it tidy' }],
          taken: [{ version: 2, title: 'make it tidy' }],
          error: null,
        },
        {
          store: 'log',
          kind: 'cassandra',
          found: null,
          needed: null,
          pending: [],
          taken: [],
          error: { message: 'the fake store has schema 3', hint: 'Upgrade.' },
        },
      ],
    })
  })

  test('refuses a schema that is newer, and goes on with the other store', async () => {
    const other = log(0)
    const { code, out, err } = await migrated([metadata(3), other])
    expect(code).toBe(1)
    expect(err).toBe('metadata (mysql): the fake store has schema 3\nUpgrade.\n')
    expect(out).toContain('log (cassandra): version 2 now')
    expect(await other.schema.inspect(never)).toMatchObject({ found: 2 })
  })

  test.each([false, true])('fails when a store can’t be reached, with what to do (dry run: %s)', async (dryRun) => {
    const away = new StoreError('transient', 'ECONNREFUSED', 'db:3306 refuses connections', { hint: 'Is it up?' })
    const schema = { inspect: () => Promise.reject(away), migrate: () => Promise.reject(away) }
    expect(await migrated([{ store: 'metadata', kind: 'mysql', schema }], { dryRun })).toEqual({
      code: 1,
      out: '',
      err: 'metadata (mysql): db:3306 refuses connections\nIs it up?\n',
    })
  })

  test('says when another one took steps meanwhile', async () => {
    const store = metadata(0)
    const [first, second] = await Promise.all([migrated([store]), migrated([store])])
    expect([first.code, second.code]).toEqual([0, 0])
    expect((first.out + second.out).match(/done:/g)).toHaveLength(2)
    expect((first.out + second.out).match(/another one was at it too/g)).toHaveLength(1)
  })

  test('that is interrupted fails, and says that it goes on the next time', async () => {
    const stop = new AbortController()
    const store = metadata(0)
    const { schema } = store
    const interrupting: LedgerSchema = {
      inspect: (signal) => schema.inspect(signal),
      migrate: (signal, taken) =>
        schema.migrate(signal, (step) => {
          taken(step)
          stop.abort()
        }),
    }
    const { code, out, err } = await migrated([{ ...store, schema: interrupting }, log(0)], {}, stop.signal)
    expect(code).toBe(1)
    expect(out).toContain('done:  1')
    expect(err).toMatch(/^metadata \(mysql\): interrupted\n.*goes on from here/)
    expect(await schema.inspect(never)).toMatchObject({ found: 1 })
  })

  test('has nothing to do without a ledger', async () => {
    const { code, out } = await migrated([])
    expect(code).toBe(0)
    expect(out).toContain('ledger.metadata and ledger.log are none')
    expect(JSON.parse((await migrated([], { json: true })).out)).toEqual({ dryRun: false, stores: [] })
  })
})
