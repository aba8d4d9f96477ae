import { formatSize } from '../config/quantities.ts'
import type { Disk } from '../journal/disk.ts'
import type { RingKey } from '../journal/key-ring.ts'
import type { KeyUse } from '../journal/key-usage.ts'
import { keyUsage } from '../journal/key-usage.ts'
import type { TextOutput } from './config-check.ts'

/** What `keys list` tells of a key: never the key itself. */
interface ListedKey extends KeyUse {
  readonly id: string
  /** Tells keys with the same id apart, and gives nothing away. */
  readonly check: string
  /** `missing`: files need it, and the configuration does not have it. */
  readonly state: 'active' | 'kept' | 'missing'
}

const noUse: KeyUse = { files: 0, bytes: 0 }

/**
 * `outrigger keys list`: each key of the ring, and how much of the data directory needs it; and those that are needed and are
 * not there. Resolves with the exit code: 1 when one is missing.
 */
export async function listKeys(
  disk: Disk,
  directory: string,
  ring: readonly RingKey[],
  { json }: { readonly json: boolean },
  out: TextOutput,
): Promise<number> {
  const { uses, unreadable } = await keyUsage(disk, directory)
  const names = ring.map(({ name }) => name)
  const missing = [...uses.keys()].filter((name) => name !== '' && !names.includes(name)).toSorted()
  const keys = [...names, ...missing].map((name, i): ListedKey => {
    const [id = '', check = ''] = name.split('/')
    const state = i === 0 && names.length > 0 ? 'active' : names.includes(name) ? 'kept' : 'missing'
    return { id, check, state, ...(uses.get(name) ?? noUse) }
  })
  const unencrypted = uses.get('') ?? noUse
  out.write(json ? `${JSON.stringify({ keys, unencrypted, unreadable })}\n` : listText(keys, unencrypted, unreadable))
  return missing.length > 0 ? 1 : 0
}

function listText(keys: readonly ListedKey[], unencrypted: KeyUse, unreadable: readonly string[]): string {
  const rows = [
    ['KEY', 'CHECK', 'STATE', 'FILES', 'BYTES'],
    ...keys.map(({ id, check, state, files, bytes }) => [id, check, state, String(files), sizeText(bytes)]),
  ]
  if (unencrypted.files > 0) rows.push(['-', '-', 'not encrypted', String(unencrypted.files), sizeText(unencrypted.bytes)]) // prettier-ignore
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? []
  const table = rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ').trimEnd()) // prettier-ignore
  const told = unreadable.map((path) => `${path} is damaged: what it is encrypted under can't be told`)
  for (const { id, state } of keys)
    if (state === 'missing')
      told.push(`The key ${id} is missing: put it back into encryption.keys or encryption.keysFile`)
  return `${[...table, ...told].join('\n')}\n`
}

/** With a unit, rounded; of few bytes, exactly. */
function sizeText(bytes: number): string {
  const rounded = bytes < 1024 ** 2 ? Math.ceil(bytes / 1024) * 1024 : Math.ceil(bytes / 1024 ** 2) * 1024 ** 2
  return formatSize(bytes === 0 ? 0 : rounded)
}
