import { open, readFile, realpath, rename, stat, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { keysInLine, newKeyLine, readKeyList } from '../security/key-list.ts'
import type { TextOutput } from './config-check.ts'
import type { NewKey } from './keys-generate.ts'
import { KeysError, newKeyId } from './keys-generate.ts'

/**
 * `outrigger keys rotate FILE`: puts a new key before the others, so that it is the active one. Comments and all other keys stay.
 * The file is replaced as a whole, by one with the same owner and permissions: whoever reads it finds the old keys or
 * the new ones, whatever happens meanwhile. Durable when it resolves.
 */
export async function rotateKeys(file: string, key: NewKey, out: TextOutput): Promise<void> {
  // A link stays one, and leads to the new keys.
  const path = await realpath(file)
  const text = await readFile(path, 'utf8')
  const known = readKeyList(text).map(({ name }) => name.split('/')[0])
  const id = key.id ?? newKeyId(key)
  if (known.includes(id)) throw new KeysError(`${file} has a key ${id} already`, { hint: 'Give it another --id.' })
  const lines = text.split('\n')
  lines.splice(lines.findIndex((line) => keysInLine(line).length > 0), 0, newKeyLine(id, key.random).reveal()) // prettier-ignore
  await replaceFile(path, lines.join('\n'), `${path}.${key.random(4).toString('hex')}.new`)
  out.write(
    [
      `The key ${id} is the active one in ${file} now, before ${known.join(', ')}.`,
      'Next:',
      '1. Put the file wherever else it is used, and into your safe place.',
      '2. A running Outrigger reads it again within 10 s, and begins its next files under the new key; after a restart, at once.',
      '3. Keep the other keys for as long as “outrigger keys list” shows files that need them; backups may need them for longer.',
      '',
    ].join('\n'),
  )
}

async function replaceFile(path: string, text: string, temporary: string): Promise<void> {
  const { mode, uid, gid } = await stat(path)
  const made = await open(temporary, 'wx', 0o600)
  try {
    try {
      await made.writeFile(text)
      await made.chown(uid, gid)
      await made.chmod(mode & 0o7777)
      await made.sync()
    } finally {
      await made.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await unlink(temporary).catch(() => {}) // why it could not be replaced says more
    throw error
  }
  const folder = await open(join(dirname(path), '.'), 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
