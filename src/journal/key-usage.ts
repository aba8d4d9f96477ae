import { join } from 'node:path'
import { codeOf } from '../base/errors.ts'
import { cursorKeyNames } from './cursor-file.ts'
import { namesIn, readStart } from './disk-look.ts'
import type { Disk } from './disk.ts'
import { baseSeqOf, parseSegmentHeader, segmentHeaderBytes } from './format.ts'
import type { KeyRing } from './key-ring.ts'
import { quarantineFolder } from './quarantine.ts'
import { isQuarantinedName } from './quarantine-report.ts'
import { refuseUnencrypted, ringKey } from './segment-cipher.ts'

/** A segment or a cursor of a data directory, and what it takes to read it. */
export interface KeyedFile {
  readonly path: string
  readonly bytes: number
  /** The names of the keys that it is encrypted under: one, and for a cursor perhaps two. Empty texts for what is not encrypted. */
  readonly keyNames: readonly string[]
  /** It was set aside because of damage, and Outrigger runs without it. */
  readonly isQuarantined: boolean
}

/** How much is encrypted under a key. */
export interface KeyUse {
  readonly files: number
  readonly bytes: number
}

export interface KeyUsage {
  /** By the keys' names; that of an empty name is what is not encrypted. */
  readonly uses: ReadonlyMap<string, KeyUse>
  /** Segments and cursors of which it can't be told, because they are damaged. */
  readonly unreadable: readonly string[]
}

const filesAtOnce = 8

/** What keys the files of a data directory need. Nothing is changed, and it may be in use: what goes meanwhile does not count. */
export async function keyUsage(disk: Disk, directory: string): Promise<KeyUsage> {
  const uses = new Map<string, KeyUse>()
  const unreadable: string[] = []
  for (const { path, bytes, keyNames } of await keyedFiles(disk, directory)) {
    if (keyNames.length === 0) unreadable.push(path)
    for (const name of new Set(keyNames)) {
      const use = uses.get(name) ?? { files: 0, bytes: 0 }
      uses.set(name, { files: use.files + 1, bytes: use.bytes + bytes })
    }
  }
  return { uses, unreadable }
}

/**
 * Throws a `JournalKeyMissingError` when the ring does not hold a key that a file of this data directory needs, and a
 * `JournalUnencryptedError` when one should be encrypted and is not. So that it is known before anything is changed.
 */
export async function requireKeys(disk: Disk, directory: string, keys: KeyRing): Promise<void> {
  for (const { path, keyNames, isQuarantined } of await keyedFiles(disk, directory)) {
    if (isQuarantined) continue
    for (const name of keyNames) {
      if (name === '') refuseUnencrypted(keys, path)
      else ringKey(keys, name, path)
    }
  }
}

async function keyedFiles(disk: Disk, directory: string): Promise<KeyedFile[]> {
  const ledger = await namesIn(disk, join(directory, 'ledger'))
  const exceptions = ledger.filter((name) => name.endsWith('-exceptions')).map((name) => join('ledger', name))
  const paths: string[] = []
  for (const journal of ['journal', 'receipts', 'dead-letters', ...exceptions]) {
    const [segments, kept] = [join(directory, journal), join(directory, journal, quarantineFolder)]
    const names = (await namesIn(disk, segments)).filter((name) => baseSeqOf(name) !== null)
    paths.push(...names.toSorted().map((name) => join(segments, name)))
    const keptNames = (await namesIn(disk, kept)).filter(isQuarantinedName)
    paths.push(...keptNames.toSorted().map((name) => join(kept, name)))
  }
  const cursors = ['forwarder.cursor', ...ledger.filter((name) => name.endsWith('.cursor')).map((name) => join('ledger', name))] // prettier-ignore
  paths.push(...cursors.map((name) => join(directory, name)))
  const files: KeyedFile[] = []
  for (let i = 0; i < paths.length; i += filesAtOnce) {
    const found = await Promise.all(paths.slice(i, i + filesAtOnce).map((path) => keyedFile(disk, path)))
    files.push(...found.filter((file) => file !== null))
  }
  return files
}

/** Null when it is not there. */
async function keyedFile(disk: Disk, path: string): Promise<KeyedFile | null> {
  const bytes = await disk.sizeOf(path)
  if (bytes === null) return null
  try {
    const keyNames = path.endsWith('.cursor') ? await cursorKeyNames(disk, path) : await segmentKeyNames(disk, path)
    return { path, bytes, keyNames, isQuarantined: path.includes(join('/', quarantineFolder, '/')) }
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null
    throw error
  }
}

async function segmentKeyNames(disk: Disk, path: string): Promise<string[]> {
  const parsed = parseSegmentHeader(await readStart(disk, path, segmentHeaderBytes))
  return parsed.ok ? [parsed.header.encryption?.keyName ?? ''] : []
}
