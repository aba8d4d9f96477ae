import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { CursorFile } from '../../src/journal/cursor-file.ts'
import { segmentName } from '../../src/journal/format.ts'
import type { Journal } from '../../src/journal/journal.ts'
import type { KeyRing } from '../../src/journal/key-ring.ts'
import { keyUsage, requireKeys } from '../../src/journal/key-usage.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import { HeldKeys, keyOf } from './held-keys.ts'
import { openText, temporaryDirectory } from './text-journal.ts'

const [first, second] = [keyOf('first', 1), keyOf('second', 2)]

async function openJournal(directory: string, keys: KeyRing | null): Promise<Journal<string>> {
  return (await openText(directory, nodeDisk, { keys })).journal
}

describe('the check of a data directory before the start', () => {
  async function dataDirectory(keys: HeldKeys): Promise<string> {
    const root = await temporaryDirectory()
    for (const name of ['journal', 'receipts', 'dead-letters', 'ledger/metadata-exceptions']) {
      const journal = await openJournal(join(root, name), keys)
      await journal.append([name])
      await journal.close()
    }
    for (const name of ['forwarder.cursor', 'ledger/metadata.cursor'])
      await (await CursorFile.open(nodeDisk, join(root, name), '0123456789abc', { seq: 1, mark: 1 }, keys)).close()
    return root
  }

  test('passes when all keys are there', async () => {
    const keys = new HeldKeys(first)
    await expect(requireKeys(nodeDisk, await dataDirectory(keys), keys)).resolves.toBeUndefined()
    await expect(requireKeys(nodeDisk, join(await temporaryDirectory(), 'none'), keys)).resolves.toBeUndefined()
  })

  test.each([
    'journal',
    'receipts',
    'dead-letters',
    'ledger/metadata-exceptions',
    'forwarder.cursor',
    'ledger/metadata.cursor',
  ])('names a key that only %s needs, and one that is not encrypted', async (path) => {
    // prettier-ignore
    for (const other of [new HeldKeys(second), null]) {
      const keys = new HeldKeys(first)
      const root = await dataDirectory(keys)
      const odd = join(root, path)
      const from = await temporaryDirectory()
      if (path.endsWith('.cursor')) {
        await (await CursorFile.open(nodeDisk, join(from, 'x.cursor'), '0123456789abc', { seq: 1, mark: 1 }, other)).close() // prettier-ignore
        await writeFile(odd, await readFile(join(from, 'x.cursor')))
      } else {
        const journal = await openJournal(from, other)
        await journal.append(['x'])
        await journal.close()
        await writeFile(join(odd, segmentName(1)), await readFile(join(from, segmentName(1))))
      }
      const checked = requireKeys(nodeDisk, root, keys)
      await expect(checked).rejects.toMatchObject({ code: other === null ? 'journal_unencrypted' : 'journal_key_missing' }) // prettier-ignore
      await expect(checked).rejects.toThrow(other === null ? odd : second.name)
    }
  })
})

test('a file in quarantine counts as one that needs its key, under its old name and under one of its own', async () => {
  const root = await temporaryDirectory()
  const kept = join(root, 'receipts', 'quarantine')
  const journal = await openJournal(kept, new HeldKeys(first))
  await journal.append(['x'])
  await journal.close()
  await copyFile(join(kept, segmentName(1)), join(kept, '0000000000000001-0123456789abcdef0123456789abcdef.segment'))
  const { uses } = await keyUsage(nodeDisk, root)
  expect([...uses].map(([name, { files }]) => [name, files])).toEqual([[first.name, 2]])
  await expect(requireKeys(nodeDisk, root, new HeldKeys(second))).resolves.toBeUndefined()
})
