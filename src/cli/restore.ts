import { rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import { DirectoryLock } from '../journal/directory-lock.ts'
import type { Disk } from '../journal/disk.ts'
import { copyBytes } from '../journal/journal-copy.ts'
import { Journal } from '../journal/journal.ts'
import type { KeyRing } from '../journal/key-ring.ts'
import { messageCodec } from '../message/message-codec.ts'
import type { BackupManifest } from './backup-manifest.ts'
import { BackupError, crcText, measure, readManifest } from './backup-manifest.ts'

/** What is copied waits here until it is whole. */
const waitingName = 'restoring'

/**
 * What of ours a data directory may hold. The journal gets its name last: a start on a directory that was restored halfway
 * finds a cursor that belongs to another journal than the new one, and refuses.
 */
const restoredNames = ['broker.sqlite', 'ledger.sqlite', 'dead-letters', 'ledger', 'receipts', 'forwarder.cursor', 'journal'] // prettier-ignore

/**
 * Brings a backup back into `directory` (`journal.directory`), which must hold nothing of Outrigger's, and which no Outrigger
 * may be running on. Every file is checked against the manifest, before and while it is copied. Durable when it resolves.
 */
export async function restore(
  disk: Disk,
  clock: Clock,
  from: string,
  directory: string,
  keys: KeyRing | null = null,
): Promise<BackupManifest> {
  const manifest = await readManifest(disk, from)
  await checkFiles(disk, from, manifest)
  await disk.makeDirectory(directory)
  const lock = DirectoryLock.take(directory)
  try {
    const held = (await disk.list(directory)).filter((name) => restoredNames.some((ours) => name === ours || name.startsWith(`${ours}-`))) // prettier-ignore
    if (held.length > 0)
      throw new BackupError(`${directory} is in use: it holds ${held.toSorted().join(', ')}`, {
        hint: 'Move what is there away, as a whole, and keep it: it may hold messages that the backup does not.',
      })
    const waiting = join(directory, waitingName)
    // Of a restore that was cut short.
    await rm(waiting, { recursive: true, force: true })
    for (const file of manifest.files) await copyFile(disk, from, waiting, file)
    await leaveIdsOut(disk, clock, join(waiting, 'journal'), keys)
    for (const name of restoredNames) {
      if ((await disk.sizeOf(join(waiting, name))) === null) continue
      await disk.rename(join(waiting, name), join(directory, name))
      await disk.syncDirectory(directory)
    }
    await rm(waiting, { recursive: true })
    await disk.syncDirectory(directory)
    return manifest
  } finally {
    lock.release()
  }
}

/** So many numbers are left out at a time, which is what a gap can hold; and so many times: enough for a month at 100,000/s. */
const leftOutAtOnce = 2 ** 32 - 1
const leftOutTimes = 64

/**
 * What was accepted after the backup was taken had numbers, and consumers and the ledger may know their ids. New messages
 * must not get them: whoever drops duplicates by id would drop these. So the journal goes on a long way behind.
 */
async function leaveIdsOut(disk: Disk, clock: Clock, directory: string, keys: KeyRing | null): Promise<void> {
  const options = { directory, bytesMax: Number.MAX_SAFE_INTEGER, segmentBytes: 64 * 1024, keys }
  const journal = await Journal.open(disk, clock, messageCodec, { committed() {}, failed() {} }, options)
  try {
    for (let i = 0; i < leftOutTimes; i++) await journal.skipTo(journal.nextSeq + leftOutAtOnce)
  } finally {
    await journal.close()
  }
}

async function checkFiles(disk: Disk, from: string, { files }: BackupManifest): Promise<void> {
  for (const { path, bytes, crc32 } of files) {
    const [name = ''] = path.split('/')
    if (!restoredNames.includes(name)) throw new BackupError(`the backup names ${path}, which is not known`)
    const size = await disk.sizeOf(join(from, path))
    if (size === null)
      throw new BackupError(`the backup ${from} is not whole: ${path} is missing`, { hint: useAnother })
    const { crc } = await measure(disk, join(from, path))
    if (size !== bytes || crcText(crc) !== crc32) throw damaged(from, path)
  }
}

async function copyFile(
  disk: Disk,
  from: string,
  to: string,
  { path, bytes, crc32 }: BackupManifest['files'][number],
): Promise<void> {
  const target = join(to, path)
  await disk.makeDirectory(dirname(target))
  const source = await disk.open(join(from, path), 'read')
  try {
    if (crcText(await copyBytes(disk, source, target, bytes)) !== crc32) throw damaged(from, path)
  } finally {
    await source.close()
  }
  await disk.syncDirectory(dirname(target))
}

const useAnother = 'Use another backup.'

function damaged(from: string, path: string): BackupError {
  return new BackupError(`the backup ${from} is damaged: ${path} is not what was written`, { hint: useAnother })
}

/** For people: what there is now, and what will happen. */
export function restoredText({ startedAt, nextSeq, finishedBelow, journalId, files }: BackupManifest): string {
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  return [
    `Restored ${files.length} files (${bytes} bytes) of journal ${journalId}, as of ${startedAt}.`,
    nextSeq > finishedBelow
      ? `Up to ${nextSeq - finishedBelow} messages (${journalId}-${finishedBelow} to ${journalId}-${nextSeq - 1}) wait for delivery; “outrigger run” goes on with them.`
      : 'All its messages were delivered when the backup was taken.',
    'What was delivered after the backup was taken is delivered again, under the same ids: consumers see duplicates.',
    'What was accepted after the backup was taken is not in it. Its ids are not given again: new ones go on far behind.',
    '',
  ].join('\n')
}
