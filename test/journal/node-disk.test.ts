import { execFile } from 'node:child_process'
import { mkdir, readFile, stat, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import { temporaryDirectory } from './text-journal.ts'

test('a file is created once, and must be there to be opened otherwise', async () => {
  const path = join(await temporaryDirectory(), 'file')
  for (const mode of ['read', 'write'] as const)
    await expect(nodeDisk.open(path, mode)).rejects.toMatchObject({ code: 'ENOENT' })
  await (await nodeDisk.open(path, 'create')).close()
  await expect(nodeDisk.open(path, 'create')).rejects.toMatchObject({ code: 'EEXIST' })
})

test('a file takes bytes at any position, and gives them back up to its end', async () => {
  const path = join(await temporaryDirectory(), 'file')
  const file = await nodeDisk.open(path, 'create')
  await file.write(Buffer.from('world'), 6)
  await file.write(Buffer.from('hello'), 0)
  await file.sync()
  expect(await file.size()).toBe(11)
  const target = Buffer.alloc(20, '.')
  expect(await file.read(target, 3)).toBe(8)
  expect(target.toString()).toBe('lo\0world............')
  expect(await file.read(target, 11)).toBe(0)
  await file.truncate(5)
  expect(await readFile(path, 'utf8')).toBe('hello')
  await file.close()
  const readable = await nodeDisk.open(path, 'read')
  await expect(readable.write(Buffer.from('x'), 0)).rejects.toMatchObject({ code: 'EBADF' })
  await readable.close()
})

test('files and directories are for their owner alone', async () => {
  const directory = join(await temporaryDirectory(), 'a', 'b')
  await nodeDisk.makeDirectory(directory)
  await (await nodeDisk.open(join(directory, 'file'), 'create')).close()
  expect((await stat(directory)).mode & 0o777).toBe(0o700)
  expect((await stat(join(directory, 'file'))).mode & 0o777).toBe(0o600)
})

test('a full device is an error that says so', async () => {
  const path = join(await temporaryDirectory(), 'full')
  await symlink('/dev/full', path)
  const file = await nodeDisk.open(path, 'write')
  await expect(file.write(Buffer.from('x'), 0)).rejects.toMatchObject({ code: 'ENOSPC' })
  await file.close()
})

test('a short write is an error', async () => {
  const path = join(await temporaryDirectory(), 'file')
  // Within a limit to the size of files the kernel writes as much as still fits, as at the end of a disk.
  const script = ['ulimit -f 1', 'exec "$0" "$@"'].join('; ')
  const writing = join(import.meta.dirname, 'write-process.ts')
  const { stdout } = await promisify(execFile)('bash', ['-c', script, process.execPath, writing, path, '3000'])
  expect(stdout.trim()).toBe('short_write')
  expect((await stat(path)).size).toBe(1024)
})

test('making a directory that is there already, or one with a trailing slash, is fine', async () => {
  const directory = await temporaryDirectory()
  await nodeDisk.makeDirectory(directory)
  await nodeDisk.makeDirectory(join(directory, 'new', '/'))
  await nodeDisk.makeDirectory(join(directory, 'new', '/'))
  expect(await nodeDisk.list(directory)).toEqual(['new'])
})

test('a name that is missing has no size, and names are renamed over others', async () => {
  const directory = await temporaryDirectory()
  const [a, b] = [join(directory, 'a'), join(directory, 'b')]
  expect(await nodeDisk.sizeOf(a)).toBeNull()
  for (const [path, text] of [
    [a, 'aaa'],
    [b, 'b'],
  ] as const) {
    const file = await nodeDisk.open(path, 'create')
    await file.write(Buffer.from(text), 0)
    await file.close()
  }
  await nodeDisk.rename(a, b)
  await nodeDisk.syncDirectory(directory)
  expect([await nodeDisk.sizeOf(a), await nodeDisk.sizeOf(b), await nodeDisk.list(directory)]).toEqual([null, 3, ['b']])
  await nodeDisk.unlink(b)
  await expect(nodeDisk.unlink(b)).rejects.toMatchObject({ code: 'ENOENT' })
  await mkdir(b)
  await expect(nodeDisk.list(join(directory, 'missing'))).rejects.toMatchObject({ code: 'ENOENT' })
})
