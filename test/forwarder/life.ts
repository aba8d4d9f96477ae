import type { Clock } from '../../src/base/clock.ts'
import { systemClock } from '../../src/base/clock.ts'
import type { Broker } from '../../src/forwarder/broker.ts'
import type { Disk, DiskFile } from '../../src/journal/disk.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'

export type DiskCall = 'create' | 'open' | 'read' | 'write' | 'sync' | 'rename' | 'unlink' | 'other'

/**
 * One run of a process, as its parts see it. When it is killed, nothing that it called answers any more, and nothing
 * that it calls is done; so its loops stand still for ever where they are, as after a SIGKILL. What it wrote stays.
 */
export class Life {
  /** How many calls of the disk, clock and broker it made. */
  calls = 0
  /** It dies at this call: before it is done, or just after. */
  killAt: { readonly call: number; readonly done: boolean } | null = null
  /** Makes a call of the disk fail, or wait. */
  failDisk: (call: DiskCall, path: string) => Error | Promise<void> | undefined = () => undefined
  /** Open files by path. */
  readonly openFiles = new Map<DiskFile, string>()
  /** Resolves when it dies. */
  readonly died: Promise<void>
  #die = (): void => {}
  #isDead = false
  readonly #underWay = new Set<Promise<void>>()

  constructor() {
    this.died = new Promise((resolve) => {
      this.#die = () => {
        this.#isDead = true
        resolve()
      }
    })
  }

  get isDead(): boolean {
    return this.#isDead
  }

  /** From now on it is dead. Resolves when nothing of it touches the disk any more. */
  async kill(): Promise<void> {
    this.#die()
    await Promise.all(this.#underWay)
    await Promise.all([...this.openFiles.keys()].map((file) => file.close()))
    this.openFiles.clear()
  }

  readonly clock: Clock = {
    now: () => systemClock.now(),
    monotonic: () => systemClock.monotonic(),
    sleep: (ms, signal) => this.#live(() => systemClock.sleep(ms, signal)),
  }

  /** The real one, but for `sync`: a process that dies leaves its pages to the kernel. */
  readonly disk: Disk = {
    makeDirectory: (path) => this.#call('other', path, () => nodeDisk.makeDirectory(path)),
    list: (path) => this.#call('other', path, () => nodeDisk.list(path)),
    open: async (path, mode) => {
      const file = await this.#call(mode === 'create' ? 'create' : 'open', path, async () => {
        const opened = await nodeDisk.open(path, mode)
        this.openFiles.set(opened, path)
        return opened
      })
      return this.#file(file, path)
    },
    rename: (from, to) => this.#call('rename', to, () => nodeDisk.rename(from, to)),
    unlink: (path) => this.#call('unlink', path, () => nodeDisk.unlink(path)),
    syncDirectory: (path) => this.#call('sync', path, () => Promise.resolve()),
    sizeOf: (path) => this.#call('other', path, () => nodeDisk.sizeOf(path)),
    space: (path) => this.#call('other', path, () => nodeDisk.space(path)),
  }

  broker(broker: Broker): Broker {
    return {
      send: (topic, messages, signal) => this.#live(() => broker.send(topic, messages, signal)),
      prepare: (topic, messages) => broker.prepare?.(topic, messages),
      close: () => this.#live(() => broker.close()),
    }
  }

  #file(file: DiskFile, path: string): DiskFile {
    const write = (data: Buffer, position: number): Promise<void> =>
      this.#call('write', path, () => file.write(data, position))
    const sync = (): Promise<void> => this.#call('sync', path, () => Promise.resolve())
    return {
      size: () => this.#call('other', path, () => file.size()),
      read: (target, position) => this.#call('read', path, () => file.read(target, position)),
      write,
      sync,
      async writeDurably(data, position) {
        await write(data, position)
        await sync()
      },
      truncate: (size) => this.#call('write', path, () => file.truncate(size)),
      close: () =>
        this.#call('other', path, () => {
          this.openFiles.delete(file)
          return file.close()
        }),
    }
  }

  #call<T>(call: DiskCall, path: string, work: () => Promise<T>): Promise<T> {
    return this.#live(() => {
      const trouble = this.failDisk(call, path)
      if (trouble instanceof Error) return Promise.reject(trouble)
      const working = trouble === undefined ? work() : trouble.then(work)
      const done = working
        .then(
          () => {},
          () => {},
        )
        .finally(() => this.#underWay.delete(done))
      this.#underWay.add(done)
      return working
    })
  }

  async #live<T>(work: () => Promise<T>): Promise<T> {
    this.calls++
    const dying = this.killAt?.call === this.calls
    if (dying && this.killAt?.done === false) this.#die()
    if (this.#isDead) return never()
    const working = work()
    try {
      await working.finally(() => {
        if (dying) this.#die()
      })
    } catch {
      // Given to the caller below, unless it is dead.
    }
    return this.#isDead ? never() : working
  }
}

function never(): Promise<never> {
  return new Promise(() => {})
}
