import { join } from 'node:path'
import type { Disk } from './disk.ts'
import type { SegmentHeader } from './format.ts'
import {
  baseSeqOf,
  blockHeaderBytes,
  findBlockHeader,
  footerBytes,
  parseBlockHeader,
  segmentHeaderBytes,
  parseFooter,
  parseTrailer,
  seedOf,
  segmentName,
  trailerBytes,
} from './format.ts'
import { JournalCorruptError } from './journal-errors.ts'
import type { KeyRing } from './key-ring.ts'
import type { JournalDamage } from './quarantine.ts'
import { footerMacBytes } from './segment-cipher.ts'
import { SegmentChain } from './segment-chain.ts'
import type { Block } from './segment-reader.ts'
import { SegmentReader } from './segment-reader.ts'
import type { SegmentFiles, SegmentLimit } from './segment-walk.ts'
import { SegmentWalk } from './segment-walk.ts'

/** A journal's files, for whoever looks at them without writing to them. */
export interface JournalSource {
  readonly disk: Disk
  readonly directory: string
  readonly keys: KeyRing | null
}

/** What a segment's file says of itself. */
export interface SegmentFile {
  readonly name: string
  readonly baseSeq: number
  /** Of the file, with what lies behind an unsealed segment's last block. */
  readonly bytes: number
  /** Null when it can't be read: then nothing of the segment can. */
  readonly header: SegmentHeader | null
  /** `broken`: its footer is damaged, by which no record is lost; a reader goes through all blocks instead. */
  readonly footer: 'whole' | 'none' | 'broken'
}

/** What was found in a segment, when all of it was read. */
export interface SurveyedSegment extends SegmentFile {
  /** One past the last seq that it stands for; what is lost in it, or behind it, is counted. */
  readonly nextSeq: number
  readonly blocks: number
  readonly records: number
  /** How many seqs its gap blocks stand for: left out by the writer, or lost before a repair. That is no damage. */
  readonly skipped: number
  readonly damages: readonly JournalDamage[]
}

/** A piece of a journal, in the order in which it is read. */
export type SurveyPart =
  | { readonly kind: 'begin'; readonly segment: SegmentFile }
  /** Valid until the next part is asked for. */
  | { readonly kind: 'block'; readonly block: Block; readonly segment: SegmentFile }
  | { readonly kind: 'damage'; readonly damage: JournalDamage; readonly segment: SegmentFile }
  | { readonly kind: 'end'; readonly segment: SurveyedSegment }

/** Everything that was found in a journal. */
export interface JournalSurvey {
  /** Null when no segment's header can be read. */
  readonly journalId: string | null
  readonly firstSeq: number
  readonly nextSeq: number
  readonly segments: readonly SurveyedSegment[]
}

/** The least that a record takes, with its length. */
const recordBytesMin = 4
/** What a segment may have held that can't be read, and may have been cut off; unless others are larger. */
const segmentBytesMin = 64 * 1024 * 1024
/** Where a segment's header has its uuid. */
const uuidOffset = 16
const chunkBytes = 1024 * 1024
/** A larger one would be of a segment with millions of blocks. */
const footerBytesMax = 64 * 1024 * 1024

/**
 * Reads a whole journal, checks every byte of it that counts, and gives what is there and what should be there and is not,
 * just as the sidecar's own readers see it. It asks nobody and changes nothing, so it may be used beside a running
 * sidecar: then it gives what the segments held that were there when it began, up to the newest whole block. What is
 * released meanwhile is left out.
 *
 * Throws what only a person can mend: a format that is not known, a key that is missing, an I/O error.
 */
export async function* surveyParts(source: JournalSource): AsyncGenerator<SurveyPart> {
  const { disk, directory, keys } = source
  const files: SegmentFiles = { disk, directory, keys, chain: new SegmentChain() }
  const bases = await segmentBases(disk, directory)
  for (const [i, base] of bases.entries()) {
    const next = bases[i + 1]
    try {
      const limit: SegmentLimit =
        next === undefined ? { kind: 'end', seq: await endOfNewest(source, base) } : { kind: 'next', base: next }
      yield* segmentParts(source, files, base, bases, limit)
    } catch (error) {
      if ((await segmentBases(disk, directory)).includes(base)) throw error
      // Released while it was read.
    }
  }
}

/** Reads a whole journal as `surveyParts` does, and sums up what was found. */
export async function surveyJournal(source: JournalSource): Promise<JournalSurvey> {
  const segments: SurveyedSegment[] = []
  for await (const part of surveyParts(source)) if (part.kind === 'end') segments.push(part.segment)
  return surveyOf(segments)
}

export function surveyOf(segments: readonly SurveyedSegment[]): JournalSurvey {
  const journalId = segments.findLast(({ header }) => header !== null)?.header?.journalId ?? null
  const firstSeq = segments[0]?.baseSeq ?? 1
  return { journalId, firstSeq, nextSeq: segments.at(-1)?.nextSeq ?? firstSeq, segments }
}

/** What the files say of themselves, without a look at their blocks, and without keys. */
export async function segmentFiles(disk: Disk, directory: string): Promise<SegmentFile[]> {
  const found: SegmentFile[] = []
  for (const base of await segmentBases(disk, directory)) {
    const path = join(directory, segmentName(base))
    const reader = await opened(() => SegmentReader.openUnread(disk, path))
    try {
      const bytes = (await disk.sizeOf(path)) ?? 0
      const footer = reader !== null && (await reader.footer()) !== null ? 'whole' : 'none'
      found.push({ name: segmentName(base), baseSeq: base, bytes, header: reader?.header ?? null, footer })
    } finally {
      await reader?.close()
    }
  }
  return found
}

async function* segmentParts(
  source: JournalSource,
  files: SegmentFiles,
  base: number,
  bases: readonly number[],
  limit: SegmentLimit,
): AsyncGenerator<SurveyPart> {
  const walk = await SegmentWalk.open(files, base, bases)
  try {
    const segment = await segmentFile(source, base)
    yield { kind: 'begin', segment }
    const damages: JournalDamage[] = []
    let [blocks, records, skipped] = [0, 0, 0]
    for (let read = await walk.next(limit); read !== null; read = await walk.next(limit)) {
      if ('reason' in read) {
        // Its bytes may be another segment's by now.
        if (!(await segmentBases(source.disk, source.directory)).includes(base)) return
        damages.push(read)
        yield { kind: 'damage', damage: read, segment }
      } else {
        blocks++
        if (read.lost === null) records += read.count
        else skipped += read.count
        yield { kind: 'block', block: read, segment }
      }
    }
    yield { kind: 'end', segment: { ...segment, nextSeq: walk.nextSeq, blocks, records, skipped, damages } }
  } finally {
    await walk.close()
  }
}

/**
 * One past the newest record. Whatever is whole now was written before what follows it, so it can be told from here on
 * what is damaged, and what is only being written. Of a segment that can't be read, it is as many records as it can have
 * held, unless its blocks tell: nobody knows how many it had, and none of their seqs may be given again.
 */
async function endOfNewest({ disk, directory, keys }: JournalSource, base: number): Promise<number> {
  const path = join(directory, segmentName(base))
  const reader = await opened(() => SegmentReader.open(disk, path, keys))
  try {
    if (reader === null || reader.header.baseSeq !== base) {
      const end = await endByBlocks(disk, path)
      if (end > base) return end
      const sizes = (await segmentBases(disk, directory)).map((each) => disk.sizeOf(join(directory, segmentName(each))))
      const bytes = (await Promise.all(sizes)).reduce<number>((max, size) => Math.max(max, size ?? 0), segmentBytesMin)
      return base + Math.ceil(bytes / recordBytesMin)
    }
    return (await reader.footer())?.nextSeq ?? (await readThrough(reader)).nextSeq
  } finally {
    await reader?.close()
  }
}

/** One past the highest seq that blocks speak of, in a segment whose header is damaged, but perhaps not its uuid; or 0. */
async function endByBlocks(disk: Disk, path: string): Promise<number> {
  const file = await disk.open(path, 'read')
  try {
    const uuid = Buffer.alloc(16)
    if ((await file.read(uuid, uuidOffset)) < uuid.length) return 0
    const seed = seedOf(uuid)
    const chunk = Buffer.allocUnsafeSlow(chunkBytes)
    let end = 0
    for (let start = segmentHeaderBytes; ; start += chunkBytes - blockHeaderBytes) {
      const bytes = chunk.subarray(0, await file.read(chunk, start))
      for (let at = findBlockHeader(bytes, 0, seed); at !== -1;) {
        const header = parseBlockHeader(bytes, at, seed)
        if (header !== null) end = Math.max(end, header.firstSeq + header.count)
        const next = findBlockHeader(bytes.subarray(at + 1), 0, seed)
        at = next === -1 ? -1 : at + 1 + next
      }
      if (bytes.length < chunkBytes) return end
    }
  } finally {
    await file.close()
  }
}

async function segmentFile({ disk, directory, keys }: JournalSource, base: number): Promise<SegmentFile> {
  const name = segmentName(base)
  const path = join(directory, name)
  const reader = await opened(() => SegmentReader.open(disk, path, keys))
  try {
    const bytes = (await disk.sizeOf(path)) ?? 0
    if (reader === null) return { name, baseSeq: base, bytes, header: null, footer: 'none' }
    const { header } = reader
    if ((await reader.footer()) !== null) return { name, baseSeq: base, bytes, header, footer: 'whole' }
    const { offset } = await readThrough(reader)
    const isBroken = await hasBrokenFooter(disk, path, header, offset)
    // It may have been sealed while it was looked at.
    const isWhole = isBroken && (await reader.footer()) !== null
    return { name, baseSeq: base, bytes, header, footer: isWhole ? 'whole' : isBroken ? 'broken' : 'none' }
  } finally {
    await reader?.close()
  }
}

/** Where the last valid block ends, wherever it begins. */
async function readThrough(reader: SegmentReader): Promise<{ readonly nextSeq: number; readonly offset: number }> {
  for (;;)
    if ((await reader.next(Number.MAX_SAFE_INTEGER)) === null && (await reader.skipDamage()) === null)
      return { nextSeq: reader.nextSeq, offset: reader.offset }
}

/**
 * Whether a file that has no valid footer had one: what is left of it says so. A crash in the midst of sealing leaves less
 * than that, and is no damage.
 */
async function hasBrokenFooter(disk: Disk, path: string, header: SegmentHeader, offset: number): Promise<boolean> {
  const file = await disk.open(path, 'read')
  try {
    const size = await file.size()
    const seed = seedOf(header.uuid)
    const trailer = Buffer.alloc(trailerBytes)
    if ((await file.read(trailer, Math.max(0, size - trailerBytes))) < trailerBytes) return false
    if (parseTrailer(trailer, seed) !== null) return true
    if (size - offset > footerBytesMax) return false
    const bytes = Buffer.alloc(Math.max(0, size - offset - trailerBytes))
    await file.read(bytes, offset)
    const macBytes = header.encryption === null ? 0 : footerMacBytes
    const footer = parseFooter(bytes, seed, macBytes)
    return footer !== null && footerBytes(footer, macBytes) === bytes.length
  } finally {
    await file.close()
  }
}

/** Null when it is damaged. */
async function opened(open: () => Promise<SegmentReader>): Promise<SegmentReader | null> {
  try {
    return await open()
  } catch (error) {
    if (error instanceof JournalCorruptError) return null
    throw error
  }
}

/** The base seqs of the segments in a directory, ascending. */
async function segmentBases(disk: Disk, directory: string): Promise<number[]> {
  return (await disk.list(directory)).flatMap((name) => baseSeqOf(name) ?? []).toSorted((a, b) => a - b)
}
