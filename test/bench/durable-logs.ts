import * as fs from 'node:fs'
import { mkdir, open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { systemClock } from '../../src/base/clock.ts'
import { Journal } from '../../src/journal/journal.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import type { RecordCodec } from '../../src/journal/record-codec.ts'
import { openKeyRing } from '../../src/security/configured-key-ring.ts'
import { newKeyLine } from '../../src/security/key-list.ts'

/**
 * `journal`: the journal, drained as it is written; `encrypted`: the same with keys; `undrained`: the same while nothing is
 * delivered, so that it needs new space all the time. `appended`: a bare loop of write and fdatasync; `appendedDsync`: a bare
 * loop of writes with O_DSYNC. `sqlite`: SQLite's WAL with synchronous=FULL; `level`: classic-level with sync.
 */
export const ways = ['journal', 'encrypted', 'undrained', 'appended', 'appendedDsync', 'sqlite', 'level'] as const
export type Way = (typeof ways)[number]

/** Something that keeps records. */
export interface DurableLog {
  /** Resolves when the record is on stable storage. */
  append(record: Buffer): Promise<unknown>
  close(): Promise<void>
}

const fileBytes = 64 * 1024 * 1024
/** How often the journal is told that everything was delivered. */
const drainEveryMs = 100

/** In an empty folder. */
export async function openLog(way: Way, directory: string): Promise<DurableLog> {
  switch (way) {
    case 'journal':
    case 'encrypted':
    case 'undrained':
      return openJournal(way, directory)
    case 'appended':
    case 'appendedDsync':
      return openAppended(way, directory)
    case 'sqlite':
      return openSqlite(directory)
    case 'level':
      return openLevel(directory)
    default:
      return way satisfies never
  }
}

const bytesCodec: RecordCodec<Buffer> = {
  sizeMax: (record) => record.length,
  encode: (record, into, at) => at + record.copy(into, at),
}

async function openJournal(way: 'journal' | 'encrypted' | 'undrained', directory: string): Promise<DurableLog> {
  const path = join(directory, 'journal')
  await mkdir(path, { mode: 0o700 })
  // As after some time of service: there are files that are used again.
  if (way !== 'undrained') for (const name of ['first.spare', 'second.spare']) await makeFile(join(path, name))
  const keys =
    way === 'encrypted'
      ? openKeyRing({ keys: newKeyLine('bench', () => Buffer.alloc(32, 1)), acceptUnencrypted: false }, systemClock)
      : null
  const failed = (error: unknown): never => {
    throw error
  }
  const observer = { committed: () => {}, failed }
  const options = { directory: path, bytesMax: Number.MAX_SAFE_INTEGER, segmentBytes: fileBytes, keys }
  const journal = await Journal.open(nodeDisk, systemClock, bytesCodec, observer, options)
  const draining = setInterval(() => {
    if (way !== 'undrained') journal.release(journal.end.nextSeq).catch(failed)
  }, drainEveryMs)
  return {
    append: (record) => journal.append([record]),
    close: () => {
      clearInterval(draining)
      return journal.close()
    },
  }
}

/**
 * Group commit as the journal has it, over a `commit` that makes records durable: what came in one turn of the event loop,
 * or while the last group was written, is the next group.
 */
function grouped(commit: (records: readonly Buffer[]) => Promise<void> | void): DurableLog['append'] {
  let waiting: { readonly record: Buffer; readonly done: (failure: Error | null) => void }[] = []
  let isCommitting = false
  const commitAll = async (): Promise<void> => {
    await new Promise((resolve) => {
      setImmediate(resolve)
    })
    while (waiting.length > 0) {
      const group = waiting
      waiting = []
      let failure: Error | null = null
      try {
        await commit(group.map(({ record }) => record))
      } catch (error) {
        failure = error as Error
      }
      for (const { done } of group) done(failure)
    }
    isCommitting = false
  }
  return (record) =>
    new Promise<void>((resolve, reject) => {
      waiting.push({ record, done: (failure) => (failure === null ? resolve() : reject(failure)) })
      if (isCommitting) return
      isCommitting = true
      void commitAll()
    })
}

/**
 * The least that a durable log can do: what waits goes with its lengths to the next place of a file that is there already,
 * and is synced.
 */
async function openAppended(way: 'appended' | 'appendedDsync', directory: string): Promise<DurableLog> {
  const path = join(directory, 'appended')
  await makeFile(path)
  const { O_RDWR, O_DSYNC } = fs.constants
  const fd = fs.openSync(path, way === 'appended' ? O_RDWR : O_RDWR | O_DSYNC)
  let buffer = Buffer.allocUnsafeSlow(1024 * 1024)
  let position = 0
  const write = (bytes: Buffer, at: number): Promise<void> =>
    new Promise((resolve, reject) => {
      fs.write(fd, bytes, 0, bytes.length, at, (error, written) => {
        if (error) reject(error)
        else if (written < bytes.length) reject(new Error(`wrote ${written} of ${bytes.length} bytes`))
        else resolve()
      })
    })
  const sync = (): Promise<void> =>
    new Promise((resolve, reject) => {
      fs.fdatasync(fd, (error) => (error ? reject(error) : resolve()))
    })
  const append = grouped(async (records) => {
    const size = records.reduce((sum, record) => sum + 4 + record.length, 0)
    if (size > buffer.length) buffer = Buffer.allocUnsafeSlow(size)
    let end = 0
    for (const record of records) {
      buffer.writeUInt32LE(record.length, end)
      end += 4 + record.copy(buffer, end + 4)
    }
    if (position + end > fileBytes) position = 0
    await write(buffer.subarray(0, end), position)
    if (way === 'appended') await sync()
    position += end
  })
  return { append, close: async () => fs.closeSync(fd) }
}

function openSqlite(directory: string): DurableLog {
  const database = new DatabaseSync(join(directory, 'sqlite'))
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
  database.exec('CREATE TABLE records (seq INTEGER PRIMARY KEY, record BLOB NOT NULL) STRICT')
  const insert = database.prepare('INSERT INTO records (record) VALUES (?)')
  const append = grouped((records) => {
    database.exec('BEGIN')
    for (const record of records) insert.run(record)
    database.exec('COMMIT')
  })
  return { append, close: async () => database.close() }
}

async function openLevel(directory: string): Promise<DurableLog> {
  const { ClassicLevel } = await import('classic-level')
  const database = new ClassicLevel<Buffer, Buffer>(join(directory, 'level'), {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
  })
  await database.open()
  let seq = 0
  const append = grouped((records) => {
    const puts = records.map((value) => {
      const key = Buffer.allocUnsafe(8)
      key.writeBigUInt64BE(BigInt(seq++))
      return { type: 'put' as const, key, value }
    })
    return database.batch(puts, { sync: true })
  })
  return { append, close: () => database.close() }
}

/** All of it there, and on stable storage. */
async function makeFile(path: string): Promise<void> {
  await writeFile(path, Buffer.alloc(fileBytes), { mode: 0o600 })
  await using file = await open(path, 'r+')
  await file.sync()
}
