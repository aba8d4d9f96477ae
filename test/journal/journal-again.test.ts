import { expect, test } from 'vitest'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import { numbered, openText, readText, temporaryDirectory } from './text-journal.ts'
import { WatchedDisk } from './watched-disk.ts'

/** Until what was begun on the disk is over. */
async function settled(journal: { readonly failure: Error | null }, isFine: boolean): Promise<void> {
  await expect.poll(() => journal.failure === null, { interval: 5 }).toBe(isFine)
}

test('a journal says that it can not be written until it can, and finds that out although nobody appends', async () => {
  const disk = new WatchedDisk(nodeDisk)
  const { journal, clock, told } = await openText(await temporaryDirectory(), disk)
  await journal.append(['a'])
  expect(journal.failure).toBeNull()
  disk.fail({ operation: 'write', times: 1e9, code: 'ENOSPC' })
  await expect(journal.append(['b'])).rejects.toMatchObject({ code: 'journal_failed' })
  expect(journal.failure).toMatchObject({ code: 'ENOSPC' })
  const failures = told.failed.length
  disk.forget()
  journal.tryAgain() // too early
  await new Promise((resolve) => void setTimeout(resolve, 20))
  expect(disk.log).toEqual([])
  clock.monotonicMs += 501
  journal.tryAgain()
  await expect.poll(() => disk.log.length, { interval: 5 }).toBeGreaterThan(0)
  await settled(journal, false)
  // It was told before.
  expect(told.failed.length).toBe(failures)
  disk.mend()
  clock.monotonicMs += 501
  await expect
    .poll(() => {
      journal.tryAgain()
      return journal.failure
    })
    .toBeNull()
  expect(await journal.append(['c'])).toBe(2)
  expect(await readText(journal)).toEqual(numbered(1, ['a', 'c']))
  await journal.close()
  expect(disk.openFiles).toEqual([])
})

test('records that come while the disk is tried are kept like any others', async () => {
  const disk = new WatchedDisk(nodeDisk)
  const { journal, clock } = await openText(await temporaryDirectory(), disk)
  disk.fail({ operation: 'write', times: 1e9, code: 'ENOSPC' })
  await expect(journal.append(['a'])).rejects.toMatchObject({ code: 'journal_failed' })
  disk.mend()
  clock.monotonicMs += 501
  const rename = disk.hold('rename')
  journal.tryAgain()
  await rename.reached
  const appended = [journal.append(['b']), journal.append(['c'])]
  rename.go()
  expect(await Promise.all(appended)).toEqual([1, 2])
  expect(journal.failure).toBeNull()
  await journal.close()
})

test('a journal that an append finds in order again says so', async () => {
  const disk = new WatchedDisk(nodeDisk)
  const { journal, clock } = await openText(await temporaryDirectory(), disk)
  disk.fail({ operation: 'sync', times: 1e9 })
  await expect(journal.append(['a'])).rejects.toMatchObject({ code: 'journal_failed' })
  disk.mend()
  clock.monotonicMs += 501
  await journal.append(['b'])
  expect(journal.failure).toBeNull()
  await journal.close()
})
