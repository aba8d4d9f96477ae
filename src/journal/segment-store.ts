import { join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import { codeOf } from '../base/errors.ts'
import { ActiveSegment, writeFooter } from './active-segment.ts'
import type { Disk, DiskFile } from './disk.ts'
import { checkSegmentKeys, deletePlainSpares } from './encrypted-files.ts'
import type { SegmentHeader } from './format.ts'
import { baseSeqOf, encodeSegmentHeader, noUuid, segmentHeaderBytes, segmentName } from './format.ts'
import type { KeyRing } from './key-ring.ts'
import { Quarantine } from './quarantine.ts'
import { encryptSegment } from './segment-cipher.ts'
import { recoverTail } from './tail-recovery.ts'

/** Drained files that are kept for the next segments: their space is allocated already. */
const sparesMax = 2

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
  readonly #keys: KeyRing | null
  readonly #quarantine: Quarantine
  /** Every segment but the active one, oldest first. */
  readonly #sealed: SealedSegment[]
  readonly #spares: string[]
  /** Drained files that are to be spares, once their old names are durably gone. */
  readonly #drained: string[] = []
  /** Names of segments have gone since the directory was synced. */
  #namesChanged = false
  #keepsSpares = true
  #sealedBytes: number
  /** Of the segment that is being written; null when there is none. */
  #activeBase: number | null = null
  /** Of the newest segment that counts. */
  #lastUuid: Buffer
  #releasing: Promise<void> = Promise.resolve()

  private constructor(
    disk: Disk,
    directory: string,
    segmentBytes: number,
    clock: Clock,
    random: (bytes: number) => Buffer,
    keys: KeyRing | null,
    journalId: string,
    lastUuid: Buffer,
    sealed: SealedSegment[],
    spares: string[],
  ) {
    this.#disk = disk
    this.#directory = directory
    this.#segmentBytes = segmentBytes
    this.#clock = clock
    this.#random = random
    this.#keys = keys
    this.#quarantine = new Quarantine(disk, directory, clock)
    this.#lastUuid = lastUuid
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
    keys: KeyRing | null,
  ): Promise<{ store: SegmentStore; nextSeq: number; active: ActiveSegment | null }> {
    // A process that died, or whose sync failed, may have left names that a power failure still takes back.
    await disk.syncDirectory(directory)
    const names = await disk.list(directory)
    const spares = names.filter((name) => name.endsWith('.spare')).map((name) => join(directory, name))
    const bases = names.flatMap((name) => baseSeqOf(name) ?? []).toSorted((a, b) => a - b)
    const sealed: SealedSegment[] = []
    for (const baseSeq of bases) {
      const path = join(directory, segmentName(baseSeq))
      sealed.push({ baseSeq, path, bytes: (await disk.sizeOf(path)) ?? 0, sealing: Promise.resolve() })
    }
    const storeOf = (journalId: string, lastUuid: Buffer): SegmentStore =>
      new SegmentStore(disk, directory, segmentBytes, clock, random, keys, journalId, lastUuid, sealed, spares)
    if (keys !== null) {
      const paths = sealed.map(({ path }) => path)
      await checkSegmentKeys(disk, paths, keys)
      await deletePlainSpares(disk, directory, spares)
    }
    const last = sealed.at(-1)
    if (last === undefined) {
      // At once, for it keeps the new journal's id.
      const store = storeOf(newJournalId(), noUuid)
      return { store, nextSeq: 1, active: await store.begin(1) }
    }
    const { header, nextSeq } = await recoverTail(disk, last.path, keys)
    last.bytes = (await disk.sizeOf(last.path)) ?? 0
    // A segment without records bears the name that the next one needs, and is replaced by it.
    const isEmpty = nextSeq === last.baseSeq
    if (isEmpty) sealed.pop()
    const lastUuid = isEmpty ? header.previousUuid : header.uuid
    return { store: storeOf(header.journalId, lastUuid), nextSeq, active: null }
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
    const plain: SegmentHeader = {
      journalId: this.journalId,
      uuid: this.#random(16),
      previousUuid: this.#lastUuid,
      baseSeq,
      createdAt: this.#clock.now(),
      encryption: null,
    }
    const { header, cipher } =
      this.#keys === null ? { header: plain, cipher: null } : encryptSegment(plain, this.#keys, this.#random)
    const spare = this.#spares.pop()
    const from = spare ?? join(this.#directory, `${header.uuid.toString('hex')}.spare`)
    const path = join(this.#directory, segmentName(baseSeq))
    let file: DiskFile | null = null
    try {
      file = await this.#disk.open(from, spare === undefined ? 'create' : 'write')
      const bytes = encodeSegmentHeader(header)
      await file.writeDurably(bytes, 0)
      await this.#disk.rename(from, path)
      await this.#disk.syncDirectory(this.#directory)
      // Not only a spare has more than the header: a new file may be made of the reserve.
      const allocated = await file.size()
      this.#activeBase = baseSeq
      return new ActiveSegment(
        path,
        file,
        header,
        bytes.readUInt32LE(segmentHeaderBytes - 4),
        cipher,
        this.#segmentBytes,
        allocated,
      )
    } catch (error) {
      await file?.close()
      // Also a spare that can't be opened: nobody would come back to it.
      await this.#discard(from)
      throw error
    }
  }

  /** Ends a segment with its footer. Nothing depends on it but speed: a segment without footer is read through. */
  async seal(active: ActiveSegment): Promise<void> {
    const { file } = active
    try {
      if (active.nextSeq > active.baseSeq) {
        const { nextSeq, offset, index, uuid, cipher } = active
        await writeFooter(file, { nextSeq, offset, index }, uuid, cipher)
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
    this.#lastUuid = active.uuid
  }

  release(seq: number): Promise<void> {
    const before = this.#releasing.catch(() => {}) // whoever called for it has the failure
    this.#releasing = before.then(() => this.#release(seq))
    return this.#releasing
  }

  /** Whether drained files are kept for the next segments; when not, those that are kept already are deleted. */
  keepSpares(keeps: boolean): Promise<void> {
    this.#keepsSpares = keeps
    if (keeps) return Promise.resolve()
    const before = this.#releasing.catch(() => {}) // whoever called for it has the failure
    this.#releasing = before.then(() => this.#deleteSpares())
    return this.#releasing
  }

  async #deleteSpares(): Promise<void> {
    await this.#syncNames()
    if (this.#spares.length === 0) return
    for (let spare = this.#spares.pop(); spare !== undefined; spare = this.#spares.pop()) await this.#disk.unlink(spare)
    await this.#disk.syncDirectory(this.#directory)
  }

  /** Waits for background work. */
  async settled(): Promise<void> {
    await Promise.all(this.#sealed.map((segment) => segment.sealing))
    await this.#releasing.catch(() => {}) // whoever called release has the failure
  }

  async #release(seq: number): Promise<void> {
    for (let oldest = this.#sealed[0]; oldest; oldest = this.#sealed[0]) {
      // Without a next segment the last one stays: it keeps the journal's id, and how far its seqs have come.
      const nextBase = this.#sealed[1]?.baseSeq ?? this.#activeBase
      if (nextBase === null || nextBase > seq) break
      await oldest.sealing
      this.#namesChanged = true
      // A file from before encryption was turned on would keep what it holds until it is written over.
      const mayBePlain = this.#keys?.acceptsUnencrypted === true
      const isWanted = this.#keepsSpares && !mayBePlain && this.#spares.length + this.#drained.length < sparesMax
      if (await this.#quarantine.take(oldest.path)) {
        // It is damaged, and kept for whoever wants to look into it.
      } else if (isWanted && oldest.bytes > this.#segmentBytes / 2) {
        const spare = join(this.#directory, `${this.#random(16).toString('hex')}.spare`)
        if (await wasThere(this.#disk.rename(oldest.path, spare))) this.#drained.push(spare)
      } else {
        await wasThere(this.#disk.unlink(oldest.path))
      }
      this.#sealed.shift()
      this.#sealedBytes -= oldest.bytes
    }
    await this.#syncNames()
  }

  /** What fails here is made up for by the next release. */
  async #syncNames(): Promise<void> {
    if (!this.#namesChanged) return
    await this.#disk.syncDirectory(this.#directory)
    this.#namesChanged = false
    // Not before their old names are gone for good: a crash must not bring back an old segment with a new one's bytes.
    this.#spares.push(...this.#drained.splice(0))
  }

  async #discard(path: string): Promise<void> {
    try {
      await this.#disk.unlink(path)
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') return // an unused file is left; it is reused at the next start
    }
  }
}

/** False when the file is gone already: a change that was reported as failed may have been made all the same. */
async function wasThere(change: Promise<void>): Promise<boolean> {
  try {
    await change
    return true
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error
    return false
  }
}
