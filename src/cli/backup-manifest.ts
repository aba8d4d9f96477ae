import { crc32 } from 'node:zlib'
import { join } from 'node:path'
import { OutriggerError, messageOf } from '../base/errors.ts'
import type { Disk } from '../journal/disk.ts'

/** Tells what a backup is made of. It is written last: a folder without it is no backup. */
const manifestName = 'manifest.json'
const format = 'outrigger-backup'
const formatVersion = 1

export interface BackedUpFile {
  /** Below the backup's folder, as below `journal.directory`; with `/`. */
  readonly path: string
  readonly bytes: number
  /** CRC-32 of its bytes, in 8 hexadecimal digits. */
  readonly crc32: string
}

export interface BackupManifest {
  /** RFC 3339. */
  readonly startedAt: string
  readonly endedAt: string
  /** Of Outrigger. */
  readonly version: string
  readonly journalId: string
  /** Below this seq, every message was finished; from it on, those that were not are in the backup. */
  readonly finishedBelow: number
  /** One past the last message of the backup. */
  readonly nextSeq: number
  readonly files: readonly BackedUpFile[]
}

/** A backup can't be made here, or is not what was backed up. */
export class BackupError extends OutriggerError {
  override readonly name = 'BackupError'
  override readonly code = 'backup_failed'
}

export function crcText(crc: number): string {
  return crc.toString(16).padStart(8, '0')
}

/** Durable when it resolves. */
export async function writeManifest(disk: Disk, directory: string, manifest: BackupManifest): Promise<void> {
  const text = JSON.stringify({ format, formatVersion, ...manifest }, null, 2)
  const part = join(directory, `${manifestName}.part`)
  const file = await disk.open(part, 'create')
  try {
    await file.write(Buffer.from(`${text}\n`), 0)
    await file.sync()
  } finally {
    await file.close()
  }
  await disk.rename(part, join(directory, manifestName))
  await disk.syncDirectory(directory)
}

/** The manifest of a backup. Throws a `BackupError` when there is none, or none that this version reads. */
export async function readManifest(disk: Disk, directory: string): Promise<BackupManifest> {
  const path = join(directory, manifestName)
  const bytes = await disk.sizeOf(path)
  if (bytes === null)
    throw new BackupError(`${directory} is no backup: it has no ${manifestName}`, {
      hint: 'The manifest is written last; a backup that was cut short has none. Use another one.',
    })
  const file = await disk.open(path, 'read')
  const text = Buffer.alloc(bytes)
  try {
    await file.read(text, 0)
  } finally {
    await file.close()
  }
  return parseManifest(text.toString(), path)
}

function parseManifest(text: string, path: string): BackupManifest {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch (error) {
    throw new BackupError(`${path} is damaged: ${messageOf(error)}`, { cause: error })
  }
  const manifest = (typeof parsed === 'object' && parsed !== null ? parsed : {}) as Record<string, unknown>
  if (manifest['format'] !== format) throw new BackupError(`${path} is not the manifest of a backup`)
  if (manifest['formatVersion'] !== formatVersion)
    throw new BackupError(
      `${path} has format version ${String(manifest['formatVersion'])}; ${formatVersion} is known`,
      {
        hint: 'Use the version of Outrigger that made the backup, or a later one.',
      },
    )
  const { startedAt, endedAt, version, journalId, finishedBelow, nextSeq, files } = manifest
  const texts = [startedAt, endedAt, version, journalId]
  if (
    !texts.every((each) => typeof each === 'string') ||
    ![finishedBelow, nextSeq].every(Number.isSafeInteger) ||
    !Array.isArray(files) ||
    !files.every(isFile)
  )
    throw new BackupError(`${path} is damaged: something is missing in it`)
  return manifest as unknown as BackupManifest
}

function isFile(file: unknown): file is BackedUpFile {
  if (typeof file !== 'object' || file === null) return false
  const { path, bytes, crc32: crc } = file as Record<string, unknown>
  const isPath = typeof path === 'string' && path !== '' && path.split('/').every((part) => /^[^/\\]+$/.test(part) && part !== '..' && part !== '.') // prettier-ignore
  return isPath && Number.isSafeInteger(bytes) && typeof crc === 'string' && /^[0-9a-f]{8}$/.test(crc)
}

/** The size and CRC of a file, read in pieces. */
export async function measure(disk: Disk, path: string): Promise<{ bytes: number; crc: number }> {
  const file = await disk.open(path, 'read')
  try {
    const chunk = Buffer.allocUnsafe(1024 * 1024)
    let bytes = 0
    let crc = 0
    for (;;) {
      const read = await file.read(chunk, bytes)
      crc = crc32(chunk.subarray(0, read), crc)
      bytes += read
      if (read < chunk.length) return { bytes, crc }
    }
  } finally {
    await file.close()
  }
}
