import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { segmentName } from '../../src/journal/format.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import { SegmentReader } from '../../src/journal/segment-reader.ts'
import { appendEach, openText, temporaryDirectory, texts } from './text-journal.ts'
import { WatchedDisk } from './watched-disk.ts'

const headerBytes = 4096
/** What a block of one record has besides it. */
const blockOverhead = 56

async function written(records: readonly string[]): Promise<string> {
  const directory = await temporaryDirectory()
  const { journal } = await openText(directory, nodeDisk, { segmentBytes: 8 * 1024 * 1024 })
  await appendEach(journal, records)
  await journal.close()
  return join(directory, segmentName(1))
}

async function zero(path: string, ranges: readonly (readonly [from: number, to: number])[]): Promise<void> {
  const bytes = await readFile(path)
  for (const [from, to] of ranges) bytes.fill(0, from, to)
  await writeFile(path, bytes)
}

describe('damage in a segment', () => {
  test.each([64 * 1024, 64 * 1024 + 1024 * 1024])(
    'is skipped to the next block wherever that begins, also across the end of what is read at once (%i bytes)',
    async (step) => {
      for (const distance of [-96, -95, -94, -49, -48, -47, -46, -1, 0, 1, 47, 48]) {
        const damaged = step + distance
        const path = await written(['a', 'b'.repeat(damaged - blockOverhead), 'c'])
        const start = headerBytes + blockOverhead + 1
        await zero(path, [[start, start + 48]])
        const reader = await SegmentReader.open(nodeDisk, path, null)
        expect((await reader.next(3))?.firstSeq).toBe(1)
        expect(await reader.next(2)).toBeNull()
        expect(await reader.skipDamage()).toMatchObject({
          fromOffset: start,
          toOffset: start + damaged,
          fromSeq: 2,
          toSeq: 3,
        })
        expect((await reader.next(1))?.firstSeq).toBe(3)
        await reader.close()
      }
    },
  )

  test('that is short takes little reading, however much of it there is', async () => {
    const path = await written(texts(1001, 1000))
    const block = 1000 + blockOverhead
    const places = Array.from({ length: 500 }, (_, i) => headerBytes + (2 * i + 1) * block)
    await zero(
      path,
      places.map((at) => [at, at + 48]),
    )
    const disk = new WatchedDisk(nodeDisk)
    const reader = await SegmentReader.open(disk, path, null)
    let [blocks, damages] = [0, 0]
    for (;;) {
      if ((await reader.next(1)) !== null) blocks++
      else if ((await reader.skipDamage()) !== null) damages++
      else break
    }
    await reader.close()
    expect({ blocks, damages }).toEqual({ blocks: 501, damages: 500 })
    // The last search goes to the end of the file.
    const read = disk.log.filter(({ name }) => name === 'read').map(({ bytes }) => bytes as number)
    expect(Math.max(...read.slice(0, -2))).toBeLessThanOrEqual(64 * 1024)
  })
})
