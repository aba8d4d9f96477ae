import { crc32 } from 'node:zlib'
import { join } from 'node:path'
import { OutriggerError } from '../base/errors.ts'
import type { Disk, DiskFile } from './disk.ts'
import { baseSeqOf, parseSegmentHeader, segmentHeaderBytes, segmentName } from './format.ts'
import { JournalCorruptError } from './journal-errors.ts'
import { SegmentReader, corruptHint } from './segment-reader.ts'

/** A file of a copy. */
export interface CopiedFile {
  readonly name: string
  readonly bytes: number
  /** CRC-32 of all its bytes. */
  readonly crc: number
}

/** What a copied journal holds: everything from `firstSeq` to below `nextSeq`. */
export interface CopiedJournal {
  readonly journalId: string
  readonly firstSeq: number
  readonly nextSeq: number
  readonly files: readonly CopiedFile[]
}

interface CopiedSegment extends CopiedFile {
  readonly baseSeq: number
  readonly journalId: string
  readonly nextSeq: number
  /** It can't grow any more. */
  readonly isSealed: boolean
}

const chunkBytes = 1024 * 1024
/** So often the newest segment may be gone before it is opened. */
const attemptsMax = 50

/** A journal moves on faster than it can be copied. */
class JournalOvertakenError extends OutriggerError {
  override readonly name = 'JournalOvertakenError'
  override readonly code = 'journal_overtaken'
}

/**
 * Copies a journal that another process may be writing to, without asking it and without keeping it from anything.
 *
 * - Bytes are copied, never linked: a drained segment's file is used again for a new one, and the copy would change with it.
 * - A file that is opened stays readable when its name goes, but its bytes may become another segment's. The first that is
 *   written then is the new header, with a new uuid; so when the header is the same after the last byte was read, all
 *   bytes before were the segment's own. Else the segment counts as gone, and so do older ones: the oldest goes first.
 * - Of a segment without a footer, what its valid blocks take is copied and not a byte more. They don't change any more; what
 *   is behind may be half of a block that is being written.
 */
export class JournalCopy {
  readonly #disk: Disk
  readonly #from: string
  readonly #to: string
  readonly #segments = new Map<number, CopiedSegment>()

  constructor(disk: Disk, from: string, to: string) {
    this.#disk = disk
    this.#from = from
    this.#to = to
  }

  /**
   * Copies what is there now, as far as it is not copied yet. Everything that was durable when it was called, and that nobody
   * has released since, is in the copy then. Throws a `JournalCorruptError` when something in between is damaged.
   */
  async update(): Promise<void> {
    await this.#disk.makeDirectory(this.#to)
    for (let attempt = 1; !(await this.#copyListed()); attempt++)
      if (attempt === attemptsMax)
        throw new JournalOvertakenError(`${this.#from} is written and released faster than it can be copied`, {
          hint: 'Try again at a quieter time, or with a larger journal.segmentBytes.',
        })
    await this.#disk.syncDirectory(this.#to)
  }

  /** What is copied without a hole, up to the newest; null when there is nothing. Older segments are deleted from the copy. */
  async finish(): Promise<CopiedJournal | null> {
    const kept = this.#contiguous()
    for (const { baseSeq, name } of this.#segments.values()) {
      if (kept.some((segment) => segment.baseSeq === baseSeq)) continue
      await this.#disk.unlink(join(this.#to, name))
      this.#segments.delete(baseSeq)
    }
    await this.#disk.syncDirectory(this.#to)
    return copiedJournal(kept)
  }

  /** Null when nothing is copied. */
  get journalId(): string | null {
    return this.#contiguous().at(-1)?.journalId ?? null
  }

  /** From where on everything is copied; null when nothing is. */
  get firstSeq(): number | null {
    return this.#contiguous()[0]?.baseSeq ?? null
  }

  /** False when the newest was released meanwhile: then there is a newer one. */
  async #copyListed(): Promise<boolean> {
    const names = await this.#disk.list(this.#from)
    const bases = names.flatMap((name) => baseSeqOf(name) ?? []).toSorted((a, b) => a - b)
    const newest = bases.at(-1)
    // The newest first, for it must be there; then from the oldest on, which are the first to go.
    if (newest !== undefined && (await this.#upToDate(newest)) === null) return false
    for (const [i, base] of bases.slice(0, -1).entries()) {
      const segment = await this.#upToDate(base)
      const next = bases[i + 1]
      // The later one was there before the earlier one was read, so that was complete.
      if (segment !== null && next !== undefined && segment.nextSeq < next)
        throw new JournalCorruptError(
          `${join(this.#from, segment.name)} is corrupt: message ${segment.nextSeq} should be in it, and is not`,
          { hint: corruptHint },
        )
    }
    return true
  }

  /** The copy of a segment, made anew when it may have grown; null when the segment was released meanwhile. */
  async #upToDate(base: number): Promise<CopiedSegment | null> {
    const known = this.#segments.get(base)
    if (known?.isSealed) return known
    const copied = await this.#copySegment(base)
    if (copied !== null) this.#segments.set(base, copied)
    return copied
  }

  async #copySegment(base: number): Promise<CopiedSegment | null> {
    const name = segmentName(base)
    const part = join(this.#to, `${name}.part`)
    try {
      const file = await this.#disk.open(join(this.#from, name), 'read')
      try {
        return await this.#copyOpened(base, file, part)
      } finally {
        await file.close()
      }
    } catch (error) {
      // Its name goes before its bytes do.
      if ((await this.#disk.list(this.#from)).includes(name)) throw error
      if ((await this.#disk.sizeOf(part)) !== null) await this.#disk.unlink(part)
      return null
    }
  }

  async #copyOpened(base: number, file: DiskFile, part: string): Promise<CopiedSegment | null> {
    const name = segmentName(base)
    const header = await readHeader(file)
    const extent = await extentOf(this.#disk, join(this.#from, name), file)
    const crc = await copyBytes(this.#disk, file, part, extent.bytes)
    const parsed = parseSegmentHeader(header)
    const isSame = parsed.ok && parsed.header.baseSeq === base && parsed.header.uuid.equals(extent.uuid)
    if (!isSame || !(await readHeader(file)).equals(header)) {
      await this.#disk.unlink(part)
      return null
    }
    await this.#disk.rename(part, join(this.#to, name))
    const { journalId } = parsed.header
    const { bytes, nextSeq, isSealed } = extent
    return { name, bytes, crc, baseSeq: base, journalId, nextSeq, isSealed }
  }

  #contiguous(): CopiedSegment[] {
    const newestFirst = [...this.#segments.values()].toSorted((a, b) => b.baseSeq - a.baseSeq)
    const hole = newestFirst.findIndex(({ nextSeq }, i) => i > 0 && nextSeq < (newestFirst[i - 1]?.baseSeq ?? 0))
    return newestFirst.slice(0, hole === -1 ? newestFirst.length : hole).toReversed()
  }
}

function copiedJournal(segments: readonly CopiedSegment[]): CopiedJournal | null {
  const [first] = segments
  const last = segments.at(-1)
  if (first === undefined || last === undefined) return null
  const files = segments.map(({ name, bytes, crc }) => ({ name, bytes, crc }))
  return { journalId: last.journalId, firstSeq: first.baseSeq, nextSeq: last.nextSeq, files }
}

interface Extent {
  readonly uuid: Buffer
  readonly bytes: number
  readonly nextSeq: number
  readonly isSealed: boolean
}

/** How far a segment is written, by going through its blocks: rot is found when a copy is made, not when it is needed. */
async function extentOf(disk: Disk, path: string, file: DiskFile): Promise<Extent> {
  const reader = await SegmentReader.openUnread(disk, path)
  try {
    const { uuid } = reader.header
    const footer = await reader.footer()
    for (;;) if ((await reader.next(Number.MAX_SAFE_INTEGER)) === null) break
    const { nextSeq, offset } = reader
    if (footer === null) return { uuid, bytes: offset, nextSeq, isSealed: false }
    if (nextSeq !== footer.nextSeq)
      throw new JournalCorruptError(`${path} is corrupt at byte ${offset}: message ${nextSeq} should begin there`, {
        hint: corruptHint,
      })
    return { uuid, bytes: await file.size(), nextSeq, isSealed: true }
  } finally {
    await reader.close()
  }
}

async function readHeader(file: DiskFile): Promise<Buffer> {
  const header = Buffer.alloc(segmentHeaderBytes)
  return header.subarray(0, await file.read(header, 0))
}

/** Copies the first `bytes` of a file into a new one, durably; resolves with their CRC. The directory is not synced. */
export async function copyBytes(disk: Disk, from: DiskFile, to: string, bytes: number): Promise<number> {
  const target = await disk.open(to, 'create')
  try {
    const chunk = Buffer.allocUnsafe(Math.min(chunkBytes, bytes))
    let crc = 0
    for (let at = 0; at < bytes;) {
      const read = await from.read(chunk.subarray(0, Math.min(chunk.length, bytes - at)), at)
      if (read === 0) throw new Error(`${to}: its source ends after ${at} of ${bytes} bytes`)
      const piece = chunk.subarray(0, read)
      await target.write(piece, at)
      crc = crc32(piece, crc)
      at += read
    }
    await target.sync()
    return crc
  } finally {
    await target.close()
  }
}
