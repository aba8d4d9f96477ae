import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { DirectoryLock } from '../../src/journal/directory-lock.ts'
import { DirectoryLockedError } from '../../src/journal/journal-errors.ts'
import { temporaryDirectory } from './text-journal.ts'

/** Another process, which says `taken` or the code of its error, and then stays. */
async function lockElsewhere(directory: string): Promise<{ said: string; child: ChildProcess }> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'lock-process.ts'), directory], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  const [said] = (await once(child.stdout, 'data')) as [Buffer]
  return { said: said.toString().trim(), child }
}

test('a directory is taken once, also within one process, and can be taken again after its release', async () => {
  const directory = await temporaryDirectory()
  const lock = DirectoryLock.take(directory)
  expect(() => DirectoryLock.take(directory)).toThrow(DirectoryLockedError)
  expect(() => DirectoryLock.take(directory)).toThrow(expect.objectContaining({ code: 'directory_locked' }))
  lock.release()
  lock.release()
  DirectoryLock.take(directory).release()
})

test('two directories are taken side by side', async () => {
  const held = DirectoryLock.take(await temporaryDirectory())
  const other = await temporaryDirectory()
  expect(() => DirectoryLock.take(other).release()).not.toThrow()
  held.release()
})

test('another process is locked out, until this one lets go', async () => {
  const directory = await temporaryDirectory()
  const lock = DirectoryLock.take(directory)
  expect((await lockElsewhere(directory)).said).toBe('directory_locked')
  lock.release()
  expect((await lockElsewhere(directory)).said).toBe('taken')
})

test('a process that is killed leaves no lock behind', async () => {
  const directory = await temporaryDirectory()
  const { said, child } = await lockElsewhere(directory)
  expect(said).toBe('taken')
  expect(() => DirectoryLock.take(directory)).toThrow(DirectoryLockedError)
  child.kill('SIGKILL')
  await once(child, 'exit')
  DirectoryLock.take(directory).release()
})
