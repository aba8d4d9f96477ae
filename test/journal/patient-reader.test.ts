import { expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { JournalCorruptError } from '../../src/journal/journal-errors.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import { PatientReader } from '../../src/journal/patient-reader.ts'
import { appendEach, openText, temporaryDirectory, texts } from './text-journal.ts'
import type { Fault } from './watched-disk.ts'
import { WatchedDisk } from './watched-disk.ts'

const never = new AbortController().signal
/** Waits nowhere. */
const clock = { ...systemClock, sleep: async (_ms: number, signal?: AbortSignal) => signal?.throwIfAborted() }

async function read(operation: Fault['operation'], after: number) {
  const disk = new WatchedDisk(nodeDisk)
  const directory = await temporaryDirectory()
  const { journal } = await openText(directory, disk)
  const records = texts(60, 3000)
  await appendEach(journal, records)
  disk.fail({ operation, after, times: 3, code: 'EIO' })
  const told: unknown[] = []
  const reader = new PatientReader(journal.reader(1), clock, never, (error) => told.push(error))
  const found: string[] = []
  for (let block = await reader.next(); block; block = await reader.next())
    block.forEach((_, bytes, start, end) => found.push(bytes.toString('utf8', start, end)))
  await reader.close()
  await journal.close()
  return { found, records, told }
}

test.each(['read', 'open read', 'list'] as const)(
  '“%s” that fails is tried again, wherever it fails',
  async (operation) => {
    for (const after of [0, 1, 2, 3, 5, 8]) {
      const { found, records, told } = await read(operation, after)
      expect(found).toEqual(records)
      expect(told.length).toBeLessThanOrEqual(3)
    }
  },
)

test('what is no failure of the disk is thrown, and so is one that nobody waits for', async () => {
  const stop = new AbortController()
  let error: Error = new JournalCorruptError('rot')
  const broken = { nextSeq: 1, next: () => Promise.reject(error), close: async () => {} }
  const told: unknown[] = []
  const reader = new PatientReader(broken, clock, stop.signal, () => {
    told.push(error)
    stop.abort()
  })
  await expect(reader.next()).rejects.toBe(error)
  expect(told).toEqual([])
  error = Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' })
  await expect(reader.next()).rejects.toBe(error)
  expect(told).toEqual([error])
})
