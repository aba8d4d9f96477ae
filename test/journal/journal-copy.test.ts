import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Disk } from '../../src/journal/disk.ts'
import { segmentName } from '../../src/journal/format.ts'
import { JournalCopy } from '../../src/journal/journal-copy.ts'
import { JournalCorruptError } from '../../src/journal/journal-errors.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import { openText, readText, smallSegmentBytes, temporaryDirectory } from './text-journal.ts'

const record = (i: number): string => `${i}:`.padEnd(4000, String(i % 10))

/** What a copy holds, read as a journal is read at its start. */
async function contentOf(directory: string): Promise<[seq: number, text: string][]> {
  const { journal } = await openText(directory)
  const records = await readText(journal, journal.firstSeq)
  await journal.close()
  return records
}

async function directories(): Promise<{ from: string; to: string }> {
  const directory = await temporaryDirectory()
  return { from: join(directory, 'from'), to: join(directory, 'to') }
}

/** The real disk, but that something happens before each of its reads; `count` is how many there were with this opening. */
function diskWith(before: (path: string, position: number, count: number) => Promise<void>): Disk {
  return {
    ...nodeDisk,
    async open(path, mode) {
      const file = await nodeDisk.open(path, mode)
      if (mode !== 'read') return file
      let count = 0
      return new Proxy(file, {
        get(target, name) {
          if (name === 'read')
            return async (buffer: Buffer, position: number) => {
              await before(path, position, count++)
              return target.read(buffer, position)
            }
          const value = Reflect.get(target, name) as unknown
          return typeof value === 'function' ? (value.bind(target) as unknown) : value
        },
      })
    },
  }
}

describe('the copy of a journal', () => {
  test('holds all that is in it, sealed and not', async () => {
    const { from, to } = await directories()
    const { journal } = await openText(from)
    for (let i = 1; i <= 50; i++) await journal.append([record(i)])
    const copy = new JournalCopy(nodeDisk, from, to)
    await copy.update()
    const copied = await copy.finish()
    await journal.close()
    expect(copied).toMatchObject({ journalId: journal.id, firstSeq: 1, nextSeq: 51 })
    expect(copied?.files.length).toBeGreaterThan(2)
    expect(await contentOf(to)).toEqual(Array.from({ length: 50 }, (_, i) => [i + 1, record(i + 1)]))
  })

  test('takes what came meanwhile in a second round, and only that', async () => {
    const { from, to } = await directories()
    const { journal } = await openText(from)
    for (let i = 1; i <= 40; i++) await journal.append([record(i)])
    const read = new Set<string>()
    const copy = new JournalCopy(
      diskWith(async (path) => {
        if (path.startsWith(from)) read.add(path)
      }),
      from,
      to,
    )
    await copy.update()
    for (let i = 41; i <= 45; i++) await journal.append([record(i)])
    read.clear()
    await copy.update()
    expect(read).not.toContain(join(from, segmentName(1)))
    expect(await copy.finish()).toMatchObject({ firstSeq: 1, nextSeq: 46 })
    await journal.close()
    expect((await contentOf(to)).map(([seq]) => seq)).toEqual(Array.from({ length: 45 }, (_, i) => i + 1))
  })

  test('sees that a file is used again while its bytes are copied', async () => {
    const { from, to } = await directories()
    const { journal } = await openText(from)
    for (let i = 1; i <= 60; i++) await journal.append([record(i)])
    const copy = new JournalCopy(
      diskWith(async (path, _, count) => {
        // Its header and its blocks were read; now come the bytes.
        if (path !== join(from, segmentName(1)) || count !== 1) return
        await journal.release(30)
        for (let i = 61; i <= 100; i++) await journal.append([record(i)])
      }),
      from,
      to,
    )
    await copy.update()
    const copied = await copy.finish()
    await journal.close()
    expect(copied?.firstSeq).toBe(journal.firstSeq)
    expect(journal.firstSeq).toBeGreaterThan(1)
    const seqs = (await contentOf(to)).map(([seq, text]) => (text === record(seq) ? seq : -1))
    expect(seqs).toEqual(seqs.map((_, i) => journal.firstSeq + i))
    expect(seqs.at(-1)).toBeGreaterThanOrEqual(60)
  })

  test('never takes a file that is used again for the segment that it was', async () => {
    const { from, to } = await directories()
    const { journal } = await openText(from)
    for (let i = 1; i <= 60; i++) await journal.append([record(i)])
    let next = 61
    let hits = 0
    // While the first bytes of a segment are read, it is drained, and its file is filled anew.
    const disk = diskWith(async (path, position) => {
      if (!path.startsWith(from) || position !== 0 || hits >= 6) return
      hits++
      await journal.release(journal.end.nextSeq - 20)
      for (const end = next + 40; next < end; next++) await journal.append([record(next)])
    })
    const copy = new JournalCopy(disk, from, to)
    await copy.update()
    const copied = await copy.finish()
    await journal.close()
    expect(hits).toBe(6)
    const content = await contentOf(to)
    expect(content.at(0)?.[0]).toBe(copied?.firstSeq)
    expect(content).toEqual(content.map((_, i) => [(copied?.firstSeq ?? 0) + i, record((copied?.firstSeq ?? 0) + i)]))
    // Everything that was not released when it ended.
    expect(copied?.firstSeq).toBeLessThanOrEqual(journal.firstSeq)
    expect(copied?.nextSeq).toBeGreaterThanOrEqual(61)
  })

  test('leaves out half of a block that is being written', async () => {
    const { from, to } = await directories()
    const { journal } = await openText(from)
    for (let i = 1; i <= 5; i++) await journal.append([record(i)])
    const path = join(from, segmentName(1))
    // As when it was read before the block was written, and what follows after that.
    const bytes = await readFile(path)
    const last = bytes.lastIndexOf('3:')
    bytes.fill(0, last + 100, last + 2000)
    await writeFile(path, bytes)
    const copy = new JournalCopy(nodeDisk, from, to)
    await copy.update()
    expect(await copy.finish()).toMatchObject({ firstSeq: 1, nextSeq: 3 })
    expect(await contentOf(to)).toEqual([1, 2].map((i) => [i, record(i)]))
  })

  test('fails loudly on rot in an older segment', async () => {
    const { from, to } = await directories()
    const { journal } = await openText(from)
    for (let i = 1; i <= 40; i++) await journal.append([record(i)])
    await journal.close()
    const path = join(from, segmentName(1))
    const bytes = await readFile(path)
    bytes.write('rot', bytes.indexOf('5:55'))
    await writeFile(path, bytes)
    await expect(new JournalCopy(nodeDisk, from, to).update()).rejects.toThrow(JournalCorruptError)
  })

  test('gives up when the newest segment is always gone before it is opened', async () => {
    const { from, to } = await directories()
    const { journal } = await openText(from)
    await journal.append([record(1)])
    const disk: Disk = {
      ...nodeDisk,
      async list(path) {
        const names = await nodeDisk.list(path)
        for (let i = 0; i < 20; i++) await journal.append([record(journal.nextSeq)])
        await journal.release(journal.nextSeq)
        return names
      },
    }
    const copying = new JournalCopy(disk, from, to).update()
    await expect(copying).rejects.toMatchObject({ name: 'JournalOvertakenError', code: 'journal_overtaken' })
    await journal.close()
  })

  test('shares no file with the journal', async () => {
    const { from, to } = await directories()
    const { journal } = await openText(from)
    for (let i = 1; i <= 20; i++) await journal.append([record(i)])
    const copy = new JournalCopy(nodeDisk, from, to)
    await copy.update()
    await copy.finish()
    const before = await readFile(join(to, segmentName(1)))
    await writeFile(join(from, segmentName(1)), Buffer.alloc(smallSegmentBytes))
    expect((await readFile(join(to, segmentName(1)))).equals(before)).toBe(true)
    await journal.close()
  })
})
