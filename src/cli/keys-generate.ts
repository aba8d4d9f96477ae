import { randomBytes } from 'node:crypto'
import { dirname } from 'node:path'
import { OutriggerError, codeOf } from '../base/errors.ts'
import type { Disk } from '../journal/disk.ts'
import { newKeyLine } from '../security/key-list.ts'
import type { TextOutput } from './config-check.ts'

/** A key can't be made, or can't be put where it should be. What the message says shows no key. */
export class KeysError extends OutriggerError {
  override readonly name = 'KeysError'
  override readonly code = 'keys_failed'
}

export interface NewKey {
  /** Default: today's date (UTC) and four random digits. */
  readonly id: string | undefined
  /** Random bytes for keys, as of `node:crypto`. */
  readonly random: (bytes: number) => Buffer
  /** Milliseconds since the epoch. */
  readonly now: number
}

/** A key that nobody can guess. */
export function newKey(id: string | undefined, now: number): NewKey {
  return { id, random: randomBytes, now }
}

/** The id that a new key gets when nobody says one. */
export function newKeyId({ random, now }: Pick<NewKey, 'random' | 'now'>): string {
  return `${new Date(now).toISOString().slice(0, 10)}-${random(2).toString('hex')}`
}

/**
 * `outrigger keys generate`: prints a new key as a line of a list; or writes it to a new file, which its owner alone may
 * read, and prints nothing of it. A file that is there is never written over.
 */
export async function generateKey(disk: Disk, key: NewKey, to: string | undefined, out: TextOutput): Promise<void> {
  const id = key.id ?? newKeyId(key)
  const line = newKeyLine(id, key.random)
  if (to === undefined) {
    out.write(`${line.reveal()}\n`)
    return
  }
  await writeNew(disk, to, `${line.reveal()}\n`)
  out.write(`The key ${id} is in ${to}. Name that file in encryption.keysFile, and keep a copy of it in a safe place: what is encrypted under a key that is lost can't be read by anybody.\n`) // prettier-ignore
}

/** Durably. The disk makes files for their owner alone. */
async function writeNew(disk: Disk, path: string, text: string): Promise<void> {
  let file
  try {
    file = await disk.open(path, 'create')
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error
    throw new KeysError(`${path} is there already`, {
      cause: error,
      hint: 'A file of keys is never written over. To put a new key into it, use "outrigger keys rotate".',
    })
  }
  try {
    await file.write(Buffer.from(text), 0)
    await file.sync()
  } finally {
    await file.close()
  }
  await disk.syncDirectory(dirname(path))
}
