import { join } from 'node:path'
import { messageOf } from '../base/errors.ts'
import { namesIn } from '../journal/disk-look.ts'
import type { JournalSurvey, SegmentFile, SurveyedSegment } from '../journal/journal-survey.ts'
import { segmentFiles, surveyJournal } from '../journal/journal-survey.ts'
import { JournalKeyMissingError } from '../journal/journal-errors.ts'
import type { TextOutput } from './config-check.ts'
import type { CursorFacts, JournalFault } from './journal-facts.ts'
import { cursorsIn, faultText, faultsOf } from './journal-facts.ts'
import type { JournalFolder, JournalTools } from './journal-folder.ts'
import { countText, journalExits, journalFolders, rangeText, sourceOf } from './journal-folder.ts'
import { timeText } from './record-lines.ts'

/** One journal, as it is printed; null is not known. */
interface JournalFacts {
  readonly name: string
  readonly kind: string
  readonly journalId: string | null
  readonly firstSeq: number
  readonly nextSeq: number | null
  readonly records: number | null
  readonly lostRecords: number | null
  readonly bytes: number
  readonly segments: readonly SegmentFacts[]
  readonly faults: readonly JournalFault[]
  readonly quarantine: readonly { readonly name: string; readonly bytes: number }[]
  /** Why its blocks could not be looked at; null when they were. */
  readonly unread: string | null
}

interface SegmentFacts {
  readonly name: string
  readonly baseSeq: number
  readonly nextSeq: number | null
  readonly records: number | null
  readonly lostRecords: number | null
  readonly blocks: number | null
  readonly bytes: number
  readonly sealed: boolean
  readonly uuid: string | null
  readonly previousUuid: string | null
  readonly createdAt: string | null
  /** The key that its data key is encrypted under; null when it is not encrypted. */
  readonly keyName: string | null
}

/**
 * Prints what a journal, or all journals of a data directory, consist of, and what is damaged. Returns the exit code: 1 when
 * something is.
 */
export async function inspectJournal(
  tools: JournalTools,
  directory: string,
  { json }: { readonly json: boolean },
  out: TextOutput,
): Promise<number> {
  const { isDataDirectory, folders } = await journalFolders(tools.disk, directory)
  const journals: JournalFacts[] = []
  for (const folder of folders) journals.push(await factsOf(tools, folder))
  const cursors = isDataDirectory ? await cursorsIn(tools, directory) : []
  if (json) out.write(`${JSON.stringify({ directory, journals, cursors }, null, 2)}\n`)
  else out.write([...journals.map(journalText), cursorText(cursors)].filter(Boolean).join('\n'))
  const isDamaged = journals.some(({ faults }) => faults.length > 0)
  return isDamaged ? journalExits.damaged : journalExits.fine
}

async function factsOf(tools: JournalTools, folder: JournalFolder): Promise<JournalFacts> {
  const { name, kind, directory } = folder
  const quarantine = await quarantined(tools, directory)
  try {
    const survey = await surveyJournal(sourceOf(tools, directory))
    const { journalId, firstSeq, nextSeq, segments } = survey
    const facts = segments.map((segment) => segmentFacts(segment, segment))
    return {
      name,
      kind,
      journalId,
      firstSeq,
      nextSeq,
      ...sumOf(survey),
      segments: facts,
      faults: faultsOf(name, survey),
      quarantine,
      unread: null,
    }
  } catch (error) {
    // Which key it is can be told without it, and that is what is asked for then.
    if (!(error instanceof JournalKeyMissingError)) throw error
    const segments = await segmentFiles(tools.disk, directory)
    return {
      name,
      kind,
      journalId: segments.at(-1)?.header?.journalId ?? null,
      firstSeq: segments[0]?.baseSeq ?? 1,
      nextSeq: null,
      records: null,
      lostRecords: null,
      bytes: segments.reduce((sum, { bytes }) => sum + bytes, 0),
      segments: segments.map((segment) => segmentFacts(segment, null)),
      faults: [],
      quarantine,
      unread: messageOf(error),
    }
  }
}

function sumOf({ segments }: JournalSurvey): Pick<JournalFacts, 'records' | 'lostRecords' | 'bytes'> {
  return {
    records: segments.reduce((sum, { records }) => sum + records, 0),
    lostRecords: segments.reduce((sum, segment) => sum + lostIn(segment), 0),
    bytes: segments.reduce((sum, { bytes }) => sum + bytes, 0),
  }
}

function lostIn({ damages }: SurveyedSegment): number {
  return damages.reduce((sum, { fromSeq, toSeq }) => sum + toSeq - fromSeq, 0)
}

function segmentFacts(file: SegmentFile, read: SurveyedSegment | null): SegmentFacts {
  const { name, baseSeq, bytes, header, footer } = file
  return {
    name,
    baseSeq,
    nextSeq: read?.nextSeq ?? null,
    records: read?.records ?? null,
    lostRecords: read && lostIn(read),
    blocks: read?.blocks ?? null,
    bytes,
    sealed: footer === 'whole',
    uuid: header?.uuid.toString('hex') ?? null,
    previousUuid: header?.previousUuid.toString('hex') ?? null,
    createdAt: header && timeText(header.createdAt),
    keyName: header?.encryption?.keyName ?? null,
  }
}

async function quarantined({ disk }: JournalTools, directory: string): Promise<JournalFacts['quarantine']> {
  const folder = join(directory, 'quarantine')
  const names = (await namesIn(disk, folder)).toSorted()
  return Promise.all(names.map(async (name) => ({ name, bytes: (await disk.sizeOf(join(folder, name))) ?? 0 })))
}

function journalText(facts: JournalFacts): string {
  const { name, journalId, firstSeq, nextSeq, records, lostRecords, bytes, segments, faults, quarantine, unread } =
    facts
  const lines = [
    `${name}: journal ${journalId ?? '(unknown)'}, ${countText(segments.length, 'segment')}, ${bytes} bytes`,
  ]
  if (nextSeq !== null) lines.push(`  records: ${records} (${rangeText(firstSeq, nextSeq)}), ${lostRecords} lost`)
  if (unread !== null) lines.push(`  its records were not read: ${unread}`)
  for (const segment of segments) lines.push(`  ${segmentText(segment)}`)
  for (const fault of faults) lines.push(`  DAMAGED  ${faultText(fault).trimEnd()}`)
  for (const file of quarantine) lines.push(`  quarantine/${file.name}: ${file.bytes} bytes`)
  return `${lines.join('\n')}\n`
}

function segmentText({ name, baseSeq, nextSeq, records, blocks, bytes, sealed, uuid, keyName }: SegmentFacts): string {
  const read = nextSeq === null ? '' : `, ${records} records (${rangeText(baseSeq, nextSeq)}) in ${blocks} blocks`
  const encrypted = keyName === null ? '' : `, encrypted under ${keyName}`
  return `${name}  ${sealed ? 'sealed' : 'not sealed'}${read}, ${bytes} bytes, uuid ${uuid ?? '(unknown)'}${encrypted}`
}

function cursorText(cursors: readonly CursorFacts[]): string {
  return cursors
    .map(({ name, journalId, seq, mark, problem }) =>
      problem === null
        ? `${name}: of journal ${journalId}, finished below ${seq}, receipts from ${mark}\n`
        : `${name}: ${problem}\n`,
    )
    .join('')
}
