import { expect, test } from 'vitest'
import { Random } from '../torture/random.ts'
import { Schedule } from './schedule.ts'
import { SimulatedDisk } from './simulated-disk.ts'
import type { SimulatedProcess } from './simulated-disk.ts'
import { sectorBytes } from './simulated-file.ts'
import type { NameLoss } from './simulated-names.ts'

const path = '/data/file'

function newDisk(seed: number, nameLoss: NameLoss = 'latest'): SimulatedDisk {
  return new SimulatedDisk(new Schedule(Random.of(seed)), nameLoss)
}

/** What many seeds bring about. */
async function outcomes<T>(live: (disk: SimulatedDisk) => Promise<T>, nameLoss?: NameLoss): Promise<Set<T>> {
  const all = new Set<T>()
  for (let seed = 0; seed < 200; seed++) all.add(await live(newDisk(seed, nameLoss)))
  return all
}

async function makeDurably(process: SimulatedProcess, bytes: Buffer): ReturnType<SimulatedProcess['open']> {
  const file = await process.open(path, 'create')
  await file.writeDurably(bytes, 0)
  await process.syncDirectory('/data')
  return file
}

/** The file's sectors, a letter each. */
function sectors(disk: SimulatedDisk): string {
  const contents = disk.names.get(path)?.contents() ?? Buffer.alloc(0)
  return Array.from({ length: contents.length / sectorBytes }, (_, i) =>
    contents.toString('latin1', i * sectorBytes, i * sectorBytes + 1),
  ).join('')
}

test('a power failure keeps any sectors of what was not synced, and all of what was', async () => {
  const seen = await outcomes(async (disk) => {
    const process = disk.boot()
    const file = await makeDurably(process, Buffer.alloc(3 * sectorBytes, 'a'))
    await file.write(Buffer.alloc(2 * sectorBytes, 'b'), 0)
    disk.crash('power')
    return sectors(disk)
  })
  expect([...seen].toSorted()).toEqual(['aaa', 'aba', 'baa', 'bba'])
})

test('a kill keeps what was written', async () => {
  const seen = await outcomes(async (disk) => {
    const file = await makeDurably(disk.boot(), Buffer.alloc(sectorBytes, 'a'))
    await file.write(Buffer.alloc(sectorBytes, 'b'), 0)
    disk.crash('kill')
    return sectors(disk)
  })
  expect([...seen]).toEqual(['b'])
})

test('after a sync that failed, another one goes well and brings nothing back', async () => {
  const seen = await outcomes(async (disk) => {
    const file = await makeDurably(disk.boot(), Buffer.alloc(sectorBytes, 'a'))
    await file.write(Buffer.alloc(sectorBytes, 'b'), 0)
    disk.faults.arm({ operation: 'sync', code: 'EIO', after: 0, times: 1, isDone: false })
    await expect(file.sync()).rejects.toMatchObject({ code: 'EIO' })
    await file.sync()
    disk.crash('power')
    return sectors(disk)
  })
  expect([...seen].toSorted()).toEqual(['a', 'b'])
})

test.each(['latest', 'any'] as const)('names that were not synced may come undone: %s', async (nameLoss) => {
  const seen = await outcomes(async (disk) => {
    const process = disk.boot()
    for (const name of ['a', 'b']) await (await process.open(`/data/${name}`, 'create')).close()
    await process.syncDirectory('/data')
    await process.rename('/data/a', '/data/c')
    await process.unlink('/data/b')
    disk.crash('power')
    return (await disk.boot().list('/data')).toSorted().join('')
  }, nameLoss)
  // Only without an order can the later change be there and the earlier one not.
  const kept = nameLoss === 'latest' ? ['ab', 'bc', 'c'] : ['a', 'ab', 'bc', 'c']
  expect([...seen].toSorted()).toEqual(kept)
})

test('a full disk takes what fits, and says so', async () => {
  const disk = newDisk(1)
  disk.capacity = 1000
  const file = await disk.boot().open(path, 'create')
  await expect(file.write(Buffer.alloc(1200, 'a'), 0)).rejects.toMatchObject({
    code: expect.stringMatching(/ENOSPC|EDQUOT|short_write/),
  })
  expect(await file.size()).toBe(1000)
  // What is allocated already can be written again.
  await file.write(Buffer.alloc(1000, 'b'), 0)
})

test('operations under way together end in any order, and those of a dead process never', async () => {
  const orders = await outcomes(async (disk) => {
    const process = disk.boot()
    const ended: number[] = []
    await Promise.all([0, 1, 2].map((i) => process.list('/').then(() => ended.push(i))))
    return ended.join('')
  })
  expect(orders.size).toBe(6)

  const disk = newDisk(1)
  const process = disk.boot()
  const listing = process.list('/').then(() => 'listed')
  disk.crash('kill')
  expect(await Promise.race([listing, process.died.then(() => 'died')])).toBe('died')
})
