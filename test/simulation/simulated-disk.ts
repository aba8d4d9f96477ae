import { basename, dirname } from 'node:path'
import type { Disk, DiskFile } from '../../src/journal/disk.ts'
import type { Random } from '../torture/random.ts'
import { Faults, Violation, systemError } from './faults.ts'
import type { Operation } from './faults.ts'
import { OpenFile } from './open-file.ts'
import type { Schedule } from './schedule.ts'
import { SimulatedFile } from './simulated-file.ts'
import { SimulatedNames } from './simulated-names.ts'
import type { NameLoss } from './simulated-names.ts'

export type Crash = 'kill' | 'power'

/**
 * A file system that forgets, tears and fails as a real one may, decided by a seed. It outlives the processes that use it,
 * each through a `SimulatedProcess` of its own.
 *
 * - What is written is in the page cache. A kill keeps that; a power failure keeps of what was not synced any sectors (512
 *   bytes, each old or new), and the old or the new size.
 * - Names that were not synced may come undone.
 * - A write that fails, or that is under way when its process is killed, leaves any part.
 * - A sync that fails has brought any sectors to the platter. The others count as clean: no later sync writes them.
 * - Operations that are under way together take effect and end in any order.
 */
export class SimulatedDisk {
  readonly names = new SimulatedNames()
  readonly faults = new Faults()
  readonly schedule: Schedule
  /** Bytes that all files may have together. */
  capacity = Number.POSITIVE_INFINITY
  /** The first thing that was done to a file that must never be done. */
  violation: Violation | null = null
  /** Told of every operation that took effect, and of every crash. */
  observe: ((what: string) => void) | null = null
  #process: SimulatedProcess | null = null
  readonly #nameLoss: NameLoss

  constructor(schedule: Schedule, nameLoss: NameLoss) {
    this.schedule = schedule
    this.#nameLoss = nameLoss
  }

  get random(): Random {
    return this.schedule.random
  }

  /** A new process. There is one at a time. */
  boot(): SimulatedProcess {
    this.#process = new SimulatedProcess(this)
    return this.#process
  }

  crash(how: Crash): void {
    this.observe?.(`crash (${how})`)
    this.#process?.end()
    this.#process = null
    this.schedule.crash()
    if (how === 'power') this.names.powerOff(this.random, this.#nameLoss)
  }

  /** Told here as well as thrown: whoever did it may take it for a failure of the disk. */
  forbid(what: string): never {
    this.violation ??= new Violation(what)
    throw this.violation
  }

  get usedBytes(): number {
    let bytes = 0
    for (const file of new Set(this.names.all().values())) bytes += file.size
    return bytes
  }
}

const never = new Promise<never>(() => {})

/** The port `Disk` as one process sees it. When the process is dead, no call returns any more. */
export class SimulatedProcess implements Disk {
  readonly disk: SimulatedDisk
  /** Operations until the process dies in the midst of one, and how. */
  #doom: { operationsLeft: number; readonly how: Crash } | null = null
  isAlive = true
  openFiles = 0
  /** Resolves when it is dead. */
  readonly died: Promise<void>
  #die: () => void = () => {}

  constructor(disk: SimulatedDisk) {
    this.disk = disk
    this.died = new Promise((resolve) => {
      this.#die = resolve
    })
  }

  /** Lets the process die at one of its next operations, unless it was doomed before. */
  doom(operationsLeft: number, how: Crash): void {
    this.#doom ??= { operationsLeft, how }
  }

  spare(): void {
    this.#doom = null
  }

  end(): void {
    this.isAlive = false
    this.#die()
  }

  makeDirectory(): Promise<void> {
    return Promise.resolve()
  }

  list(path: string): Promise<string[]> {
    return this.run('list', path, () =>
      [...this.disk.names.all().keys()].filter((name) => dirname(name) === path).map((name) => basename(name)),
    )
  }

  open(path: string, mode: 'create' | 'write' | 'read'): Promise<DiskFile> {
    if (mode !== 'create')
      return this.run('open', path, () => new OpenFile(this, path, this.#file(path), mode === 'write'))
    return this.run('create', path, () => {
      if (this.disk.names.get(path) !== undefined) throw systemError('EEXIST', path)
      const file = new SimulatedFile()
      this.disk.names.add(path, file)
      return new OpenFile(this, path, file, true)
    })
  }

  rename(from: string, to: string): Promise<void> {
    return this.run('rename', from, () => this.disk.names.rename(from, to, this.#file(from)))
  }

  unlink(path: string): Promise<void> {
    return this.run('unlink', path, () => this.disk.names.remove(path, this.#file(path)))
  }

  syncDirectory(path: string): Promise<void> {
    const { names, random } = this.disk
    return this.run(
      'syncDirectory',
      path,
      () => names.sync(path),
      () => names.loseSync(random),
    )
  }

  sizeOf(path: string): Promise<number | null> {
    return this.run('size', path, () => this.disk.names.get(path)?.size ?? null)
  }

  space(): Promise<{ freeBytes: number; totalBytes: number }> {
    const totalBytes = Math.min(this.disk.capacity, 2 ** 40)
    return this.run('size', '/', () => ({ freeBytes: Math.max(0, totalBytes - this.disk.usedBytes), totalBytes }))
  }

  /** An operation that takes a while and may fail. `part`: what it may leave when it fails or is cut short. */
  run<R>(operation: Operation, what: string, effect: () => R, part?: () => void): Promise<R> {
    if (!this.isAlive) return never
    const { random, schedule, faults } = this.disk
    return new Promise((resolve, reject) => {
      let settle: (() => void) | null = null
      const happen = (): void => {
        const fault = faults.next(operation)
        this.disk.observe?.(`${operation} ${what}${fault === null ? '' : ` fails with ${fault.code}`}`)
        try {
          const result = fault === null || (fault.isDone && isNameChange(operation)) ? effect() : part?.()
          settle = () => resolve(result as R)
        } catch (error) {
          settle = () => reject(error)
        }
        if (fault !== null) settle = () => reject(systemError(fault.code, `${operation} ${what}`))
      }
      if (random.next() < 0.3) happen()
      schedule.start({
        land: () => {
          if (settle === null) happen()
          settle?.()
        },
        crash: () => {
          if (settle !== null) return
          const luck = random.next()
          if (luck < 0.4) happen()
          else if (luck < 0.8) part?.()
        },
      })
      if (this.#doom !== null && --this.#doom.operationsLeft < 0) this.disk.crash(this.#doom.how)
    })
  }

  #file(path: string): SimulatedFile {
    const file = this.disk.names.get(path)
    if (file === undefined) throw systemError('ENOENT', path)
    return file
  }
}

function isNameChange(operation: Operation): boolean {
  return operation === 'rename' || operation === 'unlink' || operation === 'create'
}
