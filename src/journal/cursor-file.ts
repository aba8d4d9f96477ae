import { randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { basename, dirname } from 'node:path'
import type { Disk, DiskFile } from './disk.ts'
import { readUInt64, writeUInt64 } from './format.ts'
import { JournalCorruptError } from './journal-errors.ts'
import type { KeyRing } from './key-ring.ts'
import { refuseUnencrypted, ringKey, unwrap, wrap, wrapNonceBytes } from './segment-cipher.ts'

/**
 * A reader's durable position. Two slots are written in turn, so that a torn write leaves the other one whole:
 *
 * ```
 *      0  slot of even generations        4096  slot of odd generations
 *   each: 0  4  magic "ORCU"
 *         4  4  format version, 2
 *         8  8  generation
 *        16  2  key name length; 0 when it is not encrypted
 *        18 62  key name
 *        80  2  content length, n
 *        82  n  content, 56 bytes; encrypted as a data key is (journal.ts), with bytes 0..79 and the file's name authenticated:
 *               0 16  journal id
 *              16  8  seq: every message below it is finished
 *              24  8  mark: the reader's own second position (the forwarder's: where its receipts begin to matter)
 *              32  8  reach: how far the journal was durable
 *              40 16  id of the journal that the mark is a position in; zeros when it is not known
 *       188  4  CRC of bytes 0..187
 *
 *   Version 1 was: 16 16 journal id, 32 8 seq, 40 8 mark, 48 4 CRC of bytes 0..47
 * ```
 */
export interface CursorPosition {
  readonly seq: number
  readonly mark: number
  /** The journal has come so far: when it ends before, it has lost its end. Default 0: nothing is known. */
  readonly reach?: number
}

const slotBytes = 192
const slotSpacing = 4096
const magic = 0x5543524f // "ORCU"
const version = 2
const contentAt = 82
const contentBytes = 56

export class CursorFile {
  readonly #file: DiskFile
  readonly #about: CursorOwner
  readonly #keys: KeyRing | null
  #generation: number
  #position: CursorPosition
  /** There was none, and it was made. */
  readonly isNew: boolean
  /** One of its slots is not whole: a crash in the midst of a write, or damage. The position that it held is not known. */
  readonly hasBadSlot: boolean
  /** Its mark is a position in another journal than it was opened with. */
  readonly isMarkForeign: boolean

  private constructor(
    file: DiskFile,
    about: CursorOwner,
    keys: KeyRing | null,
    { generation, position, markJournalId }: Slot,
    hasBadSlot: boolean,
    isNew: boolean,
  ) {
    this.#file = file
    // Whoever does not know it, keeps it.
    this.#about = { ...about, markJournalId: about.markJournalId || markJournalId }
    this.#keys = keys
    this.#generation = generation
    this.#position = position
    this.hasBadSlot = hasBadSlot
    this.isNew = isNew
    const isKnown = markJournalId !== '' && about.markJournalId !== ''
    this.isMarkForeign = isKnown && markJournalId !== about.markJournalId
  }

  /**
   * Opens the cursor at `path`, or makes it at `initial`. A cursor of another journal, or one with no valid slot, is refused.
   * `markJournalId`: of the journal that its mark is a position in.
   */
  static async open(
    disk: Disk,
    path: string,
    journalId: string,
    initial: CursorPosition,
    keys: KeyRing | null = null,
    markJournalId = '',
  ): Promise<CursorFile> {
    const about: CursorOwner = { name: basename(path), journalId, markJournalId }
    const isNew = (await disk.sizeOf(path)) === null
    if (isNew) await makeCursor(disk, path, about, initial, keys)
    // Also when it was there: the process that made it may have died before it could sync the name.
    await disk.syncDirectory(dirname(path))
    const file = await disk.open(path, 'write')
    try {
      const found = [await readSlot(file, 0, keys, path), await readSlot(file, slotSpacing, keys, path)]
      const slots = found.filter((slot) => typeof slot === 'object')
      const newest = slots.toSorted((a, b) => b.generation - a.generation)[0]
      if (!newest)
        throw new JournalCorruptError(`the cursor ${path} is corrupt: neither of its slots is valid`, {
          hint: moveAway,
        })
      if (newest.journalId !== journalId)
        throw new JournalCorruptError(
          `the cursor ${path} belongs to journal ${newest.journalId}, but the journal here is ${journalId}`,
          { hint: 'Put the files of one data directory back together, or move the cursor away.' },
        )
      // As with a journal's last block: it may be in the page cache alone, after a sync that failed. The same bytes in the
      // same place, so that whatever comes of it the other slot, which is older and durable, stays as it is.
      await file.writeDurably(newest.bytes, (newest.generation % 2) * slotSpacing)
      const cursor = new CursorFile(file, about, keys, newest, found.includes('bad'), isNew)
      // Else a key that is not the active one any more would be needed for as long as nothing is delivered.
      const active = keys?.active().name ?? ''
      if (active !== '' && slots.some(({ keyName }) => keyName !== active))
        for (let slot = 0; slot < found.length; slot++) await cursor.write(newest.position)
      return cursor
    } catch (error) {
      await file.close()
      throw error
    }
  }

  get position(): CursorPosition {
    return this.#position
  }

  /** Durable when it resolves. One call at a time. */
  async write(position: CursorPosition): Promise<void> {
    const generation = this.#generation + 1
    const slot = encodeSlot(generation, this.#about, position, this.#keys)
    await this.#file.writeDurably(slot, (generation % 2) * slotSpacing)
    this.#generation = generation
    this.#position = position
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}

/** For logs. */
export const badSlot =
  'one of the two slots of a cursor is not whole: a crash in the midst of writing it, or damage; the other one counts'
const moveAway = 'Move it away to deliver everything that the journal still holds again.'

/** Whose cursor it is. */
interface CursorOwner {
  /** The file's, so that one cursor does not pass for another. */
  readonly name: string
  readonly journalId: string
  readonly markJournalId: string
}

interface Slot {
  readonly generation: number
  readonly journalId: string
  readonly markJournalId: string
  /** Empty when it is not encrypted. */
  readonly keyName: string
  readonly position: CursorPosition
  /** As it stands in the file. */
  readonly bytes: Buffer
}

/** Under its name the file is whole from the first: it is written elsewhere, synced and renamed. */
async function makeCursor(
  disk: Disk,
  path: string,
  about: CursorOwner,
  initial: CursorPosition,
  keys: KeyRing | null,
): Promise<void> {
  const temporary = `${path}.new`
  if ((await disk.sizeOf(temporary)) !== null) await disk.unlink(temporary)
  const file = await disk.open(temporary, 'create')
  try {
    const bytes = Buffer.alloc(slotSpacing + slotBytes)
    encodeSlot(0, about, initial, keys).copy(bytes)
    await file.write(bytes, 0)
    await file.sync()
  } finally {
    await file.close()
  }
  await disk.rename(temporary, path)
}

function encodeSlot(generation: number, about: CursorOwner, position: CursorPosition, keys: KeyRing | null): Buffer {
  const content = Buffer.alloc(contentBytes)
  content.write(about.journalId, 0, 16, 'latin1')
  writeUInt64(content, position.seq, 16)
  writeUInt64(content, position.mark, 24)
  writeUInt64(content, position.reach ?? 0, 32)
  content.write(about.markJournalId, 40, 16, 'latin1')
  const bytes = Buffer.alloc(slotBytes)
  bytes.writeUInt32LE(magic, 0)
  bytes.writeUInt32LE(version, 4)
  writeUInt64(bytes, generation, 8)
  const key = keys?.active()
  if (key) bytes.writeUInt16LE(bytes.write(key.name, 18, 62, 'latin1'), 16)
  const kept = key ? wrap(key, content, toAuthenticate(bytes, about.name), randomBytes(wrapNonceBytes)) : content
  bytes.writeUInt16LE(kept.copy(bytes, contentAt), 80)
  bytes.writeUInt32LE(crc32(bytes.subarray(0, slotBytes - 4)), slotBytes - 4)
  return bytes
}

function toAuthenticate(slot: Buffer, name: string): Buffer {
  return Buffer.concat([slot.subarray(0, 80), Buffer.from(name)])
}

/** The slot at `at`; `bad` when it is not whole, and `none` when it was never written. */
async function readSlot(
  file: DiskFile,
  at: number,
  keys: KeyRing | null,
  path: string,
): Promise<Slot | 'bad' | 'none'> {
  const whole = Buffer.alloc(slotBytes)
  const bytes = whole.subarray(0, await file.read(whole, at))
  if (bytes.every((byte) => byte === 0)) return 'none'
  if (bytes.length < v1SlotBytes || bytes.readUInt32LE(0) !== magic) return 'bad'
  const isFirst = bytes.readUInt32LE(4) === 1
  const keyName = isFirst || bytes.length < slotBytes ? '' : keyNameIn(bytes)
  const content = isFirst ? v1Content(bytes, keys, path) : slotContent(bytes, keyName, keys, path)
  if (content === null) return 'bad'
  const reach = readUInt64(content, 32)
  return {
    generation: readUInt64(bytes, 8),
    journalId: idIn(content, 0),
    markJournalId: idIn(content, 40),
    keyName,
    position: { seq: readUInt64(content, 16), mark: readUInt64(content, 24), ...(reach > 0 && { reach }) },
    bytes,
  }
}

function idIn(content: Buffer, at: number): string {
  return content.toString('latin1', at, at + 16).replace(/\0+$/, '')
}

function keyNameIn(slot: Buffer): string {
  return slot.toString('latin1', 18, 18 + Math.min(slot.readUInt16LE(16), 62))
}

function slotContent(bytes: Buffer, keyName: string, keys: KeyRing | null, path: string): Buffer | null {
  if (!isWholeSlot(bytes)) return null
  const end = contentAt + bytes.readUInt16LE(80)
  // Nothing is ever written there, so nothing authenticates it.
  if (bytes.subarray(end, slotBytes - 4).some((byte) => byte !== 0)) return null
  const kept = bytes.subarray(contentAt, end)
  if (keyName === '') {
    refuseUnencrypted(keys, path)
    return kept.length === contentBytes ? kept : null
  }
  const content = unwrap(ringKey(keys, keyName, path), kept, toAuthenticate(bytes, basename(path)))
  if (content?.length === contentBytes) return content
  throw new JournalCorruptError(`the cursor ${path} was changed by somebody: it does not authenticate`, {
    hint: moveAway,
  })
}

function isWholeSlot(bytes: Buffer): boolean {
  if (bytes.length < slotBytes || bytes.readUInt32LE(4) !== version) return false
  return crc32(bytes.subarray(0, slotBytes - 4)) === bytes.readUInt32LE(slotBytes - 4)
}

/** What a cursor says, without holding it; null when neither of its slots is whole. */
export async function readCursor(
  disk: Disk,
  path: string,
  keys: KeyRing | null,
): Promise<{ readonly journalId: string; readonly position: CursorPosition } | null> {
  const file = await disk.open(path, 'read')
  try {
    const found = [await readSlot(file, 0, keys, path), await readSlot(file, slotSpacing, keys, path)]
    const newest = found.filter((slot) => typeof slot === 'object').toSorted((a, b) => b.generation - a.generation)[0]
    return newest ? { journalId: newest.journalId, position: newest.position } : null
  } finally {
    await file.close()
  }
}

/** The names of the keys that a cursor is encrypted under, by slot; empty for one that is not encrypted. */
export async function cursorKeyNames(disk: Disk, path: string): Promise<string[]> {
  const file = await disk.open(path, 'read')
  try {
    const names: string[] = []
    for (const at of [0, slotSpacing]) {
      const whole = Buffer.alloc(slotBytes)
      const bytes = whole.subarray(0, await file.read(whole, at))
      if (bytes.length < v1SlotBytes || bytes.readUInt32LE(0) !== magic) continue
      if (bytes.readUInt32LE(4) === 1) names.push('')
      else if (isWholeSlot(bytes)) names.push(keyNameIn(bytes))
    }
    return names
  } finally {
    await file.close()
  }
}

const v1SlotBytes = 52

function v1Content(bytes: Buffer, keys: KeyRing | null, path: string): Buffer | null {
  if (crc32(bytes.subarray(0, 48)) !== bytes.readUInt32LE(48)) return null
  refuseUnencrypted(keys, path)
  const content = Buffer.alloc(contentBytes)
  bytes.copy(content, 0, 16, 48)
  return content
}
