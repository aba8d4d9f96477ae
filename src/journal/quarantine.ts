import { basename, join } from 'node:path'
import { threadId } from 'node:worker_threads'
import type { Clock } from '../base/clock.ts'
import { codeOf } from '../base/errors.ts'
import type { Disk } from './disk.ts'
import { baseSeqOf } from './format.ts'
import { SegmentChain } from './segment-chain.ts'

/** The folder beside a journal's segments. */
export const quarantineFolder = 'quarantine'
/** What segment files may take in there. Beyond it the oldest go; reports stay. */
const segmentBytesMax = 1024 * 1024 * 1024
/** A report lists no more, and says how many there are. */
const damagesListedMax = 1000
const reportSuffix = '.json'
/** To look for all damages of a segment takes time. */
const tryAgainAfterMs = 10_000

/** A place of a journal where records should be that are not there, or can't be read. */
export interface JournalDamage {
  /** `missing`: the whole file is. */
  readonly reason: 'corrupt' | 'missing'
  /** What was found there, in words. */
  readonly found: string
  /** Bytes of the file from `fromOffset` to below `toOffset`; null when there is no file. */
  readonly bytes: { readonly fromOffset: number; readonly toOffset: number } | null
  /** The records that are lost: from `fromSeq` to below `toSeq`. None when these are equal. */
  readonly fromSeq: number
  readonly toSeq: number
}

/** What `quarantine/<segment>.json` says. Times are RFC 3339. */
export interface QuarantineReport {
  /** The file's name; it stands beside the report as soon as nobody needs its readable records any more. */
  readonly segment: string
  readonly at: string
  /** How many places are damaged, and how many records are lost in them. */
  readonly damageCount: number
  readonly lostRecords: number
  /** The first 1000 of them. */
  readonly damages: readonly JournalDamage[]
}

/** Told of what is found. */
export interface QuarantineObserver {
  /** A segment is damaged, and the report is written: once a damage, also when several readers come to it. */
  damaged(report: QuarantineReport): void
  /** The report could not be written; the file will not be kept. */
  unreported(report: QuarantineReport, error: unknown): void
}

/** What a quarantine holds. */
export interface QuarantineContents {
  readonly reports: number
  readonly damages: number
  /** Of segment files, and reports. */
  readonly bytes: number
}

/**
 * Where the damaged segments of one journal go: a report as soon as the damage is found, and the file itself when every
 * reader has passed it. Nothing that is read depends on it.
 */
export class Quarantine {
  readonly #disk: Disk
  readonly #directory: string
  readonly #clock: Pick<Clock, 'now'>
  readonly #observer: QuarantineObserver | null
  /** How the segments follow one another: what one reader has found out is of use to all. */
  readonly chain = new SegmentChain()
  /** By segment, below which seq all that is damaged is in its report. */
  readonly #reportedBelow = new Map<string, number>()
  #tryAgainAt = 0
  #reporting: Promise<void> = Promise.resolve()

  /** `journalDirectory` holds the segments. */
  constructor(
    disk: Disk,
    journalDirectory: string,
    clock: Pick<Clock, 'now'>,
    observer: QuarantineObserver | null = null,
  ) {
    this.#disk = disk
    this.#directory = join(journalDirectory, quarantineFolder)
    this.#clock = clock
    this.#observer = observer
  }

  /**
   * Sees to it that there is a report of a segment's damage at `seq`. `survey` finds all damages of that segment below `until`.
   * It never rejects because the report can't be written: what is readable must get through on a full disk, too.
   */
  async report(
    segment: string,
    seq: number,
    until: number,
    survey: () => Promise<readonly JournalDamage[]>,
  ): Promise<void> {
    // One after the other, so that readers of one thread do not write the same one at the same time.
    const before = this.#reporting
    const reporting = (async (): Promise<void> => {
      await before.catch(() => {}) // whoever wanted that one has the failure
      if (seq < (this.#reportedBelow.get(segment) ?? 0) || this.#clock.now() < this.#tryAgainAt) return
      if (await this.#write(segment, await survey())) this.#reportedBelow.set(segment, until)
      else this.#tryAgainAt = this.#clock.now() + tryAgainAfterMs
    })()
    this.#reporting = reporting
    await reporting
  }

  /** Moves a segment that nobody needs any more here, durably but for its old name; false when it has no report. */
  async take(path: string): Promise<boolean> {
    const segment = basename(path)
    if ((await this.#disk.sizeOf(this.#reportPath(segment))) === null) return false
    // A rename that was reported as failed may have been made all the same.
    if ((await this.#disk.sizeOf(path)) !== null) await this.#disk.rename(path, join(this.#directory, segment))
    await this.#disk.syncDirectory(this.#directory)
    await this.#makeRoom()
    return true
  }

  /** One past the highest seq that any report says to be lost; 0 without reports. */
  async lostBelow(): Promise<number> {
    const reports = await reportsIn(this.#disk, this.#directory)
    return Math.max(0, ...reports.flatMap((report) => report?.damages.at(-1)?.toSeq ?? 0))
  }

  /** False when it could not be written. */
  async #write(segment: string, damages: readonly JournalDamage[]): Promise<boolean> {
    const report: QuarantineReport = {
      segment,
      at: new Date(this.#clock.now()).toISOString(),
      damageCount: damages.length,
      lostRecords: damages.reduce((sum, { fromSeq, toSeq }) => sum + toSeq - fromSeq, 0),
      damages: damages.slice(0, damagesListedMax),
    }
    try {
      const known = await readReport(this.#disk, this.#reportPath(segment))
      // Another thread has found it, or an earlier run, which may have been killed before the name was durable.
      if (known !== null && known.damageCount >= report.damageCount && known.lostRecords >= report.lostRecords) {
        await this.#disk.syncDirectory(this.#directory)
        return true
      }
      await this.#disk.makeDirectory(this.#directory)
      await this.#writeFile(this.#reportPath(segment), Buffer.from(`${JSON.stringify(report, null, 2)}\n`))
      // One that has only grown, because the segment is still written to, is no news.
      if (known === null || known.damageCount < report.damageCount) this.#observer?.damaged(report)
      return true
    } catch (error) {
      this.#observer?.unreported(report, error)
      return false
    }
  }

  /** Under its name the file is whole from the first. */
  async #writeFile(path: string, bytes: Buffer): Promise<void> {
    // A name of the thread's own, for another may write the same report.
    const part = `${path}.${threadId}.part`
    if ((await this.#disk.sizeOf(part)) !== null) await this.#disk.unlink(part)
    const file = await this.#disk.open(part, 'create')
    try {
      await file.write(bytes, 0)
      await file.sync()
    } finally {
      await file.close()
    }
    await this.#disk.rename(part, path)
    await this.#disk.syncDirectory(this.#directory)
  }

  async #makeRoom(): Promise<void> {
    const names = await this.#disk.list(this.#directory)
    const segments = names.filter((name) => baseSeqOf(name) !== null).toSorted()
    const sizes = await Promise.all(segments.map((name) => this.#disk.sizeOf(join(this.#directory, name))))
    let excess = sizes.reduce<number>((sum, bytes) => sum + (bytes ?? 0), 0) - segmentBytesMax
    for (const [i, name] of segments.entries()) {
      if (excess <= 0) return
      await this.#disk.unlink(join(this.#directory, name))
      excess -= sizes[i] ?? 0
    }
  }

  #reportPath(segment: string): string {
    return join(this.#directory, segment + reportSuffix)
  }
}

/** What the quarantine of the journal in a directory holds; nothing when there is none. */
export async function quarantineContents(disk: Disk, journalDirectory: string): Promise<QuarantineContents> {
  const directory = join(journalDirectory, quarantineFolder)
  const names = await listed(disk, directory)
  const sizes = await Promise.all(names.map((name) => disk.sizeOf(join(directory, name))))
  const reports = await reportsIn(disk, directory)
  return {
    reports: reports.length,
    damages: reports.reduce((sum, report) => sum + (report?.damageCount ?? 1), 0),
    bytes: sizes.reduce<number>((sum, bytes) => sum + (bytes ?? 0), 0),
  }
}

/** Null in place of one that is not readable. */
async function reportsIn(disk: Disk, directory: string): Promise<(QuarantineReport | null)[]> {
  const names = (await listed(disk, directory)).filter((name) => name.endsWith(reportSuffix)).toSorted()
  const reports: (QuarantineReport | null)[] = []
  for (const name of names) reports.push(await readReport(disk, join(directory, name)))
  return reports
}

async function listed(disk: Disk, directory: string): Promise<string[]> {
  try {
    return await disk.list(directory)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return []
    throw error
  }
}

/** Null when there is none, or when it is not readable as one. */
async function readReport(disk: Disk, path: string): Promise<QuarantineReport | null> {
  const size = await disk.sizeOf(path)
  if (size === null) return null
  const file = await disk.open(path, 'read')
  const bytes = Buffer.alloc(size)
  try {
    await file.read(bytes, 0)
  } finally {
    await file.close()
  }
  try {
    return JSON.parse(bytes.toString()) as QuarantineReport
  } catch {
    return null // somebody has edited it; it is written anew
  }
}
