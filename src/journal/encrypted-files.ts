import { readStart } from './disk-look.ts'
import type { Disk } from './disk.ts'
import { parseSegmentHeader, segmentHeaderBytes } from './format.ts'
import { JournalCorruptError } from './journal-errors.ts'
import type { KeyRing } from './key-ring.ts'
import { SegmentReader } from './segment-reader.ts'

const filesAtOnce = 8

/**
 * Throws when one of these segments needs a key that is missing, or is not encrypted and should be. Before anything is changed:
 * it must be noticed at the start, not when it is that one's turn. What is damaged is for readers to report.
 */
export async function checkSegmentKeys(disk: Disk, paths: readonly string[], keys: KeyRing): Promise<void> {
  const check = async (path: string): Promise<void> => {
    try {
      await (await SegmentReader.open(disk, path, keys)).close()
    } catch (error) {
      if (!(error instanceof JournalCorruptError)) throw error
    }
  }
  for (let i = 0; i < paths.length; i += filesAtOnce) await Promise.all(paths.slice(i, i + filesAtOnce).map(check))
}

/** Deletes, and takes out of `spares`, what was not encrypted: it would be kept until something is written over it. */
export async function deletePlainSpares(disk: Disk, directory: string, spares: string[]): Promise<void> {
  for (const path of spares.splice(0)) {
    if (await isEncrypted(disk, path)) spares.push(path)
    else await disk.unlink(path)
  }
  await disk.syncDirectory(directory)
}

async function isEncrypted(disk: Disk, path: string): Promise<boolean> {
  const parsed = parseSegmentHeader(await readStart(disk, path, segmentHeaderBytes))
  return parsed.ok && parsed.header.encryption !== null
}
