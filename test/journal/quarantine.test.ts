import * as fc from 'fast-check'
import { cp, mkdir, readFile, readdir, rename, rm, truncate, unlink, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { crc32 } from 'node:zlib'
import { describe, expect, test, vi } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import type { Disk } from '../../src/journal/disk.ts'
import { parseBlockHeader, sealBlock, seedOf, segmentName } from '../../src/journal/format.ts'
import type { Journal } from '../../src/journal/journal.ts'
import { JournalUnsupportedError } from '../../src/journal/journal-errors.ts'
import { JournalReader } from '../../src/journal/journal-reader.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import { PatientReader } from '../../src/journal/patient-reader.ts'
import type { QuarantineReport } from '../../src/journal/quarantine.ts'
import { Quarantine } from '../../src/journal/quarantine.ts'
import { QuarantineCount } from '../../src/journal/quarantine-contents.ts'
import { openSettingAside } from '../../src/journal/set-aside.ts'
import { appendEach, openText, readText, segmentsIn, snapshot, temporaryDirectory, texts } from './text-journal.ts'
import { WatchedDisk } from './watched-disk.ts'

const records = texts(90, 4000)
const headerBytes = 4096
const blockBytes = 4056

interface Read {
  readonly seqs: readonly number[]
  /** Of texts that are not what was written. */
  readonly wrong: readonly number[]
  readonly gaps: readonly (readonly [fromSeq: number, toSeq: number, reason: string])[]
}

interface Told {
  readonly quarantine: Quarantine
  readonly damaged: QuarantineReport[]
  readonly unreported: unknown[]
}

function quarantineOf(directory: string, disk: Disk = nodeDisk, clock = systemClock): Told {
  const damaged: QuarantineReport[] = []
  const unreported: unknown[] = []
  const observer = {
    damaged: (report: QuarantineReport) => void damaged.push(report),
    unreported: (_: QuarantineReport, error: unknown) => void unreported.push(error),
  }
  return { quarantine: new Quarantine(disk, directory, clock, observer), damaged, unreported }
}

async function readAll(
  journal: Journal<string>,
  { fromSeq = 1, disk = nodeDisk, quarantine = null }: { fromSeq?: number; disk?: Disk; quarantine?: Quarantine | null } = {}, // prettier-ignore
): Promise<Read> {
  const reader = new JournalReader(disk, journal.directory, journal.end, fromSeq, null, quarantine)
  const seqs: number[] = []
  const wrong: number[] = []
  const gaps: [number, number, string][] = []
  let expected: number | null = null
  try {
    for (let block = await reader.next(); block; block = await reader.next()) {
      if (expected !== null && block.firstSeq !== expected)
        throw new Error(`${block.firstSeq} follows, not ${expected}`)
      expected = block.firstSeq + block.count
      if (block.lost !== null) gaps.push([block.firstSeq, expected, block.lost.reason])
      block.forEach((seq, bytes, start, end) => {
        seqs.push(seq)
        if (bytes.toString('latin1', start, end) !== records[seq - 1]) wrong.push(seq)
      })
    }
  } finally {
    await reader.close()
  }
  return { seqs, wrong, gaps }
}

/** All but those that are lost. */
const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i)
const without = (...gaps: readonly (readonly [number, number])[]): number[] =>
  range(1, 91).filter((seq) => !gaps.some(([from, to]) => from <= seq && seq < to))

/** A journal of 90 records, each in a block of its own, in six segments of 17; closed. */
async function written(): Promise<{ journal: Journal<string>; paths: string[]; bases: number[] }> {
  const { journal } = await openText(await temporaryDirectory())
  await appendEach(journal, records)
  await journal.close()
  const names = await segmentsIn(journal.directory)
  return {
    journal,
    paths: names.map((name) => join(journal.directory, name)),
    bases: names.map((name) => Number(name.slice(0, 16))),
  }
}

async function change(path: string, edit: (bytes: Buffer) => Buffer | void): Promise<void> {
  const bytes = await readFile(path)
  await writeFile(path, edit(bytes) ?? bytes)
}

async function reportOf(directory: string, base: number): Promise<QuarantineReport> {
  const name = `${String(base).padStart(16, '0')}.segment.json`
  return JSON.parse(await readFile(join(directory, 'quarantine', name), 'utf8')) as QuarantineReport
}

/** Flips a bit in the payload of a record's block. */
function flip(bytes: Buffer, base: number, seq: number): void {
  const at = headerBytes + (seq - base) * blockBytes + 2000
  bytes[at] = (bytes[at] as number) ^ 4
}

describe('damage', () => {
  test('in any bit of any block is a gap of just that block, never another message, wherever one begins to read', async () => {
    const { journal, paths, bases } = await written()
    const originals = await Promise.all(paths.map((path) => readFile(path)))
    await fc.assert(
      fc.asyncProperty(
        fc.nat({ max: paths.length - 1 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        fc.nat({ max: 7 }),
        fc.integer({ min: 1, max: 90 }),
        async (i, share, bit, fromSeq) => {
          const [path, original, base] = [paths[i] as string, originals[i] as Buffer, bases[i] as number]
          const end = original.readUInt32LE(original.length - 16)
          const at = headerBytes + Math.floor(share * (end - headerBytes))
          const lost = base + Math.floor((at - headerBytes) / blockBytes)
          const rotten = Buffer.from(original)
          rotten[at] = (rotten[at] as number) ^ (1 << bit)
          await writeFile(path, rotten)
          const gap = [lost, lost + 1, 'corrupt'] as const
          expect(await readAll(journal)).toEqual({ seqs: without([lost, lost + 1]), wrong: [], gaps: [gap] })
          const { seqs, gaps } = await readAll(journal, { fromSeq })
          const named = new Set([...seqs, ...gaps.flatMap(([from, to]) => range(from, to))])
          expect(range(fromSeq, 91).filter((seq) => !named.has(seq))).toEqual([])
          expect(gaps).toEqual(fromSeq <= lost || gaps.length > 0 ? [gap] : [])
          expect(await readFile(path)).toEqual(rotten)
          await writeFile(path, original)
        },
      ),
      { numRuns: 60 },
    )
    expect(await readAll(journal)).toEqual({ seqs: range(1, 91), wrong: [], gaps: [] })
  })

  test('in several places is several gaps, and one report names them all at the first', async () => {
    const { journal, paths, bases } = await written()
    const base = bases[1] as number
    const [first, last] = [base, (bases[2] as number) - 1]
    await change(paths[1] as string, (bytes) => {
      for (const seq of [first, first + 3, first + 4, last]) flip(bytes, base, seq)
    })
    const { quarantine, damaged } = quarantineOf(journal.directory)
    const gaps = [
      [first, first + 1],
      [first + 3, first + 5],
      [last, last + 1],
    ] as const
    const read = { seqs: without(...gaps), wrong: [], gaps: gaps.map((gap) => [...gap, 'corrupt']) }
    expect(await Promise.all([readAll(journal, { quarantine }), readAll(journal, { quarantine })])).toEqual([
      read,
      read,
    ])
    expect(await readAll(journal, { quarantine: quarantineOf(journal.directory).quarantine })).toEqual(read)
    expect(damaged).toHaveLength(1)
    const report = await reportOf(journal.directory, base)
    expect(damaged).toEqual([report])
    expect(report).toMatchObject({
      segment: `${String(base).padStart(16, '0')}.segment`,
      damageCount: 3,
      lostRecords: 4,
    })
    expect(report.damages[1]).toEqual({
      reason: 'corrupt',
      found: 'a block with other bytes than were written (CRC differs)',
      bytes: { fromOffset: headerBytes + 3 * blockBytes, toOffset: headerBytes + 5 * blockBytes },
      fromSeq: first + 3,
      toSeq: first + 5,
    })
    expect(await new QuarantineCount(nodeDisk, journal.directory).contents()).toEqual({
      reports: 1,
      damages: 3,
      bytes: (await readFile(join(journal.directory, 'quarantine', `${report.segment}.json`))).length,
    })
  })

  test.each<[string, (bytes: Buffer) => Buffer | void, RegExp]>([
    ['in the header', (bytes) => void bytes.writeUInt8(7, 100), /segment header is corrupt/],
    ['in the magic bytes', (bytes) => void bytes.write('XXXX', 0), /magic bytes differ/],
    ['to zeros', (bytes) => void bytes.fill(0), /magic bytes differ/],
    ['to nothing', () => Buffer.alloc(0), /shorter than a segment header/],
  ])('of a whole segment (%s) is a gap from its base to the next one’s', async (_, edit, found) => {
    const { journal, paths, bases } = await written()
    await change(paths[2] as string, edit)
    const gap = [bases[2] as number, bases[3] as number] as const
    const { quarantine } = quarantineOf(journal.directory)
    expect(await readAll(journal, { quarantine })).toEqual({
      seqs: without(gap),
      wrong: [],
      gaps: [[...gap, 'corrupt']],
    })
    expect((await readAll(journal, { fromSeq: gap[0] + 5 })).gaps).toEqual([[...gap, 'corrupt']])
    const report = await reportOf(journal.directory, gap[0])
    expect(report).toMatchObject({ damageCount: 1, lostRecords: gap[1] - gap[0] })
    expect(report.damages[0]?.found).toMatch(found)
  })

  test('of a segment that is cut off is a gap behind what is left', async () => {
    const { journal, paths, bases } = await written()
    await truncate(paths[1] as string, headerBytes + 5 * blockBytes + 100)
    const gap = [(bases[1] as number) + 5, bases[2] as number] as const
    expect(await readAll(journal)).toEqual({ seqs: without(gap), wrong: [], gaps: [[...gap, 'corrupt']] })
  })

  test('in all blocks of a segment, with footer and without, is one gap', async () => {
    for (const keepsFooter of [true, false]) {
      const { journal, paths, bases } = await written()
      await change(paths[1] as string, (bytes) => void bytes.fill(0xee, headerBytes, keepsFooter ? bytes.length - 100 : bytes.length)) // prettier-ignore
      const gap = [bases[1] as number, bases[2] as number] as const
      expect(await readAll(journal)).toEqual({ seqs: without(gap), wrong: [], gaps: [[...gap, 'corrupt']] })
    }
  })

  test('that is a missing segment, or several, is a gap for that reason, and named', async () => {
    const { journal, paths, bases } = await written()
    await unlink(paths[1] as string)
    await unlink(paths[2] as string)
    await unlink(paths[4] as string)
    const { quarantine, damaged } = quarantineOf(journal.directory)
    const gaps = [
      [bases[1] as number, bases[3] as number],
      [bases[4] as number, bases[5] as number],
    ] as const
    const expected = { seqs: without(...gaps), wrong: [], gaps: gaps.map((gap) => [...gap, 'missing']) }
    expect(await readAll(journal, { quarantine })).toEqual(expected)
    expect((await readAll(journal, { fromSeq: (bases[2] as number) + 1 })).gaps).toEqual(expected.gaps)
    expect(damaged.map(({ damages: [first] }) => first)).toEqual(
      gaps.map(([fromSeq, toSeq]) => ({ reason: 'missing', found: 'no segment', bytes: null, fromSeq, toSeq })),
    )
  })

  test('in the last block of a segment and the next one missing are two gaps', async () => {
    const { journal, paths, bases } = await written()
    const last = (bases[2] as number) - 1
    await change(paths[1] as string, (bytes) => flip(bytes, bases[1] as number, last))
    await unlink(paths[2] as string)
    const gaps = [
      [last, last + 1, 'corrupt'],
      [last + 1, bases[3], 'missing'],
    ]
    expect((await readAll(journal)).gaps).toEqual(gaps)
  })

  test('that is a segment under a wrong name is a gap in both places', async () => {
    const { journal, paths, bases } = await written()
    await rename(paths[2] as string, paths[1] as string)
    const { quarantine } = quarantineOf(journal.directory)
    const gap = [bases[1] as number, bases[3] as number] as const
    expect(await readAll(journal, { quarantine })).toEqual({
      seqs: without(gap),
      wrong: [],
      gaps: [[...gap, 'corrupt']],
    })
    const report = await reportOf(journal.directory, gap[0])
    expect(report.damages[0]?.found).toBe(`a segment that begins with record ${bases[2]}, by its header`)
  })

  test('in the name of a segment, so that the one before runs into it, gives no record twice', async () => {
    const { journal } = await openText(await temporaryDirectory())
    for (let i = 0; i < 90; i += 3) await journal.append(records.slice(i, i + 3))
    await journal.close()
    const names = await segmentsIn(journal.directory)
    const base = Number(names[2]?.slice(0, 16))
    const early = `${String(base - 2).padStart(16, '0')}.segment`
    await rename(join(journal.directory, names[2] as string), join(journal.directory, early))
    const gap = [base - 3, Number(names[3]?.slice(0, 16))] as const
    const { seqs, wrong, gaps } = await readAll(journal)
    expect({ seqs, wrong }).toEqual({ seqs: without(gap), wrong: [] })
    expect(gaps.map(([from, to]) => [from, to])).toEqual([
      [base - 3, base - 2],
      [base - 2, gap[1]],
    ])
  })

  test('that is a segment of the same journal, but from another history, is a gap; its neighbours are not', async () => {
    const directory = await temporaryDirectory()
    const other = await temporaryDirectory()
    const { journal: common } = await openText(directory)
    await appendEach(common, records.slice(0, 20))
    await common.close()
    await cp(directory, other, { recursive: true })
    // The one goes on, the other is a copy that went its own way.
    const { journal } = await openText(directory)
    await appendEach(journal, records.slice(20))
    await journal.close()
    const { journal: copy } = await openText(other)
    await appendEach(copy, texts(70, 4000, 'from the past'))
    await copy.close()
    const names = await segmentsIn(directory)
    expect(await segmentsIn(other)).toEqual(names)
    const foreign = [3, 4].map((i) => names[i] as string)
    for (const name of foreign) await cp(join(other, name), join(directory, name))
    const [from = 0, middle = 0, to = 0] = names.slice(3).map((name) => Number(name.slice(0, 16)))
    const { quarantine } = quarantineOf(directory)
    const read = await readAll(journal, { quarantine })
    expect(read).toEqual({
      seqs: without([from, to]),
      wrong: [],
      gaps: [
        [from, middle, 'corrupt'],
        [middle, to, 'corrupt'],
      ],
    })
    expect((await reportOf(directory, from)).damages[0]?.found).toContain('brought it back from the past')
  })

  test.each([
    ['with other content, which the next one was not written behind', 0],
    ['with the seq of another', 1],
  ])('is what a block looks like that is valid in itself, but %s', async (_, shift) => {
    const { journal } = await openText(await temporaryDirectory())
    await appendEach(journal, ['a', 'b', 'c', 'd'])
    await journal.close()
    const path = join(journal.directory, (await segmentsIn(journal.directory))[0] as string)
    await change(path, (bytes) => {
      const seed = seedOf(bytes.subarray(16, 32))
      const second = bytes.subarray(headerBytes + 57, headerBytes + 2 * 57)
      const header = parseBlockHeader(second, 0, seed)!
      second.write('x', 48 + 4)
      sealBlock(second, { ...header, firstSeq: header.firstSeq + shift }, seed)
    })
    const gaps: number[] = []
    const reader = new JournalReader(nodeDisk, journal.directory, journal.end, 1)
    for (let block = await reader.next(); block; block = await reader.next()) if (block.lost) gaps.push(block.firstSeq)
    await reader.close()
    expect(gaps).toEqual([shift === 0 ? 3 : 2])
  })

  test('in the segment that is being written is a gap, and what is appended behind it is read', async () => {
    const { journal } = await openText(await temporaryDirectory())
    await appendEach(journal, records.slice(0, 5))
    const [name] = await segmentsIn(journal.directory)
    const reader = new JournalReader(nodeDisk, journal.directory, journal.end, 1)
    const next = async (): Promise<unknown> => {
      const block = await reader.next()
      return block && [block.firstSeq, block.count, block.lost?.reason ?? 'fine']
    }
    await change(join(journal.directory, name as string), (bytes) => {
      flip(bytes, 1, 3)
      flip(bytes, 1, 5)
    })
    expect([await next(), await next(), await next(), await next(), await next(), await next()]).toEqual([
      [1, 1, 'fine'],
      [2, 1, 'fine'],
      [3, 1, 'corrupt'],
      [4, 1, 'fine'],
      [5, 1, 'corrupt'],
      null,
    ])
    await appendEach(journal, records.slice(5, 8))
    expect([await next(), await next(), await next(), await next()]).toEqual([
      [6, 1, 'fine'],
      [7, 1, 'fine'],
      [8, 1, 'fine'],
      null,
    ])
    await reader.close()
    await journal.close()
  })
})

const edit = fc.record({
  segment: fc.nat(4),
  kind: fc.constantFrom('flip', 'flip', 'flip', 'cut', 'zeros', 'remove', 'swap', 'repeat'),
  from: fc.double({ min: 0, max: 0.999, noNaN: true }),
  length: fc.double({ min: 0, max: 0.3, noNaN: true }),
})

test('property: whatever is done to files, readers get what was written or a gap in its place, and agree from wherever they begin', async () => {
  const { journal, paths } = await written()
  const originals = await Promise.all(paths.map((path) => readFile(path)))
  await fc.assert(
    fc.asyncProperty(
      fc.array(edit, { minLength: 1, maxLength: 6 }),
      fc.integer({ min: 1, max: 90 }),
      async (edits, fromSeq) => {
        for (const [i, path] of paths.entries()) await writeFile(path, originals[i] as Buffer)
        for (const { segment, kind, from, length } of edits) {
          const [path, other] = [paths[segment] as string, paths[(segment + 1) % 5] as string]
          if (!(await nodeDisk.sizeOf(path))) continue
          const bytes = await readFile(path)
          const [start, end] = [from, from + length].map((share) =>
            Math.min(bytes.length, Math.floor(share * bytes.length)),
          )
          if (kind === 'flip') bytes[start as number] = (bytes[start as number] as number) ^ 0x10
          if (kind === 'zeros') bytes.fill(0, start, end)
          if (kind === 'repeat') bytes.copy(bytes, end, start, end)
          if (kind === 'remove') await unlink(path)
          else if (kind === 'swap' && (await nodeDisk.sizeOf(other))) await rename(path, other)
          else await writeFile(path, kind === 'cut' ? bytes.subarray(0, start) : bytes)
        }
        const { quarantine } = quarantineOf(journal.directory)
        const all = await readAll(journal, { quarantine })
        expect(all.wrong).toEqual([])
        const lost = all.gaps.flatMap(([first, to]) => range(first, to))
        // Of a beginning that is gone nobody but the reader's owner knows.
        const begins = Math.min(...all.seqs, ...lost)
        expect([...all.seqs, ...lost].toSorted((a, b) => a - b)).toEqual(range(begins, 91))
        const later = await readAll(journal, { fromSeq })
        expect(later.wrong).toEqual([])
        const firstSeq = Math.max(fromSeq, begins)
        expect(later.seqs.filter((seq) => seq >= firstSeq)).toEqual(all.seqs.filter((seq) => seq >= firstSeq))
        await rm(join(journal.directory, 'quarantine'), { recursive: true, force: true })
      },
    ),
    { numRuns: 100 },
  )
})

describe('what is no damage', () => {
  test('an I/O error is thrown, and nothing is reported; when the disk works again, all is read', async () => {
    const { journal } = await written()
    for (const operation of ['read', 'open read', 'size', 'list'] as const) {
      const disk = new WatchedDisk(nodeDisk)
      disk.fail({ operation })
      const { quarantine } = quarantineOf(journal.directory, disk)
      await expect(readAll(journal, { disk, quarantine })).rejects.toMatchObject({ code: 'EIO' })
      expect(await readdir(journal.directory)).not.toContain('quarantine')
      expect(disk.openFiles).toEqual([])
    }
    expect((await readAll(journal)).gaps).toEqual([])
  })

  test('a segment with features that are not known is refused, and nothing is touched', async () => {
    const { journal, paths } = await written()
    await change(paths[2] as string, (bytes) => {
      bytes.writeUInt32LE(0x80, 8)
      sealHeader(bytes)
    })
    const before = await snapshot(journal.directory)
    const { quarantine } = quarantineOf(journal.directory)
    await expect(readAll(journal, { quarantine })).rejects.toBeInstanceOf(JournalUnsupportedError)
    expect(await snapshot(journal.directory)).toEqual(before)
  })

  test('a segment that was released while somebody read it, and whose file holds another since, is reported by nobody', async () => {
    for (const reports of [true, false]) {
      const { journal } = await openText(await temporaryDirectory())
      await appendEach(journal, records.slice(0, 60))
      const quarantine = reports ? quarantineOf(journal.directory).quarantine : null
      const reader = new JournalReader(nodeDisk, journal.directory, journal.end, 1, null, quarantine)
      expect((await reader.next())?.firstSeq).toBe(1)
      await journal.release(52)
      await appendEach(journal, records.slice(60))
      const gaps: number[] = []
      for (let block = await reader.next(); block; block = await reader.next())
        if (block.lost && block.lost.reason !== 'gone') gaps.push(block.firstSeq)
      expect(reader.nextSeq).toBe(91)
      expect(gaps).toEqual([])
      expect(await readdir(journal.directory)).not.toContain('quarantine')
      await reader.close()
      await journal.close()
    }
  })

  test('an I/O error while a damage is looked at does not make a reader pass over it', async () => {
    const { journal, paths, bases } = await written()
    await change(paths[1] as string, (bytes) => flip(bytes, bases[1] as number, (bases[1] as number) + 2))
    const whole = await readAll(journal, { quarantine: quarantineOf(journal.directory).quarantine })
    expect(whole.gaps.length).toBeGreaterThan(0)
    for (const operation of ['open read', 'list', 'read', 'sizeOf'] as const)
      for (let after = 0; after < 12; after++) {
        await rm(join(journal.directory, 'quarantine'), { recursive: true, force: true })
        const disk = new WatchedDisk(nodeDisk)
        disk.fail({ operation, after, code: 'EIO' })
        const { quarantine } = quarantineOf(journal.directory, disk)
        const patient = { ...systemClock, sleep: async () => {} }
        const never = new AbortController().signal
        const plain = new JournalReader(disk, journal.directory, journal.end, 1, null, quarantine)
        const reader = new PatientReader(plain, patient, never, () => {})
        const gaps: unknown[] = []
        let expected = 1
        for (let block = await reader.next(); block; block = await reader.next()) {
          expect(block.firstSeq).toBeLessThanOrEqual(expected)
          expected = block.firstSeq + block.count
          if (block.lost) gaps.push([block.firstSeq, expected, block.lost.reason])
        }
        expect(gaps).toEqual(whole.gaps)
        await reader.close()
      }
    await journal.close()
  })

  test('a header that the disk can not give keeps nobody from what is before it', async () => {
    const { journal, paths, bases } = await written()
    const disk: Disk = {
      ...nodeDisk,
      open: async (path, mode) => {
        if (path === paths[2]) throw Object.assign(new Error('EIO: i/o error, open'), { code: 'EIO' })
        return nodeDisk.open(path, mode)
      },
    }
    const reader = new JournalReader(disk, journal.directory, journal.end, 1)
    let seq = 0
    await expect(async () => {
      for (let block = await reader.next(); block; block = await reader.next()) seq = block.firstSeq + block.count
    }).rejects.toMatchObject({ code: 'EIO' })
    expect(seq).toBe(bases[2])
    await reader.close()
    await journal.close()
  })

  test('a segment without records, which is replaced while a reader waits at it, is read as it is then', async () => {
    for (const isRestarted of [false, true]) {
      const disk = new WatchedDisk(nodeDisk)
      const directory = await temporaryDirectory()
      const opened = await openText(directory, disk)
      let { journal } = opened
      await appendEach(journal, ['a', 'b', 'c'])
      // The next segment is begun, and takes no block.
      disk.fail({ operation: 'write', path: /0000004\.segment$/, code: 'EIO', times: 1000 })
      disk.fail({ operation: 'write', path: /0000001\.segment$/, code: 'EIO' })
      await expect(journal.append(['refused'])).rejects.toMatchObject({ code: 'journal_failed' })
      opened.clock.monotonicMs += 600
      journal.tryAgain()
      await vi.waitFor(() => expect(journal.failure).toBeNull())
      await journal.release(4)
      expect(await segmentsIn(directory)).toHaveLength(1)
      if (isRestarted) {
        await journal.close()
        journal = (await openText(directory)).journal
      }
      const reader = new JournalReader(nodeDisk, directory, journal.end, 1)
      expect((await reader.next())?.lost).toEqual({ reason: 'gone' })
      expect(await reader.next()).toBeNull()
      disk.mend()
      await appendEach(journal, ['d', 'e'])
      for (const seq of [4, 5]) expect(await reader.next()).toMatchObject({ firstSeq: seq, lost: null })
      await reader.close()
      await journal.close()
    }
  })

  test('the torn tail of the newest segment is reported by nobody', async () => {
    const { journal, paths } = await written()
    await truncate(paths.at(-1) as string, headerBytes + 2 * blockBytes + 100)
    const { journal: again } = await openText(journal.directory)
    const { quarantine } = quarantineOf(journal.directory)
    expect((await readAll(again, { quarantine })).gaps).toEqual([])
    expect(await readdir(journal.directory)).not.toContain('quarantine')
    await again.close()
  })
})

describe('the quarantine', () => {
  test('takes a damaged segment when it is released, and no other', async () => {
    const { journal, paths, bases } = await written()
    await change(paths[1] as string, (bytes) => flip(bytes, bases[1] as number, (bases[1] as number) + 2))
    const rotten = await readFile(paths[1] as string)
    const disk = new WatchedDisk(nodeDisk)
    const { journal: again } = await openText(journal.directory, disk)
    const { quarantine, damaged } = quarantineOf(journal.directory)
    await readAll(again, { quarantine })
    expect((await segmentsIn(journal.directory)).length).toBe(6)
    disk.forget()
    await again.release(bases[3] as number)
    const names = await readdir(join(journal.directory, 'quarantine'))
    expect(names.toSorted()).toEqual([damaged[0]?.segment, `${damaged[0]?.segment}.json`])
    expect(await readFile(join(journal.directory, 'quarantine', damaged[0]?.segment as string))).toEqual(rotten)
    expect((await segmentsIn(journal.directory)).length).toBe(3)
    // Durably: its new name, before the old one is gone for good.
    const synced = disk.log.filter(({ name }) => name === 'syncDirectory').map(({ path }) => path)
    expect(synced).toEqual([join(journal.directory, 'quarantine'), journal.directory])
    const contents = await new QuarantineCount(nodeDisk, journal.directory).contents()
    expect(contents).toMatchObject({ reports: 1, damages: 1 })
    expect(contents.bytes).toBeGreaterThan(rotten.length)
    await again.close()
  })

  test('looks for all damages of a segment once, however many readers come to them', async () => {
    const { journal, paths, bases } = await written()
    await change(paths[1] as string, (bytes) => {
      for (const at of [2, 5, 9]) flip(bytes, bases[1] as number, (bases[1] as number) + at)
    })
    const disk = new WatchedDisk(nodeDisk)
    const { quarantine } = quarantineOf(journal.directory)
    const opens = async (): Promise<number> => {
      disk.forget()
      await readAll(journal, { disk, quarantine })
      return disk.log.filter(({ name, path }) => name === 'open read' && path === paths[1]).length
    }
    expect(await opens()).toBeGreaterThan(1)
    expect([await opens(), await opens()]).toEqual([1, 1])
  })

  test('keeps 1 GiB of segments: beyond, the oldest go, and their reports stay', async () => {
    const { journal, paths, bases } = await written()
    const folder = join(journal.directory, 'quarantine')
    await mkdir(folder)
    const old = ['0000000000000002', '0000000000000003', '0000000000000004'].map((digits) => `${digits}.segment`)
    for (const name of old) {
      await writeFile(join(folder, name), '')
      await truncate(join(folder, name), 500 * 1024 * 1024)
      await writeFile(join(folder, `${name}.json`), '{}')
    }
    await change(paths[1] as string, (bytes) => flip(bytes, bases[1] as number, (bases[1] as number) + 2))
    const { journal: again } = await openText(journal.directory)
    const { quarantine, damaged } = quarantineOf(journal.directory)
    await readAll(again, { quarantine })
    await again.release(bases[2] as number)
    const names = await readdir(folder)
    expect(names.filter((name) => name.endsWith('.json'))).toHaveLength(4)
    expect(names.filter((name) => name.endsWith('.segment')).toSorted()).toEqual([...old.slice(1), damaged[0]?.segment])
    await again.close()
  })

  test('whose report can not be written changes nothing of what is read, says so, and is tried again', async () => {
    const { journal, paths, bases } = await written()
    await change(paths[1] as string, (bytes) => flip(bytes, bases[1] as number, (bases[1] as number) + 2))
    for (const operation of ['open create', 'write', 'sync', 'rename', 'syncDirectory'] as const) {
      const disk = new WatchedDisk(nodeDisk)
      disk.fail({ operation, path: /quarantine/, code: 'ENOSPC' })
      let now = 0
      const { quarantine, damaged, unreported } = quarantineOf(journal.directory, disk, {
        ...systemClock,
        now: () => now,
      })
      expect((await readAll(journal, { quarantine })).gaps).toHaveLength(1)
      expect(damaged).toEqual([])
      expect(unreported).toMatchObject([{ code: 'ENOSPC' }])
      expect(disk.openFiles).toEqual([])
      await readAll(journal, { quarantine })
      expect(damaged).toEqual([])
      now = 10_000
      expect((await readAll(journal, { quarantine })).gaps).toHaveLength(1)
      expect(damaged.length).toBe(operation === 'syncDirectory' ? 0 : 1)
      await unlink(join(journal.directory, 'quarantine', `${String(bases[1]).padStart(16, '0')}.segment.json`))
    }
  })

  test('does not take a later file that bears the name of a reported one, nor writes over what it has', async () => {
    const { journal, paths, bases } = await written()
    const [path, base] = [paths[1] as string, bases[1] as number]
    const name = basename(path)
    const folder = join(journal.directory, 'quarantine')
    const whole = await readFile(path)
    await change(path, (bytes) => flip(bytes, base, base + 2))
    const { quarantine, damaged } = quarantineOf(journal.directory)
    await readAll(journal, { quarantine })
    expect(await quarantine.take(path)).toBe(true)
    const kept = await readFile(join(folder, name))
    // Another that is whole.
    whole.fill(9, 16, 32)
    sealHeader(whole)
    await writeFile(path, whole)
    expect(await quarantine.take(path)).toBe(false)
    // Another that is damaged, in fewer places than the report tells of.
    const later = quarantineOf(journal.directory)
    const damage = { reason: 'corrupt', found: 'x', bytes: { fromOffset: 1, toOffset: 2 }, fromSeq: base, toSeq: base } as const // prettier-ignore
    await later.quarantine.report(name, base, base + 1, async () => [damage])
    expect(later.damaged).toMatchObject([{ uuid: '09'.repeat(16), damageCount: 1, lostRecords: 0 }])
    const own = later.damaged[0]?.segment as string
    expect(own).toBe(`${name.slice(0, 16)}-${'09'.repeat(16)}.segment`)
    expect(await later.quarantine.take(path)).toBe(true)
    expect(await readFile(join(folder, name))).toEqual(kept)
    expect(await readFile(join(folder, own))).toEqual(whole)
    // A copy of the first one, put back.
    await writeFile(path, kept)
    expect(await later.quarantine.take(path)).toBe(true)
    expect(await readFile(join(folder, name))).toEqual(kept)
    expect(damaged).toHaveLength(1)
    expect((await readdir(folder)).filter((each) => each.endsWith('.segment'))).toHaveLength(3)
  })

  test('takes a reported file also when its header was damaged since', async () => {
    const { journal, paths, bases } = await written()
    await change(paths[1] as string, (bytes) => flip(bytes, bases[1] as number, (bases[1] as number) + 2))
    const { quarantine } = quarantineOf(journal.directory)
    await readAll(journal, { quarantine })
    await change(paths[1] as string, (bytes) => void bytes.fill(0, 0, 4096))
    expect(await quarantine.take(paths[1] as string)).toBe(true)
  })

  test('has no report of a segment in which nothing is found', async () => {
    const { journal } = await written()
    const { quarantine, damaged, unreported } = quarantineOf(journal.directory)
    await quarantine.report(segmentName(1), 1, 2, async () => [])
    expect({ damaged, unreported }).toEqual({ damaged: [], unreported: [] })
    expect(await readdir(journal.directory)).not.toContain('quarantine')
    expect(await quarantine.take(join(journal.directory, segmentName(1)))).toBe(false)
  })

  test('says that a segment which can not be read to its end is not reported, and tries again', async () => {
    const { journal, bases } = await written()
    let now = 0
    const { quarantine, damaged, unreported } = quarantineOf(journal.directory, nodeDisk, { ...systemClock, now: () => now }) // prettier-ignore
    const damage = { reason: 'corrupt', found: 'x', bytes: null, fromSeq: 1, toSeq: 2 } as const
    const error = Object.assign(new Error('EIO'), { code: 'EIO' })
    let surveys = 0
    const report = (failure: Error | null): Promise<void> =>
      quarantine.report(segmentName(1), 1, bases[1] as number, async () => {
        surveys++
        if (failure !== null) throw failure
        return [damage]
      })
    await report(error)
    await report(error)
    expect({ unreported, surveys }).toEqual({ unreported: [error], surveys: 1 })
    now = 10_000
    const gone = Object.assign(new Error('ENOENT'), { code: 'ENOENT' })
    await expect(report(gone)).rejects.toBe(gone)
    await report(null)
    expect(damaged).toHaveLength(1)
  })

  test('keeps 1000 reports: beyond, the oldest go with their files, whatever their names', async () => {
    const directory = await temporaryDirectory()
    const folder = join(directory, 'quarantine')
    await mkdir(folder)
    const at = (second: number): string => new Date(second * 1000).toISOString()
    for (let i = 1; i <= 1000; i++) {
      // The highest are the oldest.
      const report = { segment: segmentName(i), uuid: null, at: at(2000 - i), damageCount: 1, lostRecords: 0, damages: [] } // prettier-ignore
      await writeFile(join(folder, `${segmentName(i)}.json`), JSON.stringify(report))
      if (i === 1000 || i === 1) await writeFile(join(folder, segmentName(i)), 'bytes')
    }
    const { quarantine, damaged } = quarantineOf(directory, nodeDisk, { ...systemClock, now: () => 0 })
    const damage = { reason: 'missing', found: 'no segment', bytes: null, fromSeq: 2000, toSeq: 2001 } as const
    await quarantine.report(segmentName(2000), 2000, 2001, async () => [damage])
    expect(damaged).toHaveLength(1)
    const names = await readdir(folder)
    const reports = names.filter((name) => name.endsWith('.json')).toSorted()
    expect(reports).toEqual([...range(1, 900), 2000].map((base) => `${segmentName(base)}.json`))
    expect(names.filter((name) => name.endsWith('.segment'))).toEqual([segmentName(1)])
  })

  test.each([
    '{}',
    'null',
    '[]',
    '7',
    '"x"',
    '{',
    '{"damages":[]}',
    '{"damages":{}}',
    '{"damages":[null]}',
    edited([null]),
    edited([{ fromSeq: 1, toSeq: 'x' }]),
    edited([{ fromSeq: 1, toSeq: 1e300 }]),
    edited('x'),
  ])(
    // prettier-ignore
    'takes %s for a report that somebody has edited: nothing follows from it',
    async (text) => {
      const directory = await temporaryDirectory()
      await mkdir(join(directory, 'quarantine'))
      await writeFile(join(directory, 'quarantine', `${segmentName(3)}.json`), text)
      const { quarantine } = quarantineOf(directory)
      expect(await quarantine.lostBelow()).toBe(0)
      expect(await new QuarantineCount(nodeDisk, directory).contents()).toMatchObject({ reports: 1, damages: 1 })
      expect(await quarantine.take(join(directory, segmentName(3)))).toBe(true)
      await quarantine.report(segmentName(3), 3, 4, async () => [
        { reason: 'missing', found: 'no segment', bytes: null, fromSeq: 3, toSeq: 4 },
      ])
      expect(await quarantine.lostBelow()).toBe(4)
    },
  )

  test('is counted again and again without its reports being read again, until they change', async () => {
    const { journal, paths, bases } = await written()
    const damageAt = (at: number): Promise<void> =>
      change(paths[1] as string, (bytes) => flip(bytes, bases[1] as number, (bases[1] as number) + at))
    await damageAt(2)
    await readAll(journal, { quarantine: quarantineOf(journal.directory).quarantine })
    const disk = new WatchedDisk(nodeDisk)
    const count = new QuarantineCount(disk, journal.directory)
    for (let i = 0; i < 3; i++) expect(await count.contents()).toMatchObject({ reports: 1, damages: 1 })
    expect(disk.log.filter(({ name }) => name === 'open read')).toHaveLength(1)
    await damageAt(5)
    await readAll(journal, { quarantine: quarantineOf(journal.directory).quarantine })
    expect(await count.contents()).toMatchObject({ reports: 1, damages: 2 })
  })
})

describe('a journal that may lose its newest segment', () => {
  test('opens although that is damaged as a whole: it goes to the quarantine, and no number is given again', async () => {
    const { journal, paths, bases } = await written()
    await change(paths.at(-1) as string, (bytes) => void bytes.writeUInt8(7, 100))
    const { directory } = journal
    const open = async (): Promise<Journal<string>> => (await openText(directory)).journal
    await expect(open()).rejects.toMatchObject({ code: 'journal_corrupt' })
    const damaged: QuarantineReport[] = []
    const observer = { damaged: (report: QuarantineReport) => void damaged.push(report), unreported() {} }
    const last = bases.at(-1) as number
    for (let opens = 0; opens < 2; opens++) {
      const again = await openSettingAside(open, nodeDisk, directory, 'unique', systemClock, observer)
      expect(again.nextSeq).toBeGreaterThan(90)
      const read = await readAll(again)
      expect(read.seqs).toEqual(range(1, last))
      expect(read.gaps).toMatchObject([[last, again.nextSeq, 'skipped']])
      await again.close()
      expect(damaged).toHaveLength(1)
      expect(await readdir(join(directory, 'quarantine'))).toContain(damaged[0]?.segment)
    }
  })

  test('does so also when it was killed before it could give the next number', async () => {
    const { journal, paths } = await written()
    const { directory } = journal
    await change(paths.at(-1) as string, (bytes) => void bytes.writeUInt8(7, 100))
    const observer = { damaged() {}, unreported() {} }
    const open = async (): Promise<Journal<string>> => (await openText(directory)).journal
    let opens = 0
    const killed = async (): Promise<Journal<string>> => {
      if (++opens === 2) throw new Error('killed')
      return open()
    }
    await expect(openSettingAside(killed, nodeDisk, directory, 'unique', systemClock, observer)).rejects.toThrow(
      'killed',
    )
    const again = await openSettingAside(open, nodeDisk, directory, 'unique', systemClock, observer)
    expect(again.nextSeq).toBeGreaterThan(90)
    await again.close()
  })

  test.each(['unique', 'repeated'] as const)(
    'keeps what it set aside when the next segment has the name that it had, and tells of what is damaged in that (%s)',
    async (seqs) => {
      const { journal, paths } = await written()
      const { directory } = journal
      const newest = paths.at(-1) as string
      await change(newest, (bytes) => void bytes.writeUInt8(7, 100))
      const rotten = await readFile(newest)
      const damaged: QuarantineReport[] = []
      const observer = { damaged: (report: QuarantineReport) => void damaged.push(report), unreported() {} }
      const open = async (): Promise<Journal<string>> => (await openText(directory)).journal
      const again = await openSettingAside(open, nodeDisk, directory, seqs, systemClock, observer)
      await appendEach(again, texts(40, 4000, 'new'))
      expect(await segmentsIn(directory)).toContain(basename(newest))
      const kept = join(directory, 'quarantine', damaged[0]?.segment as string)
      expect(await readFile(kept)).toEqual(rotten)
      const { quarantine, damaged: read } = quarantineOf(directory)
      await change(newest, (bytes) => void (bytes[headerBytes + 8 * blockBytes] = 0))
      await readAllTexts(again, quarantine)
      expect(read).toMatchObject([{ segment: basename(newest), damageCount: 1 }])
      await again.release(again.nextSeq)
      expect(await readFile(kept)).toEqual(rotten)
      const files = (await readdir(join(directory, 'quarantine'))).filter((name) => name.endsWith('.segment'))
      expect(new Set(files)).toEqual(new Set([damaged[0]?.segment, basename(newest)]))
      await again.close()
    },
  )

  test('gives no number twice, however often the newest segment is damaged, and cut off', async () => {
    const { journal } = await openText(await temporaryDirectory())
    await appendEach(journal, records.slice(0, 20))
    await journal.close()
    const { directory } = journal
    const open = async (): Promise<Journal<string>> => (await openText(directory)).journal
    const observer = { damaged() {}, unreported() {} }
    const given = new Set(range(1, 21))
    for (const cut of [null, null, 20, 0, 0, null]) {
      const newest = join(directory, (await segmentsIn(directory)).at(-1) as string)
      await change(newest, (bytes) => (cut === null ? void bytes.fill(0, 0, 32) : bytes.subarray(0, cut)))
      const again = await openSettingAside(open, nodeDisk, directory, 'unique', systemClock, observer)
      for (let i = 0; i < 2; i++) {
        const seq = await again.append(['x'])
        expect(given).not.toContain(seq)
        given.add(seq)
      }
      await again.close()
    }
    const files = (await readdir(join(directory, 'quarantine'))).filter((name) => name.endsWith('.segment'))
    expect(files).toHaveLength(6)
  })

  test('whose only segment is damaged begins anew', async () => {
    const { journal } = await openText(await temporaryDirectory())
    await journal.append(['a', 'b'])
    await journal.close()
    const { directory } = journal
    const [name] = await segmentsIn(directory)
    await change(join(directory, name as string), (bytes) => void bytes.fill(0))
    const open = async (): Promise<Journal<string>> => (await openText(directory)).journal
    const observer = { damaged() {}, unreported() {} }
    const again = await openSettingAside(open, nodeDisk, directory, 'unique', systemClock, observer)
    const seq = await again.append(['c'])
    expect(seq).toBeGreaterThan(2)
    expect(await readText(again)).toEqual([[seq, 'c']])
    await again.close()
  })
})

/** Puts the right CRC behind a header that was changed. */
function sealHeader(bytes: Buffer): void {
  bytes.writeUInt32LE(crc32(bytes.subarray(0, headerBytes - 4)), headerBytes - 4)
}

/** A report that is as it should be, but perhaps for its damages. */
function edited(damages: unknown): string {
  return JSON.stringify({ segment: segmentName(3), uuid: null, at: '', damageCount: 1, lostRecords: 1, damages })
}

async function readAllTexts(journal: Journal<string>, quarantine: Quarantine): Promise<void> {
  const reader = new JournalReader(nodeDisk, journal.directory, journal.end, 1, null, quarantine)
  while ((await reader.next()) !== null);
  await reader.close()
}
