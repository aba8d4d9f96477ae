import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { backUp } from '../../src/cli/backup.ts'
import { restore } from '../../src/cli/restore.ts'
import { CursorFile } from '../../src/journal/cursor-file.ts'
import { segmentName } from '../../src/journal/format.ts'
import type { Journal } from '../../src/journal/journal.ts'
import { JournalKeyMissingError, JournalUnencryptedError } from '../../src/journal/journal-errors.ts'
import { JournalReader } from '../../src/journal/journal-reader.ts'
import type { KeyRing } from '../../src/journal/key-ring.ts'
import { keyUsage } from '../../src/journal/key-usage.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import { HeldClock, appendEach, numbered, openText, segmentsIn, snapshot, temporaryDirectory, texts } from './text-journal.ts' // prettier-ignore
import { HeldKeys, keyOf } from './held-keys.ts'
import { WatchedDisk } from './watched-disk.ts'

const first = keyOf('first', 1)
const second = keyOf('second', 2)
const marker = 'MARKER-OF-A-SECRET'
const records = texts(60, 4000, marker)

async function open(directory: string, keys: KeyRing | null): Promise<Journal<string>> {
  return (await openText(directory, nodeDisk, { keys })).journal
}

async function readAll(
  journal: Pick<Journal<string>, 'directory' | 'end'>,
  keys: KeyRing | null,
  fromSeq = 1,
): Promise<[number, string][]> {
  // prettier-ignore
  const reader = new JournalReader(nodeDisk, journal.directory, journal.end, fromSeq, keys)
  const read: [number, string][] = []
  try {
    for (let block = await reader.next(); block; block = await reader.next()) {
      expect(block.lost).toBeNull()
      block.forEach((seq, bytes, start, end) => {
        if (seq >= fromSeq) read.push([seq, bytes.toString('latin1', start, end)])
      })
    }
  } finally {
    await reader.close()
  }
  return read
}

async function filesWith(text: string, directory: string): Promise<string[]> {
  const names = await readdir(directory, { recursive: true, withFileTypes: true })
  const paths = names.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name))
  const held = await Promise.all(paths.map(async (path) => ((await readFile(path)).includes(text) ? [path] : [])))
  return held.flat()
}

async function keyNamesIn(directory: string): Promise<string[]> {
  const root = await temporaryDirectory()
  await mkdir(join(root, 'journal'))
  for (const name of await segmentsIn(directory))
    await writeFile(join(root, 'journal', name), await readFile(join(directory, name)))
  return [...(await keyUsage(nodeDisk, root)).uses.keys()]
}

describe('an encrypted journal', () => {
  test('gives back what was appended, from any seq, to any reader, and after being opened again', async () => {
    const keys = new HeldKeys(first)
    const directory = await temporaryDirectory()
    const journal = await open(directory, keys)
    await appendEach(journal, records.slice(0, 30))
    await journal.append(records.slice(30, 45))
    const expected = numbered(1, records)
    for (const from of [1, 2, 17, 18, 19, 31, 44, 45])
      expect(await readAll(journal, keys, from)).toEqual(expected.slice(from - 1, 45))
    await journal.close()
    const again = await open(directory, keys)
    await appendEach(again, records.slice(45))
    for (const from of [1, 45, 46, 60]) expect(await readAll(again, keys, from)).toEqual(expected.slice(from - 1))
    await again.skipTo(100)
    expect(await again.append(['behind a gap'])).toBe(100)
    await again.skipTo(110, true)
    await again.skipTo(2 ** 33)
    expect(await again.append(['behind more than a block can say'])).toBe(2 ** 33)
    const gaps: unknown[] = []
    const reader = again.reader(61)
    for (let block = await reader.next(); block; block = await reader.next())
      if (block.lost !== null) gaps.push([block.firstSeq, block.count, block.lost.reason])
    await reader.close()
    expect(gaps).toEqual([
      [61, 39, 'skipped'],
      [101, 9, 'corrupt'],
      [110, 2 ** 32 - 1, 'skipped'],
      [110 + 2 ** 32 - 1, 2 ** 33 - 110 - (2 ** 32 - 1), 'skipped'],
    ])
    await again.close()
    expect(await filesWith(marker, directory)).toEqual([])
  })

  test('recovers what was answered when it was not closed, with a torn tail behind it', async () => {
    const keys = new HeldKeys(first)
    const directory = await temporaryDirectory()
    const journal = await open(directory, keys)
    await appendEach(journal, records.slice(0, 5))
    const path = join(directory, segmentName(1))
    const bytes = await readFile(path)
    const torn = Buffer.from(bytes)
    const end = bytes.findLastIndex((byte) => byte !== 0) + 1
    await journal.append([records[5] as string])
    const grown = await readFile(path)
    grown.copy(torn, end, end, end + 1000)
    await journal.close()
    await writeFile(path, torn)
    const again = await open(directory, keys)
    expect(again.nextSeq).toBe(6)
    expect(await readAll(again, keys)).toEqual(numbered(1, records.slice(0, 5)))
    await again.append([records[5] as string])
    expect(await readAll(again, keys)).toEqual(numbered(1, records.slice(0, 6)))
    await again.close()
  })

  test('goes on in a new segment, under a new data key, when a write fails', async () => {
    const keys = new HeldKeys(first)
    const disk = new WatchedDisk(nodeDisk)
    const { journal } = await openText(await temporaryDirectory(), disk, { keys })
    await journal.append(['a'])
    disk.fail({ operation: 'sync', path: /segment/ })
    await journal.append(['b'])
    expect(await readAll(journal, keys)).toEqual(numbered(1, ['a', 'b']))
    const names = await segmentsIn(journal.directory)
    const wrapped = await Promise.all(names.map(async (name) => (await readFile(join(journal.directory, name))).toString('latin1', 130, 202))) // prettier-ignore
    expect(new Set(wrapped).size).toBe(names.length)
    await journal.close()
  })

  test('takes the largest record that fits, and refuses one that is larger', async () => {
    const keys = new HeldKeys(first)
    const journal = await open(await temporaryDirectory(), keys)
    const overhead = 4096 + 48 + 16 + 4 + 4
    const largest = 'x'.repeat(74 * 1024 - overhead)
    await journal.append([largest])
    await expect(journal.append([`${largest}x`])).rejects.toMatchObject({ code: 'record_too_large' })
    expect(await readAll(journal, keys)).toEqual([[1, largest]])
    await journal.close()
  })

  test('is backed up as it is, and restored, by nobody without its key', async () => {
    const keys = new HeldKeys(first)
    const root = await temporaryDirectory()
    const data = join(root, 'data')
    const journal = await open(join(data, 'journal'), keys)
    await appendEach(journal, records)
    const receipts = await open(join(data, 'receipts'), keys)
    await receipts.append(['a receipt'])
    await receipts.close()
    const cursor = await CursorFile.open(nodeDisk, join(data, 'forwarder.cursor'), journal.id, { seq: 1, mark: 1 }, keys) // prettier-ignore
    await cursor.write({ seq: 7, mark: 1, reach: 61 })
    const source = { directory: data, recorders: [], databases: [], copyDatabase: () => Promise.resolve(false), version: '1' } // prettier-ignore
    const clock = new HeldClock()
    await backUp(nodeDisk, clock, { ...source, keys }, join(root, 'backup'))
    await expect(backUp(nodeDisk, clock, source, join(root, 'other'))).rejects.toBeInstanceOf(JournalKeyMissingError)
    await journal.close()
    await cursor.close()
    expect(await filesWith(marker, root)).toEqual([])

    await expect(restore(nodeDisk, clock, join(root, 'backup'), join(root, 'none'), new HeldKeys(second))).rejects.toMatchObject({ code: 'journal_key_missing', message: expect.stringContaining('first/') }) // prettier-ignore
    const rotated = new HeldKeys(second, first)
    const restored = join(root, 'restored')
    await restore(nodeDisk, clock, join(root, 'backup'), restored, rotated)
    const again = await open(join(restored, 'journal'), rotated)
    const reader = again.reader(1)
    const read: string[] = []
    for (let block = await reader.next(); block?.lost === null; block = await reader.next())
      block.forEach((_, bytes, start, end) => read.push(bytes.toString('latin1', start, end)))
    await reader.close()
    expect(read).toEqual(records)
    await again.close()
    const position = await CursorFile.open(nodeDisk, join(restored, 'forwarder.cursor'), again.id, { seq: 1, mark: 1 }, rotated) // prettier-ignore
    expect(position.position).toEqual({ seq: 7, mark: 1, reach: 61 })
    await position.close()
  })
})

describe('the keys of a journal', () => {
  test('are rotated without rewriting: new segments are under the new one, old ones are read as they are', async () => {
    const keys = new HeldKeys(first)
    const directory = await temporaryDirectory()
    const journal = await open(directory, keys)
    await appendEach(journal, records.slice(0, 30))
    const before = await snapshot(directory)
    keys.keys = [second, first]
    await appendEach(journal, records.slice(30))
    expect(await readAll(journal, keys)).toEqual(numbered(1, records))
    await journal.close()
    const sealed = [...before].slice(0, -1)
    expect(sealed.length).toBeGreaterThan(0)
    for (const [name, bytes] of sealed) expect(await readFile(join(directory, name), 'latin1')).toBe(bytes)
    expect(await keyNamesIn(directory)).toEqual([first.name, second.name])

    await (await open(directory, keys)).release(61)
    const again = await open(directory, keys)
    await again.append(['new'])
    await again.release(61)
    await again.close()
    expect(await keyNamesIn(directory)).toEqual([second.name])
    keys.keys = [second]
    expect((await open(directory, keys)).nextSeq).toBe(62)
  })

  test.each([
    ['none', null],
    ['others', new HeldKeys(second)],
    ['one with the same id and other bytes', new HeldKeys(keyOf('first', 3))],
  ])('that are missing are named, and nothing is touched: there are %s', async (_, keys) => {
    const directory = await temporaryDirectory()
    const journal = await open(directory, new HeldKeys(first))
    await appendEach(journal, records.slice(0, 40))
    // As a crash leaves it: unsealed.
    await writeFile(join(directory, 'x.spare'), 'a spare file')
    const before = await snapshot(directory)
    const opening = open(directory, keys)
    await expect(opening).rejects.toBeInstanceOf(JournalKeyMissingError)
    await expect(opening).rejects.toThrow(first.name)
    expect(await snapshot(directory)).toEqual(before)
    await journal.close()
  })

  test('are all needed at the start: one that only an old segment needs is told then, not when it is read', async () => {
    const directory = await temporaryDirectory()
    const keys = new HeldKeys(first)
    const journal = await open(directory, keys)
    await appendEach(journal, records.slice(0, 30))
    keys.keys = [second, first]
    await appendEach(journal, records.slice(30))
    await journal.close()
    const before = await snapshot(directory)
    await expect(open(directory, new HeldKeys(second))).rejects.toThrow(first.name)
    expect(await snapshot(directory)).toEqual(before)
  })
})

describe('turning encryption on', () => {
  test('refuses what is not encrypted, unless that is asked for; then it is read, and what follows is encrypted', async () => {
    const directory = await temporaryDirectory()
    const plain = await open(directory, null)
    await appendEach(plain, records.slice(0, 20))
    await plain.close()
    const keys = new HeldKeys(first)
    const before = await snapshot(directory)
    await expect(open(directory, keys)).rejects.toBeInstanceOf(JournalUnencryptedError)
    expect(await snapshot(directory)).toEqual(before)
    keys.acceptsUnencrypted = true
    const mixed = await open(directory, keys)
    await appendEach(mixed, records.slice(20))
    expect(await readAll(mixed, keys)).toEqual(numbered(1, records))
    // No file that holds something in plain is used again, or kept.
    await mixed.release(61)
    await mixed.close()
    expect(await filesWith(marker, directory)).toEqual([])
    keys.acceptsUnencrypted = false
    const journal = await open(directory, keys)
    expect(journal.nextSeq).toBe(61)
    await journal.close()
  })

  test('deletes spare files from before', async () => {
    const directory = await temporaryDirectory()
    const plain = await open(directory, null)
    await appendEach(plain, records)
    await plain.release(61)
    await plain.close()
    expect((await readdir(directory)).filter((name) => name.endsWith('.spare'))).not.toEqual([])
    const keys = new HeldKeys(first)
    keys.acceptsUnencrypted = true
    await (await open(directory, keys)).close()
    expect((await readdir(directory)).filter((name) => name.endsWith('.spare'))).toEqual([])
  })

  test('deletes them also when no segment is left, so that none becomes the first one with its old bytes behind', async () => {
    const directory = await temporaryDirectory()
    const plain = await open(directory, null)
    await appendEach(plain, records)
    await plain.release(61)
    await plain.close()
    for (const name of await segmentsIn(directory)) await rm(join(directory, name))
    expect(await filesWith(marker, directory)).not.toEqual([])
    await (await open(directory, new HeldKeys(first))).close()
    expect(await filesWith(marker, directory)).toEqual([])
  })

  test('keeps spare files that were encrypted', async () => {
    const directory = await temporaryDirectory()
    const keys = new HeldKeys(first)
    const journal = await open(directory, keys)
    await appendEach(journal, records)
    await journal.release(61)
    await journal.close()
    const again = await open(directory, keys)
    expect((await readdir(directory)).filter((name) => name.endsWith('.spare'))).not.toEqual([])
    await appendEach(again, records)
    expect(await readAll(again, keys, 61)).toEqual(numbered(61, records))
    await again.close()
  })
})
