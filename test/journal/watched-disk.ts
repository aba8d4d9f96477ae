import type { Disk, DiskFile, DiskSpace } from '../../src/journal/disk.ts'

/** One call that reached the disk. Operations of a file bear the name that the file has at the time. */
export interface Operation {
  readonly name:
    | Exclude<keyof Disk, 'open'>
    | Exclude<keyof DiskFile, 'close'>
    | 'open create'
    | 'open write'
    | 'open read'
    | 'close'
  readonly path: string
  /** Where a rename leads. */
  readonly to?: string
  readonly position?: number
  readonly bytes?: number
}

export interface Fault {
  readonly operation: Operation['name']
  /** Which files; all by default. */
  readonly path?: RegExp
  /** How many matching operations pass before. Default 0. */
  readonly after?: number
  /** How many fail then. Default 1. */
  readonly times?: number
  readonly code?: 'EIO' | 'ENOSPC' | 'EDQUOT' | 'short_write' | 'ENOENT' | 'EXDEV'
  /** Which part of the data a failing write leaves on the disk nevertheless, from 0 to 1. Default 0. */
  readonly written?: number
}

/** A disk that can tell how a failed sync ends: what was not synced is dropped, and taken for clean. */
interface LosableFile extends DiskFile {
  lose?(): void
}

/** Wraps a disk: records the order of operations, and fails those that a test chooses. */
export class WatchedDisk implements Disk {
  readonly log: Operation[] = []
  readonly #disk: Disk
  readonly #files = new Set<WatchedFile>()
  #holds: {
    readonly operation: Operation['name']
    readonly path: RegExp
    readonly reached: () => void
    readonly gone: Promise<void>
  }[] = []
  #faults: { readonly fault: Fault; passed: number; failed: number }[] = []

  constructor(disk: Disk) {
    this.#disk = disk
  }

  /** Arms a fault. */
  fail(fault: Fault): void {
    this.#faults.push({ fault, passed: 0, failed: 0 })
  }

  /** Lets the next such operation wait: `reached` resolves when it is called, and it is done after `go()`. */
  hold(operation: Operation['name'], path = /(?:)/): { readonly reached: Promise<void>; go(): void } {
    const reached = Promise.withResolvers<void>()
    const gone = Promise.withResolvers<void>()
    this.#holds.push({ operation, path, reached: reached.resolve, gone: gone.promise })
    return { reached: reached.promise, go: gone.resolve }
  }

  /** Disarms all faults: the disk works again. */
  mend(): void {
    this.#faults = []
  }

  /** Forgets what was recorded. */
  forget(): void {
    this.log.length = 0
  }

  /** Files that are open now. */
  get openFiles(): string[] {
    return [...this.#files].map((file) => file.path)
  }

  makeDirectory(path: string): Promise<void> {
    return this.run({ name: 'makeDirectory', path }, () => this.#disk.makeDirectory(path))
  }

  list(path: string): Promise<string[]> {
    return this.run({ name: 'list', path }, () => this.#disk.list(path))
  }

  open(path: string, mode: 'create' | 'write' | 'read'): Promise<DiskFile> {
    return this.run({ name: `open ${mode}`, path }, async () => {
      const file = new WatchedFile(this, path, await this.#disk.open(path, mode), () => this.#files.delete(file))
      this.#files.add(file)
      return file
    })
  }

  rename(from: string, to: string): Promise<void> {
    return this.run({ name: 'rename', path: from, to }, async () => {
      await this.#disk.rename(from, to)
      for (const file of this.#files) if (file.path === from) file.path = to
    })
  }

  unlink(path: string): Promise<void> {
    return this.run({ name: 'unlink', path }, () => this.#disk.unlink(path))
  }

  syncDirectory(path: string): Promise<void> {
    return this.run({ name: 'syncDirectory', path }, () => this.#disk.syncDirectory(path))
  }

  sizeOf(path: string): Promise<number | null> {
    return this.run({ name: 'sizeOf', path }, () => this.#disk.sizeOf(path))
  }

  space(path: string): Promise<DiskSpace> {
    return this.run({ name: 'space', path }, () => this.#disk.space(path))
  }

  /** Records an operation, and either does it or fails it. `half` does what a failing one still does. */
  async run<R>(operation: Operation, whole: () => Promise<R>, half?: (written: number) => Promise<void>): Promise<R> {
    this.log.push(operation)
    const held = this.#holds.find((each) => each.operation === operation.name && each.path.test(operation.path))
    if (held) {
      this.#holds = this.#holds.filter((each) => each !== held)
      held.reached()
      await held.gone
    }
    const fault = this.#faultOf(operation)
    if (fault === null) return whole()
    await half?.(fault.written ?? 0)
    const code = fault.code ?? 'EIO'
    throw Object.assign(new Error(`${code}: injected into ${operation.name} of ${operation.path}`), { code })
  }

  #faultOf({ name, path }: Operation): Fault | null {
    for (const armed of this.#faults) {
      const { fault } = armed
      if (fault.operation !== name || (fault.path && !fault.path.test(path))) continue
      if (armed.passed++ < (fault.after ?? 0) || armed.failed >= (fault.times ?? 1)) continue
      armed.failed++
      return fault
    }
    return null
  }
}

class WatchedFile implements DiskFile {
  path: string
  readonly #disk: WatchedDisk
  readonly #file: LosableFile
  readonly #closed: () => void

  constructor(disk: WatchedDisk, path: string, file: DiskFile, closed: () => void) {
    this.#disk = disk
    this.path = path
    this.#file = file
    this.#closed = closed
  }

  size(): Promise<number> {
    return this.#disk.run({ name: 'size', path: this.path }, () => this.#file.size())
  }

  read(target: Buffer, position: number): Promise<number> {
    return this.#disk.run({ name: 'read', path: this.path, position, bytes: target.length }, () =>
      this.#file.read(target, position),
    )
  }

  write(data: Buffer, position: number): Promise<void> {
    return this.#disk.run(
      { name: 'write', path: this.path, position, bytes: data.length },
      () => this.#file.write(data, position),
      (written) => this.#file.write(data.subarray(0, Math.floor(data.length * written)), position),
    )
  }

  async writeDurably(data: Buffer, position: number): Promise<void> {
    await this.write(data, position)
    await this.sync()
  }

  sync(): Promise<void> {
    return this.#disk.run(
      { name: 'sync', path: this.path },
      () => this.#file.sync(),
      async () => this.#file.lose?.(),
    )
  }

  truncate(size: number): Promise<void> {
    return this.#disk.run({ name: 'truncate', path: this.path, bytes: size }, () => this.#file.truncate(size))
  }

  close(): Promise<void> {
    this.#closed()
    return this.#disk.run(
      { name: 'close', path: this.path },
      () => this.#file.close(),
      () => this.#file.close(),
    )
  }
}
