import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { describe, expect, test } from 'vitest'
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
})
