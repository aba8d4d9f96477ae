import * as fc from 'fast-check'
import { readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { CursorPosition } from '../../src/journal/cursor-file.ts'
import { CursorFile } from '../../src/journal/cursor-file.ts'
import { JournalCorruptError } from '../../src/journal/journal-errors.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import { temporaryDirectory } from './text-journal.ts'
import { WatchedDisk } from './watched-disk.ts'

const id = '0123456789abc'
const start: CursorPosition = { seq: 1, mark: 1 }

async function positionIn(path: string): Promise<CursorPosition> {
  const cursor = await CursorFile.open(nodeDisk, path, id, start)
  await cursor.close()
  return cursor.position
}

/** A cursor file that was written `positions.length` times. */
async function written(positions: readonly CursorPosition[]): Promise<string> {
  const path = join(await temporaryDirectory(), 'a.cursor')
  const cursor = await CursorFile.open(nodeDisk, path, id, start)
  for (const position of positions) await cursor.write(position)
  await cursor.close()
  return path
}

describe('a cursor', () => {
  test('begins where it is told, and remembers what is written', async () => {
    const path = join(await temporaryDirectory(), 'a.cursor')
    const cursor = await CursorFile.open(nodeDisk, path, id, { seq: 7, mark: 3 })
    expect(cursor.position).toEqual({ seq: 7, mark: 3 })
    await cursor.write({ seq: 9, mark: 4 })
    expect(cursor.position).toEqual({ seq: 9, mark: 4 })
    await cursor.close()
    expect(await positionIn(path)).toEqual({ seq: 9, mark: 4 })
    expect(await readdir(join(path, '..'))).toEqual(['a.cursor'])
  })

  test('remembers any positions, over any number of openings', async () => {
    const position = fc.record({ seq: fc.maxSafeNat(), mark: fc.maxSafeNat() })
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(position, { maxLength: 4 }), { maxLength: 4 }), async (runs) => {
        const path = join(await temporaryDirectory(), 'a.cursor')
        let last = start
        for (const run of runs) {
          const cursor = await CursorFile.open(nodeDisk, path, id, start)
          expect(cursor.position).toEqual(last)
          for (const each of run) await cursor.write((last = each))
          await cursor.close()
        }
        expect(await positionIn(path)).toEqual(last)
      }),
      { numRuns: 30 },
    )
  })

  test('is made under another name, synced, and named then', async () => {
    const disk = new WatchedDisk(nodeDisk)
    const directory = await temporaryDirectory()
    const path = join(directory, 'a.cursor')
    await (await CursorFile.open(disk, path, id, start)).close()
    const names = disk.log.map(({ name }) => name).filter((name) => !['sizeOf', 'read', 'close'].includes(name))
    const made = ['open create', 'write', 'sync', 'rename', 'syncDirectory']
    expect(names).toEqual([...made, 'open write', 'write', 'sync'])
    expect(disk.openFiles).toEqual([])
  })

  test('is made anew over what a crash left half made', async () => {
    const path = join(await temporaryDirectory(), 'a.cursor')
    await writeFile(`${path}.new`, 'half')
    expect(await positionIn(path)).toEqual(start)
  })

  test('writes its two slots in turn, each write synced before it resolves', async () => {
    const disk = new WatchedDisk(nodeDisk)
    const cursor = await CursorFile.open(disk, join(await temporaryDirectory(), 'a.cursor'), id, start)
    disk.forget()
    for (let seq = 2; seq < 6; seq++) await cursor.write({ seq, mark: 1 })
    expect(disk.log.map(({ name, position }) => (name === 'write' ? position : name))).toEqual([4096, 'sync', 0, 'sync', 4096, 'sync', 0, 'sync']) // prettier-ignore
    await cursor.close()
  })

  test('torn at any byte while it is written stands where it stood before', async () => {
    for (const writes of [1, 2, 3]) {
      const positions = Array.from({ length: writes }, (_, i) => ({ seq: 1000 + i * 77, mark: 500 + i }))
      const before = await readFile(await written(positions.slice(0, -1)))
      const path = await written(positions)
      const after = await readFile(path)
      const at = writes % 2 === 1 ? 4096 : 0
      const whole = Buffer.alloc(4096 + 192)
      before.copy(whole)
      for (let bytes = 0; bytes < 192; bytes++) {
        const torn = Buffer.from(whole)
        after.copy(torn, at, at, at + bytes)
        if (torn.equals(after)) continue
        await writeFile(path, torn)
        expect(await positionIn(path)).toEqual(positions.at(-2) ?? start)
      }
    }
  })

  test('with any flipped bit in its newest slot stands where it stood before', async () => {
    const path = await written([{ seq: 5, mark: 2 }, { seq: 9, mark: 4 }]) // prettier-ignore
    const bytes = await readFile(path)
    for (let bit = 0; bit < 192 * 8; bit++) {
      const rotten = Buffer.from(bytes)
      rotten[bit >> 3] = (rotten[bit >> 3] as number) ^ (1 << (bit & 7))
      await writeFile(path, rotten)
      expect(await positionIn(path)).toEqual({ seq: 5, mark: 2 })
    }
  })

  test('without a valid slot is refused, and left as it is', async () => {
    const path = await written([{ seq: 5, mark: 2 }])
    const bytes = await readFile(path)
    bytes[40] = 77
    bytes[4096 + 40] = 77
    for (const bad of [bytes, Buffer.alloc(0), bytes.subarray(0, 30), Buffer.alloc(5000)]) {
      await writeFile(path, bad)
      const disk = new WatchedDisk(nodeDisk)
      await expect(CursorFile.open(disk, path, id, start)).rejects.toBeInstanceOf(JournalCorruptError)
      expect(await readFile(path)).toEqual(bad)
      expect(disk.openFiles).toEqual([])
    }
  })

  test('of another journal is refused, and left as it is', async () => {
    const path = await written([{ seq: 5, mark: 2 }])
    const bytes = await readFile(path)
    const other = CursorFile.open(nodeDisk, path, 'zzzzzzzzzzzzz', start)
    await expect(other).rejects.toMatchObject({ code: 'journal_corrupt', message: expect.stringContaining(id) })
    expect(await readFile(path)).toEqual(bytes)
  })

  test('whose write or sync fails stays where it was, and goes on when the disk works again', async () => {
    for (const operation of ['write', 'sync'] as const) {
      const disk = new WatchedDisk(nodeDisk)
      const path = join(await temporaryDirectory(), 'a.cursor')
      const cursor = await CursorFile.open(disk, path, id, start)
      await cursor.write({ seq: 5, mark: 2 })
      const good = (await readFile(path)).subarray(4096)
      disk.fail({ operation, times: 3, written: 0.7 })
      for (let tries = 0; tries < 3; tries++) {
        await expect(cursor.write({ seq: 8, mark: 3 })).rejects.toMatchObject({ code: 'EIO' })
        expect(cursor.position).toEqual({ seq: 5, mark: 2 })
        // The slot that holds the last good position is never touched.
        expect((await readFile(path)).subarray(4096)).toEqual(good)
      }
      await cursor.write({ seq: 9, mark: 4 })
      await cursor.close()
      expect(await positionIn(path)).toEqual({ seq: 9, mark: 4 })
    }
  })
})
