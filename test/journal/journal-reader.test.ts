import * as fc from 'fast-check'
import { readFile, readdir, rename, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { describe, expect, test } from 'vitest'
import { parseBlockHeader, sealBlock, seedOf } from '../../src/journal/format.ts'
import { JournalCorruptError } from '../../src/journal/journal-errors.ts'
import { JournalReader } from '../../src/journal/journal-reader.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import { appendEach, numbered, openText, readText, segmentsIn, temporaryDirectory, texts } from './text-journal.ts' // prettier-ignore
import type { FollowRequest, Followed } from './follow-worker.ts'
import { WatchedDisk } from './watched-disk.ts'

describe('a reader', () => {
  test('of an empty journal finds nothing, and opens nothing', async () => {
    const { journal } = await openText(await temporaryDirectory())
    const disk = new WatchedDisk(nodeDisk)
    expect(await readText(journal, 1, disk)).toEqual([])
    expect(await readText(journal, 100, disk)).toEqual([])
    expect(disk.log).toEqual([])
    await journal.close()
  })

  test('starts anywhere, and its first block holds the seq that was asked for', async () => {
    const { journal } = await openText(await temporaryDirectory(), nodeDisk, { blockBytesMax: 3000 })
    const records = texts(300, 900)
    await journal.append(records)
    for (const isClosed of [false, true]) {
      for (let seq = 1; seq <= 300; seq += 7) {
        const reader = new JournalReader(nodeDisk, journal.directory, journal.end, seq)
        const block = await reader.next()
        expect(block!.firstSeq).toBeLessThanOrEqual(seq)
        expect(block!.firstSeq + block!.count).toBeGreaterThan(seq)
        expect(reader.nextSeq).toBe(block!.firstSeq + block!.count)
        await reader.close()
      }
      expect(await readText(journal, 301)).toEqual([])
      if (!isClosed) await journal.close()
    }
  })

  test('goes to its seq in a sealed segment by the index, without reading what is before', async () => {
    const { journal } = await openText(await temporaryDirectory(), nodeDisk, { segmentBytes: 2 * 1024 * 1024 })
    await appendEach(journal, texts(300, 4000))
    await journal.close()
    const disk = new WatchedDisk(nodeDisk)
    const reader = new JournalReader(disk, journal.directory, journal.end, 290)
    const block = await reader.next()
    expect(block?.firstSeq).toBe(290)
    const bytesRead = disk.log.reduce((sum, { name, bytes }) => sum + (name === 'read' ? (bytes ?? 0) : 0), 0)
    expect(bytesRead).toBeLessThan(200 * 1024)
    await reader.close()
  })

  test('opens one file at a time, and closes it', async () => {
    const { journal } = await openText(await temporaryDirectory())
    await appendEach(journal, texts(100, 4000))
    const disk = new WatchedDisk(nodeDisk)
    const reader = new JournalReader(disk, journal.directory, journal.end, 1)
    while (await reader.next()) expect(disk.openFiles).toHaveLength(1)
    await reader.close()
    await reader.close()
    expect(disk.openFiles).toEqual([])
    await journal.close()
  })

  test('leaves no file open when the disk fails, and goes on when it works again', async () => {
    const { journal } = await openText(await temporaryDirectory())
    const records = texts(60, 4000)
    await appendEach(journal, records)
    for (const operation of ['open read', 'read', 'size', 'list'] as const)
      for (let after = 0; after < 8; after++) {
        const disk = new WatchedDisk(nodeDisk)
        disk.fail({ operation, after })
        const reader = new JournalReader(disk, journal.directory, journal.end, 5)
        const seqs: number[] = []
        const failures: unknown[] = []
        while (reader.nextSeq < 61)
          await reader.next().then(
            (block) => seqs.push(block?.firstSeq ?? 0),
            (error: unknown) => failures.push(error),
          )
        expect(seqs).toEqual(Array.from({ length: 56 }, (_, i) => 5 + i))
        expect(failures.length).toBeLessThanOrEqual(1)
        await reader.close()
        expect(disk.openFiles).toEqual([])
      }
    await journal.close()
  })

  test('does not read a segment twice for every block that is appended', async () => {
    const { journal } = await openText(await temporaryDirectory())
    const disk = new WatchedDisk(nodeDisk)
    const reader = new JournalReader(disk, journal.directory, journal.end, 1)
    let bytes = 0
    for (const text of texts(200, 300)) {
      await journal.append([text])
      bytes += 356
      expect((await reader.next())?.count).toBe(1)
      expect(await reader.next()).toBeNull()
    }
    const reads = disk.log.filter(({ name }) => name === 'read')
    expect(reads.length).toBeLessThanOrEqual(2 + 200)
    expect(reads.reduce((sum, each) => sum + (each.bytes ?? 0), 0)).toBeLessThan(bytes * 40)
    await reader.close()
    await journal.close()
  })

  test('in another thread sees everything in order while it is written, rolled, released and used again', async () => {
    const { journal } = await openText(await temporaryDirectory())
    const total = 3000
    const request: FollowRequest = { directory: journal.directory, shared: journal.end.shared, total, readers: 3 }
    const worker = new Worker(new URL('./follow-worker.ts', import.meta.url), { workerData: request })
    const passed: number[] = Array.from({ length: request.readers }, () => 1)
    const done = new Promise<Followed[]>((resolve, reject) => {
      const followed: Followed[] = []
      worker.on('error', reject)
      worker.on('message', (message: Followed | { reader: number; seq: number }) => {
        if ('seq' in message) passed[message.reader] = message.seq
        else if (followed.push(message) === request.readers) resolve(followed)
      })
    })
    for (let seq = 1; seq <= total;) {
      const appends = Array.from({ length: 1 + (seq % 5) }, (_, i) =>
        journal.append([`${seq + i}`.padEnd((seq * 37) % 4000)]),
      )
      await Promise.all(appends)
      seq += appends.length
      await journal.release(Math.min(...passed))
    }
    for (const { seqs, problem } of await done) {
      expect(problem).toBeNull()
      expect(seqs).toBe(total)
    }
    expect(journal.firstSeq).toBeGreaterThan(1)
    await worker.terminate()
    await journal.close()
  })
})

describe('rot that a reader meets', () => {
  test('in any bit of any block is an error, never another message', async () => {
    const { journal } = await openText(await temporaryDirectory())
    const records = texts(40, 3000)
    await appendEach(journal, records)
    await journal.close()
    const paths = (await segmentsIn(journal.directory)).map((name) => join(journal.directory, name))
    const originals = await Promise.all(paths.map((path) => readFile(path)))
    await fc.assert(
      fc.asyncProperty(
        fc.nat({ max: paths.length - 1 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        fc.nat({ max: 7 }),
        async (i, share, bit) => {
          const [path, original] = [paths[i] as string, originals[i] as Buffer]
          const end = original.readUInt32LE(original.length - 16)
          const at = 4096 + Math.floor(share * (end - 4096))
          const rotten = Buffer.from(original)
          rotten[at] = (rotten[at] as number) ^ (1 << bit)
          await writeFile(path, rotten)
          const read: string[] = []
          const reader = new JournalReader(nodeDisk, journal.directory, journal.end, 1)
          const failure: unknown = await (async () => {
            for (let block = await reader.next(); block; block = await reader.next())
              block.forEach((_, bytes, start, stop) => read.push(bytes.toString('latin1', start, stop)))
          })().catch((error: unknown) => error)
          expect(failure).toBeInstanceOf(JournalCorruptError)
          // It stays where it is, however often it is asked.
          await expect(reader.next()).rejects.toBeInstanceOf(JournalCorruptError)
          await reader.close()
          expect(read).toEqual(records.slice(0, read.length))
          expect(await readFile(path)).toEqual(rotten)
          await writeFile(path, original)
        },
      ),
      { numRuns: 60 },
    )
    expect(await readText(journal)).toEqual(numbered(1, records))
  })

  test.each([
    ['with other content, which the next one was not written behind', 0, 2],
    ['with the seq of another', 1, 1],
  ])('is what a block looks like that is valid in itself, but %s', async (_, shift, readable) => {
    const { journal } = await openText(await temporaryDirectory())
    await appendEach(journal, ['a', 'b', 'c'])
    await journal.close()
    const path = join(journal.directory, (await segmentsIn(journal.directory))[0] as string)
    const bytes = await readFile(path)
    const seed = seedOf(bytes.subarray(16, 32))
    const second = bytes.subarray(4096 + 57, 4096 + 2 * 57)
    const header = parseBlockHeader(second, 0, seed)!
    second.write('x', 48 + 4)
    sealBlock(second, { ...header, firstSeq: header.firstSeq + shift }, seed)
    await writeFile(path, bytes)
    const reader = new JournalReader(nodeDisk, journal.directory, journal.end, 1)
    for (let i = 0; i < readable; i++) expect((await reader.next())?.count).toBe(1)
    await expect(reader.next()).rejects.toBeInstanceOf(JournalCorruptError)
    await reader.close()
  })

  test('in a footer costs the index, and no message', async () => {
    const { journal } = await openText(await temporaryDirectory())
    const records = texts(40, 3000)
    await appendEach(journal, records)
    await journal.close()
    const path = join(journal.directory, (await segmentsIn(journal.directory))[0] as string)
    const original = await readFile(path)
    for (let at = original.readUInt32LE(original.length - 16); at < original.length; at++) {
      const rotten = Buffer.from(original)
      rotten[at] = (rotten[at] as number) ^ 4
      await writeFile(path, rotten)
      expect(await readText(journal, 10)).toEqual(numbered(10, records.slice(9)))
    }
  })

  test('can be passed by moving the segment and all older ones away, as docs/operations.md says', async () => {
    const { journal } = await openText(await temporaryDirectory())
    const records = texts(100, 4000)
    await appendEach(journal, records)
    await journal.close()
    const names = await segmentsIn(journal.directory)
    const rotten = join(journal.directory, names[2] as string)
    const bytes = await readFile(rotten)
    bytes[5000] = (bytes[5000] as number) ^ 1
    await writeFile(rotten, bytes)
    const failure = await readText(journal).catch((error: unknown) => error)
    expect(failure).toMatchObject({ hint: expect.stringContaining('docs/operations.md') })
    const { journal: again } = await openText(journal.directory)
    const aside = await temporaryDirectory()
    for (const name of names.slice(0, 3)) await rename(join(journal.directory, name), join(aside, name))
    const first = Number((names[3] as string).slice(0, 16))
    for (const seq of [1, 20, first - 1, first])
      expect(await readText(again, seq)).toEqual(numbered(first, records.slice(first - 1)))
    await again.close()
  })

  test('is what a missing segment in the middle looks like: nothing is skipped in silence', async () => {
    const { journal } = await openText(await temporaryDirectory())
    await appendEach(journal, texts(60, 4000))
    await journal.close()
    await unlink(join(journal.directory, (await segmentsIn(journal.directory))[1] as string))
    await expect(readText(journal)).rejects.toBeInstanceOf(JournalCorruptError)
  })

  test('is what a segment under a wrong name looks like', async () => {
    const { journal } = await openText(await temporaryDirectory())
    await appendEach(journal, texts(60, 4000))
    await journal.close()
    const names = await segmentsIn(journal.directory)
    await rename(join(journal.directory, names[2] as string), join(journal.directory, names[1] as string))
    await expect(readText(journal)).rejects.toBeInstanceOf(JournalCorruptError)
    expect(await readdir(journal.directory)).not.toContain(names[2])
  })
})
