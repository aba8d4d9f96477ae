import { randomFillSync } from 'node:crypto'
import { join } from 'node:path'
import { codeOf, isSpaceExhausted } from '../base/errors.ts'
import type { Disk, DiskFile } from './disk.ts'
import { namesIn } from './disk-look.ts'

/** What threads share of a reserve: its files, and how it stands. */
export interface ReserveHandle {
  /** The directory of its pieces. */
  readonly path: string
  /** How many pieces a whole one has; with 0 there is no reserve. */
  readonly pieces: number
  /** Two int32: the state, and how often the reserve was asked for. */
  readonly shared: SharedArrayBuffer
}

/**
 * - `forming`: it is being made.
 * - `spent`: somebody needed it, or took it away, and it is not whole again. No messages are taken.
 * - `missing`: it was never whole, and there is no room to make it. Whoever has so little room had it before, too, and goes on
 *   without a reserve.
 */
export type ReserveState = 'whole' | 'forming' | 'spent' | 'missing'

const states = ['whole', 'forming', 'spent', 'missing'] as const
const spentIndex = states.indexOf('spent')
const stateAt = 0
const demandsAt = 1

/** An empty file beside the pieces, while they were never all there: nobody has had the others. */
const unfinishedName = 'unfinished'
const piecesMax = 16
const pieceBytesMin = 64 * 1024
/** Files are written in steps of this size. */
const stepBytes = 1024 * 1024
/** So much more than the reserve must there be before it is made again, so that it is not spent again at once. */
const slack = 0.25
/** Between two attempts to make it. */
const pauseMs = 5000

/**
 * Space that is kept back on the disk: files that were really written. When the disk is full it is given up piece by piece, so
 * that receipts, cursors, dead letters and the ledger's notes still find room: by these, journal files get deleted. From the
 * first piece on, until it is whole again, no more messages are taken. One that was never whole keeps nobody away.
 *
 * The accepting half owns it. Whoever meets a full disk, in whatever thread, has a piece by `spendReserve` or `takePiece`: the
 * state changes before the space is free, so that no message gets there first.
 *
 * How a full disk is left again, whoever else fills it up:
 *
 * 1. Messages wait, the broker is away: nobody needs anything. The journal of messages does not touch the reserve, however
 *    often it tries (`ReserveDisk`, `lastFile`).
 * 2. The broker is back: what is delivered needs receipts. The first write that finds no room makes the reserve `spent` and
 *    frees a piece. Somebody else may take that; but from now on a new segment of receipts is made of a piece, by a rename
 *    (`takePiece`): it has that room before anybody writes, and none of it was free in between. The cursor is written in place.
 * 3. Receipts, a checkpoint and the cursor are durable: the segments of messages that are below it are deleted, which takes no
 *    space. Only the newest one stays, for it says how far the journal has come.
 * 4. Everything is finished: now the journal of messages may have a piece as well, for a next segment. Then the last one goes.
 * 5. There is room for what the reserve lacks, and more: its missing pieces are made, and messages are taken again.
 *
 * What each step needs is bounded, but for the receipts of a large backlog; they are small, and step 3 comes again with each
 * checkpoint. A piece that is freed and taken by somebody else costs one of sixteen; when all are gone, somebody has to make
 * room.
 */
export class DiskReserve {
  readonly handle: ReserveHandle
  readonly #disk: Disk
  readonly #pieceBytes: number
  readonly #view: Int32Array
  #tending: Promise<void> | null = null
  #closed = false
  #pausedUntil = 0
  /** In this run or, as far as can be told, in one before. */
  #wasWhole: boolean
  #demandsSeen = 0

  private constructor(disk: Disk, path: string, { pieces, pieceBytes }: Layout, isWhole: boolean, wasWhole: boolean) {
    this.#disk = disk
    this.#pieceBytes = pieceBytes
    const shared = new SharedArrayBuffer(8)
    this.#view = new Int32Array(shared)
    this.handle = { path, pieces, shared }
    this.#wasWhole = wasWhole
    this.#set(isWhole ? 'whole' : 'forming')
  }

  /** Finds the reserve of an earlier run, in the directory `path`; makes none yet. With 0 bytes there is none. */
  static async open(disk: Disk, path: string, bytes: number): Promise<DiskReserve> {
    const layout = layoutOf(bytes)
    const wanted = new Set(pieceNames(layout.pieces))
    const names = await namesIn(disk, path)
    const isUnfinished = names.includes(unfinishedName)
    // A piece that was taken must not come back with a power failure: it is somebody's file now.
    if (names.length > 0) await disk.syncDirectory(path)
    for (const name of names.filter((each) => each !== unfinishedName)) {
      const piece = join(path, name)
      if (wanted.has(name) && (await disk.sizeOf(piece)) === layout.pieceBytes) wanted.delete(name)
      else await disk.unlink(piece)
    }
    const isWhole = wanted.size === 0
    if (isUnfinished && isWhole) await disk.unlink(join(path, unfinishedName))
    return new DiskReserve(disk, path, layout, isWhole, isWhole || (wanted.size < layout.pieces && !isUnfinished))
  }

  get state(): ReserveState {
    return states[Atomics.load(this.#view, stateAt)] as ReserveState
  }

  /** Whether messages must be refused until it is whole again. */
  get isSpent(): boolean {
    // Asked for every message.
    return Atomics.load(this.#view, stateAt) === spentIndex
  }

  /**
   * To be called every second or so: makes what is missing when there is room for it beside `freeMin`. Resolves when that is
   * made, or can't be; never rejects but when the disk is broken.
   */
  tend(freeBytes: number, freeMin: number, now: number): Promise<void> {
    if (this.#closed || this.handle.pieces === 0) return Promise.resolve()
    this.#tending ??= this.#tend(freeBytes, freeMin, now).finally(() => {
      this.#tending = null
    })
    return this.#tending
  }

  /** Ends what is under way. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#tending?.catch(() => {}) // whoever called `tend` has it
  }

  async #tend(freeBytes: number, freeMin: number, now: number): Promise<void> {
    const there = new Set(await namesIn(this.#disk, this.handle.path))
    const missing = pieceNames(this.handle.pieces).filter((name) => !there.has(name))
    if (this.state === 'whole') {
      // Somebody may have deleted files to make room.
      if (missing.length > 0) this.#change('whole', 'forming')
      return
    }
    const demands = this.#demands
    const wasAsked = demands !== this.#demandsSeen
    this.#demandsSeen = demands
    if (freeBytes < missing.length * this.#pieceBytes + this.#excessBytes + freeMin) {
      this.#giveUp()
      // What there was of it is used up, and nobody has asked for more: it is as it was without.
      const hasRoom = freeBytes > freeMin && !wasAsked
      if (!this.#wasWhole && hasRoom && demands === this.#demands) this.#change('spent', 'missing')
      return
    }
    if (now < this.#pausedUntil) return
    this.#pausedUntil = now + pauseMs
    await this.#make(missing)
  }

  /** Writes each piece beside its name, and more than is kept: a quota shows itself only when there is no more. */
  async #make(missing: readonly string[]): Promise<void> {
    const { path } = this.handle
    const temporary = join(path, 'new')
    const unfinished = join(path, unfinishedName)
    const demands = this.#demands
    try {
      await this.#disk.makeDirectory(path)
      await unlinkIfThere(this.#disk, temporary)
      if (!this.#wasWhole) await this.#mark(unfinished)
      for (const name of missing) {
        if (!(await this.#write(temporary, this.#pieceBytes, demands))) return
        await this.#disk.rename(temporary, join(path, name))
      }
      if (!(await this.#write(temporary, this.#excessBytes, demands))) return
      await this.#disk.unlink(temporary)
      await unlinkIfThere(this.#disk, unfinished)
      await this.#disk.syncDirectory(path)
      if (this.#demands !== demands) return
      this.#wasWhole = true
      this.#set('whole')
      // Whoever has asked just now has set the other state before this.
      if (this.#demands !== demands) this.#set('spent')
    } catch (error) {
      await unlinkIfThere(this.#disk, temporary).catch(() => {}) // the next attempt begins with this
      this.#giveUp()
      if (!isSpaceExhausted(error)) throw error
    }
  }

  /** It can't be made now. Of one that was whole somebody counts on what is gone: without it a full disk could not be left again. */
  #giveUp(): void {
    this.#change('forming', this.#wasWhole ? 'spent' : 'missing')
  }

  async #mark(path: string): Promise<void> {
    if ((await this.#disk.sizeOf(path)) !== null) return
    const file = await this.#disk.open(path, 'create')
    await file.close()
  }

  /** False, and the file is gone, when somebody needs space in the midst of it. */
  async #write(path: string, bytes: number, demands: number): Promise<boolean> {
    const file = await this.#disk.open(path, 'create')
    let isWhole = false
    try {
      isWhole = await this.#fill(file, bytes, demands)
    } finally {
      await file.close()
    }
    if (!isWhole) await this.#disk.unlink(path)
    return isWhole
  }

  async #fill(file: DiskFile, bytes: number, demands: number): Promise<boolean> {
    for (let at = 0; at < bytes; at += stepBytes) {
      if (this.#closed || this.#demands !== demands) return false
      // Zeros would take no room on a file system that compresses.
      await file.write(randomFillSync(Buffer.allocUnsafe(Math.min(stepBytes, bytes - at))), at)
    }
    await file.sync()
    return this.#demands === demands
  }

  get #excessBytes(): number {
    return Math.ceil(this.handle.pieces * this.#pieceBytes * slack)
  }

  get #demands(): number {
    return Atomics.load(this.#view, demandsAt)
  }

  #set(state: ReserveState): void {
    Atomics.store(this.#view, stateAt, states.indexOf(state))
  }

  #change(from: ReserveState, to: ReserveState): void {
    Atomics.compareExchange(this.#view, stateAt, states.indexOf(from), states.indexOf(to))
  }
}

/** Whether the reserve is not to be counted on. */
export function isReserveSpent({ shared }: ReserveHandle): boolean {
  return Atomics.load(new Int32Array(shared), stateAt) === spentIndex
}

/**
 * Gives up a piece of the reserve, because the disk is full. Safe to call from every thread, and more than once: each call
 * frees one, while there are any.
 */
export async function spendReserve(disk: Disk, handle: ReserveHandle): Promise<void> {
  if (handle.pieces === 0) return
  demand(handle)
  await withPiece(handle, (piece) => disk.unlink(piece))
}

/** While the reserve is spent, makes a new file `path` of a piece, so that its space is never free; false when there is none. */
export async function takePiece(disk: Disk, handle: ReserveHandle, path: string): Promise<boolean> {
  if (handle.pieces === 0 || !isReserveSpent(handle)) return false
  demand(handle)
  try {
    if (!(await withPiece(handle, (piece) => disk.rename(piece, path)))) return false
  } catch (error) {
    if (codeOf(error) === 'EXDEV') return false // it is on another file system
    throw error
  }
  // Else a power failure could bring it back to the reserve, while it is somebody's file already.
  await disk.syncDirectory(handle.path)
  return true
}

function demand({ shared }: ReserveHandle): void {
  const view = new Int32Array(shared)
  Atomics.add(view, demandsAt, 1)
  Atomics.store(view, stateAt, spentIndex)
}

async function withPiece({ path, pieces }: ReserveHandle, use: (piece: string) => Promise<void>): Promise<boolean> {
  for (const name of pieceNames(pieces)) {
    try {
      await use(join(path, name))
      return true
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error
      // Somebody else has it, or it is not made yet.
    }
  }
  return false
}

interface Layout {
  readonly pieces: number
  readonly pieceBytes: number
}

function layoutOf(bytes: number): Layout {
  if (bytes === 0) return { pieces: 0, pieceBytes: 0 }
  const pieces = Math.min(piecesMax, Math.max(1, Math.floor(bytes / pieceBytesMin)))
  return { pieces, pieceBytes: Math.floor(bytes / pieces) }
}

function pieceNames(pieces: number): string[] {
  return Array.from({ length: pieces }, (_, index) => String(index).padStart(2, '0'))
}

async function unlinkIfThere(disk: Disk, path: string): Promise<void> {
  try {
    await disk.unlink(path)
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error
  }
}
