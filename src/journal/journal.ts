/**
 * A journal: records in order, in segment files of one directory, kept until every reader has passed them. It knows
 * nothing of what the records mean.
 *
 * All numbers are little-endian, CRCs are CRC-32 (zlib's). `seed` is the CRC of the segment's uuid: it seeds all CRCs
 * of the segment but the header's, so that the old bytes of a recycled file never validate.
 *
 * ```
 * SEGMENT  <base seq, 16 digits>.segment: a header, blocks one behind the other, and a footer once it is sealed. What is
 * left of the file behind an unsealed segment's last block is zeros, or the old bytes of a recycled file.
 *
 *   HEADER, 4096 bytes
 *        0    4  magic "ORJG"
 *        4    4  format version, 1
 *        8    4  feature bits; a bit that is not known refuses the segment. Bit 0: encrypted
 *       12    4  zero
 *       16   16  segment uuid, random
 *       32   16  journal id, padded with zeros
 *       48    8  base seq: the seq of the first record
 *       56    8  created at, milliseconds since the epoch
 *       64    2  key name length      \
 *       66   62  key name              | for encryption: the wrapped data key of this segment;
 *      128    2  wrapped key length    | zeros without
 *      130  126  wrapped data key      |
 *      256    8  nonce epoch          /
 *      264   16  uuid of the segment before; zeros when there is none (or from a version that did not write it)
 *      280 3812  zeros
 *     4092    4  CRC of bytes 0..4091
 *
 *   BLOCK: what one group commit writes
 *        0    4  magic "ORBK"
 *        4    4  payload bytes, n
 *        8    8  seq of the first record
 *       16    4  number of records
 *       20    4  flags; bit 0: a gap, which has no payload: its seqs were left out, or with bit 2 set, its records were there,
 *                and a repair could not read them any more; bit 1: the payload is encrypted
 *       24    4  block number in its segment, from 0
 *       28    4  CRC of the previous block (its last 4 bytes); of the segment header for block 0
 *       32    8  written at, milliseconds since the epoch
 *       40    4  zero
 *       44    4  header CRC: of bytes 0..43, seeded with `seed`
 *       48    n  payload: for each record its length (4) and its bytes; encrypted: the ciphertext of that, and a tag (16)
 *     48+n    4  payload CRC, seeded with the header CRC
 *
 *   FOOTER, behind the last block, and at the very end of the file
 *        0    4  magic "ORIX"
 *        4    4  number of index entries, k
 *        8    8  next seq: one past the segment's last
 *       16    8  offset of this footer
 *       24  16k  index: seq (8) and offset (8) of a block, about every 64 KiB
 *   24+16k       encrypted: HMAC-SHA-256 (32) of all above; the footer's end is further behind by as much
 *   24+16k    4  CRC of all above, seeded with `seed`
 *   28+16k    8  offset of this footer
 *   36+16k    4  magic "ORND"
 *   40+16k    4  CRC of the 12 bytes above, seeded with `seed`
 * ```
 *
 * Encryption (AES-256-GCM, NIST SP 800-38D). Each segment has a random data key, which its header keeps encrypted ("wrapped")
 * under a key of the key ring: nonce (24), ciphertext (32), tag (16). The key's name is its id, `/`, and a check value: the first
 * 16 hexadecimal digits of HMAC-SHA-256 of the text "outrigger key check" under it.
 * - What wraps is HMAC-SHA-256 of the text "outrigger wrap" and the nonce's first half under the key of the ring; the other half
 *   is the nonce.
 * - Wrapping authenticates the whole header but bytes 128..255 and the CRC, so a header fits its own data key only.
 * - A block's nonce is the epoch (8) and the block number (4). A number is used once a segment: what could not be written goes
 *   to a new segment under another data key, and so does what follows a restart.
 * - A block's payload authenticates its 48 bytes of header: number, seq, and the CRC of the block before.
 * - The footer's HMAC key is HMAC-SHA-256 of the text "outrigger footer" under the data key.
 *
 * Rules that keep what was answered:
 * - An append is answered after its block was written and synced. One block is unsynced at a time, so an invalid block
 *   followed by a valid one is rot, and an invalid last one is a torn tail that nobody was answered for.
 * - A file becomes a segment by a rename, after its header was synced, and the directory is synced before its first block.
 * - After a failed write or sync the segment is never written to again. The block goes to a new segment, or its appends
 *   fail. What stands in a segment at or beyond the next segment's base seq does not count.
 * - A start never goes on in an old segment: it writes and syncs its last block once more, seals it, and the next append
 *   begins a new one.
 */
import { randomBytes } from 'node:crypto'
import type { Clock } from '../base/clock.ts'
import { OutriggerError, UnavailableError, messageOf } from '../base/errors.ts'
import { journalIdOf } from '../message/message-id.ts'
import type { ActiveSegment } from './active-segment.ts'
import type { Disk } from './disk.ts'
import { blockHeaderBytes, blockTrailerBytes, segmentHeaderBytes } from './format.ts'
import { JournalEnd } from './journal-end.ts'
import { JournalReader } from './journal-reader.ts'
import type { KeyRing } from './key-ring.ts'
import { PendingBlock } from './pending-block.ts'
import type { QuarantineObserver } from './quarantine.ts'
import { Quarantine } from './quarantine.ts'
import type { RecordCodec } from './record-codec.ts'
import { tagBytes } from './segment-cipher.ts'
import { SegmentStore } from './segment-store.ts'
import type { BlockTally, RecordTally } from './topic-backlogs.ts'

export interface JournalOptions {
  readonly directory: string
  /** Bytes of all segments together; beyond it appends are refused with `journal_full`. */
  readonly bytesMax: number
  readonly segmentBytes: number
  /** What to tell whoever is refused because of `bytesMax`: the setting's name, and what helps. */
  readonly full?: { readonly setting: string; readonly hint: string }
  /** What one group commit holds at most, unless a single record is larger. Default 1 MiB. */
  readonly blockBytesMax?: number
  /** What everything is encrypted with; not encrypted by default. */
  readonly keys?: KeyRing | null
  /** Is told of damage that this journal's own readers find. */
  readonly damage?: QuarantineObserver
}

/** What a journal tells about its work. */
export interface JournalObserver {
  /** A block is on stable storage. `durationMs` is the time that writing and syncing took. */
  committed(records: number, bytes: number, durationMs: number): void
  /** A write or a sync failed; the segment was given up. */
  failed(error: unknown): void
}

/** A record that no segment could hold. */
export class RecordTooLargeError extends OutriggerError {
  override readonly name = 'RecordTooLargeError'
  override readonly code = 'record_too_large'
}

/** A block has four bytes for it. */
const gapCountMax = 2 ** 32 - 1
/** After a failure, how long appends are refused at once before the disk is tried again. */
const failurePauseMs = 500

export class Journal<T> {
  /** 13 characters, unique in the world. */
  readonly id: string
  /** For readers of this journal. */
  readonly end = new JournalEnd()
  readonly #clock: Clock
  readonly #codec: RecordCodec<T>
  readonly #options: JournalOptions
  readonly #observer: JournalObserver
  readonly #disk: Disk
  readonly #store: SegmentStore
  readonly #quarantine: Quarantine
  readonly #blockBytesMax: number
  readonly #recordBytesMax: number
  #active: ActiveSegment | null
  #nextSeq: number
  /** What was released last. */
  #released = 0
  /** By reader, from where on each needs it. */
  readonly #holds = new Map<string, number>()
  /** Blocks waiting for their commit; the last one is still filling. */
  #queue: PendingBlock[] = []
  #queuedBytes = 0
  readonly #tally: RecordTally<T> | null
  /** Of the block that is filling. */
  #tallying: BlockTally<T> | null = null
  readonly #spareBuffers: Buffer[] = []
  #committing: Promise<void> | null = null
  #failure: { readonly error: unknown; readonly until: number } | null = null
  /** What the last commit failed with; null when it did not. */
  #unwritable: Error | null = null
  #closed = false

  private constructor(
    disk: Disk,
    store: SegmentStore,
    nextSeq: number,
    active: ActiveSegment | null,
    clock: Clock,
    codec: RecordCodec<T>,
    observer: JournalObserver,
    options: JournalOptions,
    tally: RecordTally<T> | null,
  ) {
    this.id = store.journalId
    this.#tally = tally
    this.#disk = disk
    this.#store = store
    this.#quarantine = new Quarantine(disk, options.directory, clock, options.damage)
    this.#active = active
    this.#clock = clock
    this.#codec = codec
    this.#observer = observer
    this.#options = options
    this.#blockBytesMax = Math.min(options.blockBytesMax ?? 1024 * 1024, options.segmentBytes / 2)
    this.#recordBytesMax =
      options.segmentBytes -
      segmentHeaderBytes -
      blockHeaderBytes -
      (options.keys ? tagBytes : 0) -
      blockTrailerBytes -
      4
    this.#nextSeq = nextSeq
    this.end.publish(nextSeq, store.lastBase ?? nextSeq)
  }

  /**
   * Opens the journal in `options.directory`, or makes a new one there. Time and memory do not depend on how much it
   * holds: only an unsealed last segment is read. `tally` is told of every record that is kept from now on.
   */
  static async open<T>(
    disk: Disk,
    clock: Clock,
    codec: RecordCodec<T>,
    observer: JournalObserver,
    options: JournalOptions,
    tally: RecordTally<T> | null = null,
  ): Promise<Journal<T>> {
    await disk.makeDirectory(options.directory)
    const { store, nextSeq, active } = await SegmentStore.open(
      disk,
      options.directory,
      options.segmentBytes,
      clock,
      () => journalIdOf(randomBytes(8)),
      randomBytes,
      options.keys ?? null,
    )
    return new Journal(disk, store, nextSeq, active, clock, codec, observer, options, tally)
  }

  get directory(): string {
    return this.#options.directory
  }

  /** The seq that the next record will get; what is below it may not be durable yet (see `end`). */
  get nextSeq(): number {
    return this.#nextSeq
  }

  /** The oldest seq that is still there. */
  get firstSeq(): number {
    return this.#store.firstBase ?? this.end.nextSeq
  }

  /** Bytes of all segments. */
  get bytes(): number {
    return this.#store.sealedBytes + (this.#active?.offset ?? 0)
  }

  /**
   * Keeps records; they get consecutive seqs. Resolves with the first one when all of them are on stable storage.
   * Rejects with an `UnavailableError` (`journal_full`, `journal_failed`, `draining`) when they can't be kept; a record of a
   * rejected append may be kept nevertheless when the disk failed in its midst.
   */
  append(records: readonly T[]): Promise<number> {
    const refusal = this.#refusal()
    if (refusal) return Promise.reject(refusal)
    const firstSeq = this.#nextSeq
    let sizeSum = 0
    for (const record of records) {
      const size = this.#codec.sizeMax(record)
      if (size > this.#recordBytesMax)
        return Promise.reject(new RecordTooLargeError(`a record of ${size} bytes does not fit a segment`))
      sizeSum += size + 4
    }
    if (this.bytes + this.#queuedBytes + sizeSum > this.#options.bytesMax)
      return Promise.reject(fullError(this.#options))
    for (const record of records) this.#add(record)
    const last = this.#queue.at(-1)
    if (records.length === 0 || last === undefined) return Promise.resolve(firstSeq)
    this.#committing ??= this.#commitAll()
    return last.committed(firstSeq)
  }

  /** Reads from a seq on, or from the oldest record when that one is gone. */
  reader(fromSeq: number): JournalReader {
    return new JournalReader(
      this.#disk,
      this.directory,
      this.end,
      fromSeq,
      this.#options.keys ?? null,
      this.#quarantine,
    )
  }

  /**
   * Makes `seq` the next one. When it is greater than that is already, those in between may have been given before: gap blocks
   * say which, durably, so that none of them is ever given to another record. `areLost`: records had them, and are gone.
   */
  async skipTo(seq: number, areLost = false): Promise<void> {
    while (seq > this.#nextSeq) {
      const block = new PendingBlock(this.#nextSeq)
      block.makeGap(Math.min(seq - this.#nextSeq, gapCountMax), areLost)
      this.#queue.push(block)
      this.#nextSeq += block.count
      const committed = block.committed(block.firstSeq)
      this.#committing ??= this.#commitAll()
      await committed
    }
  }

  /**
   * Deletes the segments in which every seq is below `seq`, but never the newest, and nothing that is held. The caller has
   * made sure that its own readers are durably past it.
   */
  release(seq: number): Promise<void> {
    this.#released = seq
    return this.#releaseUnheld()
  }

  /**
   * From now on nothing from `seq` on is deleted, whoever releases it, until this reader holds on to something later. Deletes
   * what was released before and is held no more.
   */
  hold(reader: string, seq: number): Promise<void> {
    this.#holds.set(reader, seq)
    return this.#releaseUnheld()
  }

  #releaseUnheld(): Promise<void> {
    return this.#store.release(Math.min(this.#released, ...this.#holds.values()))
  }

  /** Bytes of the segments that could go if nobody held them. */
  get heldBytes(): number {
    return this.#store.bytesBelow(this.#released)
  }

  /** The lowest seq below which there are at least `bytes`, as near to it as whole segments allow. */
  seqAfter(bytes: number): number {
    return this.#store.seqAfter(bytes)
  }

  /**
   * Whether files that are done with are kept for the next segments. When not, they are deleted, those that are kept already
   * too: a disk that is full has no room for them.
   */
  keepSpares(keeps: boolean): Promise<void> {
    return this.#store.keepSpares(keeps)
  }

  /** Why the last records that were appended could not be kept; null when they were. */
  get failure(): Error | null {
    return this.#unwritable
  }

  /**
   * After a failure, finds out whether the disk takes something again: perhaps nobody appends any more, because they are
   * told that it does not.
   */
  tryAgain(): void {
    if (this.#unwritable === null || this.#committing !== null || this.#refusal() !== null) return
    this.#committing = this.#commitAll()
  }

  /** Commits what was appended, seals the last segment and closes it. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true
    while (this.#committing) await this.#committing
    const active = this.#active
    this.#active = null
    if (active) this.#store.sealLater(active)
    await this.#store.settled()
  }

  #refusal(): UnavailableError | null {
    if (this.#closed) return new UnavailableError('draining', 'Outrigger is shutting down', { retryAfterSeconds: 1 })
    if (this.#failure !== null) {
      if (this.#clock.monotonic() < this.#failure.until) return failedError(this.#failure.error)
      this.#failure = null
    }
    return null
  }

  #add(record: T): void {
    const sizeMax = this.#codec.sizeMax(record)
    let block = this.#queue.at(-1)
    if (
      block === undefined ||
      block.isGap ||
      (block.count > 0 && block.bytes + 4 + sizeMax + blockTrailerBytes > this.#blockBytesMax)
    ) {
      block = new PendingBlock(this.#nextSeq, this.#spareBuffers.pop())
      this.#queue.push(block)
      if (this.#tally !== null) block.tally = this.#tallying = this.#tally.begin(this.#nextSeq)
    }
    const before = block.bytes
    block.add(record, sizeMax, this.#codec)
    this.#queuedBytes += block.bytes - before
    this.#tallying?.add(record, block.bytes - before)
    this.#nextSeq++
  }

  /** Owns all writing: one block at a time, for as long as there are any. */
  async #commitAll(): Promise<void> {
    // What this turn of the event loop still brings goes into the same block.
    await nextTurn()
    if (this.#unwritable !== null && this.#queue.length === 0) await this.#tryDisk()
    for (let block = this.#queue.shift(); block; block = this.#queue.shift()) {
      const startedAt = this.#clock.monotonic()
      try {
        await this.#commit(block)
      } catch (error) {
        this.#giveUp(block, error)
        break
      }
      this.#unwritable = null
      this.#queuedBytes -= block.payloadBytes
      block.tally?.keep()
      this.#observer.committed(block.count, block.bytes, this.#clock.monotonic() - startedAt)
      block.resolve()
      this.#recycle(block.buffer)
    }
    this.#committing = null
  }

  async #tryDisk(): Promise<void> {
    try {
      this.#active ??= await this.#store.begin(this.#nextSeq)
      this.#unwritable = null
    } catch (error) {
      this.#noteFailure(error)
    }
  }

  #noteFailure(error: unknown): void {
    this.#failure = { error, until: this.#clock.monotonic() + failurePauseMs }
    this.#unwritable = error instanceof Error ? error : new Error(String(error))
  }

  async #commit(block: PendingBlock): Promise<void> {
    if (this.#active && !this.#active.hasRoomFor(block)) {
      // Before the next one begins: once that has its name, what were added here would not count.
      this.#store.sealLater(this.#active)
      this.#active = null
    }
    for (let isRetry = false; ; isRetry = true) {
      this.#active ??= await this.#store.begin(block.firstSeq)
      try {
        await this.#active.write(block, this.#clock.now())
        this.end.publish(block.firstSeq + block.count, this.#active.baseSeq)
        return
      } catch (error) {
        this.#store.abandon(this.#active)
        this.#active = null
        if (isRetry) throw error
        this.#observer.failed(error)
      }
    }
  }

  /** Nothing from this block on is kept; its seqs are given again. */
  #giveUp(block: PendingBlock, error: unknown): void {
    this.#observer.failed(error)
    this.#noteFailure(error)
    this.#nextSeq = block.firstSeq
    const lost = [block, ...this.#queue]
    this.#queue = []
    this.#queuedBytes = 0
    const refusal = failedError(error)
    for (const each of lost) each.reject(refusal)
  }

  #recycle(buffer: Buffer): void {
    if (this.#spareBuffers.length < 2 && buffer.length <= 2 * this.#blockBytesMax) this.#spareBuffers.push(buffer)
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

const journalFull = {
  setting: 'journal.bytesMax',
  hint: 'It empties as messages are delivered; see whether the broker is away.',
}

function fullError({ bytesMax, full: { setting, hint } = journalFull }: JournalOptions): UnavailableError {
  const text = `what is kept takes ${setting} (${bytesMax} bytes) already`
  return new UnavailableError('journal_full', text, { retryAfterSeconds: 5, hint })
}

function failedError(error: unknown): UnavailableError {
  return new UnavailableError('journal_failed', `the journal can't be written: ${messageOf(error)}`, {
    retryAfterSeconds: 1,
    cause: error,
  })
}
