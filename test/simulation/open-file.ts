import type { DiskFile } from '../../src/journal/disk.ts'
import type { Random } from '../torture/random.ts'
import { systemError } from './faults.ts'
import type { Operation } from './faults.ts'
import type { SimulatedProcess } from './simulated-disk.ts'
import type { SimulatedFile } from './simulated-file.ts'

/** A file of a simulated disk as one process has opened it. To use it when it is closed, or to write to one that was opened for reading, is a violation. */
export class OpenFile implements DiskFile {
  readonly #process: SimulatedProcess
  readonly #path: string
  readonly #file: SimulatedFile
  readonly #isWritable: boolean
  #isOpen = true

  constructor(process: SimulatedProcess, path: string, file: SimulatedFile, isWritable: boolean) {
    this.#process = process
    this.#path = path
    this.#file = file
    this.#isWritable = isWritable
    process.openFiles++
  }

  size(): Promise<number> {
    return this.#run('size', () => this.#file.size)
  }

  read(target: Buffer, position: number): Promise<number> {
    return this.#run('read', () => this.#file.read(target, position, this.#random))
  }

  write(data: Buffer, position: number): Promise<void> {
    const write = (): void => this.#write(data, position)
    const operation = position + data.length > this.#file.size ? 'allocate' : 'write'
    return this.#run(operation, write, () => this.#writePart(data, position), extent(data, position))
  }

  /** One operation, as with O_DSYNC: what it syncs is what it has written, and no more. */
  writeDurably(data: Buffer, position: number): Promise<void> {
    const { faults } = this.#process.disk
    const end = position + data.length
    const loseSync = (): void => this.#file.loseSync(this.#random, position, end)
    const both = (): void => {
      this.#write(data, position)
      const fault = faults.next('sync')
      if (fault !== null) {
        this.#process.disk.observe?.(`sync ${this.#path} fails with ${fault.code}`)
        loseSync()
        throw systemError(fault.code, `sync ${this.#path}`)
      }
      this.#file.sync(position, end)
    }
    const part = (): void => {
      this.#writePart(data, position)
      if (this.#random.next() < 0.5) loseSync()
    }
    return this.#run(end > this.#file.size ? 'allocate' : 'write', both, part, extent(data, position))
  }

  sync(): Promise<void> {
    return this.#run(
      'sync',
      () => this.#file.sync(),
      () => this.#file.loseSync(this.#random),
    )
  }

  truncate(size: number): Promise<void> {
    return this.#run('truncate', () => {
      this.#assertWritable()
      this.#file.truncate(size)
    })
  }

  close(): Promise<void> {
    if (this.#isOpen) this.#process.openFiles--
    const closed = this.#run('close', () => {})
    this.#isOpen = false
    return closed
  }

  get #random(): Random {
    return this.#process.disk.random
  }

  #run<R>(operation: Operation, effect: () => R, part?: () => void, detail = ''): Promise<R> {
    if (!this.#isOpen) this.#process.disk.forbid(`${operation} ${this.#path}, which is closed`)
    return this.#process.run(operation, this.#path + detail, effect, part)
  }

  #write(data: Buffer, position: number): void {
    this.#assertWritable()
    const { disk } = this.#process
    const growth = Math.max(0, position + data.length - this.#file.size)
    const free = growth === 0 ? 0 : disk.capacity - disk.usedBytes
    if (growth <= free || growth === 0) {
      this.#file.write(data, position, this.#random)
      return
    }
    const fitting = Math.max(0, data.length - growth + Math.max(0, free))
    this.#file.write(data.subarray(0, fitting), position, this.#random)
    throw systemError(disk.faults.full(this.#random), `write ${this.#path}`)
  }

  #writePart(data: Buffer, position: number): void {
    const part = data.subarray(0, Math.floor(data.length * this.#random.next()))
    this.#file.write(part, position, this.#random)
  }

  #assertWritable(): void {
    if (!this.#isWritable) this.#process.disk.forbid(`${this.#path} is written to, and was opened for reading`)
  }
}

function extent(data: Buffer, position: number): string {
  return ` (${data.length} bytes at ${position})`
}
