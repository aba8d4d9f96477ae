import { copyFile, readFile, truncate, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { findBlockHeader, parseSegmentHeader, seedOf } from '../../src/journal/format.ts'
import type { Journal } from '../../src/journal/journal.ts'
import { JournalCorruptError, JournalUnsupportedError } from '../../src/journal/journal-errors.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import { appendEach, numbered, openText, readText, segmentsIn, snapshot, temporaryDirectory, texts } from './text-journal.ts' // prettier-ignore
import { WatchedDisk } from './watched-disk.ts'

const first = '0000000000000001.segment'

/** A journal as a SIGKILL leaves it: not closed, its last segment without a footer. */
async function crashed(
  records: readonly string[],
): Promise<{ directory: string; path: string; id: string; ends: number[] }> {
  const directory = await temporaryDirectory()
  const { journal } = await openText(directory)
  const ends: number[] = [journal.bytes]
  for (const text of records) {
    await journal.append([text])
    ends.push(journal.bytes)
  }
  // A copy, for the journal still holds the file.
  const copy = await temporaryDirectory()
  for (const name of await segmentsIn(directory)) await copyFile(join(directory, name), join(copy, name))
  await journal.close()
  return { directory: copy, path: join(copy, first), id: journal.id, ends }
}

/** Opens the journal, which holds these records and takes another; afterwards only its first segment is left. */
async function expectHolds(directory: string, records: readonly string[]): Promise<void> {
  const { journal } = await openText(directory)
  expect(await readText(journal)).toEqual(numbered(1, records))
  expect(await journal.append(['next'])).toBe(records.length + 1)
  expect(await readText(journal)).toEqual(numbered(1, [...records, 'next']))
  await journal.close()
  for (const name of await segmentsIn(directory)) if (name !== first) await unlink(join(directory, name))
}

async function expectRefused(directory: string, error: Function): Promise<unknown> {
  const before = await snapshot(directory)
  const disk = new WatchedDisk(nodeDisk)
  const refused: unknown = await openText(directory, disk).then(
    () => null,
    (reason: unknown) => reason,
  )
  expect(refused).toBeInstanceOf(error)
  expect(await snapshot(directory)).toEqual(before)
  expect(disk.openFiles).toEqual([])
  return refused
}

describe('a torn tail', () => {
  const records = ['a', 'b', 'c'.repeat(30)]

  test('cut at any byte of the last block costs that block alone', async () => {
    expect.hasAssertions()
    const { directory, path, ends } = await crashed(records)
    const bytes = await readFile(path)
    const end = ends[3] as number
    for (let length = ends[2] as number; length <= end; length++) {
      await writeFile(path, bytes.subarray(0, length))
      await expectHolds(directory, records.slice(0, length === end ? 3 : 2))
    }
  })

  test('cut to zeros from any byte of the last block costs that block alone', async () => {
    const { directory, path, ends } = await crashed(records)
    const bytes = await readFile(path)
    const end = ends[3] as number
    for (let length = ends[2] as number; length <= end; length++) {
      await writeFile(path, Buffer.from(bytes).fill(0, length, end))
      const { journal } = await openText(directory)
      expect((await readText(journal)).slice(0, 2)).toEqual(numbered(1, records.slice(0, 2)))
      expect(journal.nextSeq).toBe(length >= end - 4 && bytes.subarray(length, end).every((byte) => byte === 0) ? 4 : 3)
      await journal.close()
    }
  })

  test('garbled anywhere in the last block costs that block alone', async () => {
    expect.hasAssertions()
    const { directory, path, ends } = await crashed(records)
    const bytes = await readFile(path)
    for (let at = ends[2] as number; at < (ends[3] as number); at++) {
      const garbled = Buffer.from(bytes)
      garbled[at] = (garbled[at] as number) ^ 0x55
      await writeFile(path, garbled)
      await expectHolds(directory, records.slice(0, 2))
    }
  })

  test('of the only block leaves an empty journal with the same id', async () => {
    const { directory, path, ends, id } = await crashed(['a'])
    await truncate(path, (ends[1] as number) - 1)
    const { journal } = await openText(directory)
    expect([journal.id, journal.nextSeq, journal.firstSeq]).toEqual([id, 1, 1])
    expect(await journal.append(['b'])).toBe(1)
    expect(await readText(journal)).toEqual([[1, 'b']])
    await journal.close()
  })

  test('that holds a copy of its own segment, published by somebody, is still a torn tail', async () => {
    const directory = await temporaryDirectory()
    const { journal } = await openText(directory)
    await appendEach(journal, ['a', 'b'])
    const own = (await readFile(join(directory, first))).toString('latin1', 4096, journal.bytes)
    await journal.append([own])
    const bytes = (await readFile(join(directory, first))).subarray(0, journal.bytes - 1)
    const copy = await temporaryDirectory()
    await writeFile(join(copy, first), bytes)
    const seed = seedOf(bytes.subarray(16, 32))
    expect(findBlockHeader(bytes.subarray(4096 + 2 * 57 + 1), 0, seed)).toBeGreaterThan(0)
    await expectHolds(copy, ['a', 'b'])
    await journal.close()
  })

  test('of a recycled file is told from the old bytes behind it', async () => {
    const directory = await temporaryDirectory()
    const { journal } = await openText(directory)
    await appendEach(journal, texts(60, 4000, 'old'))
    await journal.release(journal.nextSeq)
    const disk = new WatchedDisk(nodeDisk)
    const recycling = (await openText(directory, disk)).journal
    await appendEach(recycling, texts(2, 4000, 'new'))
    const name = (await segmentsIn(directory)).at(-1) as string
    expect(disk.log.some((each) => each.to?.endsWith(name) && each.path.endsWith('.spare'))).toBe(true)
    expect(disk.log.some((each) => each.name === 'open create')).toBe(false)
    const bytes = await readFile(join(directory, name))
    expect(bytes.toString('latin1')).toContain('old')
    const again = (await openText(directory)).journal
    expect(again.nextSeq).toBe(63)
    expect((await readText(again)).slice(-2)).toEqual(numbered(61, texts(2, 4000, 'new')))
    await Promise.all([again.close(), recycling.close(), journal.close()])
  })
})

describe('rot', () => {
  const records = ['a', 'b', 'c', 'd']

  test('in any byte of a block with valid ones behind it costs that block alone, which stays as it is', async () => {
    const { directory, path, ends } = await crashed(records)
    const bytes = await readFile(path)
    for (let at = ends[0] as number; at < (ends[3] as number); at++) {
      const rotten = Buffer.from(bytes)
      rotten[at] = (rotten[at] as number) ^ 1
      await writeFile(path, rotten)
      const { journal } = await openText(directory)
      const lost = ends.findLastIndex((end) => end <= at) + 1
      expect(await readText(journal)).toEqual(numbered(1, records).filter(([seq]) => seq !== lost))
      expect(await journal.append(['next'])).toBe(5)
      await journal.close()
      expect((await readFile(path)).subarray(0, ends[4])).toEqual(rotten.subarray(0, ends[4]))
      for (const name of await segmentsIn(directory)) if (name !== first) await unlink(join(directory, name))
    }
  })

  test('is passed however far behind the next valid block is', async () => {
    const { directory, path, ends } = await crashed(['a', 'x'.repeat(3000), 'b'])
    const bytes = await readFile(path)
    // The rotten block's length can't be trusted, so all that follows is looked through, over the bounds of chunks.
    const far = Buffer.concat([
      bytes.subarray(0, ends[1]),
      Buffer.alloc(3 * 1024 * 1024),
      bytes.subarray(ends[2], ends[3]),
    ])
    for (const shift of [0, 1, 20, 47, 48, 1024 * 1024 - 48]) {
      const zeros = Buffer.alloc(shift)
      await writeFile(path, Buffer.concat([far.subarray(0, ends[1]), zeros, far.subarray(ends[1])]))
      const { journal } = await openText(directory)
      expect(journal.nextSeq).toBe(4)
      expect(await readText(journal)).toEqual([
        [1, 'a'],
        [3, 'b'],
      ])
      await journal.close()
    }
  })

  test('and a torn tail behind it are told apart', async () => {
    const { directory, path, ends } = await crashed(records)
    const bytes = await readFile(path)
    bytes[(ends[1] as number) + 50] = 0xff
    await writeFile(path, bytes.subarray(0, (ends[4] as number) - 1))
    const { journal } = await openText(directory)
    expect(await readText(journal)).toEqual([
      [1, 'a'],
      [3, 'c'],
    ])
    expect(await journal.append(['next'])).toBe(4)
    await journal.close()
  })

  test('in the header of the last segment refuses the start, and changes nothing', async () => {
    expect.hasAssertions()
    const { directory, path } = await crashed(records)
    const bytes = await readFile(path)
    for (const at of [0, 4, 8, 12, 16, 33, 50, 60, 64, 300, 2000, 4091, 4092, 4095]) {
      const rotten = Buffer.from(bytes)
      rotten[at] = (rotten[at] as number) ^ 0x10
      await writeFile(path, rotten)
      await expectRefused(directory, JournalCorruptError)
    }
  })

  test('in the footer of the last segment is mended from the blocks', async () => {
    const directory = await temporaryDirectory()
    const { journal } = await openText(directory)
    await appendEach(journal, records)
    await journal.close()
    const path = join(directory, first)
    const bytes = await readFile(path)
    for (let at = journal.bytes; at < bytes.length; at++) {
      const rotten = Buffer.from(bytes)
      rotten[at] = (rotten[at] as number) ^ 1
      await writeFile(path, rotten)
      const again = (await openText(directory)).journal
      expect(await readText(again)).toEqual(numbered(1, records))
      await again.close()
      expect(await readFile(path)).toEqual(bytes)
    }
  })
})

describe('a segment of a later version', () => {
  test.each([
    ['an unknown format version', 4, 2],
    ['an unknown feature', 8, 2],
    ['the highest feature bit', 11, 0x80],
  ])('with %s is refused and left as it is', async (_, at, value) => {
    const { directory, path } = await crashed(['a', 'b'])
    const bytes = await readFile(path)
    bytes[at] = value
    bytes.writeUInt32LE(crc32(bytes.subarray(0, 4092)), 4092)
    await writeFile(path, bytes)
    const error = await expectRefused(directory, JournalUnsupportedError)
    expect(error).toMatchObject({ name: 'JournalUnsupportedError', code: 'journal_unsupported' })
  })

  test('is refused by a reader that comes to it', async () => {
    const directory = await temporaryDirectory()
    const { journal } = await openText(directory)
    await appendEach(journal, texts(40, 4000))
    const path = join(directory, (await segmentsIn(directory))[1] as string)
    const bytes = await readFile(path)
    bytes[8] = 2
    bytes.writeUInt32LE(crc32(bytes.subarray(0, 4092)), 4092)
    await writeFile(path, bytes)
    await expect(readText(journal)).rejects.toBeInstanceOf(JournalUnsupportedError)
    expect(await readFile(path)).toEqual(bytes)
    await journal.close()
  })
})

describe('a start', () => {
  test('syncs the last block, written once more, before it serves it', async () => {
    const { directory, path, ends } = await crashed(['a', 'b'])
    const disk = new WatchedDisk(nodeDisk)
    const { journal } = await openText(directory, disk)
    const writing = disk.log.filter((each) => ['write', 'sync', 'truncate'].includes(each.name))
    expect(writing.map((each) => [each.name, each.path])).toEqual(
      ['write', 'sync', 'write', 'truncate', 'sync'].map((name) => [name, path]),
    )
    expect(writing[0]?.position).toBe(ends[1])
    expect(writing[0]?.bytes).toBe((ends[2] as number) - (ends[1] as number))
    await journal.close()
  })

  test('whose sync fails serves nothing, and the next one succeeds', async () => {
    const { directory } = await crashed(['a', 'b'])
    const disk = new WatchedDisk(nodeDisk)
    disk.fail({ operation: 'sync' })
    await expect(openText(directory, disk)).rejects.toMatchObject({ code: 'EIO' })
    expect(disk.openFiles).toEqual([])
    await expectHolds(directory, ['a', 'b'])
  })

  test('on a full disk serves what is there and can delete it; appends are refused until there is room', async () => {
    const records = texts(40, 4000)
    const { directory } = await crashed(records)
    const disk = new WatchedDisk(nodeDisk)
    disk.fail({ operation: 'open create', times: 1e9, code: 'ENOSPC' })
    disk.fail({ operation: 'write', after: 1, times: 1e9, code: 'ENOSPC' })
    const { journal, clock } = await openText(directory, disk)
    expect(await readText(journal)).toEqual(numbered(1, records))
    await expect(journal.append(['x'])).rejects.toMatchObject({ code: 'journal_failed' })
    await journal.release(41)
    expect(await segmentsIn(directory)).toHaveLength(1)
    disk.mend()
    clock.monotonicMs += 501
    expect(await journal.append(['x'])).toBe(41)
    await journal.close()
  })

  test('finds nothing of another segment valid', async () => {
    const { directory, path, ends } = await crashed(['a', 'b', 'c'])
    const { path: otherPath } = await crashed(['x', 'y', 'z'])
    const bytes = await readFile(path)
    const other = await readFile(otherPath)
    const parsed = parseSegmentHeader(bytes)
    expect(parsed.ok && findBlockHeader(other, 0, seedOf(parsed.header.uuid))).toBe(-1)
    other.copy(bytes, ends[1], ends[1])
    await writeFile(path, bytes)
    await expectHolds(directory, ['a'])
  })
})

test('many starts and crashes in turn lose nothing and leave no gap', async () => {
  const directory = await temporaryDirectory()
  const written: string[] = []
  const dead: Journal<string>[] = []
  for (let run = 0; run < 8; run++) {
    const { journal } = await openText(directory)
    expect(await readText(journal)).toEqual(numbered(1, written))
    const records = texts(run * 5, 2500, `run ${run}`)
    await appendEach(journal, records)
    written.push(...records)
    dead.push(journal)
  }
  await expectHolds(directory, written)
  for (const journal of dead) await journal.close()
})

describe('a journal that has lost its end', () => {
  test('gives none of the lost seqs again, and tells readers of nothing but what is there', async () => {
    const directory = await temporaryDirectory()
    const { journal } = await openText(directory)
    await appendEach(journal, ['a', 'b'])
    await Promise.all([journal.skipTo(10), journal.append(['c', 'd'])])
    await journal.skipTo(5)
    expect(journal.nextSeq).toBe(12)
    const expected = [[1, 'a'], [2, 'b'], [10, 'c'], [11, 'd']] // prettier-ignore
    expect(await readText(journal)).toEqual(expected)
    for (const from of [3, 9, 10]) expect(await readText(journal, from)).toEqual(expected.slice(2))
    await journal.close()
    const again = (await openText(directory)).journal
    expect(again.nextSeq).toBe(12)
    expect(await readText(again)).toEqual(expected)
    await again.close()
  })

  test('keeps the gap over a crash, also when nothing was appended behind it', async () => {
    const directory = await temporaryDirectory()
    const { journal } = await openText(directory)
    await appendEach(journal, ['a'])
    await journal.skipTo(1000)
    const crashedHere = (await openText(directory)).journal
    expect(crashedHere.nextSeq).toBe(1000)
    expect(await crashedHere.append(['b'])).toBe(1000)
    await Promise.all([crashedHere.close(), journal.close()])
  })
})
