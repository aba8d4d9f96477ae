import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { UnavailableError } from '../../src/base/errors.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import { appendEach, numbered, openText, readText, segmentsIn, temporaryDirectory, texts } from './text-journal.ts'
import type { Fault } from './watched-disk.ts'
import { WatchedDisk } from './watched-disk.ts'

describe('the order of operations', () => {
  test('an append resolves only after its block was written and then synced', async () => {
    const disk = new WatchedDisk(nodeDisk)
    const { journal } = await openText(await temporaryDirectory(), disk)
    await journal.append(['first'])
    disk.forget()
    let seen: string[] = []
    await journal.append(['second']).then(() => {
      seen = disk.log.map(({ name }) => name)
    })
    expect(seen).toEqual(['write', 'sync'])
    await journal.close()
  })

  test('an append waits, and readers do not see it, while its sync is under way', async () => {
    const disk = new WatchedDisk(nodeDisk)
    const { journal } = await openText(await temporaryDirectory(), disk)
    await journal.append(['a'])
    const sync = disk.hold('sync')
    let isKept = false
    const appended = journal.append(['b']).then(() => {
      isKept = true
    })
    await sync.reached
    await new Promise<void>((resolve) => setTimeout(resolve, 20))
    expect([isKept, journal.end.nextSeq, await readText(journal)]).toEqual([false, 2, [[1, 'a']]])
    sync.go()
    await appended
    expect(await readText(journal)).toEqual(numbered(1, ['a', 'b']))
    await journal.close()
  })

  test('space is taken ahead for small blocks, and not for large ones, which bring their own', async () => {
    const disk = new WatchedDisk(nodeDisk)
    const { journal } = await openText(await temporaryDirectory(), disk, { segmentBytes: 4 * 1024 * 1024 })
    const writes = async (bytes: number): Promise<(number | undefined)[]> => {
      disk.forget()
      await journal.append(['x'.repeat(bytes)])
      return disk.log.flatMap(({ name, position }) => (name === 'write' ? [position] : []))
    }
    const large = await writes(300_000)
    expect(large).toEqual([4096])
    // Behind the large one: first the space, then the block in it.
    const [ahead, small] = await writes(100)
    expect([ahead, small]).toEqual([small, small])
    expect(await writes(100)).toHaveLength(1)
    expect(await writes(300_000)).toHaveLength(1)
    expect(await readText(journal)).toHaveLength(4)
    await journal.close()
  })

  test('a block is synced before the next one is written', async () => {
    const disk = new WatchedDisk(nodeDisk)
    const { journal } = await openText(await temporaryDirectory(), disk, { blockBytesMax: 2000 })
    await journal.append(['first'])
    disk.forget()
    await Promise.all(texts(10, 1500).map((text) => journal.append([text])))
    expect(disk.log.map(({ name }) => name)).toEqual(Array.from({ length: 10 }, () => ['write', 'sync']).flat())
    await journal.close()
  })

  test('a segment gets its name after its header was synced, and its first block after its name was', async () => {
    const disk = new WatchedDisk(nodeDisk)
    const directory = await temporaryDirectory()
    const { journal } = await openText(directory, disk)
    await appendEach(journal, texts(30, 4000))
    await journal.close()
    for (const name of await segmentsIn(directory)) {
      const rename = disk.log.find((each) => each.to === join(directory, name))
      const at = disk.log.indexOf(rename!)
      const before = disk.log.slice(0, at).filter(({ path }) => path === rename?.path)
      expect(before.map((each) => each.name)).toEqual(['open create', 'write', 'sync'])
      const after = disk.log.slice(at + 1)
      const synced = after.findIndex((each) => each.name === 'syncDirectory')
      const written = after.findIndex((each) => each.name === 'write' && each.path === join(directory, name))
      expect(synced).not.toBe(-1)
      expect(written).toBeGreaterThan(synced)
    }
  })
})

/** What may go wrong while a block is committed to a segment that holds others already. */
const passing: [string, Fault][] = [
  ['a write', { operation: 'write' }],
  ['a write on a full disk', { operation: 'write', code: 'ENOSPC', written: 0.4 }],
  ['a short write', { operation: 'write', code: 'short_write', written: 0.9 }],
  ['a write that was whole nevertheless', { operation: 'write', written: 1 }],
  ['a sync', { operation: 'sync' }],
]

describe('after a failure that could not be got around', () => {
  test('nothing is tried for half a second, whoever asks, and then it is', async () => {
    const disk = new WatchedDisk(nodeDisk)
    const { journal, clock } = await openText(await temporaryDirectory(), disk)
    await journal.append(['a'])
    disk.fail({ operation: 'write', times: Infinity })
    await expect(journal.append(['b'])).rejects.toMatchObject({ code: 'journal_failed' })
    const failure = journal.failure
    disk.forget()
    for (const ms of [0, 250, 499]) {
      clock.monotonicMs = ms
      await expect(journal.append(['c'])).rejects.toMatchObject({ code: 'journal_failed' })
      journal.tryAgain()
    }
    expect([disk.log, journal.failure]).toEqual([[], failure])
    clock.monotonicMs = 500
    await expect(journal.append(['d'])).rejects.toMatchObject({ code: 'journal_failed' })
    expect(disk.log).not.toEqual([])
    // From the last failure on.
    disk.mend()
    disk.forget()
    clock.monotonicMs = 999
    await expect(journal.append(['e'])).rejects.toMatchObject({ code: 'journal_failed' })
    expect(disk.log).toEqual([])
    clock.monotonicMs = 1000
    expect(await journal.append(['f'])).toBe(2)
    await journal.close()
  })
})

describe('when one thing fails', () => {
  test.each(passing)('%s, the block goes to a new segment, and nobody notices', async (_, fault) => {
    const disk = new WatchedDisk(nodeDisk)
    const directory = await temporaryDirectory()
    const { journal, told } = await openText(directory, disk)
    await appendEach(journal, ['a', 'b'])
    disk.fail(fault)
    const seqs = await Promise.all([journal.append(['c']), journal.append(['d', 'e'])])
    expect(seqs).toEqual([3, 4])
    await journal.append(['f'])
    expect(told.failed).toHaveLength(1)
    expect(await segmentsIn(directory)).toEqual(['0000000000000001.segment', '0000000000000003.segment'])
    expect(await readText(journal)).toEqual(numbered(1, ['a', 'b', 'c', 'd', 'e', 'f']))
    await journal.close()
    const again = (await openText(directory)).journal
    expect(await readText(again)).toEqual(numbered(1, ['a', 'b', 'c', 'd', 'e', 'f']))
    await again.close()
    expect(disk.openFiles).toEqual([])
  })

  test.each(passing)('%s, in the first block of a segment, that segment is replaced', async (_, fault) => {
    const disk = new WatchedDisk(nodeDisk)
    const directory = await temporaryDirectory()
    const { journal } = await openText(directory, disk)
    disk.fail(fault)
    await journal.append(['a'])
    await journal.append(['b'])
    expect(await readText(journal)).toEqual(numbered(1, ['a', 'b']))
    expect(await segmentsIn(directory)).toEqual(['0000000000000001.segment'])
    await journal.close()
    const again = (await openText(directory)).journal
    expect(await readText(again)).toEqual(numbered(1, ['a', 'b']))
    await again.close()
    expect(disk.openFiles).toEqual([])
  })

  test('a file whose write or sync failed is never written to or synced again', async () => {
    for (const operation of ['write', 'sync'] as const) {
      const disk = new WatchedDisk(nodeDisk)
      const directory = await temporaryDirectory()
      const { journal } = await openText(directory, disk)
      await appendEach(journal, ['a', 'b'])
      disk.forget()
      disk.fail({ operation, written: 0.5 })
      await appendEach(journal, ['c', 'd'])
      await journal.close()
      const poisoned = disk.log.filter(({ path }) => path === join(directory, '0000000000000001.segment'))
      expect(poisoned.map(({ name }) => name)).toEqual(
        operation === 'write' ? ['write', 'close'] : ['write', 'sync', 'close'],
      )
    }
  })

  test('a footer, neither the close nor the next start minds', async () => {
    for (const operation of ['write', 'truncate', 'sync'] as const) {
      const disk = new WatchedDisk(nodeDisk)
      const directory = await temporaryDirectory()
      const { journal } = await openText(directory, disk)
      const records = texts(10, 300)
      await appendEach(journal, records)
      disk.fail({ operation, code: 'ENOSPC', written: 0.5 })
      await journal.close()
      expect(disk.openFiles).toEqual([])
      const again = (await openText(directory)).journal
      expect(await readText(again)).toEqual(numbered(1, records))
      await again.close()
    }
  })
})

/** What may go on failing. */
const lasting: [string, Fault][] = [
  ['writes', { operation: 'write', times: 1e9, code: 'ENOSPC', written: 0.5 }],
  ['whole writes', { operation: 'write', times: 1e9, written: 1 }],
  ['syncs', { operation: 'sync', times: 1e9 }],
]
/** What may fail when a new segment is begun. */
const beginning: [string, Fault][] = [
  ['creating a file', { operation: 'open create', code: 'ENOSPC' }],
  ['writing a header', { operation: 'write', path: /spare$/, code: 'ENOSPC', written: 0.5 }],
  ['syncing a header', { operation: 'sync', path: /spare$/ }],
  ['the rename', { operation: 'rename' }],
  ['syncing the directory', { operation: 'syncDirectory' }],
]

describe('when things go on failing', () => {
  test.each(lasting)(
    '(%s) appends are refused, at first without trying, and succeed again as soon as the disk does',
    async (_, fault) => {
      const disk = new WatchedDisk(nodeDisk)
      const directory = await temporaryDirectory()
      const { journal, clock, told } = await openText(directory, disk, { blockBytesMax: 1000 })
      await appendEach(journal, ['a', 'b'])
      disk.fail(fault)
      // The one being written and those waiting behind it.
      const refusals = await Promise.allSettled([...texts(3, 900), 'c'].map((text) => journal.append([text])))
      for (const refusal of refusals) {
        expect(refusal).toMatchObject({ reason: { code: 'journal_failed', retryAfterSeconds: 1 } })
        expect((refusal as PromiseRejectedResult).reason).toBeInstanceOf(UnavailableError)
      }
      expect(told.failed).toHaveLength(2)
      expect([journal.nextSeq, journal.end.nextSeq]).toEqual([3, 3])
      // What was refused is served to nobody, though its bytes may stand in the file.
      expect(await readText(journal)).toEqual(numbered(1, ['a', 'b']))
      disk.mend()
      disk.forget()
      await expect(journal.append(['d'])).rejects.toMatchObject({ code: 'journal_failed' })
      expect(disk.log).toEqual([])
      clock.monotonicMs += 501
      expect(await journal.append(['e'])).toBe(3)
      expect(await journal.append(['f'])).toBe(4)
      expect(await readText(journal)).toEqual(numbered(1, ['a', 'b', 'e', 'f']))
      await journal.close()
      // Once something was answered after it, a restart does not bring it back either.
      const again = (await openText(directory)).journal
      expect(await readText(again)).toEqual(numbered(1, ['a', 'b', 'e', 'f']))
      await again.close()
      expect(disk.openFiles).toEqual([])
    },
  )

  test.each(beginning)('(%s) a full segment takes no more, and nothing answered is lost', async (_, fault) => {
    const disk = new WatchedDisk(nodeDisk)
    const directory = await temporaryDirectory()
    const { journal, clock } = await openText(directory, disk)
    const records = texts(17, 4000)
    await appendEach(journal, records)
    disk.fail(fault)
    await expect(journal.append(['x'.repeat(4000)])).rejects.toMatchObject({ code: 'journal_failed' })
    clock.monotonicMs += 501
    // Small enough for the room that the full segment has left.
    expect(await journal.append(['small'])).toBe(18)
    // As after a SIGKILL.
    const crashed = (await openText(directory)).journal
    expect(await readText(crashed)).toEqual(numbered(1, [...records, 'small']))
    await crashed.append(['more'])
    expect(await readText(crashed)).toEqual(numbered(1, [...records, 'small', 'more']))
    await Promise.all([crashed.close(), journal.close()])
    expect(disk.openFiles).toEqual([])
  })

  test('a segment given up in the midst is not released while a reader may need it', async () => {
    const disk = new WatchedDisk(nodeDisk)
    const directory = await temporaryDirectory()
    const { journal, clock } = await openText(directory, disk)
    await appendEach(journal, texts(5, 100))
    disk.fail({ operation: 'write', times: 1e9, code: 'ENOSPC' })
    await expect(journal.append(['x'])).rejects.toMatchObject({ code: 'journal_failed' })
    for (const seq of [1, 3, 5, 6]) await journal.release(seq)
    expect(await readText(journal)).toEqual(numbered(1, texts(5, 100)))
    expect(journal.firstSeq).toBe(1)
    disk.mend()
    clock.monotonicMs += 501
    await journal.append(['y'])
    await journal.release(5)
    expect(journal.firstSeq).toBe(1)
    await journal.release(6)
    expect(await readText(journal)).toEqual([[6, 'y']])
    await journal.close()
  })

  test('everything released and nothing written since, the journal still knows its id and seqs at the next start', async () => {
    const disk = new WatchedDisk(nodeDisk)
    const directory = await temporaryDirectory()
    const { journal } = await openText(directory, disk)
    await appendEach(journal, texts(5, 100))
    disk.fail({ operation: 'write', times: 1e9, code: 'ENOSPC' })
    await expect(journal.append(['x'])).rejects.toMatchObject({ code: 'journal_failed' })
    await journal.release(6)
    await journal.close()
    const again = (await openText(directory)).journal
    expect([again.id, again.nextSeq]).toEqual([journal.id, 6])
    await again.close()
  })

  test('a journal that never could write anything is closed and opened again', async () => {
    const disk = new WatchedDisk(nodeDisk)
    const directory = await temporaryDirectory()
    const { journal } = await openText(directory, disk)
    disk.fail({ operation: 'sync', times: 1e9 })
    await expect(journal.append(['x'])).rejects.toMatchObject({ code: 'journal_failed' })
    expect([journal.firstSeq, journal.nextSeq, await readText(journal)]).toEqual([1, 1, []])
    await journal.close()
    expect(disk.openFiles).toEqual([])
    const again = (await openText(directory)).journal
    expect(again.id).toBe(journal.id)
    await again.close()
  })

  test('a close waits for the appends to be refused, and ends in order', async () => {
    const disk = new WatchedDisk(nodeDisk)
    const directory = await temporaryDirectory()
    const { journal } = await openText(directory, disk, { blockBytesMax: 1000 })
    await journal.append(['a'])
    disk.fail({ operation: 'sync', times: 1e9 })
    const order: string[] = []
    const appends = texts(3, 900).map((text) => journal.append([text]).catch(() => order.push('refused')))
    await journal.close().then(() => order.push('closed'))
    await Promise.all(appends)
    expect(order).toEqual(['refused', 'refused', 'refused', 'closed'])
    await expect(journal.append(['b'])).rejects.toMatchObject({ code: 'draining' })
    await new Promise<void>((resolve) => setImmediate(resolve))
    expect(disk.openFiles).toEqual([])
  })

  test('a new journal that can not be begun says why, and leaves no file open', async () => {
    for (const [, fault] of beginning) {
      const disk = new WatchedDisk(nodeDisk)
      disk.fail(fault)
      await expect(openText(await temporaryDirectory(), disk)).rejects.toMatchObject({ code: fault.code ?? 'EIO' })
      expect(disk.openFiles).toEqual([])
    }
  })
})

describe('what a restart makes of a refused append whose bytes got to the file', () => {
  test('it may keep it when nothing was answered since: then whole and for good', async () => {
    const disk = new WatchedDisk(nodeDisk)
    const directory = await temporaryDirectory()
    const { journal } = await openText(directory, disk)
    await appendEach(journal, ['a', 'b'])
    disk.fail({ operation: 'sync', times: 1e9 })
    await expect(journal.append(['c'])).rejects.toMatchObject({ code: 'journal_failed' })
    expect(await readFile(join(directory, '0000000000000001.segment'), 'latin1')).toContain('ORBK')
    for (let starts = 0; starts < 2; starts++) {
      const again = (await openText(directory)).journal
      const read = await readText(again)
      expect(read.slice(0, 2)).toEqual(numbered(1, ['a', 'b']))
      // The failed block of segment 3, which replaced the one in segment 1.
      expect(read.slice(2)).toEqual([[3, 'c']])
      expect(again.nextSeq).toBe(4)
      await again.close()
    }
  })
})
