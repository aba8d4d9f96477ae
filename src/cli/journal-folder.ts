import { basename, dirname, join, resolve } from 'node:path'
import type { Clock } from '../base/clock.ts'
import { OutriggerError } from '../base/errors.ts'
import { namesIn } from '../journal/disk-look.ts'
import type { Disk } from '../journal/disk.ts'
import { baseSeqOf } from '../journal/format.ts'
import type { JournalSource } from '../journal/journal-survey.ts'
import type { KeyRing } from '../journal/key-ring.ts'

/** What the sub-commands of `outrigger journal` work with. */
export interface JournalTools {
  readonly disk: Disk
  readonly clock: Clock
  readonly keys: KeyRing | null
}

/** A sub-command of `outrigger journal` can't do what it is asked to. */
export class JournalCommandError extends OutriggerError {
  override readonly name = 'JournalCommandError'
  override readonly code = 'journal_command_failed'
}

/** The exit codes of `outrigger journal`: scripts tell damage from what could not be looked at. */
export const journalExits = { fine: 0, damaged: 1, failed: 2 } as const

/** What a journal's records are. */
export const recordKinds = ['messages', 'receipts', 'dead-letters', 'exceptions'] as const
export type RecordKind = (typeof recordKinds)[number]

/** A folder with the segments of one journal. */
export interface JournalFolder {
  /** As it is told: below the data directory when that was given. */
  readonly name: string
  readonly directory: string
  readonly kind: RecordKind
}

/** Where the journals of a data directory are. */
const journalNames = ['journal', 'receipts', 'dead-letters', 'ledger/metadata-exceptions', 'ledger/log-exceptions']
const kindsByName: Readonly<Record<string, RecordKind>> = {
  receipts: 'receipts',
  'dead-letters': 'dead-letters',
  'metadata-exceptions': 'exceptions',
  'log-exceptions': 'exceptions',
}

/** The journals of a data directory (`journal.directory`); or the one whose segments lie in the directory itself. */
export async function journalFolders(
  disk: Disk,
  directory: string,
): Promise<{ readonly isDataDirectory: boolean; readonly folders: readonly JournalFolder[] }> {
  if (await hasSegments(disk, directory))
    return { isDataDirectory: false, folders: [{ name: directory, directory, kind: kindOf(directory) }] }
  const folders: JournalFolder[] = []
  for (const name of journalNames)
    if (await hasSegments(disk, join(directory, name)))
      folders.push({ name, directory: join(directory, name), kind: kindOf(name) })
  if (folders.length === 0)
    throw new JournalCommandError(`there is no journal in ${directory}`, {
      hint: 'Name the data directory (journal.directory), or a folder that holds files *.segment.',
    })
  return { isDataDirectory: true, folders }
}

/** One journal: of a data directory, that of the messages. */
export async function journalFolder(disk: Disk, directory: string): Promise<JournalFolder> {
  const { isDataDirectory, folders } = await journalFolders(disk, directory)
  const [first] = folders
  if (first !== undefined && (!isDataDirectory || first.kind === 'messages')) return first
  throw new JournalCommandError(`there is no journal of messages in ${directory}`, {
    hint: `Name another one that is there: ${folders.map((folder) => folder.directory).join(', ')}.`,
  })
}

/** The data directory that a journal's folder belongs to: the one that is locked while somebody uses it. */
export function dataDirectoryOf(journalDirectory: string): string {
  const parent = dirname(resolve(journalDirectory))
  return basename(parent) === 'ledger' ? dirname(parent) : parent
}

export function sourceOf({ disk, keys }: JournalTools, directory: string): JournalSource {
  return { disk, keys, directory }
}

function kindOf(directory: string): RecordKind {
  return kindsByName[basename(resolve(directory))] ?? 'messages'
}

async function hasSegments(disk: Disk, directory: string): Promise<boolean> {
  return (await namesIn(disk, directory)).some((name) => baseSeqOf(name) !== null)
}

/** From the first seq to below `toSeq`, as people count. */
export function rangeText(fromSeq: number, toSeq: number): string {
  if (toSeq <= fromSeq) return 'none'
  return toSeq === fromSeq + 1 ? String(fromSeq) : `${fromSeq} to ${toSeq - 1}`
}

export function countText(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
