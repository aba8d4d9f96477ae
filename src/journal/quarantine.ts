import { basename, join } from 'node:path'
import { threadId } from 'node:worker_threads'
import type { Clock } from '../base/clock.ts'
import { codeOf } from '../base/errors.ts'
import { namesIn } from './disk-look.ts'
import type { Disk } from './disk.ts'
import { isQuarantinedName, readReport, reportSuffix, reportsIn, segmentIdentity } from './quarantine-report.ts'
import { SegmentChain } from './segment-chain.ts'

/** The folder beside a journal's segments. */
export const quarantineFolder = 'quarantine'
/** What segment files may take in there. Beyond it the oldest go; reports stay. */
const segmentBytesMax = 1024 * 1024 * 1024
/** Beyond it the oldest go with their files, a few more than must, so that not every new one looks through all. */
const reportsMax = 1000
const reportsLeft = 900
/** A report lists no more, and says how many there are. */
export const damagesListedMax = 1000
/** Of a segment's name. */
const baseDigits = 16
/** In the name of a file that is too short to have a uuid. */
const noUuid = 'none'
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
  /** The file's uuid, in hex, which tells it from others of that name; null when it has none that can be read. */
  readonly uuid: string | null
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

/**
 * Where the damaged segments of one journal go: a report as soon as the damage is found, and the file itself when every
 * reader has passed it. Nothing that is read depends on it.
 */
export class Quarantine {
  readonly #disk: Disk
  readonly #journalDirectory: string
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
    this.#journalDirectory = journalDirectory
    this.#directory = join(journalDirectory, quarantineFolder)
    this.#clock = clock
    this.#observer = observer
  }

  /**
   * Sees to it that there is a report of a segment's damage at `seq`. `survey` finds all damages of that segment below `until`;
   * when it finds none, there is nothing to report.
   * It never rejects because the report can't be written, nor because the file can't be read to its end: what is readable
   * must get through on such a disk, too. Only when the file is gone, which the caller has to judge.
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
      const outcome = await this.#survey(segment, survey)
      if (outcome === 'reported') this.#reportedBelow.set(segment, until)
      else if (outcome === 'unreported') this.#tryAgainAt = this.#clock.now() + tryAgainAfterMs
    })()
    this.#reporting = reporting
    await reporting
  }

  async #survey(
    segment: string,
    survey: () => Promise<readonly JournalDamage[]>,
  ): Promise<'reported' | 'unreported' | 'no damage'> {
    let report = this.#reportOf(segment, null, [])
    try {
      const { uuid } = await segmentIdentity(this.#disk, join(this.#journalDirectory, segment))
      const damages = await survey()
      if (damages.length === 0) return 'no damage'
      report = this.#reportOf(await this.#reportName(segment, uuid), uuid, damages)
    } catch (error) {
      if (codeOf(error) === 'ENOENT') throw error
      this.#observer?.unreported(report, error)
      return 'unreported'
    }
    return (await this.#write(report)) ? 'reported' : 'unreported'
  }

  /**
   * Moves a segment that nobody needs any more here, durably but for its old name; false when no report is about it: one that
   * was written later may bear the name of another.
   */
  async take(path: string): Promise<boolean> {
    const segment = basename(path)
    const name = await this.#nameToTake(path, segment)
    if (name === null) return false
    // A rename that was reported as failed may have been made all the same.
    if ((await this.#disk.sizeOf(path)) !== null) {
      const to = (await this.#has(name)) ? await this.#ownName(path, segment) : name
      await this.#disk.rename(path, join(this.#directory, to))
    }
    await this.#disk.syncDirectory(this.#directory)
    await this.#makeRoom()
    return true
  }

  /**
   * Moves the newest segment here, which can't be opened, under a name of its own: the next one may need that which it has.
   * False when the report can't be written; then it stays.
   */
  async setAside(segment: string, damage: JournalDamage): Promise<boolean> {
    const path = join(this.#journalDirectory, segment)
    const name = await this.#ownName(path, segment)
    const { uuid } = await segmentIdentity(this.#disk, path)
    if (!(await this.#write(this.#reportOf(name, uuid, [damage])))) return false
    await this.#disk.rename(path, join(this.#directory, name))
    await this.#disk.syncDirectory(this.#directory)
    await this.#makeRoom()
    return true
  }

  /** One past the highest seq that any report says to be lost; 0 without reports. */
  async lostBelow(): Promise<number> {
    const reports = await reportsIn(this.#disk, this.#directory)
    return Math.max(0, ...reports.map((report) => report?.damages.at(-1)?.toSeq ?? 0))
  }

  /** Of the report that is about a released segment, and of the file when it gets here; null when there is none. */
  async #nameToTake(path: string, segment: string): Promise<string | null> {
    const own = segment.slice(0, baseDigits)
    const names = (await namesIn(this.#disk, this.#directory))
      .filter((name) => name.startsWith(own) && name.endsWith(reportSuffix))
      .map((name) => name.slice(0, -reportSuffix.length))
    if (names.length === 0) return null
    const { uuid, isWhole } = await segmentIdentity(this.#disk, path)
    for (const name of names.toSorted()) {
      const report = await readReport(this.#disk, this.#reportPath(name))
      if (uuid !== null && report?.uuid === uuid) return name
    }
    // Its header may have been damaged since, or its report: what can't be told from the reported one is kept.
    return !isWhole && names.includes(segment) ? segment : null
  }

  /** The segment's, unless a report about another has that. */
  async #reportName(segment: string, uuid: string | null): Promise<string> {
    const known = await readReport(this.#disk, this.#reportPath(segment))
    const isFree = known === null ? !(await this.#has(segment)) : known.uuid === uuid
    return isFree ? segment : ownNameOf(segment, uuid)
  }

  /** A name that no other file has, or will have: that of a segment may be given again. */
  async #ownName(path: string, segment: string): Promise<string> {
    const { uuid } = await segmentIdentity(this.#disk, path)
    const name = ownNameOf(segment, uuid)
    for (let time = this.#clock.now(), free = name; ; time++, free = ownNameOf(segment, `${uuid ?? noUuid}-${time}`))
      if (!(await this.#has(free))) return free
  }

  async #has(name: string): Promise<boolean> {
    return (await this.#disk.sizeOf(join(this.#directory, name))) !== null
  }

  #reportOf(segment: string, uuid: string | null, damages: readonly JournalDamage[]): QuarantineReport {
    return {
      segment,
      uuid,
      at: new Date(this.#clock.now()).toISOString(),
      damageCount: damages.length,
      lostRecords: damages.reduce((sum, { fromSeq, toSeq }) => sum + toSeq - fromSeq, 0),
      damages: damages.slice(0, damagesListedMax),
    }
  }

  /** False when it could not be written. */
  async #write(report: QuarantineReport): Promise<boolean> {
    const path = this.#reportPath(report.segment)
    try {
      const known = await readReport(this.#disk, path)
      // Another thread has found it, or an earlier run, which may have been killed before the name was durable.
      if (known !== null && known.damageCount >= report.damageCount && known.lostRecords >= report.lostRecords) {
        await this.#disk.syncDirectory(this.#directory)
        return true
      }
      await this.#disk.makeDirectory(this.#directory)
      await this.#writeFile(path, Buffer.from(`${JSON.stringify(report, null, 2)}\n`))
      // One that has only grown, because the segment is still written to, is no news.
      if (known === null || known.damageCount < report.damageCount) this.#observer?.damaged(report)
    } catch (error) {
      this.#observer?.unreported(report, error)
      return false
    }
    await this.#makeRoom(report.segment).catch(() => {}) // the next one makes up for it
    return true
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

  /** Deletes what is too much, the oldest first, but not the report that was just written. */
  async #makeRoom(newest: string | null = null): Promise<void> {
    const names = await namesIn(this.#disk, this.#directory)
    const sizes = new Map<string, number>()
    for (const name of names.filter(isQuarantinedName))
      sizes.set(name, (await this.#disk.sizeOf(join(this.#directory, name))) ?? 0)
    const reported = new Set(
      names.filter((name) => name.endsWith(reportSuffix)).map((name) => name.slice(0, -reportSuffix.length)),
    )
    let bytes = [...sizes.values()].reduce((sum, size) => sum + size, 0)
    let reports = reported.size
    const areReportsTooMany = reports > reportsMax
    if (!areReportsTooMany && bytes <= segmentBytesMax) return
    for (const name of await this.#byAge(new Set([...reported, ...sizes.keys()]))) {
      const takesReport = areReportsTooMany && reports > reportsLeft && name !== newest && reported.has(name)
      if (takesReport || bytes > segmentBytesMax) {
        bytes -= sizes.get(name) ?? 0
        if (sizes.has(name)) await this.#delete(name)
      }
      if (takesReport) {
        reports--
        await this.#delete(name + reportSuffix)
      }
    }
  }

  /** By when it was reported: names tell nothing where seqs are given again. */
  async #byAge(names: ReadonlySet<string>): Promise<string[]> {
    const times: [at: string, name: string][] = []
    for (const name of names) times.push([(await readReport(this.#disk, this.#reportPath(name)))?.at ?? '', name])
    const isBefore = ([a, one]: (typeof times)[0], [b, other]: (typeof times)[0]): boolean => (a === b ? one < other : a < b) // prettier-ignore
    return times.toSorted((one, other) => (isBefore(one, other) ? -1 : 1)).map(([, name]) => name)
  }

  async #delete(name: string): Promise<void> {
    try {
      await this.#disk.unlink(join(this.#directory, name))
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error // another thread was faster
    }
  }

  #reportPath(segment: string): string {
    return join(this.#directory, segment + reportSuffix)
  }
}

/** Of one that another has the name of: with its uuid, or what else tells it from others. */
function ownNameOf(segment: string, which: string | null): string {
  return `${segment.slice(0, baseDigits)}-${which ?? noUuid}.segment`
}
