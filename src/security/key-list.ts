import { createHmac, createSecretKey } from 'node:crypto'
import { OutriggerError } from '../base/errors.ts'
import { Secret } from '../base/secret.ts'
import type { RingKey } from '../journal/key-ring.ts'

/** A list of keys is not as it should be. What the message says shows no key. */
export class KeyListError extends OutriggerError {
  override readonly name = 'KeyListError'
  override readonly code = 'key_list'
}

const keyBytes = 32
/** How a key's id looks. */
export const keyIdPattern = /^[A-Za-z0-9._-]{1,40}$/

/**
 * Reads keys, the active one first: each an id, a colon and 32 bytes in Base64, separated by line breaks or commas. Empty
 * lines, and what follows a `#`, are left out. Throws a `KeyListError`.
 */
export function readKeyList(text: string): RingKey[] {
  const entries = text.split('\n').flatMap(keysInLine)
  const keys: RingKey[] = []
  const ids = new Set<string>()
  for (const entry of entries) {
    const number = keys.length + 1
    const colon = entry.indexOf(':')
    const id = entry.slice(0, Math.max(0, colon))
    if (!keyIdPattern.test(id))
      throw new KeyListError(
        `key ${number} has no id: it must be ID:KEY, with at most 40 letters, digits, ".", "_" or "-" as ID`,
      )
    if (ids.has(id)) throw new KeyListError(`two keys have the id ${id}`)
    ids.add(id)
    const encoded = entry.slice(colon + 1)
    const bytes = Buffer.from(encoded, 'base64')
    if (bytes.length !== keyBytes || bytes.toString('base64') !== encoded)
      throw new KeyListError(`the key ${id} is not ${keyBytes} bytes in Base64`, {
        hint: 'Make one with "outrigger keys generate".',
      })
    keys.push(ringKeyOf(id, bytes))
  }
  if (keys.length === 0)
    throw new KeyListError('there is no key in it', { hint: 'Make one with "outrigger keys generate".' })
  return keys
}

/** The keys in one line of a list, as they stand there. */
export function keysInLine(line: string): string[] {
  const entries = line.replace(/#.*/, '').split(',')
  return entries.map((each) => each.trim()).filter((each) => each !== '')
}

/** A new key as a line of a list. */
export function newKeyLine(id: string, random: (bytes: number) => Buffer): Secret {
  return new Secret(`${id}:${random(keyBytes).toString('base64')}`)
}

function ringKeyOf(id: string, bytes: Buffer): RingKey {
  const check = createHmac('sha256', bytes).update('outrigger key check').digest('hex').slice(0, 16)
  return { name: `${id}/${check}`, secret: createSecretKey(bytes) }
}
