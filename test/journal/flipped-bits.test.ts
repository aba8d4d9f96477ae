import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import type { Disk, DiskFile } from '../../src/journal/disk.ts'
import { segmentName } from '../../src/journal/format.ts'
import { JournalCorruptError, JournalKeyMissingError, JournalUnencryptedError, JournalUnsupportedError } from '../../src/journal/journal-errors.ts' // prettier-ignore
import { nodeDisk } from '../../src/journal/node-disk.ts'
import { SegmentReader } from '../../src/journal/segment-reader.ts'
import { blocksOf, forceCrc, forgeCrcs, forgeOwnCrcs } from './forger.ts'
import { HeldKeys, keyOf } from './held-keys.ts'
import { appendEach, openText, temporaryDirectory } from './text-journal.ts'

const keys = new HeldKeys(keyOf('k1', 1))
const known = [JournalCorruptError, JournalKeyMissingError, JournalUnencryptedError, JournalUnsupportedError]

/** A file in memory, for reading it thousands of times. */
function diskOf(bytes: Buffer): Disk {
  const file: Pick<DiskFile, 'size' | 'read' | 'close'> = {
    size: () => Promise.resolve(bytes.length),
    read: (target, position) => Promise.resolve(position >= bytes.length ? 0 : bytes.copy(target, 0, position)),
    close: () => Promise.resolve(),
  }
  return { ...nodeDisk, open: () => Promise.resolve(file as DiskFile) }
}

/** How a segment reads: what it gives, and whether something was wrong with it. */
async function readSegment(bytes: Buffer): Promise<{ given: string[]; isWrong: boolean; hasFooter: boolean }> {
  const given: string[] = []
  let reader: SegmentReader
  try {
    reader = await SegmentReader.open(diskOf(bytes), segmentName(1), keys)
  } catch (error) {
    if (!known.some((kind) => error instanceof kind)) throw error
    return { given, isWrong: true, hasFooter: false }
  }
  const footer = await reader.footer()
  let isWrong = false
  for (;;) {
    const block = await reader.next(10)
    if (block === null) {
      if ((await reader.skipDamage()) === null) break
      isWrong = true
      continue
    }
    block.forEach((_, payload, start, end) => given.push(payload.toString('latin1', start, end)))
  }
  // What the next segment's base, the footer or the cursor says in the journal.
  if (reader.nextSeq !== 4 || reader.header.baseSeq !== 1) isWrong = true
  return { given, isWrong, hasFooter: footer !== null }
}

describe('one flipped bit in an encrypted segment', () => {
  const short = ['first', 'second', 'third']

  /** Flips every bit, and says where it was neither noticed nor of no consequence. */
  async function unnoticed(forge: (bytes: Buffer, blocks: ReturnType<typeof blocksOf>) => Buffer): Promise<string[]> {
    const directory = await temporaryDirectory()
    const { journal } = await openText(directory, nodeDisk, { keys })
    await appendEach(journal, short)
    await journal.close()
    const whole = await readFile(join(directory, segmentName(1)))
    const blocks = blocksOf(whole)
    expect(blocks).toHaveLength(3)
    expect(await readSegment(whole)).toEqual({ given: short, isWrong: false, hasFooter: true })
    const footerAt = blocks.at(-1)?.end ?? 0
    const missed: string[] = []
    for (let bit = 0; bit < whole.length * 8; bit++) {
      const at = bit >> 3
      const changed = Buffer.from(whole)
      changed[at] = (changed[at] as number) ^ (1 << (bit & 7))
      const forged = forge(changed, blocks)
      // Whoever makes the CRCs right again undoes what was changed in one.
      if (forged.equals(whole)) continue
      const { given, isWrong, hasFooter } = await readSegment(forged)
      if (!given.every((text) => short.includes(text))) missed.push(`${bit}: gave ${given.join()}`)
      // A footer holds no records, and is not needed: one that is not right is not used.
      const isNoticed = at >= footerAt ? !hasFooter && given.length === short.length : isWrong
      if (!isNoticed) missed.push(`bit ${bit}`)
    }
    return missed
  }

  test('is noticed', { timeout: 120_000 }, async () => {
    expect(await unnoticed((bytes) => bytes)).toEqual([])
  })

  test('is noticed when somebody makes all CRCs right again', { timeout: 120_000 }, async () => {
    expect(await unnoticed(forgeOwnCrcs)).toEqual([])
  })

  test('is noticed when somebody makes all CRCs and links right again', { timeout: 120_000 }, async () => {
    expect(await unnoticed(forgeCrcs)).toEqual([])
  })

  test.each([
    ['the uuid of the segment before', 264],
    ['the journal id', 32],
    ['the time', 60],
    ['what means nothing, before the uuid', 12],
    ['what means nothing, behind the wrapped key', 240],
    ['what means nothing, at the end', 3000],
  ])('is noticed in %s when somebody makes up for it elsewhere in the header, so that its CRC stays', async (_, at) => {
    const directory = await temporaryDirectory()
    const { journal } = await openText(directory, nodeDisk, { keys })
    await appendEach(journal, short)
    await journal.close()
    const whole = await readFile(join(directory, segmentName(1)))
    const header = Buffer.from(whole.subarray(0, 4092))
    header[at] = (header[at] as number) ^ 1
    // Where it makes up for it: in the time, or in what means nothing.
    for (const place of [56, 2000]) {
      const forged = Buffer.concat([forceCrc(header, place, whole.readUInt32LE(4092)), whole.subarray(4092)])
      expect(forged.equals(whole)).toBe(false)
      expect(crc32(forged.subarray(0, 4092))).toBe(forged.readUInt32LE(4092))
      expect(await readSegment(forged)).toEqual({ given: [], isWrong: true, hasFooter: false })
    }
  })
})
