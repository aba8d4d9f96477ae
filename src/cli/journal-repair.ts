import { namesIn } from '../journal/disk-look.ts'
import { DirectoryLock } from '../journal/directory-lock.ts'
import { repairInPlace, repairInto } from '../journal/journal-repair.ts'
import type { RepairableSurvey } from '../journal/journal-repair.ts'
import type { JournalSource } from '../journal/journal-survey.ts'
import { surveyJournal } from '../journal/journal-survey.ts'
import type { TextOutput } from './config-check.ts'
import { faultsOf } from './journal-facts.ts'
import type { JournalTools } from './journal-folder.ts'
import { JournalCommandError, countText, dataDirectoryOf, journalExits, journalFolder, sourceOf } from './journal-folder.ts' // prettier-ignore

/**
 * Repairs a journal: into a new folder `to`, and then nothing of the original is touched; or, without one, where it is, and then
 * nobody may be using it. Returns the exit code: 0 when the repaired journal has no fault.
 */
export async function repairJournal(
  tools: JournalTools,
  directory: string,
  { to, json }: { readonly to: string | undefined; readonly json: boolean },
  out: TextOutput,
): Promise<number> {
  const folder = await journalFolder(tools.disk, directory)
  const source = sourceOf(tools, folder.directory)
  if (to !== undefined && (await namesIn(tools.disk, to)).length > 0)
    throw new JournalCommandError(`${to} is not empty`, { hint: 'Give each repair a folder of its own.' })
  const lock = to === undefined ? DirectoryLock.take(dataDirectoryOf(folder.directory)) : null
  try {
    const survey = await repairable(source)
    const found = faultsOf(folder.name, survey).length
    const repair = to === undefined ? await repairInPlace(source, survey) : await repairInto(source, survey, to)
    const repaired = to ?? folder.directory
    const left = faultsOf(folder.name, await surveyJournal(sourceOf(tools, repaired)))
    if (left.length > 0)
      throw new JournalCommandError(`${repaired} is not right even after the repair: ${left[0]?.found}`)
    const { rewritten, records, lost } = repair
    if (json) out.write(`${JSON.stringify({ repaired, faults: found, rewritten, records, lost })}\n`)
    else out.write(repairText(repaired, found, rewritten.length, records, lost, to === undefined))
    return journalExits.fine
  } finally {
    lock?.release()
  }
}

async function repairable(source: JournalSource): Promise<RepairableSurvey> {
  const survey = await surveyJournal(source)
  const { journalId } = survey
  if (journalId === null)
    throw new JournalCommandError(`nothing of ${source.directory} is readable: no segment has a valid header`)
  const foreign = survey.segments.find(({ header }) => header !== null && header.journalId !== journalId)
  if (foreign !== undefined)
    throw new JournalCommandError(
      `${foreign.name} is of journal ${foreign.header?.journalId}, others are of ${journalId}`,
      {
        hint: 'Files of several journals got into one folder. Move those of one of them away.',
      },
    )
  return { ...survey, journalId }
}

function repairText(
  repaired: string,
  faults: number,
  segments: number,
  records: number,
  lost: number,
  isInPlace: boolean,
): string {
  // prettier-ignore
  if (isInPlace && segments === 0) return `${repaired} has no fault; nothing was changed.\n`
  const written = `${countText(segments, 'segment')} with ${countText(records, 'record')}`
  const gaps = lost === 0 ? 'no record is lost' : `${countText(lost, 'record')} lost, for which gaps stand now`
  const before = isInPlace ? 'What they were before is in quarantine/.' : 'The original was not touched.'
  return `${repaired}: ${countText(faults, 'fault')} repaired, ${written} written, ${gaps}. ${before}\n`
}
