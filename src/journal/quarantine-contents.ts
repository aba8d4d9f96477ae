import { join } from 'node:path'
import { namesIn } from './disk-look.ts'
import type { Disk } from './disk.ts'
import { damagesListedMax, quarantineFolder } from './quarantine.ts'
import { readReport, reportSuffix } from './quarantine-report.ts'

/** What a quarantine holds. */
export interface QuarantineContents {
  readonly reports: number
  readonly damages: number
  /** Of segment files, and reports. */
  readonly bytes: number
}

interface Counted {
  readonly bytes: number
  readonly damages: number
}

/** Tells what the quarantine of one journal holds, again and again: a report is read once, and when it has changed. */
export class QuarantineCount {
  readonly #disk: Disk
  readonly #directory: string
  #counted = new Map<string, Counted>()

  constructor(disk: Disk, journalDirectory: string) {
    this.#disk = disk
    this.#directory = join(journalDirectory, quarantineFolder)
  }

  /** Nothing when there is no quarantine. */
  async contents(): Promise<QuarantineContents> {
    const counted = new Map<string, Counted>()
    let [reports, damages, bytes] = [0, 0, 0]
    for (const name of await namesIn(this.#disk, this.#directory)) {
      const size = (await this.#disk.sizeOf(join(this.#directory, name))) ?? 0
      bytes += size
      if (!name.endsWith(reportSuffix)) continue
      const count = await this.#count(name, size)
      reports++
      damages += count
      // One that lists all of its damages has another size when they are more.
      if (count <= damagesListedMax) counted.set(name, { bytes: size, damages: count })
    }
    this.#counted = counted
    return { reports, damages, bytes }
  }

  async #count(name: string, bytes: number): Promise<number> {
    const known = this.#counted.get(name)
    if (known?.bytes === bytes) return known.damages
    return (await readReport(this.#disk, join(this.#directory, name)))?.damageCount ?? 1
  }
}
