import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Clock } from '../../src/base/clock.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { EmbeddedBroker } from '../../src/embedded/embedded-broker.ts'
import { EmbeddedConsumer } from '../../src/embedded/embedded-consumer.ts'
import { embeddedBrokerError } from '../../src/embedded/sqlite-errors.ts'
import { failureOf, outgoing } from '../forwarder/broker-contract.ts'
import { takeRecords } from '../forwarder/broker-reading.ts'

const never = new AbortController().signal
let directory: string
let file: string
const closers: (() => Promise<void>)[] = []

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'outrigger-embedded-'))
  file = join(directory, 'broker.sqlite')
})
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
  await chmod(directory, 0o700)
  await rm(directory, { recursive: true })
})

function open(options: { retentionMs?: number; partitions?: number; clock?: Clock } = {}): EmbeddedBroker {
  const { retentionMs = 3_600_000, partitions = 3, clock = systemClock } = options
  const broker = new EmbeddedBroker(clock, silentLog, { file, partitions, retentionMs })
  closers.push(() => broker.close())
  return broker
}

async function valuesOf(topic: string, count: number): Promise<string[]> {
  const consumer = new EmbeddedConsumer(systemClock, { file, pollMs: 5 })
  const records = await takeRecords(consumer, topic, count)
  await consumer.close()
  return records.map(({ value }) => String(value))
}

/** A connection that keeps everyone else out until it is closed. */
function lock(): DatabaseSync {
  const database = new DatabaseSync(file)
  database.exec('BEGIN EXCLUSIVE')
  return database
}

const one = (value: string) => [outgoing({ partition: 0, value: Buffer.from(value) })]

describe('while another process locks the file', () => {
  test('sending fails as transient, soon, and goes on when the lock is gone', async () => {
    const broker = open()
    await broker.send('t', one('before'), never)
    const locked = lock()
    const started = performance.now()
    const failure = await failureOf(broker.send('t', one('during'), never))
    expect(performance.now() - started).toBeLessThan(150)
    expect(failure).toMatchObject({ failure: 'transient', reason: 'SQLITE_BUSY' })
    expect(failure.hint).not.toBe('')
    locked.close()
    expect((await broker.send('t', one('after'), never)).offsets).toEqual([1])
    expect(await valuesOf('t', 2)).toEqual(['before', 'after'])
  })

  test('the same when it is locked before it was ever opened, or even made', async () => {
    const locked = lock()
    const broker = open()
    expect(await failureOf(broker.send('t', one('a'), never))).toMatchObject({ failure: 'transient' })
    locked.close()
    expect((await broker.send('t', one('a'), never)).offsets).toEqual([0])
  })

  test('reading waits, and goes on', async () => {
    const broker = open()
    await broker.send('t', one('a'), never)
    await broker.close()
    const locked = new DatabaseSync(file)
    locked.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
    const reading = valuesOf('t', 1)
    await systemClock.sleep(150)
    locked.close()
    expect(await reading).toEqual(['a'])
  })

  test('the lock of a process that is killed is no lock', async () => {
    const broker = open()
    await broker.send('t', one('a'), never)
    const program = `
      const { DatabaseSync } = require('node:sqlite')
      const database = new DatabaseSync(${JSON.stringify(file)})
      database.exec('BEGIN EXCLUSIVE')
      console.log('locked')
      setInterval(() => {}, 1000)`
    const holder = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(holder.stdout, 'data')
    await failureOf(broker.send('t', one('b'), never))
    holder.kill('SIGKILL')
    await once(holder, 'exit')
    expect((await broker.send('t', one('b'), never)).offsets).toEqual([1])
  })
})

describe('what is in the file', () => {
  test('is there for the next process: topics, their partitions, and where offsets go on', async () => {
    const before = open({ partitions: 3 })
    await before.send('t', one('a'), never)
    await before.close()
    const after = open({ partitions: 7 })
    expect((await after.send('t', one('b'), never)).offsets).toEqual([1])
    expect(await failureOf(after.send('t', [outgoing({ partition: 3 })], never))).toMatchObject({
      reason: 'UNKNOWN_PARTITION',
    })
    expect((await after.send('new', [outgoing({ partition: 6 })], never)).offsets).toEqual([0])
  })

  test('is there after SIGKILL, if it was acknowledged', async () => {
    const url = (path: string) => JSON.stringify(new URL(`../../src/${path}`, import.meta.url).href)
    const program = `
      import { EmbeddedBroker } from ${url('embedded/embedded-broker.ts')}
      import { systemClock } from ${url('base/clock.ts')}
      const log = { debug() {}, warn() {} }
      const broker = new EmbeddedBroker(systemClock, log, { file: ${JSON.stringify(file)}, partitions: 1, retentionMs: 1e9 })
      const signal = new AbortController().signal
      for (let i = 0; ; i++) {
        const value = Buffer.from(String(i))
        await broker.send('t', [{ key: null, value, headers: [], partition: 0, timestamp: i }], signal)
        process.stdout.write(i + '\\n')
        if (i % 10 === 0) await new Promise((resolve) => setImmediate(resolve))
      }`
    const script = join(directory, 'writer.mjs')
    await writeFile(script, program)
    const writer = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'] })
    let acknowledged = ''
    writer.stdout.setEncoding('utf8').on('data', (text: string) => (acknowledged += text))
    await expect.poll(() => acknowledged.split('\n').length, { timeout: 10_000 }).toBeGreaterThan(100)
    writer.kill('SIGKILL')
    await once(writer, 'close')
    const last = Number(acknowledged.split('\n').at(-2))
    const values = await valuesOf('t', last + 1)
    expect(values.slice(0, last + 1)).toEqual(Array.from({ length: last + 1 }, (_, i) => String(i)))
    expect((await open().send('t', one('next'), never)).offsets).toEqual([values.length])
  })

  test('can be read by another process while it is written', async () => {
    const broker = open()
    await broker.send('t', one('a'), never)
    const program = `
      const { DatabaseSync } = require('node:sqlite')
      const database = new DatabaseSync(${JSON.stringify(file)}, { readOnly: true })
      console.log(database.prepare('SELECT count(*) AS n FROM records').get().n)`
    const reader = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
    const [output] = (await once(reader.stdout, 'data')) as [Buffer]
    expect(String(output).trim()).toBe('1')
  })
})

describe('a file that can not be used', () => {
  test('is fatal when it is no database, and is left as it is', async () => {
    await writeFile(file, 'this is no database, but somebody’s notes'.repeat(100))
    const failure = await failureOf(open().send('t', one('a'), never))
    expect(failure).toMatchObject({ failure: 'fatal', reason: 'SQLITE_NOTADB' })
    expect(failure.message).toContain(file)
  })

  test('is fatal when it is another application’s database, or a newer version’s', async () => {
    const other = new DatabaseSync(file)
    other.exec('CREATE TABLE notes (text)')
    expect(await failureOf(open().send('t', one('a'), never))).toMatchObject({ failure: 'fatal', reason: 'UNKNOWN_FORMAT' }) // prettier-ignore
    other.exec('DROP TABLE notes')
    other.close()
    await open().send('t', one('a'), never)
    const newer = new DatabaseSync(file)
    newer.exec('PRAGMA user_version = 99')
    newer.close()
    expect(await failureOf(open().send('t', one('a'), never))).toMatchObject({ failure: 'fatal', reason: 'UNKNOWN_FORMAT' }) // prettier-ignore
  })

  test('is transient when its directory is not there, and works when it is', async () => {
    file = join(directory, 'later', 'broker.sqlite')
    const broker = open()
    expect(await failureOf(broker.send('t', one('a'), never))).toMatchObject({
      failure: 'transient',
      reason: 'SQLITE_CANTOPEN',
    })
    await mkdir(join(directory, 'later'))
    expect((await broker.send('t', one('a'), never)).offsets).toEqual([0])
  })

  test.each([
    [5, 'transient', 'SQLITE_BUSY'],
    [261, 'transient', 'SQLITE_BUSY'],
    [13, 'transient', 'SQLITE_FULL'],
    [10, 'transient', 'SQLITE_IOERR'],
    [8, 'transient', 'SQLITE_READONLY'],
    [11, 'fatal', 'SQLITE_CORRUPT'],
    [26, 'fatal', 'SQLITE_NOTADB'],
    [18, 'permanent', 'SQLITE_TOOBIG'],
  ])('SQLite’s result %i is %s', (errcode, failure, reason) => {
    const error = Object.assign(new Error('it'), { code: 'ERR_SQLITE_ERROR', errcode })
    expect(embeddedBrokerError(error, file)).toMatchObject({ failure, reason })
  })
})

describe('retention', () => {
  test('removes what is old, in steps, from the front, and never gives an offset twice', async () => {
    let now = 1_000_000
    const sleeps: number[] = []
    // Steps of the sweep happen when the test lets its clock's sleep end.
    let wake = Promise.withResolvers<void>()
    const clock: Clock = {
      now: () => now,
      monotonic: () => now,
      async sleep(ms, signal) {
        sleeps.push(ms)
        const aborted = Promise.withResolvers<never>()
        aborted.promise.catch(() => {})
        signal?.addEventListener('abort', () => aborted.reject(signal.reason as Error), { once: true })
        await Promise.race([wake.promise, aborted.promise])
      },
    }
    const tick = async (): Promise<void> => {
      const before = sleeps.length
      wake.resolve()
      wake = Promise.withResolvers()
      await expect.poll(() => sleeps.length).toBeGreaterThan(before)
    }
    const broker = open({ retentionMs: 1000, partitions: 2, clock })
    await broker.send(
      't',
      Array.from({ length: 3000 }, (_, i) => outgoing({ partition: i % 2 })),
      never,
    )
    now += 900
    await broker.send('t', one('young'), never)
    now += 200
    const counting = new DatabaseSync(file, { readOnly: true })
    closers.push(async () => counting.close())
    const count = (): unknown => counting.prepare('SELECT count(*) AS n FROM records').get()?.['n']
    await tick()
    expect(count()).toBe(1001)
    expect(sleeps.at(-1)).toBeLessThan(100)
    await tick()
    await tick()
    expect(count()).toBe(1)
    expect(await valuesOf('t', 1)).toEqual(['young'])
    now += 2000
    await tick()
    await tick()
    expect(count()).toBe(0)
    const { offsets } = await broker.send('t', [outgoing({ partition: 0 }), outgoing({ partition: 1 })], never)
    expect(offsets).toEqual([1501, 1500])
    // And also not after a new start.
    now += 5000
    await tick()
    await broker.close()
    expect((await open({ partitions: 2 }).send('t', one('a'), never)).offsets).toEqual([1502])
  })

  test('is put off while the file is locked, and does not end the broker', async () => {
    const broker = open({ retentionMs: 200 })
    await broker.send('t', one('a'), never)
    const locked = lock()
    await systemClock.sleep(400)
    locked.close()
    await broker.send('t', one('b'), never)
    await expect.poll(() => valuesOf('t', 1), { timeout: 5000 }).not.toContain('a')
  })
})

test('closing leaves nothing that keeps the process, and no log beside the file', async () => {
  const broker = open()
  await broker.send('t', one('a'), never)
  await broker.close()
  expect(process.getActiveResourcesInfo().filter((name) => name === 'FSReqCallback')).toEqual([])
  const database = new DatabaseSync(file, { readOnly: true })
  expect(database.prepare('PRAGMA integrity_check').get()).toEqual({ integrity_check: 'ok' })
  database.close()
})
