import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { EmbeddedMessageLog } from '../../src/embedded/embedded-message-log.ts'
import { EmbeddedMetadataStore, listing } from '../../src/embedded/embedded-metadata-store.ts'
import { embeddedLedgerError } from '../../src/embedded/ledger-errors.ts'
import { ledgerFileSteps } from '../../src/embedded/ledger-file-schema.ts'
import { storeFailureOf } from '../recorder/ledger-schema-contract.ts'
import { logEntry } from '../recorder/message-log-contract.ts'
import { metadataRow } from '../recorder/metadata-store-contract.ts'

const never = new AbortController().signal
const hour = 3_600_000
let directory: string
let file: string
const closers: (() => Promise<void>)[] = []

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'outrigger-ledger-'))
  file = join(directory, 'ledger.sqlite')
})
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
  await chmod(directory, 0o700)
  await rm(directory, { recursive: true })
})

function openStore(): EmbeddedMetadataStore {
  const store = new EmbeddedMetadataStore(systemClock, silentLog, { file, retentionMs: hour })
  closers.push(() => store.close())
  return store
}

function openLog(): EmbeddedMessageLog {
  const log = new EmbeddedMessageLog(systemClock, silentLog, { file, retentionMs: hour })
  closers.push(() => log.close())
  return log
}

async function migrated(): Promise<EmbeddedMetadataStore> {
  const store = openStore()
  await store.schema.migrate(never, () => {})
  return store
}

/** What a look past the stores says. */
function valueOf(sql: string): unknown {
  const database = new DatabaseSync(file, { readOnly: true })
  try {
    return Object.values(database.prepare(sql).get() ?? {})[0]
  } finally {
    database.close()
  }
}

/** A connection that keeps everyone else from writing until it is closed. */
function lock(): DatabaseSync {
  const database = new DatabaseSync(file)
  database.exec('BEGIN IMMEDIATE')
  return database
}

const row = metadataRow({ seq: 5 })

describe('the file', () => {
  test('is one for both stores, and either brings it up for both', async () => {
    const log = openLog()
    await log.schema.migrate(never, () => {})
    const store = openStore()
    expect((await store.schema.inspect(never)).pending).toEqual([])
    await store.write([row], never)
    await log.write([logEntry()], 0, never)
    expect([valueOf('SELECT count(*) FROM message_metadata'), valueOf('SELECT count(*) FROM message_log')]).toEqual([
      1, 1,
    ])
  })

  test('is not made by a look at it', async () => {
    const store = openStore()
    expect(await storeFailureOf(store.find('a', 1, never))).toMatchObject({ reason: 'SCHEMA_MISSING' })
    expect(await storeFailureOf(store.write([row], never))).toMatchObject({ reason: 'SCHEMA_MISSING' })
    expect((await store.schema.inspect(never)).found).toBe(0)
    await expect(stat(file)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('has its rows on stable storage at every commit, and can give pages back', async () => {
    const store = await migrated()
    await store.write([row], never)
    expect(valueOf('PRAGMA journal_mode')).toBe('wal')
    expect(valueOf('PRAGMA auto_vacuum')).toBe(2)
  })

  test('is read by another process, and while it is written', async () => {
    const store = await migrated()
    await store.write([row], never)
    const program = `
      const { DatabaseSync } = require('node:sqlite')
      const database = new DatabaseSync(${JSON.stringify(file)}, { readOnly: true })
      console.log(database.prepare('SELECT seq FROM message_metadata').get().seq)`
    const reader = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
    const [output] = (await once(reader.stdout, 'data')) as [Buffer]
    expect(String(output).trim()).toBe('5')
    await once(reader, 'exit')
    const writing = lock()
    expect(await openStore().find(row.journalId, 5, never)).toEqual(row)
    writing.close()
  })
})

describe('the schema', () => {
  test.each(ledgerFileSteps.map((_, version) => version))(
    'goes on from version %i, where a program was killed',
    async (version) => {
      const before = await migrated()
      await before.close()
      await rm(file)
      // Just what was committed by then.
      const database = new DatabaseSync(file)
      for (const { sql } of ledgerFileSteps.slice(0, version)) database.exec(sql)
      if (version > 0) database.exec(`PRAGMA application_id = 0x4f55544c; PRAGMA user_version = ${version}`)
      database.close()
      const store = openStore()
      expect((await store.schema.inspect(never)).found).toBe(version)
      expect(await storeFailureOf(store.find('a', 1, never))).toMatchObject({ reason: 'SCHEMA_MISSING' })
      const taken: number[] = []
      await store.schema.migrate(never, (step) => taken.push(step.version))
      expect(taken).toEqual([1, 2, 3].slice(version))
      await store.write([row], never)
      expect(await store.find(row.journalId, 5, never)).toEqual(row)
    },
  )

  test('is brought up once by several processes at once', async () => {
    const url = (path: string) => JSON.stringify(new URL(`../../src/${path}`, import.meta.url).href)
    const program = `
      import { EmbeddedMessageLog } from ${url('embedded/embedded-message-log.ts')}
      import { systemClock } from ${url('base/clock.ts')}
      const log = new EmbeddedMessageLog(systemClock, {}, { file: ${JSON.stringify(file)}, retentionMs: 1 })
      await log.schema.migrate(new AbortController().signal, ({ version }) => console.log(version))
      await log.close()`
    const script = join(directory, 'migrate.mjs')
    await writeFile(script, program)
    const outputs = await Promise.all(
      [1, 2, 3].map(async () => {
        const child = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'] })
        let output = ''
        child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
        expect(await once(child, 'close')).toEqual([0, null])
        return output
      }),
    )
    expect(outputs.join('').trim().split('\n').toSorted()).toEqual(['1', '2', '3'])
  })

  test('that is newer is refused, and left alone', async () => {
    const store = await migrated()
    await store.write([row], never)
    const database = new DatabaseSync(file)
    database.exec('PRAGMA user_version = 4')
    database.close()
    const other = openStore()
    const calls = [
      // This one had the file open before.
      store.write([row], never),
      other.write([row], never),
      other.find('a', 1, never),
      other.maintain(Date.now(), never),
      other.schema.inspect(never),
      other.schema.migrate(never, () => {}),
    ]
    for (const call of calls) {
      const failure = await storeFailureOf(call)
      expect(failure).toMatchObject({ failure: 'fatal', reason: 'SCHEMA_TOO_NEW' })
      expect(failure.hint).not.toBe('')
    }
    expect(valueOf('PRAGMA user_version')).toBe(4)
  })

  test.each(['another database', 'no database at all'])(
    'of %s is refused, and the file left as it was',
    async (what) => {
      if (what === 'another database') {
        const database = new DatabaseSync(file)
        database.exec('CREATE TABLE customers (name TEXT)')
        database.close()
      } else {
        await writeFile(file, 'This is a letter, and nothing else. '.repeat(100))
      }
      const before = await readFile(file)
      const store = openStore()
      const calls = [
        store.write([row], never),
        store.find('a', 1, never),
        store.schema.inspect(never),
        store.schema.migrate(never, () => {}),
      ]
      for (const call of calls) {
        const failure = await storeFailureOf(call)
        expect(failure).toMatchObject({
          failure: 'fatal',
          reason: what === 'another database' ? 'NOT_A_LEDGER' : 'SQLITE_NOTADB',
        })
        expect(failure.hint).not.toBe('')
      }
      expect(await readFile(file)).toEqual(before)
    },
  )

  test('waits for another process that holds the file', async () => {
    const locked = lock()
    const store = openStore()
    const migrating = store.schema.migrate(never, () => {})
    await systemClock.sleep(150)
    locked.close()
    await migrating
    expect((await store.schema.inspect(never)).pending).toEqual([])
  })

  test('gives up waiting when the signal is aborted', async () => {
    await migrated()
    const database = new DatabaseSync(file)
    database.exec('PRAGMA user_version = 1')
    database.exec('BEGIN IMMEDIATE')
    const abort = new AbortController()
    const migrating = openStore().schema.migrate(abort.signal, () => {})
    setTimeout(() => abort.abort(new Error('enough')), 20)
    await expect(migrating).rejects.toThrow('enough')
    database.close()
  })
})

describe('trouble', () => {
  test('with a lock is transient, comes soon, and ends with the lock', async () => {
    const store = await migrated()
    await store.write([row], never)
    const locked = lock()
    const started = performance.now()
    const failure = await storeFailureOf(store.write([metadataRow({ seq: 6 })], never))
    expect(performance.now() - started).toBeLessThan(250)
    expect(failure).toMatchObject({ failure: 'transient', reason: 'SQLITE_BUSY' })
    expect(failure.hint).not.toBe('')
    expect(await storeFailureOf(store.maintain(Date.now(), never))).toMatchObject({ failure: 'transient' })
    locked.close()
    await store.write([metadataRow({ seq: 6 })], never)
    expect(await store.find(row.journalId, 6, never)).not.toBeNull()
  })

  test('with one row keeps none of its write, and hurts nothing else', async () => {
    const store = await migrated()
    const bad = { ...metadataRow({ seq: 8 }), topic: null as unknown as string }
    const failure = await storeFailureOf(store.write([metadataRow({ seq: 7 }), bad], never))
    expect(failure).toMatchObject({ failure: 'permanent', reason: 'SQLITE_CONSTRAINT' })
    expect(await store.find(row.journalId, 7, never)).toBeNull()
    await store.write([metadataRow({ seq: 7 })], never)
    expect(await store.find(row.journalId, 7, never)).not.toBeNull()
  })

  test('with the name of a header is permanent', async () => {
    await migrated()
    const log = openLog()
    const entry = logEntry({ headers: [['n'.repeat(65_536), 'v']] })
    expect(await storeFailureOf(log.write([logEntry({ offset: 1 }), entry], 0, never))).toMatchObject({
      failure: 'permanent',
      reason: 'HEADER_NAME_TOO_LONG',
    })
    await log.write([logEntry({ headers: [['n'.repeat(65_535), 'v']] })], 0, never)
    expect((await log.list('never-written', 0, 0, 10, never)).map(({ offset }) => offset)).toEqual([0])
  })

  test('with a file that is damaged is fatal', async () => {
    const store = await migrated()
    await store.write(
      Array.from({ length: 2000 }, (_, i) => metadataRow({ seq: i + 1 })),
      never,
    )
    await store.close()
    const bytes = await readFile(file)
    bytes.fill(0xa5, 8192)
    await writeFile(file, bytes)
    const other = openStore()
    const failure = await storeFailureOf(other.list({ topic: 'orders', limit: 10 }, never))
    expect(failure).toMatchObject({ failure: 'fatal', reason: 'SQLITE_CORRUPT' })
    expect(failure.hint).not.toBe('')
    expect(await storeFailureOf(other.write([row], never))).toMatchObject({ failure: 'fatal' })
  })

  test('with a directory that is missing is transient, and ends when it is there', async () => {
    const missing = join(directory, 'missing')
    const store = new EmbeddedMetadataStore(systemClock, silentLog, { file: join(missing, 'l.sqlite'), retentionMs: 1 })
    closers.push(() => store.close())
    expect(await storeFailureOf(store.schema.migrate(never, () => {}))).toMatchObject({
      failure: 'transient',
      reason: 'SQLITE_CANTOPEN',
    })
  })

  test.each([
    [13, 'SQLITE_FULL', 'transient'],
    [10 | (3 << 8), 'SQLITE_IOERR', 'transient'],
    [18, 'SQLITE_TOOBIG', 'permanent'],
    [8, 'SQLITE_READONLY', 'fatal'],
    [11, 'SQLITE_CORRUPT', 'fatal'],
    [99, 'SQLITE_99', 'transient'],
  ])('of SQLite, code %i, is %s: %s', (errcode, reason, failure) => {
    const cause = Object.assign(new Error('sorry'), { errcode })
    expect(embeddedLedgerError(cause, file)).toMatchObject({ name: 'StoreError', reason, failure, cause })
  })

  test('of our own making is not hidden', () => {
    const bug = new TypeError('undefined is not a function')
    expect(embeddedLedgerError(bug, file)).toBe(bug)
  })
})

describe('retention', () => {
  test('takes away many rows and large entries, by steps, and gives their space back', async () => {
    const store = await migrated()
    const log = openLog()
    const now = Date.now()
    const rows = (from: number, acceptedAt: number, count: number) =>
      Array.from({ length: count }, (_, i) =>
        metadataRow({ seq: from + i, acceptedAt, headers: JSON.stringify([{ name: 'a', value: 'x'.repeat(500) }]) }),
      )
    await store.write(rows(1, now - 2 * hour, 5000), never)
    await store.write(rows(10_001, now - hour + 1000, 10), never)
    const entries = (from: number, deliveredAt: number, count: number) =>
      Array.from({ length: count }, (_, i) =>
        logEntry({ topic: 't', offset: from + i, deliveredAt, value: Buffer.alloc(1_000_000) }),
      )
    await log.write(entries(0, now - hour - 1, 20), now, never)
    // One that takes more pages than one step gives back.
    await log.write(
      [{ ...logEntry({ topic: 't', offset: 19 }), deliveredAt: 1, value: Buffer.alloc(20_000_000) }],
      now,
      never,
    )
    await log.write(entries(20, now - hour, 2), now, never)
    const before = valueOf('PRAGMA page_count') as number

    await log.maintain(now, never)
    expect(valueOf('PRAGMA freelist_count')).toBe(0)
    await store.maintain(now, never)

    expect((await log.list('t', 0, 0, 100, never)).map(({ offset }) => offset)).toEqual([20, 21])
    expect(valueOf('SELECT count(*) FROM message_metadata')).toBe(10)
    expect(valueOf('PRAGMA freelist_count')).toBe(0)
    expect(valueOf('PRAGMA page_count')).toBeLessThan(before / 5)
  })

  test('lets writes through between its steps, and stops when it is told to', async () => {
    const store = await migrated()
    const old = Array.from({ length: 8000 }, (_, i) => metadataRow({ seq: i + 1, acceptedAt: 1 }))
    await store.write(old, never)
    const abort = new AbortController()
    const maintaining = store.maintain(Date.now(), abort.signal)
    await store.write([metadataRow({ seq: 10_000 })], never)
    abort.abort(new Error('enough'))
    await expect(maintaining).rejects.toThrow('enough')
    const left = valueOf('SELECT count(*) FROM message_metadata') as number
    expect(left).toBeGreaterThan(5000)
    expect(left).toBeLessThan(8000)
  })
})

describe('a list', () => {
  const after = { acceptedAt: 1, journalId: 'a', seq: 1 }
  test.each([
    ['nothing', {}, 'metadata_by_time'],
    ['a time', { from: 1, to: 2 }, 'metadata_by_time'],
    ['a partition', { partition: 1 }, 'metadata_by_time'],
    ['where the page before ended', { after }, 'metadata_by_time (accepted_at<'],
    ['a topic', { topic: 't', after }, 'metadata_by_topic (topic=? AND accepted_at<'],
    ['topic and partition', { topic: 't', partition: 1, status: 'delivered' }, 'metadata_by_topic'],
    ['being dead', { status: 'dead', after }, 'metadata_of_dead (accepted_at<'],
    ['being dead, topic and time', { topic: 't', status: 'dead', from: 1 }, 'metadata_of_dead (accepted_at>'],
    ['being dead, topic and key', { topic: 't', key: Buffer.from('k'), status: 'dead' }, 'metadata_by_key'],
    ['topic and key', { topic: 't', key: Buffer.from('k'), from: 1, after }, 'metadata_by_key (key=? AND accepted_at>'],
  ] as const)('by %s goes along an index, and sorts no more than rows of one time', async (_, conditions, index) => {
    const store = await migrated()
    await store.close()
    const [sql] = listing({ ...conditions, limit: 10 })
    const database = new DatabaseSync(file)
    const plan = database.prepare(`EXPLAIN QUERY PLAN ${sql}`).all() as { detail: string }[]
    database.close()
    expect(plan.map(({ detail }) => detail).join('\n')).toContain(index)
    expect(plan.map(({ detail }) => detail)).not.toContain('USE TEMP B-TREE FOR ORDER BY')
  })
})
