import { join } from 'node:path'
import { namesIn, readStart } from './disk-look.ts'
import type { Disk } from './disk.ts'
import { parseSegmentHeader, segmentHeaderBytes } from './format.ts'
import type { JournalDamage, QuarantineReport } from './quarantine.ts'

export const reportSuffix = '.json'
const uuidOffset = 16
const uuidBytes = 16

/** A segment file in a quarantine. It has its old name, or one of its own behind the seq that it begins with. */
export function isQuarantinedName(name: string): boolean {
  return /^[0-9]{16}(-[0-9a-z-]+)?\.segment$/.test(name)
}

/** What tells a file from another that bears the same name, or bore it before. */
export interface SegmentIdentity {
  /** In hex, as it stands in the file, which may be damaged; null when there is no file, or nothing of its header. */
  readonly uuid: string | null
  /** Whether the header is as it was written, and the uuid with it. */
  readonly isWhole: boolean
}

export async function segmentIdentity(disk: Disk, path: string): Promise<SegmentIdentity> {
  if ((await disk.sizeOf(path)) === null) return { uuid: null, isWhole: false }
  const bytes = await readStart(disk, path, segmentHeaderBytes)
  const uuid = bytes.length < uuidOffset + uuidBytes ? null : bytes.toString('hex', uuidOffset, uuidOffset + uuidBytes)
  return { uuid, isWhole: parseSegmentHeader(bytes).ok }
}

/** Null in place of one that is not readable. */
export async function reportsIn(disk: Disk, directory: string): Promise<(QuarantineReport | null)[]> {
  const names = (await namesIn(disk, directory)).filter((name) => name.endsWith(reportSuffix))
  const reports: (QuarantineReport | null)[] = []
  for (const name of names.toSorted()) reports.push(await readReport(disk, join(directory, name)))
  return reports
}

/** Null when there is none, or when it is not readable as one: somebody has edited it. */
export async function readReport(disk: Disk, path: string): Promise<QuarantineReport | null> {
  const size = await disk.sizeOf(path)
  if (size === null) return null
  const bytes = await readStart(disk, path, size)
  try {
    return reportOf(JSON.parse(bytes.toString()))
  } catch {
    return null
  }
}

function reportOf(value: unknown): QuarantineReport | null {
  if (typeof value !== 'object' || value === null) return null
  const { segment, uuid, at, damageCount, lostRecords, damages } = value as Partial<Record<keyof QuarantineReport, unknown>> // prettier-ignore
  if (typeof segment !== 'string' || typeof at !== 'string' || !isCount(damageCount) || !isCount(lostRecords)) return null // prettier-ignore
  if (!Array.isArray(damages) || !damages.every(isDamage)) return null
  return { segment, uuid: typeof uuid === 'string' ? uuid : null, at, damageCount, lostRecords, damages }
}

/** As far as anything depends on it. */
function isDamage(value: unknown): value is JournalDamage {
  if (typeof value !== 'object' || value === null) return false
  const { fromSeq, toSeq } = value as Partial<Record<keyof JournalDamage, unknown>>
  return isCount(fromSeq) && isCount(toSeq)
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}
