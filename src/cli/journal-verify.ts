import type { JournalSurvey } from '../journal/journal-survey.ts'
import { surveyJournal } from '../journal/journal-survey.ts'
import type { TextOutput } from './config-check.ts'
import type { JournalFault } from './journal-facts.ts'
import { cursorFaults, cursorsIn, faultText, faultsOf } from './journal-facts.ts'
import type { JournalTools } from './journal-folder.ts'
import { countText, journalExits, journalFolders, sourceOf } from './journal-folder.ts'

/**
 * Checks every byte of a journal, or of all journals of a data directory with their cursors, and prints each fault, and then
 * the totals; with `json`, as one object a line. Returns the exit code: 1 when there is a fault.
 */
export async function verifyJournal(
  tools: JournalTools,
  directory: string,
  { json }: { readonly json: boolean },
  out: TextOutput,
): Promise<number> {
  const { isDataDirectory, folders } = await journalFolders(tools.disk, directory)
  // Before the journals: what they claim was there then. And after: what they hold is not released before they say so.
  const claimed = isDataDirectory ? await cursorsIn(tools, directory) : []
  const faults: JournalFault[] = []
  const show = (fault: JournalFault): void => {
    faults.push(fault)
    out.write(json ? `${JSON.stringify(fault)}\n` : faultText(fault))
  }
  let [segments, records, bytes] = [0, 0, 0]
  let messages: JournalSurvey | null = null
  for (const folder of folders) {
    const survey = await surveyJournal(sourceOf(tools, folder.directory))
    if (isDataDirectory && folder.kind === 'messages') messages = survey
    for (const fault of faultsOf(folder.name, survey)) show(fault)
    segments += survey.segments.length
    records += survey.segments.reduce((sum, segment) => sum + segment.records, 0)
    bytes += survey.segments.reduce((sum, segment) => sum + segment.bytes, 0)
  }
  for (const fault of cursorFaults(claimed, messages && { ...messages, firstSeq: 0 })) show(fault)
  if (isDataDirectory)
    for (const fault of cursorFaults(await cursorsIn(tools, directory), messages && { ...messages, nextSeq: Infinity }))
      if (!faults.some(({ file, found }) => file === fault.file && found === fault.found)) show(fault)
  const lostRecords = faults.reduce((sum, { fromSeq, toSeq }) => sum + (toSeq ?? 0) - (fromSeq ?? 0), 0)
  const totals = { journals: folders.length, segments, records, bytes, faults: faults.length, lostRecords }
  if (json) out.write(`${JSON.stringify({ totals })}\n`)
  else {
    const read = `${countText(records, 'record')} in ${countText(segments, 'segment')} (${bytes} bytes)`
    const verdict = faults.length === 0 ? 'no fault' : `${countText(faults.length, 'fault')}, ${countText(lostRecords, 'record')} lost` // prettier-ignore
    out.write(`${read}: ${verdict}\n`)
  }
  return faults.length === 0 ? journalExits.fine : journalExits.damaged
}
