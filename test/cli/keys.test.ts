import { chmod, lstat, mkdir, readFile, readdir, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { generateKey } from '../../src/cli/keys-generate.ts'
import { listKeys } from '../../src/cli/keys-list.ts'
import { rotateKeys } from '../../src/cli/keys-rotate.ts'
import { CursorFile } from '../../src/journal/cursor-file.ts'
import { segmentName } from '../../src/journal/format.ts'
import type { KeyRing } from '../../src/journal/key-ring.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import { readKeyList } from '../../src/security/key-list.ts'
import { HeldKeys, keyOf } from '../journal/held-keys.ts'
import { openText, temporaryDirectory } from '../journal/text-journal.ts'
import { TextOutput } from './text-output.ts'

const random = (bytes: number): Buffer => Buffer.alloc(bytes, 0xa7)
const secret = random(32).toString('base64')
const newKey = { id: undefined, random, now: Date.UTC(2026, 4, 1, 23, 59) }

describe('keys generate', () => {
  test('prints one line, with today’s date and four digits as id', async () => {
    const out = new TextOutput()
    await generateKey(nodeDisk, newKey, undefined, out)
    expect(out.text).toBe(`2026-05-01-a7a7:${secret}\n`)
    expect(readKeyList(out.text)).toHaveLength(1)
  })

  test('writes a new file for its owner alone, and shows nothing of the key', async () => {
    const path = join(await temporaryDirectory(), 'keys')
    const out = new TextOutput()
    await generateKey(nodeDisk, { ...newKey, id: 'mine' }, path, out)
    expect(await readFile(path, 'utf8')).toBe(`mine:${secret}\n`)
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect(out.text).toContain('mine')
    expect(out.text).not.toContain(secret.slice(0, 8))
  })

  test('never writes over a file', async () => {
    const path = join(await temporaryDirectory(), 'keys')
    await writeFile(path, 'precious')
    await expect(generateKey(nodeDisk, newKey, path, new TextOutput())).rejects.toMatchObject({ code: 'keys_failed' })
    expect(await readFile(path, 'utf8')).toBe('precious')
  })
})

describe('keys rotate', () => {
  const old = `old:${Buffer.alloc(32, 1).toString('base64')}`

  test('puts a new key before the others, keeps comments and permissions, and shows nothing of it', async () => {
    const directory = await temporaryDirectory()
    const path = join(directory, 'keys')
    await writeFile(path, `# ours\n\n${old} # since ever\n# end\n`)
    await chmod(path, 0o640)
    const before = await stat(path)
    const out = new TextOutput()
    await rotateKeys(path, newKey, out)
    expect(await readFile(path, 'utf8')).toBe(`# ours\n\n2026-05-01-a7a7:${secret}\n${old} # since ever\n# end\n`)
    const after = await stat(path)
    expect([after.mode, after.uid, after.gid]).toEqual([before.mode, before.uid, before.gid])
    // Another file in its place, so that nobody ever reads half of it.
    expect(after.ino).not.toBe(before.ino)
    expect(await readdir(directory)).toEqual(['keys'])
    expect(readKeyList(await readFile(path, 'utf8')).map(({ name }) => name.split('/')[0])).toEqual(['2026-05-01-a7a7', 'old']) // prettier-ignore
    expect(out.text).toMatch(/2026-05-01-a7a7.*before old/)
    expect(out.text).toContain('keys list')
    expect(out.text).not.toContain(secret.slice(0, 8))
  })

  test('leaves a link as it is, and changes the file that it leads to', async () => {
    const directory = await temporaryDirectory()
    await mkdir(join(directory, 'real'))
    await writeFile(join(directory, 'real', 'keys'), old)
    await symlink(join('real', 'keys'), join(directory, 'link'))
    await rotateKeys(join(directory, 'link'), newKey, new TextOutput())
    expect((await lstat(join(directory, 'link'))).isSymbolicLink()).toBe(true)
    expect(await readFile(join(directory, 'real', 'keys'), 'utf8')).toBe(`2026-05-01-a7a7:${secret}\n${old}`)
  })

  test.each([
    ['has the id already', { ...newKey, id: 'old' }, old, 'keys_failed'],
    ['is no list of keys', newKey, 'nothing of the kind', 'key_list'],
    ['has no key', newKey, '# none\n', 'key_list'],
  ])('changes nothing in a file that %s', async (_, key, text, code) => {
    const directory = await temporaryDirectory()
    await writeFile(join(directory, 'keys'), text)
    await expect(rotateKeys(join(directory, 'keys'), key, new TextOutput())).rejects.toMatchObject({ code })
    expect(await readFile(join(directory, 'keys'), 'utf8')).toBe(text)
    expect(await readdir(directory)).toEqual(['keys'])
  })

  test('fails on a file that is not there', async () => {
    const path = join(await temporaryDirectory(), 'keys')
    await expect(rotateKeys(path, newKey, new TextOutput())).rejects.toMatchObject({ code: 'ENOENT' })
  })
})

describe('keys list', () => {
  const [first, second, third] = [keyOf('first', 1), keyOf('second', 2), keyOf('third', 3)]

  async function journal(directory: string, keys: KeyRing | null): Promise<number> {
    const { journal: opened } = await openText(directory, nodeDisk, { keys })
    await opened.append(['something'])
    await opened.close()
    return (await stat(join(directory, segmentName(opened.nextSeq - 1)))).size
  }

  test('tells how many files and bytes need each key, everywhere in the data directory', async () => {
    const root = await temporaryDirectory()
    const bytes =
      (await journal(join(root, 'journal'), new HeldKeys(first))) +
      (await journal(join(root, 'journal'), new HeldKeys(first))) +
      (await journal(join(root, 'journal', 'quarantine'), new HeldKeys(first)))
    const secondBytes =
      (await journal(join(root, 'receipts'), new HeldKeys(second))) +
      (await journal(join(root, 'dead-letters'), new HeldKeys(second))) +
      (await journal(join(root, 'ledger', 'log-exceptions'), new HeldKeys(second)))
    const plainBytes = await journal(join(root, 'ledger', 'metadata-exceptions'), null)
    for (const [name, ring] of [['forwarder.cursor', first], ['ledger/log.cursor', second]] as const) // prettier-ignore
      await (await CursorFile.open(nodeDisk, join(root, name), '0123456789abc', { seq: 1, mark: 1 }, new HeldKeys(ring))).close() // prettier-ignore
    const cursorBytes = (await stat(join(root, 'forwarder.cursor'))).size
    await writeFile(join(root, 'journal', segmentName(900)), 'damaged')

    const out = new TextOutput()
    expect(await listKeys(nodeDisk, root, [third, first], { json: true }, out)).toBe(1)
    const [id, check] = first.name.split('/')
    expect(JSON.parse(out.text)).toEqual({
      keys: [
        { id: 'third', check: third.name.slice(6), state: 'active', files: 0, bytes: 0 },
        { id, check, state: 'kept', files: 4, bytes: bytes + cursorBytes },
        { id: 'second', check: second.name.slice(7), state: 'missing', files: 4, bytes: secondBytes + cursorBytes },
      ],
      unencrypted: { files: 1, bytes: plainBytes },
      unreadable: [join(root, 'journal', segmentName(900))],
    })

    const text = new TextOutput()
    expect(await listKeys(nodeDisk, root, [third, first], { json: false }, text)).toBe(1)
    const lines = text.text.split('\n')
    expect(lines[0]).toMatch(/^KEY +CHECK +STATE +FILES +BYTES$/)
    expect(lines[1]).toMatch(/^third +[0-9a-f]{16} +active +0 +0$/)
    expect(lines[2]).toMatch(/^first +[0-9a-f]{16} +kept +4 +\d+KiB$/)
    expect(lines[3]).toMatch(/^second +[0-9a-f]{16} +missing +4 +\d+KiB$/)
    expect(lines[4]).toMatch(/^- +- +not encrypted +1 +\d+KiB$/)
    expect(text.text).toContain('is damaged')
    expect(text.text).toContain('The key second is missing')
  })

  test('counts a cursor for each key that one of its slots needs', async () => {
    const root = await temporaryDirectory()
    const path = join(root, 'forwarder.cursor')
    const keys = new HeldKeys(first)
    const cursor = await CursorFile.open(nodeDisk, path, '0123456789abc', { seq: 1, mark: 1 }, keys)
    keys.keys = [second, first]
    await cursor.write({ seq: 2, mark: 2 })
    await cursor.close()
    const out = new TextOutput()
    expect(await listKeys(nodeDisk, root, [second, first], { json: true }, out)).toBe(0)
    expect(JSON.parse(out.text)).toMatchObject({ keys: [{ files: 1 }, { files: 1 }] })
  })

  test('is fine when nothing is missing, also where there is nothing at all', async () => {
    const out = new TextOutput()
    expect(await listKeys(nodeDisk, join(await temporaryDirectory(), 'none'), [first], { json: false }, out)).toBe(0)
    expect(out.text).toMatch(/^KEY.*\nfirst +[0-9a-f]{16} +active +0 +0\n$/)
  })
})
