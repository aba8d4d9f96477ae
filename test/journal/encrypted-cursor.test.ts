import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { CursorFile, cursorKeyNames } from '../../src/journal/cursor-file.ts'
import type { CursorPosition } from '../../src/journal/cursor-file.ts'
import { JournalCorruptError, JournalKeyMissingError, JournalUnencryptedError } from '../../src/journal/journal-errors.ts' // prettier-ignore
import type { KeyRing } from '../../src/journal/key-ring.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import { HeldKeys, keyOf } from './held-keys.ts'
import { temporaryDirectory } from './text-journal.ts'

const id = '0123456789abc'
const start: CursorPosition = { seq: 1, mark: 1 }
const [first, second] = [keyOf('first', 1), keyOf('second', 2)]
const slotBytes = 192
const refusals = [JournalCorruptError, JournalKeyMissingError, JournalUnencryptedError]
const newest: CursorPosition = { seq: 900, mark: 44, reach: 1000 }
const older: CursorPosition = { seq: 700, mark: 33, reach: 800 }

function open(path: string, keys: KeyRing | null, markJournalId = ''): Promise<CursorFile> {
  return CursorFile.open(nodeDisk, path, id, start, keys, markJournalId)
}

/** A cursor whose older slot says `older`, and whose newer one says `newest`. */
async function written(keys: KeyRing | null = new HeldKeys(first), name = 'a.cursor'): Promise<string> {
  const path = join(await temporaryDirectory(), name)
  const cursor = await open(path, keys)
  await cursor.write(older)
  await cursor.write(newest)
  await cursor.close()
  return path
}

/** What it says, or what it is refused with. */
async function look(
  path: string,
  keys: KeyRing | null = new HeldKeys(first),
): Promise<{ position: CursorPosition; hasBadSlot: boolean } | Error> {
  // prettier-ignore
  let cursor: CursorFile
  try {
    cursor = await open(path, keys)
  } catch (error) {
    return error as Error
  }
  await cursor.close()
  return { position: cursor.position, hasBadSlot: cursor.hasBadSlot }
}

function withCrc(bytes: Buffer, at: number): Buffer {
  bytes.writeUInt32LE(crc32(bytes.subarray(at, at + slotBytes - 4)), at + slotBytes - 4)
  return bytes
}

describe('an encrypted cursor', () => {
  test('says what was written, and shows none of it', async () => {
    const path = await written()
    expect(await look(path)).toEqual({ position: newest, hasBadSlot: false })
    const bytes = await readFile(path)
    expect(bytes.includes(id)).toBe(false)
    for (const value of [newest.seq, newest.reach as number]) {
      const number = Buffer.alloc(8)
      number.writeUInt32LE(value)
      expect(bytes.includes(number)).toBe(false)
    }
  })

  test('with any flipped bit is noticed: the position before it counts, and it is told that one is gone', async () => {
    const path = await written()
    const bytes = await readFile(path)
    for (const [at, position] of [
      [0, older],
      [4096, newest],
    ] as const)
      // prettier-ignore
      for (let bit = 0; bit < slotBytes * 8; bit++) {
        const rotten = Buffer.from(bytes)
        const byte = at + (bit >> 3)
        rotten[byte] = (rotten[byte] as number) ^ (1 << (bit & 7))
        await writeFile(path, rotten)
        expect(await look(path)).toEqual({ position, hasBadSlot: true })
      }
  }, 60_000)

  test('with any flipped bit and a right CRC is refused', async () => {
    const path = await written()
    const bytes = await readFile(path)
    for (let bit = 0; bit < (slotBytes - 4) * 8; bit++) {
      const changed = Buffer.from(bytes)
      changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7))
      await writeFile(path, withCrc(changed, 0))
      const seen = await look(path)
      // Magic, version, what is behind the content: then it is no slot of ours, and the position before it counts.
      const isNoSlot = bit < 8 * 8 || bit >= 80 * 8
      const isRefused = refusals.some((kind) => seen instanceof kind)
      expect(isRefused ? 'refused' : seen).toEqual(isRefused || !isNoSlot ? 'refused' : { position: older, hasBadSlot: true }) // prettier-ignore
    }
  }, 60_000)

  test('whose slots are exchanged, or the same, says its newest position', async () => {
    const path = await written()
    const bytes = await readFile(path)
    const [a, b] = [Buffer.from(bytes.subarray(0, slotBytes)), Buffer.from(bytes.subarray(4096))]
    for (const [even, odd] of [
      [b, a],
      [a, a],
    ] as const) {
      // prettier-ignore
      even.copy(bytes, 0)
      odd.copy(bytes, 4096)
      await writeFile(path, bytes)
      expect(await look(path)).toEqual({ position: newest, hasBadSlot: false })
    }
  })

  test('that is not encrypted is refused; or accepted and encrypted at once, in both slots', async () => {
    const path = await written(null)
    const keys = new HeldKeys(first)
    const before = await readFile(path)
    expect(await look(path, keys)).toBeInstanceOf(JournalUnencryptedError)
    expect(await readFile(path)).toEqual(before)
    keys.acceptsUnencrypted = true
    expect(await look(path, keys)).toEqual({ position: newest, hasBadSlot: false })
    keys.acceptsUnencrypted = false
    expect(await look(path, keys)).toEqual({ position: newest, hasBadSlot: false })
    expect(await cursorKeyNames(nodeDisk, path)).toEqual([first.name, first.name])
  })

  test('of format version 1 is refused, or accepted, in the same way', async () => {
    const path = join(await temporaryDirectory(), 'a.cursor')
    const slot = Buffer.alloc(4096 + 64)
    slot.write('ORCU', 0, 'latin1')
    slot.writeUInt32LE(1, 4)
    slot.writeUInt32LE(8, 8)
    slot.write(id, 16, 'latin1')
    slot.writeUInt32LE(42, 32)
    slot.writeUInt32LE(7, 40)
    slot.writeUInt32LE(crc32(slot.subarray(0, 48)), 48)
    await writeFile(path, slot)
    const keys = new HeldKeys(first)
    expect(await look(path, null)).toEqual({ position: { seq: 42, mark: 7 }, hasBadSlot: false })
    expect(await look(path, keys)).toBeInstanceOf(JournalUnencryptedError)
    keys.acceptsUnencrypted = true
    expect(await look(path, keys)).toEqual({ position: { seq: 42, mark: 7 }, hasBadSlot: false })
  })

  test('is under the active key as soon as it is opened', async () => {
    const path = await written()
    expect(await look(path, new HeldKeys(second, first))).toEqual({ position: newest, hasBadSlot: false })
    expect(await cursorKeyNames(nodeDisk, path)).toEqual([second.name, second.name])
    expect(await look(path, new HeldKeys(second))).toEqual({ position: newest, hasBadSlot: false })
  })

  test('whose key is missing names it, and is left as it is', async () => {
    const path = await written()
    const before = await readFile(path)
    for (const keys of [null, new HeldKeys(second), new HeldKeys(keyOf('first', 9))]) {
      const error = await look(path, keys)
      expect(error).toBeInstanceOf(JournalKeyMissingError)
      expect(error).toMatchObject({ message: expect.stringContaining(first.name) as string })
      expect(await readFile(path)).toEqual(before)
    }
  })

  test('does not pass for the cursor of another reader', async () => {
    const path = await written(undefined, 'forwarder.cursor')
    const other = join(path, '..', 'metadata.cursor')
    await copyFile(path, other)
    expect(await look(other)).toBeInstanceOf(JournalCorruptError)
  })

  test('that is older, as a whole, is as good as it was: only what it was moved for can tell', async () => {
    const path = await written()
    const past = await readFile(path)
    const cursor = await open(path, new HeldKeys(first))
    for (let seq = 1000; seq < 1003; seq++) await cursor.write({ seq, mark: 50, reach: 1100 })
    await cursor.close()
    await writeFile(path, past)
    expect(await look(path)).toEqual({ position: newest, hasBadSlot: false })
  })
})

describe('the mark of a cursor', () => {
  test('is foreign when it was written for another journal, and not when that is not known', async () => {
    const path = join(await temporaryDirectory(), 'a.cursor')
    const cursor = await open(path, null)
    expect(cursor.isMarkForeign).toBe(false)
    await cursor.write(newest)
    await cursor.close()
    const known = await open(path, null, 'receiptsreceip')
    expect(known.isMarkForeign).toBe(false)
    await known.write(newest)
    await known.close()
    for (const [markJournalId, isForeign] of [
      ['receiptsreceip', false],
      ['otherreceipts', true],
      ['', false],
    ] as const) {
      // prettier-ignore
      const again = await open(path, null, markJournalId)
      expect(again.isMarkForeign).toBe(isForeign)
      if (!isForeign) await again.write(newest)
      await again.close()
    }
  })
})
