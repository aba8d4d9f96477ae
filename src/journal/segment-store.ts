import { join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import { codeOf } from '../base/errors.ts'
import type { Disk, DiskFile } from './disk.ts'
import type { Footer, IndexEntry, SegmentHeader } from './format.ts'
import {
  baseSeqOf,
  blockTrailerBytes,
  encodeFooter,
  encodeSegmentHeader,
  sealBlock,
  seedOf,
  segmentHeaderBytes,
  segmentName,
} from './format.ts'
import { JournalCorruptError } from './journal-errors.ts'
import type { PendingBlock } from './pending-block.ts'
import { SegmentReader, corruptHint } from './segment-reader.ts'

/** Space is taken in steps of this size ahead of what is written, so that most syncs change no metadata. */
const allocationStep = 1024 * 1024
const zeros = Buffer.alloc(allocationStep)
const indexSpacing = 64 * 1024
/** Drained files that are kept for the next segments: their space is allocated already. */
const sparesMax = 2

/** The segment that is being written. */
export class ActiveSegment {
  readonly baseSeq: number
  readonly path: string
  readonly file: DiskFile
  readonly seed: number
  /** Where the next block goes. */
  offset = segmentHeaderBytes
  nextSeq: number
  readonly index: IndexEntry[] = []
  readonly #segmentBytes: number
  #allocated: number
  #blocks = 0
  #previousCrc: number

  constructor(
    path: string,
    file: DiskFile,
    header: SegmentHeader,
    headerCrc: number,
    segmentBytes: number,
    allocated: number,
  ) {
    this.path = path
    this.file = file
    this.baseSeq = header.baseSeq
    this.nextSeq = header.baseSeq
    this.seed = seedOf(header.uuid)
    this.#previousCrc = headerCrc
    this.#segmentBytes = segmentBytes
    this.#allocated = allocated
  }

  hasRoomFor(bytes: number): boolean {
    return this.offset === segmentHeaderBytes || this.offset + bytes <= this.#segmentBytes
  }

  /** Writes a block behind the last and syncs it. After a failure this segment must not be written to again. */
  async write(block: PendingBlock, now: number): Promise<void> {
    const crc = sealBlock(
      block.buffer,
      {
        payloadBytes: block.payloadBytes,
        firstSeq: block.firstSeq,
        count: block.count,
        isGap: block.isGap,
        number: this.#blocks,
        previousCrc: this.#previousCrc,
        writtenAt: now,
      },
      this.seed,
    )
    const bytes = block.bytes + blockTrailerBytes
    await this.#allocate(this.offset + bytes)
    await this.file.writeDurably(block.buffer.subarray(0, bytes), this.offset)
    const indexed = this.index.at(-1)
    if (indexed === undefined || this.offset - indexed[1] >= indexSpacing)
      this.index.push([block.firstSeq, this.offset])
    this.offset += bytes
    this.nextSeq = block.firstSeq + block.count
    this.#previousCrc = crc
    this.#blocks++
  }

  async #allocate(end: number): Promise<void> {
    while (this.#allocated < end && this.#allocated < this.#segmentBytes) {
      const bytes = Math.min(allocationStep, this.#segmentBytes - this.#allocated)
      try {
        await this.file.write(zeros.subarray(0, bytes), this.#allocated)
      } catch (error) {
        if (!isSpaceExhausted(error)) throw error
        // What is left of the disk goes to the block itself.
        this.#allocated = this.#segmentBytes
        await this.file.truncate(this.offset)
        return
      }
      this.#allocated += bytes
    }
  }
}

function isSpaceExhausted(error: unknown): boolean {
  const code = codeOf(error)
  return code === 'ENOSPC' || code === 'EDQUOT' || code === 'short_write'
}

interface SealedSegment {
  readonly baseSeq: number
  readonly path: string
  bytes: number
  sealing: Promise<void>
}

/** The segment files of one directory: beginning, sealing, recovering, deleting and reusing them. */
export class SegmentStore {
  readonly journalId: string
  readonly #disk: Disk
  readonly #directory: string
  readonly #segmentBytes: number
  readonly #clock: Clock
  readonly #random: (bytes: number) => Buffer
  /** Every segment but the active one, oldest first. */
  readonly #sealed: SealedSegment[]
  readonly #spares: string[]
  #sealedBytes: number
  /** Of the segment that is being written; null when there is none. */
  #activeBase: number | null = null
  #releasing: Promise<void> = Promise.resolve()

  private constructor(
    disk: Disk,
    directory: string,
    segmentBytes: number,
    clock: Clock,
    random: (bytes: number) => Buffer,
    journalId: string,
    sealed: SealedSegment[],
    spares: string[],
  ) {
    this.#disk = disk
    this.#directory = directory
    this.#segmentBytes = segmentBytes
    this.#clock = clock
    this.#random = random
    this.journalId = journalId
    this.#sealed = sealed
    this.#sealedBytes = sealed.reduce((sum, segment) => sum + segment.bytes, 0)
    this.#spares = spares
  }

  /** Finds what is there and recovers the tail of the last segment, or begins a new journal's first segment. */
  static async open(
    disk: Disk,
    directory: string,
    segmentBytes: number,
    clock: Clock,
    newJournalId: () => string,
    random: (bytes: number) => Buffer,
  ): Promise<{ store: SegmentStore; nextSeq: number; active: ActiveSegment | null }> {
    const names = await disk.list(directory)
    const spares = names.filter((name) => name.endsWith('.spare')).map((name) => join(directory, name))
    const bases = names.flatMap((name) => baseSeqOf(name) ?? []).toSorted((a, b) => a - b)
    const sealed: SealedSegment[] = []
    for (const baseSeq of bases) {
      const path = join(directory, segmentName(baseSeq))
      sealed.push({ baseSeq, path, bytes: (await disk.sizeOf(path)) ?? 0, sealing: Promise.resolve() })
    }
    const storeOf = (journalId: string): SegmentStore =>
      new SegmentStore(disk, directory, segmentBytes, clock, random, journalId, sealed, spares)
    const last = sealed.at(-1)
    if (last === undefined) {
      // At once, for it keeps the new journal's id.
      const store = storeOf(newJournalId())
      return { store, nextSeq: 1, active: await store.begin(1) }
    }
    const { journalId, nextSeq } = await recoverTail(disk, last.path)
    last.bytes = (await disk.sizeOf(last.path)) ?? 0
    // A segment without records bears the name that the next one needs, and is replaced by it.
    if (nextSeq === last.baseSeq) sealed.pop()
    return { store: storeOf(journalId), nextSeq, active: null }
  }

  /** Where the oldest segment begins; null when all there is is one without records that can't be written to. */
  get firstBase(): number | null {
    return this.#sealed[0]?.baseSeq ?? this.#activeBase
  }

  /** Where the newest segment begins; null as for `firstBase`. */
  get lastBase(): number | null {
    return this.#activeBase ?? this.#sealed.at(-1)?.baseSeq ?? null
  }

  /** Bytes of every segment but the active one. */
  get sealedBytes(): number {
    return this.#sealedBytes
  }

  /** Bytes of the sealed segments in which every seq is below `seq`. */
  bytesBelow(seq: number): number {
    let bytes = 0
    for (const [i, segment] of this.#sealed.entries()) {
      const nextBase = this.#sealed[i + 1]?.baseSeq ?? this.#activeBase
      if (nextBase === null || nextBase > seq) break
      bytes += segment.bytes
    }
    return bytes
  }

  /** Where the first segment begins with at least `bytes` before it; the newest one at the latest. */
  seqAfter(bytes: number): number {
    let left = bytes
    for (const { baseSeq, bytes: own } of this.#sealed) {
      if (left <= 0) return baseSeq
      left -= own
    }
    return this.lastBase ?? 0
  }

  /** Makes the segment that begins with `baseSeq`: its header is synced before it gets its name, and its name before it is used. */
  async begin(baseSeq: number): Promise<ActiveSegment> {
    const header: SegmentHeader = {
      journalId: this.journalId,
      uuid: this.#random(16),
      baseSeq,
      createdAt: this.#clock.now(),
    }
    const spare = this.#spares.pop()
    const from = spare ?? join(this.#directory, `${header.uuid.toString('hex')}.spare`)
    const path = join(this.#directory, segmentName(baseSeq))
    const file = await this.#disk.open(from, spare === undefined ? 'create' : 'write')
    try {
      const bytes = encodeSegmentHeader(header)
      await file.writeDurably(bytes, 0)
      await this.#disk.rename(from, path)
      await this.#disk.syncDirectory(this.#directory)
      const allocated = spare === undefined ? segmentHeaderBytes : await file.size()
      this.#activeBase = baseSeq
      return new ActiveSegment(
        path,
        file,
        header,
        bytes.readUInt32LE(segmentHeaderBytes - 4),
        this.#segmentBytes,
        allocated,
      )
    } catch (error) {
      await file.close()
      await this.#discard(from)
      throw error
    }
  }

  /** Ends a segment with its footer. Nothing depends on it but speed: a segment without footer is read through. */
  async seal(active: ActiveSegment): Promise<void> {
    const { file } = active
    try {
      if (active.nextSeq > active.baseSeq) {
        const { nextSeq, offset, index } = active
        await writeFooter(file, { nextSeq, offset, index }, active.seed)
      }
    } finally {
      await file.close()
    }
  }

  /** Seals in the background; the segment counts as sealed at once. */
  sealLater(active: ActiveSegment): void {
    // A footer that can't be written costs the next seek some time, and nothing else.
    this.#addSealed(
      active,
      this.seal(active).catch(() => {}),
    )
  }

  /** Gives up a segment after a failed write: what was synced in it stays readable. */
  abandon(active: ActiveSegment): void {
    const closing = active.file.close().catch(() => {}) // the failure that led here has been reported
    // An empty one is replaced by the next segment, which takes its name.
    if (active.nextSeq > active.baseSeq) this.#addSealed(active, closing)
    else this.#activeBase = null
  }

  #addSealed(active: ActiveSegment, sealing: Promise<void>): void {
    this.#sealed.push({ baseSeq: active.baseSeq, path: active.path, bytes: active.offset, sealing })
    this.#sealedBytes += active.offset
    this.#activeBase = null
  }

  release(seq: number): Promise<void> {
    const before = this.#releasing.catch(() => {}) // whoever called for it has the failure
    this.#releasing = before.then(() => this.#release(seq))
    return this.#releasing
  }

  /** Waits for background work. */
  async settled(): Promise<void> {
    await Promise.all(this.#sealed.map((segment) => segment.sealing))
    await this.#releasing.catch(() => {}) // whoever called release has the failure
  }

  async #release(seq: number): Promise<void> {
    let changed = false
    const drained: string[] = []
    for (let oldest = this.#sealed[0]; oldest; oldest = this.#sealed[0]) {
      // Without a next segment the last one stays: it keeps the journal's id, and how far its seqs have come.
      const nextBase = this.#sealed[1]?.baseSeq ?? this.#activeBase
      if (nextBase === null || nextBase > seq) break
      await oldest.sealing
      if (this.#spares.length + drained.length < sparesMax && oldest.bytes > this.#segmentBytes / 2) {
        const spare = join(this.#directory, `${this.#random(16).toString('hex')}.spare`)
        await this.#disk.rename(oldest.path, spare)
        drained.push(spare)
      } else {
        await this.#disk.unlink(oldest.path)
      }
      this.#sealed.shift()
      this.#sealedBytes -= oldest.bytes
      changed = true
    }
    if (changed) await this.#disk.syncDirectory(this.#directory)
    // Not before their old names are gone for good: a crash must not bring back an old segment with a new one's bytes.
    this.#spares.push(...drained)
  }

  async #discard(path: string): Promise<void> {
    try {
      await this.#disk.unlink(path)
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') return // an unused file is left; it is reused at the next start
    }
  }
}

/** Makes an unsealed last segment whole: syncs what is valid, cuts off a torn tail, and seals it. */
async function recoverTail(disk: Disk, path: string): Promise<{ journalId: string; nextSeq: number }> {
  const reader = await SegmentReader.open(disk, path)
  try {
    const { journalId } = reader.header
    const footer = await reader.footer()
    if (footer) return { journalId, nextSeq: footer.nextSeq }
    const index: IndexEntry[] = []
    let lastBlock = reader.offset
    for (;;) {
      const { offset, nextSeq } = reader
      if ((await reader.next(Number.MAX_SAFE_INTEGER)) === null) break
      lastBlock = offset
      const indexed = index.at(-1)
      if (indexed === undefined || offset - indexed[1] >= indexSpacing) index.push([nextSeq, offset])
    }
    const beyond = await reader.findBlockBeyond()
    if (beyond !== -1)
      throw new JournalCorruptError(
        `${path} is corrupt at byte ${reader.offset}: no valid block there, but one follows at byte ${beyond}, so it is no torn tail`,
        { hint: corruptHint },
      )
    const file = await disk.open(path, 'write')
    try {
      // Before anything is served from it: the process that wrote the last block may have died before its sync. Or the
      // sync failed, and the kernel takes the pages for clean, so that only writing them again brings them to the disk.
      const bytes = Buffer.allocUnsafeSlow(reader.offset - lastBlock)
      await file.read(bytes, lastBlock)
      await file.write(bytes, lastBlock)
      await file.sync()
      const { nextSeq, offset } = reader
      // As in `sealLater`: on a full disk the journal must start all the same.
      await writeFooter(file, { nextSeq, offset, index }, seedOf(reader.header.uuid)).catch(() => {})
    } finally {
      await file.close()
    }
    return { journalId, nextSeq: reader.nextSeq }
  } finally {
    await reader.close()
  }
}

async function writeFooter(file: DiskFile, footer: Footer, seed: number): Promise<void> {
  const bytes = encodeFooter(footer, seed)
  await file.write(bytes, footer.offset)
  await file.truncate(footer.offset + bytes.length)
  await file.sync()
}
