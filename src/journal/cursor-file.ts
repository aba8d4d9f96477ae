import { crc32 } from 'node:zlib'
import { dirname } from 'node:path'
import type { Disk, DiskFile } from './disk.ts'
import { readUInt64, writeUInt64 } from './format.ts'
import { JournalCorruptError } from './journal-errors.ts'

/**
 * A reader's durable position. Two slots are written in turn, so that a torn write leaves the other one whole:
 *
 * ```
 *      0  slot of even generations        4096  slot of odd generations
 *   each: 0  4  magic "ORCU"
 *         4  4  format version
 *         8  8  generation
 *        16 16  journal id
 *        32  8  seq: every message below it is finished
 *        40  8  mark: the reader's own second position (the forwarder's: where its receipts begin to matter)
 *        48  4  CRC of bytes 0..47
 * ```
 */
export interface CursorPosition {
  readonly seq: number
  readonly mark: number
}

const slotBytes = 52
const slotSpacing = 4096
const magic = 0x5543524f // "ORCU"
const version = 1

export class CursorFile {
  readonly #file: DiskFile
  readonly #journalId: string
  #generation: number
  #position: CursorPosition

  private constructor(file: DiskFile, journalId: string, generation: number, position: CursorPosition) {
    this.#file = file
    this.#journalId = journalId
    this.#generation = generation
    this.#position = position
  }

  /** Opens the cursor at `path`, or makes it at `initial`. A cursor of another journal, or one with no valid slot, is refused. */
  static async open(disk: Disk, path: string, journalId: string, initial: CursorPosition): Promise<CursorFile> {
    if ((await disk.sizeOf(path)) === null) await makeCursor(disk, path, journalId, initial)
    const file = await disk.open(path, 'write')
    try {
      const slots = [await readSlot(file, 0), await readSlot(file, slotSpacing)]
      const newest = slots.reduce((a, b) => (b !== null && (a === null || b.generation > a.generation) ? b : a))
      if (!newest)
        throw new JournalCorruptError(`the cursor ${path} is corrupt: neither of its slots is valid`, {
          hint: 'Move it away to deliver everything that the journal still holds again.',
        })
      if (newest.journalId !== journalId)
        throw new JournalCorruptError(
          `the cursor ${path} belongs to journal ${newest.journalId}, but the journal here is ${journalId}`,
          { hint: 'Put the files of one data directory back together, or move the cursor away.' },
        )
      return new CursorFile(file, journalId, newest.generation, newest.position)
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
    await this.#file.writeDurably(encodeSlot(generation, this.#journalId, position), (generation % 2) * slotSpacing)
    this.#generation = generation
    this.#position = position
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}

interface Slot {
  readonly generation: number
  readonly journalId: string
  readonly position: CursorPosition
}

/** Under its name the file is whole from the first: it is written elsewhere, synced and renamed. */
async function makeCursor(disk: Disk, path: string, journalId: string, initial: CursorPosition): Promise<void> {
  const temporary = `${path}.new`
  if ((await disk.sizeOf(temporary)) !== null) await disk.unlink(temporary)
  const file = await disk.open(temporary, 'create')
  try {
    const bytes = Buffer.alloc(slotSpacing + slotBytes)
    encodeSlot(0, journalId, initial).copy(bytes)
    await file.write(bytes, 0)
    await file.sync()
  } finally {
    await file.close()
  }
  await disk.rename(temporary, path)
  await disk.syncDirectory(dirname(path))
}

function encodeSlot(generation: number, journalId: string, position: CursorPosition): Buffer {
  const bytes = Buffer.alloc(slotBytes)
  bytes.writeUInt32LE(magic, 0)
  bytes.writeUInt32LE(version, 4)
  writeUInt64(bytes, generation, 8)
  bytes.write(journalId, 16, 16, 'latin1')
  writeUInt64(bytes, position.seq, 32)
  writeUInt64(bytes, position.mark, 40)
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 48)), 48)
  return bytes
}

async function readSlot(file: DiskFile, at: number): Promise<Slot | null> {
  const bytes = Buffer.alloc(slotBytes)
  if ((await file.read(bytes, at)) < slotBytes) return null
  if (bytes.readUInt32LE(0) !== magic || bytes.readUInt32LE(4) !== version) return null
  if (crc32(bytes.subarray(0, 48)) !== bytes.readUInt32LE(48)) return null
  return {
    generation: readUInt64(bytes, 8),
    journalId: bytes.toString('latin1', 16, 32).replace(/\0+$/, ''),
    position: { seq: readUInt64(bytes, 32), mark: readUInt64(bytes, 40) },
  }
}
