import { describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { CursorFile } from '../../src/journal/cursor-file.ts'
import type { Disk } from '../../src/journal/disk.ts'
import { DiskReserve, spendReserve, takePiece } from '../../src/journal/disk-reserve.ts'
import { Journal } from '../../src/journal/journal.ts'
import { ReserveDisk } from '../../src/journal/reserve-disk.ts'
import { MemoryDisk } from './memory-disk.ts'
import { WatchedDisk } from './watched-disk.ts'

const MiB = 1024 * 1024
const path = '/data/reserve'
const textCodec = {
  sizeMax: (text: string) => text.length,
  encode: (text: string, into: Buffer, at: number) => at + into.write(text, at, 'latin1'),
}

function memory(capacity: number): { memoryDisk: MemoryDisk; disk: Disk } {
  const memoryDisk = new MemoryDisk(() => 0.5)
  memoryDisk.capacity = capacity
  return { memoryDisk, disk: memoryDisk.boot().disk }
}

async function tend(reserve: DiskReserve, disk: Disk, now = 0, freeMin = 0): Promise<void> {
  await reserve.tend((await disk.space('/data')).freeBytes, freeMin, now)
}

/** What the pieces take. */
async function reservedBytes(disk: Disk): Promise<number> {
  let sum = 0
  for (const name of await disk.list(path)) sum += (await disk.sizeOf(`${path}/${name}`)) ?? 0
  return sum
}

async function freeBytes(disk: Disk): Promise<number> {
  return (await disk.space('/data')).freeBytes
}

/** A file that takes so much. */
async function take(disk: Disk, bytes: number, name = '/data/stranger'): Promise<void> {
  const file = await disk.open(name, 'create')
  await file.write(Buffer.alloc(bytes), 0)
  await file.close()
}

describe('the reserve', () => {
  test('is really written, and each piece stands under its name only when it is whole and synced', async () => {
    const { memoryDisk, disk } = memory(10 * MiB)
    const watched = new WatchedDisk(disk)
    const reserve = await DiskReserve.open(watched, path, 3 * MiB)
    expect(reserve.state).toBe('forming')
    expect(reserve.isSpent).toBe(false)
    await tend(reserve, watched)
    expect(reserve.state).toBe('whole')
    const named = watched.log.flatMap(({ name, to }, at) => (name === 'rename' ? [[at, to] as const] : []))
    expect(named.map(([, to]) => to)).toEqual(pieces(16))
    for (const [at] of named)
      expect(watched.log.slice(0, at).findLast(({ name }) => name !== 'close')?.name).toBe('sync')
    expect(watched.log.at(-1)).toMatchObject({ name: 'syncDirectory', path })
    memoryDisk.powerOff()
    const again = memoryDisk.boot().disk
    expect(await reservedBytes(again)).toBe(3 * MiB)
    const bytes = Buffer.alloc(4096)
    await (await again.open(`${path}/00`, 'read')).read(bytes, 100_000)
    expect(bytes.some((byte) => byte !== 0)).toBe(true)
    expect((await DiskReserve.open(again, path, 3 * MiB)).state).toBe('whole')
  })

  test('of another size, or not whole, is made again', async () => {
    const { disk } = memory(10 * MiB)
    await tend(await DiskReserve.open(disk, path, 3 * MiB), disk)
    await disk.unlink(`${path}/03`)
    expect((await DiskReserve.open(disk, path, 3 * MiB)).state).toBe('forming')
    const smaller = await DiskReserve.open(disk, path, 2 * MiB)
    expect([smaller.state, await reservedBytes(disk)]).toEqual(['forming', 0])
    await tend(smaller, disk)
    expect([smaller.state, await reservedBytes(disk)]).toEqual(['whole', 2 * MiB])
  })

  test('is missing when there was never room to make it, and made when there is room beyond it', async () => {
    const { disk } = memory(10 * MiB)
    await take(disk, 6 * MiB)
    const reserve = await DiskReserve.open(disk, path, 4 * MiB)
    await tend(reserve, disk)
    expect([reserve.state, reserve.isSpent]).toEqual(['missing', false])
    await disk.unlink('/data/stranger')
    await take(disk, 5 * MiB)
    // Just enough, and less than is kept free.
    await tend(reserve, disk, 0, 1)
    expect(reserve.state).toBe('missing')
    await tend(reserve, disk)
    expect(reserve.state).toBe('whole')
    expect(await freeBytes(disk)).toBe(MiB)
  })

  test('that was never whole is spent while somebody meets a full disk, and keeps nobody away when there is room again', async () => {
    const { disk } = memory(10 * MiB)
    await take(disk, 6 * MiB)
    const reserve = await DiskReserve.open(disk, path, 4 * MiB)
    await tend(reserve, disk)
    await spendReserve(disk, reserve.handle)
    expect(reserve.isSpent).toBe(true)
    await tend(reserve, disk, 1000)
    expect(reserve.isSpent).toBe(true)
    // Less is free than shall be.
    await tend(reserve, disk, 2000, 5 * MiB)
    expect(reserve.isSpent).toBe(true)
    await tend(reserve, disk, 3000)
    expect(reserve.state).toBe('missing')
  })

  test('that was being made when there was no more room, or when it crashed, is missing then and after a restart', async () => {
    const { disk } = memory(10 * MiB)
    const watched = new WatchedDisk(disk)
    watched.fail({ operation: 'write', path: /reserve/, after: 3, times: 100, code: 'EDQUOT' })
    const reserve = await DiskReserve.open(watched, path, 4 * MiB)
    await tend(reserve, watched)
    expect([reserve.state, await reservedBytes(disk)]).toEqual(['missing', 0.75 * MiB])
    const again = await DiskReserve.open(watched, path, 4 * MiB)
    await tend(again, watched)
    expect(again.state).toBe('missing')
    watched.mend()
    await tend(again, watched, 10_000)
    expect(again.state).toBe('whole')
    // Now somebody may have had what is gone.
    await disk.unlink(`${path}/03`)
    await take(disk, await freeBytes(disk))
    const third = await DiskReserve.open(disk, path, 4 * MiB)
    await tend(third, disk)
    expect([third.state, await disk.list(path)]).toEqual(['spent', pieces(16).map((piece) => piece.slice(-2)).filter((name) => name !== '03')]) // prettier-ignore
  })

  test('that was whole is not missing but spent, also after a crash, when there is no room for what it lacks', async () => {
    const { disk } = memory(10 * MiB)
    const reserve = await DiskReserve.open(disk, path, 4 * MiB)
    await tend(reserve, disk)
    await spendReserve(disk, reserve.handle)
    await take(disk, await freeBytes(disk))
    for (const each of [reserve, await DiskReserve.open(disk, path, 4 * MiB)]) {
      for (let i = 0; i < 3; i++) await tend(each, disk, i * 1000)
      expect(each.state).toBe('spent')
    }
  })

  test('gives up a piece at a time, and is whole again when there is more room than what it lacks takes', async () => {
    const { disk } = memory(10 * MiB)
    const reserve = await DiskReserve.open(disk, path, 4 * MiB)
    await tend(reserve, disk)
    await take(disk, 5.25 * MiB)
    await spendReserve(disk, reserve.handle)
    expect(await freeBytes(disk)).toBe(MiB)
    expect(await reservedBytes(disk)).toBe(3.75 * MiB)
    await tend(reserve, disk, 10_000)
    expect(reserve.isSpent).toBe(true)
    expect(await reservedBytes(disk)).toBe(3.75 * MiB)
    await disk.unlink('/data/stranger')
    await take(disk, 5 * MiB)
    await tend(reserve, disk, 20_000)
    expect(reserve.state).toBe('whole')
    expect(await freeBytes(disk)).toBe(MiB)
  })

  test('frees nothing more when all its pieces are gone', async () => {
    const { disk } = memory(10 * MiB)
    const reserve = await DiskReserve.open(disk, path, MiB)
    await tend(reserve, disk)
    for (let i = 0; i < 20; i++) await spendReserve(disk, reserve.handle)
    expect([reserve.state, await freeBytes(disk)]).toEqual(['spent', 10 * MiB])
    expect(await takePiece(disk, reserve.handle, '/data/a')).toBe(false)
  })

  test('makes a file of a piece, so that its space is never free, and none of one that is whole', async () => {
    const { disk } = memory(10 * MiB)
    const watched = new WatchedDisk(disk)
    const reserve = await DiskReserve.open(watched, path, 4 * MiB)
    await tend(reserve, watched)
    expect(await takePiece(watched, reserve.handle, '/data/a')).toBe(false)
    await spendReserve(watched, reserve.handle)
    const free = await freeBytes(disk)
    expect(await takePiece(watched, reserve.handle, '/data/a')).toBe(true)
    expect(await disk.sizeOf('/data/a')).toBe(MiB / 4)
    expect([await freeBytes(disk), await reservedBytes(disk)]).toEqual([free, 3.5 * MiB])
    // A power failure must not bring it back.
    expect(watched.log.slice(-2)).toMatchObject([{ name: 'rename' }, { name: 'syncDirectory', path }])
  })

  test('is not tried at each look when the free space is not to be had, as with a quota', async () => {
    const { disk } = memory(10 * MiB)
    const watched = new WatchedDisk(disk)
    // Also when only what is more than the reserve can't be had.
    watched.fail({ operation: 'write', path: /reserve/, after: 16, times: 100, code: 'EDQUOT' })
    const reserve = await DiskReserve.open(watched, path, 4 * MiB)
    await tend(reserve, watched, 0)
    expect(reserve.state).toBe('missing')
    expect(await reservedBytes(disk)).toBe(4 * MiB)
    watched.mend()
    await tend(reserve, watched, 1000)
    expect(reserve.state).toBe('missing')
    await tend(reserve, watched, 6000)
    expect(reserve.state).toBe('whole')
  })

  test('gives up its space in the midst of being made when somebody needs it', async () => {
    const { disk } = memory(10 * MiB)
    const watched = new WatchedDisk(disk)
    const reserve = await DiskReserve.open(watched, path, 6 * MiB)
    const write = watched.hold('sync', /reserve/)
    const making = tend(reserve, watched)
    await write.reached
    await spendReserve(watched, reserve.handle)
    write.go()
    await making
    expect(reserve.isSpent).toBe(true)
    expect(await freeBytes(disk)).toBe(10 * MiB)
    expect(watched.log.some(({ name }) => name === 'rename')).toBe(false)
    await tend(reserve, watched, 10_000)
    expect(reserve.state).toBe('whole')
  })

  test('is not whole when somebody has had a piece while the last thing was done', async () => {
    const { disk } = memory(10 * MiB)
    const watched = new WatchedDisk(disk)
    const reserve = await DiskReserve.open(watched, path, 6 * MiB)
    const syncing = watched.hold('syncDirectory', /reserve/)
    const making = tend(reserve, watched)
    await syncing.reached
    await spendReserve(watched, reserve.handle)
    syncing.go()
    await making
    expect(reserve.isSpent).toBe(true)
    expect(await reservedBytes(disk)).toBe(6 * MiB - (6 * MiB) / 16)
  })

  test('that somebody has deleted is made again', async () => {
    const { disk } = memory(10 * MiB)
    const reserve = await DiskReserve.open(disk, path, MiB)
    await tend(reserve, disk)
    for (const name of await disk.list(path)) await disk.unlink(`${path}/${name}`)
    await tend(reserve, disk)
    expect(reserve.state).toBe('forming')
    await tend(reserve, disk, 10_000)
    expect(reserve.state).toBe('whole')
    expect(await reservedBytes(disk)).toBe(MiB)
  })

  test('of no bytes is none, takes away the one of before, and is never spent', async () => {
    const { disk } = memory(10 * MiB)
    await tend(await DiskReserve.open(disk, path, MiB), disk)
    const none = await DiskReserve.open(disk, path, 0)
    await tend(none, disk)
    expect(none.state).toBe('whole')
    expect(await disk.list(path)).toEqual([])
    await spendReserve(disk, none.handle)
    expect([none.state, none.isSpent]).toEqual(['whole', false])
    // A full disk is found out by each write, and left as soon as there is room.
    const own = new ReserveDisk(disk, none.handle, 'everything')
    await take(disk, 10 * MiB)
    const file = await own.open('/data/a', 'create')
    await expect(file.write(Buffer.from('x'), 0)).rejects.toMatchObject({ code: 'ENOSPC' })
    expect(none.isSpent).toBe(false)
  })
})

describe('on a full disk', () => {
  const options = { bytesMax: 1e9, segmentBytes: 256 * 1024 }
  const silent = { committed() {}, failed() {} }

  async function full(): Promise<{ memoryDisk: MemoryDisk; disk: Disk; reserve: DiskReserve }> {
    const { memoryDisk, disk } = memory(4 * MiB)
    const reserve = await DiskReserve.open(disk, path, 2 * MiB)
    await tend(reserve, disk)
    return { memoryDisk, disk, reserve }
  }

  let strangers = 0

  async function fillUp(disk: Disk): Promise<void> {
    await take(disk, await freeBytes(disk), `/data/stranger-${strangers++}`)
  }

  /** A disk that somebody else fills up whenever there is room. */
  function withGreed(disk: Disk): Disk {
    const greedy =
      <A extends unknown[], R>(operation: (...args: A) => Promise<R>) =>
      async (...args: A): Promise<R> => {
        const result = await operation(...args)
        await fillUp(disk)
        return result
      }
    return {
      makeDirectory: (at) => disk.makeDirectory(at),
      list: (at) => disk.list(at),
      open: (at, mode) => disk.open(at, mode),
      rename: greedy((from, to) => disk.rename(from, to)),
      unlink: greedy((at) => disk.unlink(at)),
      syncDirectory: (at) => disk.syncDirectory(at),
      sizeOf: (at) => disk.sizeOf(at),
      space: (at) => disk.space(at),
    }
  }

  test('receipts and the like go on, out of the reserve', async () => {
    const { disk, reserve } = await full()
    const own = new ReserveDisk(disk, reserve.handle, 'everything')
    const journal = await Journal.open(own, systemClock, textCodec, silent, { ...options, directory: '/data/receipts' })
    const cursor = await CursorFile.open(own, '/data/cursor', journal.id, { seq: 0, mark: 0 })
    await journal.append(['one'])
    await fillUp(disk)
    for (let i = 0; i < 5; i++) expect(await journal.append(['x'.repeat(100_000)])).toBe(i + 2)
    await cursor.write({ seq: 6, mark: 6 })
    expect(reserve.isSpent).toBe(true)
    await journal.release(6)
    await journal.close()
    await cursor.close()
  })

  test('receipts go on also while somebody else takes whatever becomes free', async () => {
    const { disk, reserve } = await full()
    const own = new ReserveDisk(withGreed(disk), reserve.handle, 'everything')
    let now = 0
    const clock = { ...systemClock, monotonic: () => now }
    const journal = await Journal.open(own, clock, textCodec, silent, { ...options, directory: '/data/receipts' })
    await journal.append(['one'])
    await fillUp(disk)
    let kept = 0
    for (let tries = 0; kept < 6 && tries < 12; tries++) {
      now += 1000
      const seq = await journal.append(['x'.repeat(50_000)]).catch(() => null)
      if (seq !== null) kept++
    }
    expect(kept).toBe(6)
    // Three pieces became receipts, two records each, and somebody else got one for each that was full.
    expect(await reservedBytes(disk)).toBe((2 * MiB * 10) / 16)
    await journal.close()
    const again = await Journal.open(own, clock, textCodec, silent, { ...options, directory: '/data/receipts' })
    expect(await texts(again)).toEqual(['one', ...Array.from({ length: 6 }, () => 'x'.repeat(50_000))])
    await again.close()
  })

  test('messages do not use the reserve before everything is finished, and then their files can be deleted to the last', async () => {
    const { disk, reserve } = await full()
    let isFinished = false
    const own = new ReserveDisk(disk, reserve.handle, { lastFile: { isFinished: () => isFinished } })
    let now = 0
    const clock = { ...systemClock, monotonic: () => now }
    const journal = await Journal.open(own, clock, textCodec, silent, { ...options, directory: '/data/journal' })
    await journal.append(['x'.repeat(100_000)])
    await fillUp(disk)
    let kept = 1
    for (; ; kept++) {
      const failed = await journal.append(['x'.repeat(50_000)]).catch((error: unknown) => error)
      if (typeof failed !== 'number') break
    }
    const tryAgain = async (): Promise<void> => {
      now += 1000
      journal.tryAgain()
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    await fillUp(disk)
    for (let i = 0; i < 5; i++) {
      await expect(journal.append(['x'.repeat(50_000)])).rejects.toMatchObject({ code: 'journal_failed' })
      await tryAgain()
    }
    expect([reserve.state, await reservedBytes(disk)]).toEqual(['whole', 2 * MiB])
    // What others free is not for messages, not even for a header.
    await spendReserve(disk, reserve.handle)
    const free = await freeBytes(disk)
    for (let i = 0; i < 5; i++) {
      await tryAgain()
      await expect(journal.append(['x'.repeat(50_000)])).rejects.toMatchObject({ code: 'journal_failed' })
    }
    expect(await freeBytes(disk)).toBe(free)
    const { bytes } = journal
    isFinished = true
    await fillUp(disk)
    await tryAgain()
    expect(journal.failure).toBe(null)
    await journal.keepSpares(false)
    await journal.release(kept + 1)
    expect(journal.bytes).toBeLessThan(bytes - 100_000)
    expect(await freeBytes(disk)).toBeGreaterThan(100_000)
    now += 1000
    await expect(journal.append(['x'.repeat(50_000)])).rejects.toMatchObject({ code: 'journal_failed' })
    await journal.close()
  })

  test('the journal of messages opens after a crash, when the reserve is spent', async () => {
    const { memoryDisk, disk, reserve } = await full()
    const own = new ReserveDisk(disk, reserve.handle, { lastFile: { isFinished: () => false } })
    const journal = await Journal.open(own, systemClock, textCodec, silent, { ...options, directory: '/data/journal' })
    await journal.append(['one'])
    await fillUp(disk)
    await spendReserve(disk, reserve.handle)
    memoryDisk.kill()
    const { disk: next } = memoryDisk.boot()
    const found = await DiskReserve.open(next, path, 2 * MiB)
    await fillUp(next)
    await tend(found, next)
    expect(found.isSpent).toBe(true)
    const again = new ReserveDisk(next, found.handle, { lastFile: { isFinished: () => false } })
    const opened = await Journal.open(again, systemClock, textCodec, silent, { ...options, directory: '/data/journal' })
    expect(await texts(opened)).toEqual(['one'])
    await opened.close()
  })

  test('a deletion that finds no room is done when a piece of the reserve is given up', async () => {
    const { disk, reserve } = await full()
    const watched = new WatchedDisk(disk)
    const own = new ReserveDisk(watched, reserve.handle, { lastFile: { isFinished: () => false } })
    watched.fail({ operation: 'unlink', path: /stranger/, code: 'ENOSPC' })
    await take(disk, 1000)
    await own.unlink('/data/stranger')
    expect(await disk.sizeOf('/data/stranger')).toBe(null)
    expect(reserve.isSpent).toBe(true)
  })

  test('a segment begins also when no piece can be made it: a piece is freed, or it is on another file system', async () => {
    const { disk, reserve } = await full()
    const watched = new WatchedDisk(disk)
    const own = new ReserveDisk(watched, reserve.handle, 'everything')
    await spendReserve(disk, reserve.handle)
    for (const [code, left] of [
      ['ENOSPC', 13],
      ['EXDEV', 13],
    ] as const) {
      watched.fail({ operation: 'rename', path: /reserve/, code })
      const file = await own.open(`/data/${code}.spare`, 'create')
      await file.writeDurably(Buffer.alloc(4096), 0)
      await file.close()
      expect(await disk.list(path)).toHaveLength(left)
    }
  })

  test('what fails for another reason leaves the reserve alone', async () => {
    const { disk, reserve } = await full()
    const watched = new WatchedDisk(disk)
    const own = new ReserveDisk(watched, reserve.handle, 'everything')
    watched.fail({ operation: 'open create', code: 'EIO' })
    await expect(own.open('/data/a', 'create')).rejects.toMatchObject({ code: 'EIO' })
    const file = await own.open('/data/b', 'create')
    watched.fail({ operation: 'write', code: 'EIO' })
    await expect(file.write(Buffer.from('x'), 0)).rejects.toMatchObject({ code: 'EIO' })
    expect(reserve.state).toBe('whole')
  })

  async function texts(journal: Journal<string>): Promise<string[]> {
    const found: string[] = []
    const reader = journal.reader(1)
    for (let block = await reader.next(); block; block = await reader.next())
      block.forEach((_, bytes, start, end) => found.push(bytes.toString('latin1', start, end)))
    await reader.close()
    return found
  }
})

function pieces(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${path}/${String(index).padStart(2, '0')}`)
}
