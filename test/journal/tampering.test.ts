import { copyFile, readFile, readdir, rename, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { segmentName } from '../../src/journal/format.ts'
import { JournalUnencryptedError } from '../../src/journal/journal-errors.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import type { QuarantineReport } from '../../src/journal/quarantine.ts'
import { blocksOf, forgeOwnCrcs } from './forger.ts'
import { HeldKeys, keyOf } from './held-keys.ts'
import { appendEach, openText, segmentsIn, temporaryDirectory, texts } from './text-journal.ts'

const keys = new HeldKeys(keyOf('k1', 1))
const records = texts(60, 4000)

/** What somebody sees who opens a journal and reads it to its end. */
interface Seen {
  readonly seqs: readonly number[]
  readonly gaps: readonly (readonly [fromSeq: number, toSeq: number])[]
  readonly reports: readonly QuarantineReport[]
  readonly nextSeq: number
}

async function look(directory: string, ring = keys, fromSeq = 1): Promise<Seen> {
  const reports: QuarantineReport[] = []
  const damage = { damaged: (report: QuarantineReport) => void reports.push(report), unreported() {} }
  const { journal } = await openText(directory, nodeDisk, { keys: ring, damage })
  const reader = journal.reader(fromSeq)
  const seqs: number[] = []
  const gaps: [number, number][] = []
  try {
    for (let block = await reader.next(); block; block = await reader.next()) {
      if (block.lost !== null) gaps.push([block.firstSeq, block.firstSeq + block.count])
      block.forEach((seq, bytes, start, end) => {
        expect(bytes.toString('latin1', start, end)).toBe(records[seq - 1])
        seqs.push(seq)
      })
    }
  } finally {
    await reader.close()
    await journal.close()
  }
  return { seqs, gaps, reports, nextSeq: journal.end.nextSeq }
}

/** Sixty records, each in a block of its own, in four segments; closed. */
async function written(ring = keys): Promise<{ directory: string; paths: string[]; bases: number[] }> {
  const directory = await temporaryDirectory()
  const { journal } = await openText(directory, nodeDisk, { keys: ring })
  await appendEach(journal, records)
  await journal.close()
  const names = await segmentsIn(directory)
  expect(names.length).toBeGreaterThan(3)
  return { directory, paths: names.map((name) => join(directory, name)), bases: names.map((name) => Number(name.slice(0, 16))) } // prettier-ignore
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i)
const all = range(1, records.length + 1)

describe('a changed block of an encrypted segment', () => {
  test('costs the journal the records of its block, and no others', async () => {
    const { directory, paths, bases } = await written()
    const [path = '', base = 0] = [paths[1], bases[1]]
    const bytes = await readFile(path)
    const blocks = blocksOf(bytes)
    const place = blocks[2]?.start ?? 0
    bytes[place + 100] = (bytes[place + 100] as number) ^ 1
    await writeFile(path, forgeOwnCrcs(bytes, blocks))
    const seen = await look(directory)
    expect(seen.gaps).toEqual([[base + 2, base + 3]])
    expect(seen.seqs).toEqual(all.filter((seq) => seq !== base + 2))
    expect(seen.reports[0]?.damages[0]?.found).toContain('somebody has changed')
  })
})

describe('blocks of an encrypted segment', () => {
  /** Puts blocks in another order, with CRCs and footer in their new places. */
  async function withBlocks(order: readonly number[], isLast = false): Promise<Seen & { readonly base: number }> {
    const { directory, paths, bases } = await written()
    const at = isLast ? paths.length - 1 : 1
    const [path = '', base = 0] = [paths[at], bases[at]]
    const bytes = await readFile(path)
    const blocks = blocksOf(bytes)
    const footer = bytes.subarray(blocks.at(-1)?.end)
    const kept = order.map((i) => bytes.subarray(blocks.at(i)?.start, blocks.at(i)?.end))
    const moved = Buffer.concat([bytes.subarray(0, 4096), ...kept, footer])
    // The footer says its own place twice, and only one of them is authenticated.
    moved.writeUInt32LE(moved.length - footer.length, moved.length - 16)
    await writeFile(path, forgeOwnCrcs(moved, blocksOf(moved)))
    return { ...(await look(directory)), base }
  }

  test('that are swapped are given no more, and it is noticed', async () => {
    const seen = await withBlocks([0, 1, 3, 2, ...range(4, 17)])
    expect(seen.reports).toHaveLength(1)
    expect(seen.gaps.length).toBeGreaterThan(0)
    expect(seen.seqs).toEqual(all.filter((seq) => !seen.gaps.some(([from, to]) => from <= seq && seq < to)))
    expect(seen.seqs.length).toBeGreaterThan(all.length - 4)
  })

  test('that are repeated are given once, and it is noticed', async () => {
    const seen = await withBlocks([0, 1, 2, 2, ...range(3, 17)])
    expect(seen.reports).toHaveLength(1)
    expect(seen.seqs).toEqual(all)
  })

  test('that are taken out leave a gap', async () => {
    const seen = await withBlocks([0, 1, ...range(4, 17)])
    expect(seen.gaps).toEqual([[seen.base + 2, seen.base + 4]])
    expect(seen.reports).toHaveLength(1)
  })

  test('that are cut off leave a gap', async () => {
    const seen = await withBlocks(range(0, 12))
    expect(seen.gaps).toEqual([[seen.base + 12, seen.base + 17]])
    expect(seen.reports).toHaveLength(1)
  })

  test('that are cut off at the end of the journal leave a gap while the footer is there', async () => {
    const seen = await withBlocks(range(0, 3), true)
    expect(seen.gaps).toEqual([[seen.base + 3, records.length + 1]])
    expect(seen.nextSeq).toBe(records.length + 1)
  })

  test('that are put behind a gap of their own segment are of the same segment only', async () => {
    const { directory, paths, bases } = await written()
    const [from = '', to = '', base = 0] = [paths[2], paths[1], bases[1]]
    const [source, target] = [await readFile(from), await readFile(to)]
    const [own, other] = [blocksOf(target)[3], blocksOf(source)[3]]
    if (own === undefined || other === undefined) throw new Error('there are no such blocks')
    expect(other.end - other.start).toBe(own.end - own.start)
    source.copy(target, own.start, other.start, other.end)
    await writeFile(to, forgeOwnCrcs(target, blocksOf(await readFile(to))))
    const seen = await look(directory)
    expect(seen.gaps).toEqual([[base + 3, base + 4]])
  })
})

describe('encrypted segments', () => {
  test('whose names are exchanged are noticed, and give none of their records', async () => {
    const { directory, paths, bases } = await written()
    await rename(paths[1] as string, join(directory, 'x'))
    await rename(paths[2] as string, paths[1] as string)
    await rename(join(directory, 'x'), paths[2] as string)
    const seen = await look(directory)
    expect(seen.seqs).toEqual(all.filter((seq) => seq < (bases[1] as number) || seq >= (bases[3] as number)))
    expect(seen.reports).toHaveLength(2)
  })

  test('of which the newest has changed names keep the journal from opening: nothing is changed, and no number given twice', async () => {
    const { directory, paths } = await written()
    await rename(paths[3] as string, join(directory, 'x'))
    await rename(paths[1] as string, paths[3] as string)
    await rename(join(directory, 'x'), paths[1] as string)
    const before = await contents(directory)
    await expect(openText(directory, nodeDisk, { keys })).rejects.toMatchObject({ code: 'journal_corrupt' })
    expect(await contents(directory)).toEqual(before)
  })

  test('of another journal with the same keys are noticed, also when they end early', async () => {
    const own = await written()
    for (const count of [60, 3]) {
      const foreign = await temporaryDirectory()
      const { journal } = await openText(foreign, nodeDisk, { keys })
      await journal.append(['x'.repeat(4000)])
      await appendEach(journal, texts(count, 4000, 'foreign'))
      await journal.close()
      await copyFile(join(foreign, segmentName(1)), own.paths[0] as string)
      const seen = await look(own.directory)
      expect(seen.seqs).toEqual(all.filter((seq) => seq >= (own.bases[1] as number)))
      expect(seen.gaps).toEqual([[1, own.bases[1]]])
      expect(seen.reports[0]?.damages[0]?.found).toContain('swapped')
      await rm(join(own.directory, 'quarantine'), { recursive: true })
    }
  })

  test('with the header of another segment give nothing', async () => {
    const { directory, paths, bases } = await written()
    const [one, other] = [await readFile(paths[1] as string), await readFile(paths[2] as string)]
    other.copy(one, 0, 0, 4096)
    await writeFile(paths[1] as string, one)
    const seen = await look(directory)
    expect(seen.gaps).toEqual([[bases[1], bases[2]]])
  })

  test('that are replaced by an older state of themselves leave a gap', async () => {
    const directory = await temporaryDirectory()
    const { journal } = await openText(directory, nodeDisk, { keys })
    await appendEach(journal, records.slice(0, 5))
    const older = await readFile(join(directory, segmentName(1)))
    await appendEach(journal, records.slice(5))
    await journal.close()
    await writeFile(join(directory, segmentName(1)), older)
    const next = Number((await segmentsIn(directory))[1]?.slice(0, 16))
    expect((await look(directory)).gaps).toEqual([[6, next]])
  })

  test('that begin where a lost one began, with other records, are noticed', async () => {
    // What was written without an answer, and copied by somebody before its place was taken.
    const directory = await temporaryDirectory()
    const first = await openText(directory, nodeDisk, { keys })
    await appendEach(first.journal, records.slice(0, 17))
    await appendEach(first.journal, texts(17, 4000, 'never answered'))
    await first.journal.close()
    const [, second = ''] = await segmentsIn(directory)
    const past = await readFile(join(directory, second))
    await rm(join(directory, second))
    for (const later of (await segmentsIn(directory)).slice(1)) await rm(join(directory, later))
    const again = await openText(directory, nodeDisk, { keys })
    expect(again.journal.nextSeq).toBe(Number(second.slice(0, 16)))
    await appendEach(again.journal, records.slice(again.journal.nextSeq - 1))
    await again.journal.close()
    await writeFile(join(directory, second), past)
    const seen = await look(directory)
    // The one before goes with it, for it is of that history too: nothing says of which it was the last.
    expect(seen.reports.map(({ segment }) => segment)).toContain(second)
    for (const { damages } of seen.reports) expect(damages[0]?.found).toContain('back from the past')
    expect(seen.seqs).toEqual(all.filter((seq) => seq >= Number(second.slice(0, 16)) + 17))
  })

  test('that were released and are brought back give nothing to whoever has passed them, and go again', async () => {
    const { directory, paths, bases } = await written()
    const past = await readFile(paths[0] as string)
    const from = bases[2] as number
    const opened = await openText(directory, nodeDisk, { keys })
    await opened.journal.release(from)
    await opened.journal.close()
    await writeFile(paths[0] as string, past)
    const seen = await look(directory, keys, from)
    expect(seen.seqs).toEqual(range(from, records.length + 1))
    const again = await openText(directory, nodeDisk, { keys })
    await again.journal.release(from)
    await again.journal.close()
    expect(await segmentsIn(directory)).not.toContain(segmentName(1))
  })

  test('that are missing leave a gap', async () => {
    const { directory, paths, bases } = await written()
    await rm(paths[1] as string)
    const seen = await look(directory)
    expect(seen.gaps).toEqual([[bases[1], bases[2]]])
    expect(seen.reports).toHaveLength(1)
  })

  test('lose their tail unnoticed only at the very end of the journal', async () => {
    const { directory, paths, bases } = await written()
    const last = paths.at(-1) as string
    const third = blocksOf(await readFile(last))[2]?.end as number
    await truncate(last, third)
    const seen = await look(directory)
    // Hence the cursor's reach: whoever has it sees that this journal was longer.
    expect(seen.gaps).toEqual([])
    expect(seen.nextSeq).toBe((bases.at(-1) as number) + 3)
  })

  test('among which an unencrypted one is slipped in are refused as a whole', async () => {
    const { directory, paths } = await written()
    const plain = await temporaryDirectory()
    const { journal } = await openText(plain)
    await appendEach(journal, texts(60, 4000, 'forged'))
    await journal.close()
    await copyFile(join(plain, segmentName(1)), paths[0] as string)
    const before = await contents(directory)
    await expect(openText(directory, nodeDisk, { keys })).rejects.toBeInstanceOf(JournalUnencryptedError)
    expect(await contents(directory)).toEqual(before)
  })

  test('that somebody calls unencrypted give none of their bytes for records', async () => {
    const { directory, paths, bases } = await written()
    const bytes = await readFile(paths[1] as string)
    bytes.fill(0, 8, 12)
    bytes.fill(0, 64, 264)
    await writeFile(paths[1] as string, forgeOwnCrcs(bytes, blocksOf(bytes)))
    await expect(openText(directory, nodeDisk, { keys })).rejects.toBeInstanceOf(JournalUnencryptedError)
    const lenient = new HeldKeys(...keys.keys)
    lenient.acceptsUnencrypted = true
    expect((await look(directory, lenient)).gaps).toEqual([[bases[1], bases[2]]])
  })
})

async function contents(directory: string): Promise<Map<string, string>> {
  const names = (await readdir(directory)).toSorted()
  return new Map(
    await Promise.all(names.map(async (name) => [name, await readFile(join(directory, name), 'latin1')] as const)),
  )
}
