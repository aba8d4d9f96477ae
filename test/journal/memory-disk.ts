import { basename, dirname } from 'node:path'
import type { Disk, DiskFile, DiskSpace } from '../../src/journal/disk.ts'

const sectorBytes = 512

/** A number from 0 to 1, the same ones in every run of a seed. */
export type Random = () => number

/** What a file holds: as every process sees it, and as it is on the platter. */
class Inode {
  current = Buffer.alloc(0)
  size = 0
  stable = Buffer.alloc(0)
  stableSize = 0
  /** Sectors that were written since the last sync. */
  readonly dirty = new Set<number>()

  read(target: Buffer, position: number): number {
    const bytes = Math.max(0, Math.min(target.length, this.size - position))
    this.current.copy(target, 0, position, position + bytes)
    return bytes
  }

  write(data: Buffer, position: number): void {
    if (data.length === 0) return
    const end = position + data.length
    if (this.current.length < end) {
      const capacity = Math.ceil((end * 1.5) / sectorBytes) * sectorBytes
      this.current = Buffer.concat([this.current, Buffer.alloc(capacity - this.current.length)])
      this.stable = Buffer.concat([this.stable, Buffer.alloc(capacity - this.stable.length)])
    }
    data.copy(this.current, position)
    this.size = Math.max(this.size, end)
    this.#touch(position, end)
  }

  truncate(size: number): void {
    if (size < this.size) {
      this.current.fill(0, size, this.size)
      this.#touch(size, this.size)
    }
    this.size = size
  }

  sync(): void {
    for (const sector of this.dirty) this.#keep(sector)
    this.dirty.clear()
    this.stableSize = this.size
  }

  /** A sync fails: some sectors get to the platter, the others are dropped; the page cache takes all for clean. */
  lose(random: Random): void {
    for (const sector of this.dirty) if (random() < 0.5) this.#keep(sector)
    this.dirty.clear()
  }

  /** The power goes: of what was not synced, any sector may have got to the platter or not, and so may the size. */
  powerOff(random: Random): void {
    this.lose(random)
    if (random() < 0.5) this.stableSize = this.size
    this.size = this.stableSize
    this.stable.fill(0, this.size)
    this.current = Buffer.from(this.stable)
  }

  #touch(from: number, end: number): void {
    for (let sector = Math.floor(from / sectorBytes); sector * sectorBytes < end; sector++) this.dirty.add(sector)
  }

  #keep(sector: number): void {
    this.current.copy(this.stable, sector * sectorBytes, sector * sectorBytes, (sector + 1) * sectorBytes)
  }
}

interface NameChange {
  readonly directory: string
  apply(names: Map<string, Inode>): void
}

/**
 * A file system in memory that forgets what a real one may forget. It outlives the processes that use it, each by a
 * `boot()` of its own: `kill` ends a process and keeps the page cache, `powerOff` loses what was not synced.
 */
export class MemoryDisk {
  readonly random: Random
  names = new Map<string, Inode>()
  /** Operations until the process dies in the midst of one. */
  operationsLeft = Number.POSITIVE_INFINITY
  /** What all files together may take; beyond it, writes fail with ENOSPC. */
  capacity = Number.MAX_SAFE_INTEGER
  #stableNames = new Map<string, Inode>()
  #changes: NameChange[] = []
  #process = 0
  #died: () => void = () => {}

  constructor(random: Random) {
    this.random = random
  }

  /** A disk for a new process, and a promise that resolves when that process is dead. From then on no call returns. */
  boot(operationsLeft = Number.POSITIVE_INFINITY): { readonly disk: Disk; readonly died: Promise<void> } {
    const pid = ++this.#process
    this.operationsLeft = operationsLeft
    const died = new Promise<void>((resolve) => {
      this.#died = resolve
    })
    return { disk: new ProcessDisk(this, () => this.#process === pid), died }
  }

  kill(): void {
    this.#process++
    this.#died()
  }

  powerOff(): void {
    this.kill()
    // The file system keeps the order of changes to names, and may lose the latest.
    const kept = Math.floor(this.random() * (this.#changes.length + 1))
    for (const change of this.#changes.slice(0, kept)) change.apply(this.#stableNames)
    this.#changes = []
    this.names = new Map(this.#stableNames)
    for (const inode of new Set(this.names.values())) inode.powerOff(this.random)
  }

  /** What all files take. */
  get usedBytes(): number {
    let used = 0
    for (const inode of new Set(this.names.values())) used += inode.size
    return used
  }

  change(directory: string, apply: (names: Map<string, Inode>) => void): void {
    apply(this.names)
    this.#changes.push({ directory, apply })
  }

  syncNames(directory: string): void {
    for (const change of this.#changes) if (change.directory === directory) change.apply(this.#stableNames)
    this.#changes = this.#changes.filter((change) => change.directory !== directory)
  }
}

const never = new Promise<never>(() => {})

class ProcessDisk implements Disk {
  readonly disk: MemoryDisk
  readonly #isAlive: () => boolean

  constructor(disk: MemoryDisk, isAlive: () => boolean) {
    this.disk = disk
    this.#isAlive = isAlive
  }

  makeDirectory(): Promise<void> {
    return this.run(() => {})
  }

  list(path: string): Promise<string[]> {
    return this.run(() =>
      [...this.disk.names.keys()].filter((name) => dirname(name) === path).map((name) => basename(name)),
    )
  }

  open(path: string, mode: 'create' | 'write' | 'read'): Promise<DiskFile> {
    return this.run(() => {
      if (mode === 'create') {
        if (this.disk.names.has(path)) throw systemError('EEXIST', path)
        const inode = new Inode()
        this.disk.change(dirname(path), (names) => names.set(path, inode))
      }
      return new MemoryFile(this, this.inodeOf(path))
    })
  }

  rename(from: string, to: string): Promise<void> {
    return this.run(() => {
      const inode = this.inodeOf(from)
      this.disk.change(dirname(to), (names) => {
        names.delete(from)
        names.set(to, inode)
      })
    })
  }

  unlink(path: string): Promise<void> {
    return this.run(() => {
      this.inodeOf(path)
      this.disk.change(dirname(path), (names) => names.delete(path))
    })
  }

  syncDirectory(path: string): Promise<void> {
    return this.run(() => this.disk.syncNames(path))
  }

  sizeOf(path: string): Promise<number | null> {
    return this.run(() => this.disk.names.get(path)?.size ?? null)
  }

  space(): Promise<DiskSpace> {
    const { capacity, usedBytes } = this.disk
    return this.run(() => ({ freeBytes: Math.max(0, capacity - usedBytes), totalBytes: capacity }))
  }

  inodeOf(path: string): Inode {
    const inode = this.disk.names.get(path)
    if (inode === undefined) throw systemError('ENOENT', path)
    return inode
  }

  /** Takes a while, as a disk does. `half` is what a process that dies in the midst of it leaves. */
  async run<R>(whole: () => R, half?: () => void): Promise<R> {
    if (this.disk.random() < 0.3) await new Promise<void>((resolve) => setImmediate(resolve))
    if (!this.#isAlive()) return never
    if (--this.disk.operationsLeft < 0) {
      half?.()
      this.disk.kill()
      return never
    }
    const result = whole()
    if (this.disk.random() < 0.3) await new Promise<void>((resolve) => setImmediate(resolve))
    return this.#isAlive() ? result : never
  }
}

class MemoryFile implements DiskFile {
  readonly #disk: ProcessDisk
  readonly #inode: Inode

  constructor(disk: ProcessDisk, inode: Inode) {
    this.#disk = disk
    this.#inode = inode
  }

  size(): Promise<number> {
    return this.#disk.run(() => this.#inode.size)
  }

  read(target: Buffer, position: number): Promise<number> {
    return this.#disk.run(() => this.#inode.read(target, position))
  }

  write(data: Buffer, position: number): Promise<void> {
    return this.#disk.run(
      () => {
        const { disk } = this.#disk
        const more = position + data.length - this.#inode.size
        if (more > 0 && disk.usedBytes + more > disk.capacity) throw systemError('ENOSPC', 'the disk is full')
        this.#inode.write(data, position)
      },
      () => this.#inode.write(data.subarray(0, Math.floor(data.length * this.#disk.disk.random())), position),
    )
  }

  async writeDurably(data: Buffer, position: number): Promise<void> {
    await this.write(data, position)
    await this.sync()
  }

  sync(): Promise<void> {
    return this.#disk.run(() => this.#inode.sync())
  }

  lose(): void {
    this.#inode.lose(this.#disk.disk.random)
  }

  truncate(size: number): Promise<void> {
    return this.#disk.run(() => this.#inode.truncate(size))
  }

  close(): Promise<void> {
    return this.#disk.run(() => {})
  }
}

function systemError(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code })
}
