import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { baseSeqOf } from '../../src/journal/format.ts'
import { JournalReader } from '../../src/journal/journal-reader.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import { appendEach, numbered, openText, readText, segmentsIn, smallSegmentBytes, temporaryDirectory, texts } from './text-journal.ts' // prettier-ignore
import { WatchedDisk } from './watched-disk.ts'

const records = texts(100, 4000)

async function basesIn(directory: string): Promise<number[]> {
  return (await segmentsIn(directory)).map((name) => baseSeqOf(name) as number)
}

async function sparesIn(directory: string): Promise<string[]> {
  return (await readdir(directory)).filter((name) => name.endsWith('.spare'))
}

describe('a release', () => {
  test('deletes the segments that are wholly below the seq, and no other, whatever the seq', async () => {
    const directory = await temporaryDirectory()
    const { journal } = await openText(directory)
    await appendEach(journal, records)
    const bases = await basesIn(directory)
    for (let seq = 0; seq <= 103; seq++) {
      await journal.release(seq)
      const expected = bases.filter((_, i) => (bases[i + 1] ?? Infinity) > seq)
      expect(await basesIn(directory)).toEqual(expected)
      expect(journal.firstSeq).toBe(expected[0])
      expect(await readText(journal, seq)).toEqual(numbered(1, records).slice(Math.max(0, seq - 1)))
    }
    await journal.close()
  })

  test('of everything keeps the segment being written, or the newest one after a restart', async () => {
    const directory = await temporaryDirectory()
    const { journal } = await openText(directory)
    await appendEach(journal, records)
    await journal.release(1e9)
    expect(await segmentsIn(directory)).toHaveLength(1)
    await journal.close()
    await journal.release(1e9)
    const { journal: again } = await openText(directory)
    await again.release(1e9)
    expect(await segmentsIn(directory)).toHaveLength(1)
    expect([again.id, again.nextSeq]).toEqual([journal.id, 101])
    await again.close()
  })

  test('syncs the directory after it has removed names', async () => {
    const directory = await temporaryDirectory()
    const disk = new WatchedDisk(nodeDisk)
    const { journal } = await openText(directory, disk)
    await appendEach(journal, records)
    disk.forget()
    await journal.release(90)
    const names = disk.log.map(({ name }) => name)
    // It asks whether a file is damaged, and kept.
    expect(new Set(names)).toEqual(new Set(['list', 'rename', 'unlink', 'syncDirectory']))
    expect(names.indexOf('syncDirectory')).toBe(names.length - 1)
    disk.forget()
    await journal.release(90)
    expect(disk.log).toEqual([])
    await journal.close()
  })

  test('gives the bytes back', async () => {
    const { journal } = await openText(await temporaryDirectory())
    await appendEach(journal, records)
    await journal.release(1e9)
    expect(journal.bytes).toBeLessThan(smallSegmentBytes)
    await journal.close()
  })

  test('that fails says so, and the next one goes on', async () => {
    for (const operation of ['rename', 'unlink', 'syncDirectory'] as const) {
      const directory = await temporaryDirectory()
      const disk = new WatchedDisk(nodeDisk)
      const { journal } = await openText(directory, disk)
      await appendEach(journal, records)
      disk.fail({ operation })
      await expect(journal.release(80)).rejects.toMatchObject({ code: 'EIO' })
      expect(await readText(journal, 80)).toEqual(numbered(80, records.slice(79)))
      await journal.release(90)
      expect(await readText(journal, 90)).toEqual(numbered(90, records.slice(89)))
      await journal.append(['more'])
      await journal.close()
    }
  })

  test('called many times at once does what the highest seq says', async () => {
    const directory = await temporaryDirectory()
    const { journal } = await openText(directory)
    await appendEach(journal, records)
    await Promise.all([30, 80, 10, 60, 80].map((seq) => journal.release(seq)))
    expect(journal.firstSeq).toBeGreaterThan(60)
    expect(await readText(journal, 80)).toEqual(numbered(80, records.slice(79)))
    await journal.close()
  })
})

describe('drained segments', () => {
  test('are used again also when the release that put them aside has failed', async () => {
    for (const fault of [{ operation: 'syncDirectory' }, { operation: 'unlink' }] as const) {
      const directory = await temporaryDirectory()
      const disk = new WatchedDisk(nodeDisk)
      const { journal } = await openText(directory, disk)
      await appendEach(journal, records)
      for (const seq of [70, 90]) {
        disk.fail(fault)
        await expect(journal.release(seq)).rejects.toMatchObject({ code: 'EIO' })
      }
      expect(await sparesIn(directory)).toHaveLength(2)
      disk.mend()
      disk.forget()
      await journal.release(journal.nextSeq)
      // Not before their old names are durably gone.
      expect(disk.log.at(-1)?.name).toBe('syncDirectory')
      await appendEach(journal, texts(40, 4000))
      expect(await sparesIn(directory)).toEqual([])
      await journal.close()
    }
  })

  test('are deleted when none are to be kept, also when the release that put them aside has failed', async () => {
    const directory = await temporaryDirectory()
    const disk = new WatchedDisk(nodeDisk)
    const { journal } = await openText(directory, disk)
    await appendEach(journal, records)
    disk.fail({ operation: 'syncDirectory' })
    await expect(journal.release(50)).rejects.toMatchObject({ code: 'EIO' })
    expect(await sparesIn(directory)).toHaveLength(2)
    await journal.keepSpares(false)
    expect(await sparesIn(directory)).toEqual([])
    await journal.close()
  })

  test('are used again, at most two of them, and their old bytes never show', async () => {
    const directory = await temporaryDirectory()
    const disk = new WatchedDisk(nodeDisk)
    const { journal } = await openText(directory, disk)
    for (let round = 0; round < 4; round++) {
      await appendEach(journal, texts(60, 4000, `round ${round}`))
      expect(await readText(journal, round * 60 + 1)).toEqual(
        numbered(round * 60 + 1, texts(60, 4000, `round ${round}`)),
      )
      disk.forget()
      await journal.release(journal.nextSeq)
      expect(await sparesIn(directory)).toHaveLength(2)
    }
    disk.forget()
    await appendEach(journal, texts(40, 4000))
    expect(disk.log.filter(({ name, path }) => name === 'open write' && path.endsWith('.spare'))).toHaveLength(2)
    expect(disk.log.filter(({ name }) => name === 'open create')).toEqual([])
    await journal.close()
  })

  test('are not used before their old names are durably gone', async () => {
    const directory = await temporaryDirectory()
    const disk = new WatchedDisk(nodeDisk)
    const { journal } = await openText(directory, disk)
    await appendEach(journal, records)
    disk.forget()
    // The journal needs new segments while the release is under way.
    await Promise.all([journal.release(90), appendEach(journal, texts(60, 4000))])
    const reused = disk.log.findIndex(({ name, path }) => name === 'open write' && path.endsWith('.spare'))
    const spare = disk.log[reused]?.path
    const named = disk.log.findIndex(({ name, to }) => name === 'rename' && to === spare)
    expect(named).toBeGreaterThan(-1)
    expect(disk.log.slice(named, reused).some(({ name }) => name === 'syncDirectory')).toBe(true)
    await journal.close()
  })

  test('that can not be opened cost one append, and are gone then; nothing of them is left behind', async () => {
    const directory = await temporaryDirectory()
    const disk = new WatchedDisk(nodeDisk)
    const { journal, clock } = await openText(directory, disk)
    await appendEach(journal, records)
    await journal.release(journal.nextSeq)
    expect(await sparesIn(directory)).toHaveLength(2)
    disk.fail({ operation: 'open write', path: /spare$/ })
    const appended = (await Promise.allSettled(texts(20, 4000).map((text) => journal.append([text])))).map(({ status }) => status) // prettier-ignore
    expect(appended).toContain('rejected')
    expect(await sparesIn(directory)).toHaveLength(1)
    clock.monotonicMs += 1e6
    await appendEach(journal, texts(20, 4000))
    expect(await sparesIn(directory)).toEqual([])
    await journal.close()
  })

  test('that a crash left are found and used by the next start', async () => {
    const directory = await temporaryDirectory()
    const { journal } = await openText(directory)
    await appendEach(journal, records)
    await journal.release(101)
    await journal.close()
    const disk = new WatchedDisk(nodeDisk)
    const { journal: again } = await openText(directory, disk)
    await appendEach(again, texts(30, 4000))
    expect(disk.log.some(({ name }) => name === 'open create')).toBe(false)
    expect(await readText(again, 101)).toEqual(numbered(101, texts(30, 4000)))
    await again.close()
  })

  test('that vanished cost one append, and no more', async () => {
    const directory = await temporaryDirectory()
    const disk = new WatchedDisk(nodeDisk)
    const { journal, clock } = await openText(directory, disk)
    await appendEach(journal, records)
    await journal.release(101)
    for (const name of await sparesIn(directory)) await nodeDisk.unlink(join(directory, name))
    const outcomes: string[] = []
    for (const text of texts(40, 4000)) {
      clock.monotonicMs += 501
      outcomes.push(
        await journal.append([text]).then(
          () => 'kept',
          (error: { code: string }) => error.code,
        ),
      )
    }
    expect(outcomes.filter((outcome) => outcome !== 'kept')).toEqual(['journal_failed', 'journal_failed'])
    await journal.close()
  })
})

describe('a full journal', () => {
  test('refuses appends whole, and takes them again after a release', async () => {
    const directory = await temporaryDirectory()
    const bytesMax = 3 * smallSegmentBytes
    const { journal } = await openText(directory, nodeDisk, { bytesMax })
    const outcomes: unknown[] = []
    while (outcomes.length < 100 && typeof (outcomes.at(-1) ?? 0) === 'number')
      outcomes.push(await journal.append(['x'.repeat(4000)]).catch((error: unknown) => error))
    const kept = outcomes.length - 1
    expect(outcomes.at(-1)).toMatchObject({ name: 'UnavailableError', code: 'journal_full', retryAfterSeconds: 5 })
    expect(journal.bytes).toBeLessThanOrEqual(bytesMax)
    expect(journal.bytes).toBeGreaterThan(bytesMax - 4200)
    expect(journal.nextSeq).toBe(kept + 1)
    await expect(journal.append(['a', 'x'.repeat(4090)])).rejects.toMatchObject({ code: 'journal_full' })
    expect(journal.nextSeq).toBe(kept + 1)
    await journal.release(journal.nextSeq)
    expect(await journal.append(['again'])).toBe(kept + 1)
    await journal.close()
  })

  test('counts what waits to be written', async () => {
    const { journal } = await openText(await temporaryDirectory(), nodeDisk, { bytesMax: 2 * smallSegmentBytes })
    const outcomes = await Promise.allSettled(texts(100, 4000).map((text) => journal.append([text])))
    const kept = outcomes.filter(({ status }) => status === 'fulfilled').length
    expect(kept).toBeGreaterThan(30)
    expect(kept).toBeLessThanOrEqual(37)
    expect(journal.bytes).toBeLessThanOrEqual(2 * smallSegmentBytes + 3 * 4096)
    await journal.close()
  })

  test('is no fuller after a failure', async () => {
    const disk = new WatchedDisk(nodeDisk)
    const { journal, clock } = await openText(await temporaryDirectory(), disk, { bytesMax: 2 * smallSegmentBytes })
    for (let round = 0; round < 20; round++) {
      disk.fail({ operation: 'sync', times: 1e9 })
      clock.monotonicMs += 501
      await Promise.allSettled(texts(10, 4000).map((text) => journal.append([text])))
      disk.mend()
    }
    clock.monotonicMs += 501
    expect(await journal.append(['x'.repeat(4000)])).toBe(1)
    await journal.close()
  })
})

describe('a reader that nobody waits for', () => {
  test('goes on with the oldest that is left when what it reads is released and its file used again', async () => {
    const directory = await temporaryDirectory()
    const { journal } = await openText(directory)
    await appendEach(journal, records)
    const reader = new JournalReader(nodeDisk, directory, journal.end, 1)
    expect((await reader.next())?.firstSeq).toBe(1)
    await journal.release(60)
    await appendEach(journal, texts(40, 4000, 'later'))
    const seqs: number[] = []
    for (let block = await reader.next(); block; block = await reader.next())
      block.forEach((seq, bytes, start, end) => {
        seqs.push(seq)
        const all = [...records, ...texts(40, 4000, 'later')]
        expect(bytes.toString('latin1', start, end)).toBe(all[seq - 1])
      })
    expect(seqs.at(-1)).toBe(140)
    expect(seqs).toEqual(seqs.toSorted((a, b) => a - b))
    expect(seqs.slice(-85)).toEqual(Array.from({ length: 85 }, (_, i) => 56 + i))
    await reader.close()
    await journal.close()
  })

  test('that starts at a seq long gone waits when nothing is left but what is not durable yet', async () => {
    const directory = await temporaryDirectory()
    const disk = new WatchedDisk(nodeDisk)
    const { journal } = await openText(directory, disk)
    await appendEach(journal, texts(17, 4000))
    const sync = disk.hold('sync', /18\.segment$/)
    const appended = journal.append(['x'.repeat(4000)])
    await sync.reached
    await journal.release(18)
    expect(await segmentsIn(directory)).toEqual(['0000000000000018.segment'])
    expect(await readText(journal, 1)).toEqual([])
    sync.go()
    await appended
    expect(await readText(journal, 1)).toEqual([[18, 'x'.repeat(4000)]])
    await journal.close()
  })
})

describe('a hold', () => {
  test('keeps what is released, until its reader holds on to something later; the last of several decides', async () => {
    const directory = await temporaryDirectory()
    const { journal } = await openText(directory)
    await appendEach(journal, records)
    const bases = await basesIn(directory)
    const [first, second = 0, third = 0, fourth = 0] = bases
    await journal.hold('one', 0)
    await journal.hold('other', second)
    await journal.release(fourth)
    expect(journal.firstSeq).toBe(first)
    const held = journal.heldBytes
    expect(held).toBeGreaterThan(2 * 0.9 * smallSegmentBytes)
    expect(held).toBeLessThanOrEqual(3 * smallSegmentBytes)
    await journal.hold('one', third)
    expect(journal.firstSeq).toBe(second)
    await journal.hold('other', Number.MAX_SAFE_INTEGER)
    expect(journal.firstSeq).toBe(third)
    await journal.hold('one', 101)
    expect(journal.firstSeq).toBe(fourth)
    expect(journal.heldBytes).toBe(0)
    await journal.close()
  })

  test('says how far one has to go for so many bytes', async () => {
    const directory = await temporaryDirectory()
    const { journal } = await openText(directory)
    await appendEach(journal, records)
    const bases = await basesIn(directory)
    expect(journal.seqAfter(0)).toBe(bases[0])
    expect(journal.seqAfter(1)).toBe(bases[1])
    expect(journal.seqAfter(smallSegmentBytes + 1)).toBe(bases[2])
    expect(journal.seqAfter(1e12)).toBe(bases.at(-1))
    await journal.close()
  })
})
