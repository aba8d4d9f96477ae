import { join } from 'node:path'
import { messageOf } from '../base/errors.ts'
import { namesIn } from '../journal/disk-look.ts'
import { readCursor } from '../journal/cursor-file.ts'
import type { JournalSurvey, SegmentFile } from '../journal/journal-survey.ts'
import type { JournalDamage } from '../journal/quarantine.ts'
import type { JournalTools } from './journal-folder.ts'
import { countText, rangeText } from './journal-folder.ts'

/** A cursor of a data directory. */
export interface CursorFacts {
  /** Below the data directory. */
  readonly name: string
  readonly journalId: string | null
  readonly seq: number | null
  readonly mark: number | null
  /** How far the journal was when it was written; null when it does not say. */
  readonly reach: number | null
  /** Why it can't be read; null when it can. */
  readonly problem: string | null
}

export const forwarderCursor = 'forwarder.cursor'

/** All cursors of a data directory, by name. */
export async function cursorsIn({ disk, keys }: JournalTools, directory: string): Promise<CursorFacts[]> {
  const ledger = (await namesIn(disk, join(directory, 'ledger'))).map((name) => `ledger/${name}`)
  const names = [...(await namesIn(disk, directory)), ...ledger.toSorted()].filter((name) => name.endsWith('.cursor'))
  const cursors: CursorFacts[] = []
  for (const name of names) {
    const unknown = { name, journalId: null, seq: null, mark: null, reach: null }
    try {
      const cursor = await readCursor(disk, join(directory, name), keys)
      if (cursor === null) cursors.push({ ...unknown, problem: 'neither of its slots is valid' })
      else cursors.push({ name, journalId: cursor.journalId, reach: null, ...cursor.position, problem: null })
    } catch (error) {
      cursors.push({ ...unknown, problem: messageOf(error) })
    }
  }
  return cursors
}

/** Something that is not as it should be. */
export interface JournalFault {
  /** Below the data directory, or the journal's folder. */
  readonly journal: string
  /** The file; null when the fault is between files. */
  readonly file: string | null
  readonly fault: 'corrupt' | 'missing' | 'footer' | 'cursor'
  readonly found: string
  /** Bytes of the file; null when the fault has no place in it. */
  readonly fromOffset: number | null
  readonly toOffset: number | null
  /** Records that are lost by it, from `fromSeq` to below `toSeq`; null when none is. */
  readonly fromSeq: number | null
  readonly toSeq: number | null
}

/** The faults of one journal's segments. */
export function faultsOf(journal: string, survey: JournalSurvey): JournalFault[] {
  return survey.segments.flatMap((segment) => {
    const faults = segment.damages.map((damage) => damageFault(journal, segment, damage))
    if (segment.footer !== 'broken') return faults
    const found = 'its footer is damaged; no record is lost by that'
    return [...faults, { ...nowhere, journal, file: segment.name, fault: 'footer' as const, found }]
  })
}

/** The faults between cursors and the journal of messages. */
export function cursorFaults(cursors: readonly CursorFacts[], messages: JournalSurvey | null): JournalFault[] {
  return cursors.flatMap(({ name, journalId, seq, reach, problem }) => {
    const fault = (found: string, lost: readonly [number, number] | null = null): JournalFault => ({
      ...nowhere,
      journal: 'journal',
      file: name,
      fault: 'cursor',
      found,
      fromSeq: lost?.[0] ?? null,
      toSeq: lost?.[1] ?? null,
    })
    if (problem !== null) return [fault(problem)]
    if (messages === null || messages.journalId === null || seq === null) return []
    if (journalId !== messages.journalId) return [fault(`it is of journal ${journalId}`)]
    const end = Math.max(seq, reach ?? 0)
    if (end > messages.nextSeq) return [fault('the end of the journal is missing', [messages.nextSeq, end])]
    // Cursors of recorders that are not configured any more lie about, and hold nothing.
    if (seq < messages.firstSeq && name === forwarderCursor)
      return [fault('the beginning of the journal is missing', [seq, messages.firstSeq])]
    return []
  })
}

const nowhere = { fromOffset: null, toOffset: null, fromSeq: null, toSeq: null }

export function damageFault(journal: string, { name }: SegmentFile, damage: JournalDamage): JournalFault {
  const { reason, found, bytes, fromSeq, toSeq } = damage
  const lost = toSeq > fromSeq ? { fromSeq, toSeq } : { fromSeq: null, toSeq: null }
  const file = reason === 'missing' ? null : name
  return { journal, file, fault: reason, found, fromOffset: bytes?.fromOffset ?? null, toOffset: bytes?.toOffset ?? null, ...lost } // prettier-ignore
}

export function faultText({ journal, file, found, fromOffset, toOffset, fromSeq, toSeq }: JournalFault): string {
  const where = file === null ? journal : file.endsWith('.cursor') ? file : `${journal}/${file}`
  const bytes = fromOffset === null ? '' : `, bytes ${rangeText(fromOffset, toOffset ?? fromOffset)}`
  const lost =
    fromSeq === null || toSeq === null
      ? ''
      : `; ${countText(toSeq - fromSeq, 'record')} lost: ${rangeText(fromSeq, toSeq)}`
  return `${where}${bytes}: ${found}${lost}\n`
}
