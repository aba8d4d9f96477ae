import { createWriteStream } from 'node:fs'
import { finished } from 'node:stream/promises'
import type { Writable } from 'node:stream'
import { surveyParts, segmentFiles } from '../journal/journal-survey.ts'
import { topicOf } from '../message/message-codec.ts'
import type { TextOutput } from './config-check.ts'
import { damageFault, faultText } from './journal-facts.ts'
import { FinishedMessages } from './journal-finished.ts'
import type { JournalFolder, JournalTools, RecordKind } from './journal-folder.ts'
import {
  JournalCommandError,
  countText,
  dataDirectoryOf,
  journalExits,
  journalFolder,
  sourceOf,
} from './journal-folder.ts'
import type { DeadLetterDecoder } from './journal-record-lines.ts'
import { RecordLines } from './journal-record-lines.ts'
import { writeLines } from './line-output.ts'

export interface ExportOptions {
  /** What the records are; undefined: as the folder's name says. */
  readonly records: RecordKind | undefined
  /** The records' bytes as they are, in place of their fields. */
  readonly raw: boolean
  /** Only messages that are neither delivered, nor dead, as far as cursor and receipts say. */
  readonly unfinished: boolean
  /** A new file; undefined: standard output. */
  readonly to: string | undefined
}

/**
 * Writes all readable records of a journal, oldest first, one JSON object a line. What is damaged is told on `err`. Returns the
 * exit code: 1 when something is damaged; then everything else was written.
 */
export async function exportJournal(
  tools: JournalTools,
  directory: string,
  options: ExportOptions,
  decodeDeadLetter: DeadLetterDecoder,
  output: Writable,
  err: TextOutput,
  signal: AbortSignal,
): Promise<number> {
  const folder = await journalFolder(tools.disk, directory)
  const kind = options.records ?? folder.kind
  const journalId = (await segmentFiles(tools.disk, folder.directory)).findLast(({ header }) => header)?.header
    ?.journalId
  const lines = new RecordLines(kind, journalId ?? '', decodeDeadLetter)
  const done = options.unfinished ? await finishedIn(tools, folder, kind, journalId ?? null) : null
  const counts = { lost: 0, damages: 0 }
  const make = (ends: AbortSignal): AsyncGenerator<string> =>
    exported(tools, folder, lines, { raw: options.raw, done, counts, err }, ends)
  if (options.to === undefined) {
    await writeLines(output, signal, make)
  } else {
    const file = createWriteStream(options.to, { flags: 'wx', mode: 0o600, flush: true })
    await writeLines(file, signal, make)
    file.end()
    await finished(file)
  }
  if (counts.damages === 0) return journalExits.fine
  err.write(`${countText(counts.lost, 'record')} could not be exported; all others were.\n`)
  return journalExits.damaged
}

async function* exported(
  tools: JournalTools,
  { name, directory }: JournalFolder,
  lines: RecordLines,
  { raw, done, counts, err }: { raw: boolean; done: FinishedMessages | null; counts: { lost: number; damages: number }; err: TextOutput }, // prettier-ignore
  signal: AbortSignal,
): AsyncGenerator<string> {
  for await (const part of surveyParts(sourceOf(tools, directory))) {
    if (part.kind === 'damage') {
      const { damage, segment } = part
      err.write(faultText(damageFault(name, segment, damage)))
      counts.damages++
      counts.lost += damage.toSeq - damage.fromSeq
    }
    if (part.kind !== 'block') continue
    const printed: string[] = []
    part.block.forEach((seq, bytes, start, end) => {
      if (done?.has(seq, topicOf(bytes, start))) return
      const record = { seq, bytes, start, end }
      printed.push(raw ? lines.raw(record) : lines.line(record))
    })
    yield* printed
    if (signal.aborted) return
  }
}

async function finishedIn(
  tools: JournalTools,
  folder: JournalFolder,
  kind: RecordKind,
  journalId: string | null,
): Promise<FinishedMessages> {
  if (kind !== 'messages')
    throw new JournalCommandError('only messages are finished or not; this journal does not hold messages')
  const done = await FinishedMessages.read(tools, dataDirectoryOf(folder.directory))
  if (done.journalId === journalId) return done
  throw new JournalCommandError(
    done.journalId === null
      ? 'there is no cursor beside this journal, so nobody knows which messages are finished'
      : `the cursor beside this journal is of another one, ${done.journalId}`,
    { hint: 'Export all messages; consumers tell by the header outrigger-id which ones they had.' },
  )
}
