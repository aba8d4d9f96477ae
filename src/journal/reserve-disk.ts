import { OutriggerError, isSpaceExhausted } from '../base/errors.ts'
import type { Disk, DiskFile, DiskSpace } from './disk.ts'
import type { ReserveHandle } from './disk-reserve.ts'
import { isReserveSpent, spendReserve, takePiece } from './disk-reserve.ts'
import { isSpareName, segmentHeaderBytes } from './format.ts'

/** The disk is full but for the reserve, which is not for messages. */
class ReservedError extends OutriggerError {
  override readonly name = 'ReservedError'
  override readonly code = 'ENOSPC'
}

/**
 * What may use the reserve.
 *
 * - `everything`: receipts, cursors, dead letters, notes, by which the disk gets empty again.
 * - `lastFile`: of the journal of messages, only that its next segment begins when `isFinished` says that nothing in it is
 *   needed any more: without a next segment the newest file could not be deleted. Earlier than that it would use up the
 *   reserve for nothing, while nothing can be delivered.
 */
export type ReserveUse = 'everything' | { readonly lastFile: { isFinished(): boolean } }

/**
 * A disk that gives up the reserve when it is full, a piece each time. What failed stays failed, for whoever writes has its own
 * way to try again (a journal in a new segment, and never in the same); only changes of names are repeated, for they were not
 * done. Once the reserve is spent, new segments are made of its pieces.
 */
export class ReserveDisk implements Disk {
  readonly #disk: Disk
  readonly #handle: ReserveHandle
  readonly #use: ReserveUse

  constructor(disk: Disk, reserve: ReserveHandle, use: ReserveUse) {
    this.#disk = disk
    this.#handle = reserve
    this.#use = use
  }

  makeDirectory(path: string): Promise<void> {
    return this.#named(() => this.#disk.makeDirectory(path))
  }

  list(path: string): Promise<string[]> {
    return this.#disk.list(path)
  }

  async open(path: string, mode: 'create' | 'write' | 'read'): Promise<DiskFile> {
    if (mode === 'read') return this.#disk.open(path, mode)
    const isSegment = isSpareName(path)
    const take = (): Promise<boolean> => takePiece(this.#disk, this.#handle, path)
    const isTaken = mode === 'create' && isSegment && this.#mayUse && (await this.#named(take))
    const file = await this.#named(() => this.#disk.open(path, isTaken ? 'write' : mode))
    const mayUse = (isHeader: boolean): boolean => this.#use === 'everything' || (isHeader && this.#mayUse)
    return new ReserveFile(file, {
      mayUse,
      mayUseAhead: !isSegment && this.#use === 'everything',
      // A segment that is there already is only recovered, and without that nothing would start.
      isClosed: (isHeader) => isSegment && !mayUse(isHeader) && isReserveSpent(this.#handle),
      spend: () => spendReserve(this.#disk, this.#handle),
    })
  }

  rename(from: string, to: string): Promise<void> {
    return this.#named(() => this.#disk.rename(from, to))
  }

  unlink(path: string): Promise<void> {
    return this.#named(() => this.#disk.unlink(path), true)
  }

  syncDirectory(path: string): Promise<void> {
    return this.#disk.syncDirectory(path)
  }

  sizeOf(path: string): Promise<number | null> {
    return this.#disk.sizeOf(path)
  }

  space(path: string): Promise<DiskSpace> {
    return this.#disk.space(path)
  }

  get #mayUse(): boolean {
    return this.#use === 'everything' || this.#use.lastFile.isFinished()
  }

  async #named<R>(change: () => Promise<R>, makesRoom = false): Promise<R> {
    try {
      return await change()
    } catch (error) {
      if (!isSpaceExhausted(error) || !(makesRoom || this.#mayUse)) throw error
      await spendReserve(this.#disk, this.#handle)
      return change()
    }
  }
}

interface Reserve {
  mayUse(isHeader: boolean): boolean
  /** For what is not written durably: in a segment that is space taken ahead, or a footer, and it can do without both. */
  readonly mayUseAhead: boolean
  /** Nothing is written any more, not even where there is room: that is for others. */
  isClosed(isHeader: boolean): boolean
  spend(): Promise<void>
}

class ReserveFile implements DiskFile {
  readonly #file: DiskFile
  readonly #reserve: Reserve

  constructor(file: DiskFile, reserve: Reserve) {
    this.#file = file
    this.#reserve = reserve
  }

  size(): Promise<number> {
    return this.#file.size()
  }

  read(target: Buffer, position: number): Promise<number> {
    return this.#file.read(target, position)
  }

  write(data: Buffer, position: number): Promise<void> {
    return this.#written(data, position, false, () => this.#file.write(data, position))
  }

  writeDurably(data: Buffer, position: number): Promise<void> {
    return this.#written(data, position, true, () => this.#file.writeDurably(data, position))
  }

  sync(): Promise<void> {
    return this.#spending(this.#reserve.mayUseAhead, () => this.#file.sync())
  }

  truncate(size: number): Promise<void> {
    return this.#file.truncate(size)
  }

  close(): Promise<void> {
    return this.#file.close()
  }

  #written(data: Buffer, position: number, isDurable: boolean, write: () => Promise<void>): Promise<void> {
    const isHeader = position === 0 && data.length === segmentHeaderBytes
    if (this.#reserve.isClosed(isHeader))
      return Promise.reject(new ReservedError('the disk is full: what is left is for delivering and deleting'))
    return this.#spending(isDurable ? this.#reserve.mayUse(isHeader) : this.#reserve.mayUseAhead, write)
  }

  async #spending(mayUse: boolean, write: () => Promise<void>): Promise<void> {
    try {
      await write()
    } catch (error) {
      if (isSpaceExhausted(error) && mayUse) await this.#reserve.spend()
      throw error
    }
  }
}
