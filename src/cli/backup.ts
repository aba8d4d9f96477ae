import { dirname, join, relative } from 'node:path'
import type { Clock } from '../base/clock.ts'
import { namesIn } from '../journal/disk-look.ts'
import { CursorFile } from '../journal/cursor-file.ts'
import type { CursorPosition } from '../journal/cursor-file.ts'
import type { Disk } from '../journal/disk.ts'
import type { CopiedJournal } from '../journal/journal-copy.ts'
import type { KeyRing } from '../journal/key-ring.ts'
import { JournalCopy } from '../journal/journal-copy.ts'
import type { BackedUpFile, BackupManifest } from './backup-manifest.ts'
import { BackupError, crcText, measure, writeManifest } from './backup-manifest.ts'

/**
 * What makes a backup consistent, whatever the sidecar does meanwhile, is the order in which things are read: first what
 * claims something, then what it is claimed of. So everything that is claimed was there before it was copied.
 *
 * 1. Cursors. The forwarder's says below which message everything is finished; those of the recorders, up to which receipt
 *    everything is in the ledger. Older ones cost work that is done again, and never a message.
 * 2. Receipts. They say what of the rest is delivered, or dead. They must not be younger than the journal: a receipt of a
 *    message that the copy does not hold would count for the one that gets its number after the restore, and that one would
 *    never be delivered.
 * 3. The journal: every message that a receipt in hand is about, and every one that was answered before the backup began.
 * 4. Dead letters, after the receipts that let their messages go.
 * 5. What the ledger does not hold, after the recorders' cursors that passed it.
 * 6. The file of the embedded ledger, after the cursors of the recorders that say what is in it.
 * 7. The file of the embedded broker, after all that says that something is in it.
 *
 * Between 1 and 3 the sidecar may release segments. It does so because its cursors have moved, so nothing that is
 * unfinished goes; but a recorder that is resumed from its older cursor would miss receipts and messages, and note a gap
 * that is none. So 1 to 3 are taken again, each time copying only what is new and therefore sooner after the cursors, until
 * the copy reaches back to all of them. Nothing is asked of the sidecar, and nothing is locked: it does not notice.
 */
export interface BackupSource {
  /** `journal.directory`. */
  readonly directory: string
  /** Recorders that are configured; of others an old cursor may lie about. */
  readonly recorders: readonly string[]
  /** SQLite files in `directory` that are in use, in the order in which they are to be copied. */
  readonly databases: readonly string[]
  /** Copies an SQLite file as it stands at one moment; false when there is none. */
  readonly copyDatabase: (from: string, to: string) => Promise<boolean>
  /** Outrigger's version. */
  readonly version: string
  /** What the cursors are encrypted with; nothing else is decrypted. Default null: they are not. */
  readonly keys?: KeyRing | null
}

/** So often cursors, receipts and journal are taken; under any load that the disk can bear, two or three do. */
const roundsMax = 8

export interface BackupResult extends BackupManifest {
  /** Whether recorders will find all that they have not recorded; else they note a gap, although little may be missing. */
  readonly isWholeForLedger: boolean
}

/** Backs a data directory up into `target`, which is made or must be empty. Durable when it resolves. */
export async function backUp(disk: Disk, clock: Clock, source: BackupSource, target: string): Promise<BackupResult> {
  const startedAt = new Date(clock.now()).toISOString()
  const { directory } = source
  if ((await namesIn(disk, join(directory, 'journal'))).length === 0)
    throw new BackupError(`there is no journal in ${directory}`, {
      hint: 'Use the configuration of the sidecar, and its working directory when journal.directory is relative.',
    })
  if (!relative(directory, target).startsWith('..'))
    throw new BackupError(`${target} lies in what is to be backed up, ${directory}`, {
      hint: 'Give it a folder elsewhere, on another disk if there is one.',
    })
  await disk.makeDirectory(target)
  if ((await disk.list(target)).length > 0)
    throw new BackupError(`${target} is not empty`, { hint: 'Give each backup a folder of its own.' })

  const files: BackedUpFile[] = []
  const { journal, cursors, isWholeForLedger } = await copyPositions(disk, source, target, files)
  await copyJournals(disk, directory, target, files)
  for (const name of source.databases) {
    if (!(await source.copyDatabase(join(directory, name), join(target, name)))) continue
    const { bytes, crc } = await measure(disk, join(target, name))
    files.push({ path: name, bytes, crc32: crcText(crc) })
  }
  await disk.syncDirectory(target)
  const manifest: BackupManifest = {
    startedAt,
    endedAt: new Date(clock.now()).toISOString(),
    version: source.version,
    journalId: journal.journalId,
    finishedBelow: Math.max(journal.firstSeq, cursors.get(forwarderCursor)?.seq ?? 0),
    nextSeq: journal.nextSeq,
    files,
  }
  await writeManifest(disk, target, manifest)
  return { ...manifest, isWholeForLedger }
}

const forwarderCursor = 'forwarder.cursor'

/** Steps 1 to 3. */
async function copyPositions(
  disk: Disk,
  { directory, recorders, keys = null }: BackupSource,
  target: string,
  files: BackedUpFile[],
): Promise<{ journal: CopiedJournal; cursors: Map<string, CursorPosition>; isWholeForLedger: boolean }> {
  const receipts = new JournalCopy(disk, join(directory, 'receipts'), join(target, 'receipts'))
  const messages = new JournalCopy(disk, join(directory, 'journal'), join(target, 'journal'))
  const hasReceipts = (await namesIn(disk, join(directory, 'receipts'))).length > 0
  const needing = recorders.map((name) => `ledger/${name}.cursor`)
  for (let round = 1; ; round++) {
    const bytes = await readCursors(disk, directory)
    if (hasReceipts) await receipts.update()
    await messages.update()
    const cursors = await keepCursors(disk, target, messages.journalId ?? '', bytes, keys)
    const isWholeForLedger = needing.every((path) => {
      const position = cursors.get(path)
      if (position === undefined) return true
      return (receipts.firstSeq ?? 0) <= position.mark && (messages.firstSeq ?? 0) <= position.seq
    })
    if (!isWholeForLedger && round < roundsMax) continue
    const copiedReceipts = await receipts.finish()
    const journal = await messages.finish()
    if (journal === null) throw new BackupError(`there is no journal in ${directory}`)
    for (const path of cursors.keys()) files.push(await measured(disk, target, path))
    if (copiedReceipts) files.push(...named('receipts', copiedReceipts))
    files.push(...named('journal', journal))
    return { journal, cursors, isWholeForLedger }
  }
}

/** Steps 4 and 5. */
async function copyJournals(disk: Disk, directory: string, target: string, files: BackedUpFile[]): Promise<void> {
  const ledgerNames = (await namesIn(disk, join(directory, 'ledger'))).filter((name) => name.endsWith('-exceptions'))
  for (const path of ['dead-letters', ...ledgerNames.map((name) => `ledger/${name}`)]) {
    if ((await namesIn(disk, join(directory, path))).length === 0) continue
    const copy = new JournalCopy(disk, join(directory, path), join(target, path))
    await copy.update()
    const copied = await copy.finish()
    if (copied) files.push(...named(path, copied))
  }
}

/** The bytes of every cursor, by path. One that does not exist yet is made at the start, and claims nothing. */
async function readCursors(disk: Disk, directory: string): Promise<Map<string, Buffer>> {
  const ledger = (await namesIn(disk, join(directory, 'ledger'))).filter((name) => name.endsWith('.cursor'))
  const cursors = new Map<string, Buffer>()
  for (const path of [forwarderCursor, ...ledger.map((name) => `ledger/${name}`)]) {
    const bytes = await readWhole(disk, join(directory, path))
    if (bytes !== null) cursors.set(path, bytes)
  }
  return cursors
}

/**
 * Writes the cursors into the backup, in place of those of the round before, and reads them there: their two slots are
 * written in turn and far apart in time, so that one is whole whenever they are read.
 */
async function keepCursors(
  disk: Disk,
  target: string,
  journalId: string,
  cursors: ReadonlyMap<string, Buffer>,
  keys: KeyRing | null,
): Promise<Map<string, CursorPosition>> {
  const positions = new Map<string, CursorPosition>()
  for (const [path, bytes] of cursors) {
    const to = join(target, path)
    await disk.makeDirectory(dirname(to))
    if ((await disk.sizeOf(to)) !== null) await disk.unlink(to)
    const file = await disk.open(to, 'create')
    try {
      await file.write(bytes, 0)
      await file.sync()
    } finally {
      await file.close()
    }
    const cursor = await CursorFile.open(disk, to, journalId, { seq: 0, mark: 0 }, keys)
    positions.set(path, cursor.position)
    await cursor.close()
    await disk.syncDirectory(dirname(to))
  }
  return positions
}

async function readWhole(disk: Disk, path: string): Promise<Buffer | null> {
  if ((await disk.sizeOf(path)) === null) return null
  const file = await disk.open(path, 'read')
  try {
    const bytes = Buffer.alloc(await file.size())
    await file.read(bytes, 0)
    return bytes
  } finally {
    await file.close()
  }
}

async function measured(disk: Disk, target: string, path: string): Promise<BackedUpFile> {
  const { bytes, crc } = await measure(disk, join(target, path))
  return { path, bytes, crc32: crcText(crc) }
}

function named(path: string, { files }: CopiedJournal): BackedUpFile[] {
  return files.map(({ name, bytes, crc }) => ({ path: `${path}/${name}`, bytes, crc32: crcText(crc) }))
}

/** For people: what there is now. */
export function backupText({ files, journalId, nextSeq, finishedBelow, isWholeForLedger }: BackupResult): string {
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  const lines = [
    `Backed up ${files.length} files (${bytes} bytes) of journal ${journalId}: ${nextSeq - finishedBelow} messages that may not have been delivered.`,
  ]
  if (!isWholeForLedger)
    lines.push('The ledger was faster than the copy: after a restore it may note a gap; “outrigger ledger backfill” fills it.') // prettier-ignore
  return `${lines.join('\n')}\n`
}
