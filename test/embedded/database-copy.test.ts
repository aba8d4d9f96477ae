import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { copyDatabase } from '../../src/embedded/database-copy.ts'

async function databaseIn(): Promise<{ database: DatabaseSync; file: string; copy: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'outrigger-copy-'))
  const file = join(directory, 'a.sqlite')
  const database = new DatabaseSync(file)
  onTestFinished(async () => {
    database.close()
    await rm(directory, { recursive: true })
  })
  database.exec('PRAGMA journal_mode = WAL; CREATE TABLE one (n INTEGER, filler BLOB); CREATE TABLE two (n INTEGER)')
  return { database, file, copy: join(directory, 'copy.sqlite') }
}

test('a copy is one state of the file, although it is written to without a pause', async () => {
  const { database, file, copy } = await databaseIn()
  const write = (n: number): void => {
    database.exec(`BEGIN; INSERT INTO one VALUES (${n}, randomblob(20000)); INSERT INTO two VALUES (${n}); COMMIT`)
  }
  for (let n = 0; n < 300; n++) write(n)
  const state = { isCopied: false }
  const copying = copyDatabase(file, copy).then((found) => {
    state.isCopied = true
    return found
  })
  let n = 300
  for (; !state.isCopied; n++) {
    write(n)
    await nextTurn()
  }
  expect(await copying).toBe(true)
  expect(n).toBeGreaterThan(301)
  using read = new DatabaseSync(copy, { readOnly: true })
  const count = (table: string): unknown => read.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.['n']
  expect(count('one')).toBe(count('two'))
  expect(count('one')).toBeGreaterThanOrEqual(300)
  expect(read.prepare('PRAGMA integrity_check').get()).toEqual({ integrity_check: 'ok' })
})

test('a writer is not kept out while its file is copied', async () => {
  const { database, file, copy } = await databaseIn()
  database.exec('PRAGMA busy_timeout = 0; INSERT INTO one VALUES (1, randomblob(5000000))')
  const copying = copyDatabase(file, copy)
  expect(() => database.exec('INSERT INTO two VALUES (1)')).not.toThrow()
  expect(await copying).toBe(true)
})

test('there is no copy of a file that does not exist', async () => {
  const { copy } = await databaseIn()
  expect(await copyDatabase(`${copy}-missing`, copy)).toBe(false)
})
