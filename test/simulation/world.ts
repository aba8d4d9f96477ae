import { UnavailableError, messageOf } from '../../src/base/errors.ts'
import { Journal } from '../../src/journal/journal.ts'
import type { KeyRing } from '../../src/journal/key-ring.ts'
import { Random } from '../torture/random.ts'
import { Violation } from './faults.ts'
import type { Limits } from './history.ts'
import { Model } from './model.ts'
import type { Promised } from './model.ts'
import { nonceWatch } from './nonce-watch.ts'
import { readOn } from './reading.ts'
import type { Passage } from './reading.ts'
import { bytesCodec } from './record.ts'
import { RequiredReader } from './required-reader.ts'
import { Schedule } from './schedule.ts'
import { SimulatedKeys } from './simulated-keys.ts'
import { SimulatedDisk } from './simulated-disk.ts'
import type { Crash, SimulatedProcess } from './simulated-disk.ts'

const dataDirectory = '/data'
export const journalDirectory = '/data/journal'

/** So many turns without anything under way: whoever still waits waits for ever. */
const stuckTurns = 50
/** Longer than a journal refuses appends after a failure. */
export const failurePauseMs = 600

interface Life {
  readonly process: SimulatedProcess
  readonly journal: Journal<Buffer>
}

/** A journal, its disk, and those who use it, through all their processes; and what they have been promised. */
export class World {
  readonly limits: Limits
  readonly schedule: Schedule
  readonly disk: SimulatedDisk
  readonly model = new Model(() => (this.limits.nameLoss === 'any' ? this.neededFrom : 0))
  readonly readers: readonly RequiredReader[]
  life: Life | null = null
  readonly #keys: KeyRing | null
  boots = 0
  refused = 0
  #doom: { readonly how: Crash; readonly operations: number } | null = null
  readonly #tasks = new Set<Promise<void>>()
  #lastFault = { count: 0, atMs: Number.NEGATIVE_INFINITY }
  #broken: Violation | null = null

  constructor(limits: Limits, seed: number) {
    nonceWatch.begin()
    this.limits = limits
    this.schedule = new Schedule(Random.of(seed, 1))
    this.disk = new SimulatedDisk(this.schedule, limits.nameLoss)
    this.#keys = limits.isEncrypted ? new SimulatedKeys() : null
    this.readers = Array.from(
      { length: limits.readers },
      (_, i) => new RequiredReader(i === 0 ? 'forwarder' : `recorder${i}`, dataDirectory, this.model, this.#keys),
    )
  }

  /** Below it nobody needs anything. */
  get neededFrom(): number {
    return Math.min(...this.readers.map(({ needsFrom }) => needsFrom))
  }

  /** Starts a process when there is none. Null when it died, or could not start because something failed. */
  async boot(): Promise<Life | null> {
    if (this.life?.process.isAlive) return this.life
    this.bury()
    this.boots++
    const process = this.disk.boot()
    if (this.#doom !== null) process.doom(this.#doom.operations, this.#doom.how)
    this.#doom = null
    const isUp = await this.within(
      process,
      this.#excused('starting', () => this.#start(process)),
    )
    if (isUp !== true) {
      if (process.isAlive) this.crash('kill')
      return null
    }
    return this.life
  }

  /** The process dies, and with it everything that it had under way. */
  crash(how: Crash): void {
    this.disk.crash(how)
    this.bury()
  }

  /** Lets the process die soon, or the next one when there is none. */
  doom(how: Crash, operations: number): void {
    if (this.life?.process.isAlive) this.life.process.doom(operations, how)
    else this.#doom = { how, operations }
  }

  /** Nobody is doomed any more. */
  spare(): void {
    this.#doom = null
    this.life?.process.spare()
  }

  /** Hands it to the journal; what comes of it goes to the model. */
  append({ process, journal }: Life, records: readonly Buffer[]): void {
    const promised = this.model.give({ kind: 'records', records })
    this.#await(process, promised, journal.append(records))
  }

  skip({ process, journal }: Life, by: number): void {
    const from = journal.nextSeq
    const promised = this.model.give({ kind: 'gap', from, to: from + by })
    this.#await(
      process,
      promised,
      journal.skipTo(from + by).then(() => from),
    )
  }

  /** Begins something that may fail only when the disk did. */
  begin(what: string, action: () => Promise<void>): void {
    this.#track(this.#excused(what, action))
  }

  /** Waits for all that was begun; false when the process died first. */
  async settle({ process }: Life): Promise<boolean> {
    while (this.#tasks.size > 0) if ((await this.within(process, Promise.all(this.#tasks))) === undefined) return false
    return process.isAlive
  }

  /** Reads all there is, and settles what is kept of that which failed. */
  async audit({ journal }: Life): Promise<void> {
    const { model } = this
    const end = journal.end.nextSeq
    if (!model.hasDamage && end < model.nextSeq) throw new Violation(`the journal ends at ${end}, not ${model.nextSeq}`)
    const oldest = journal.firstSeq
    if (oldest > this.neededFrom) throw new Violation(`the journal begins with ${oldest}, not ${this.neededFrom}`)
    const passage = await this.#readAll(journal, oldest)
    const isSeen = (seq: number): boolean => passage.from !== null && seq >= passage.from && seq < passage.to
    model.demand(this.neededFrom, model.nextSeq, isSeen)
    model.allSeen()
  }

  /** Rejects when what was begun has broken a promise meanwhile, or when nothing will ever come of it. */
  async within<T>(process: SimulatedProcess, promise: Promise<T>): Promise<T | undefined> {
    let isOver = false
    const stuck = new Promise<never>((_, reject) => {
      let idle = 0
      const look = (): void => {
        if (isOver) return
        idle = this.schedule.isIdle ? idle + 1 : 0
        if (idle > stuckTurns) reject(new Violation('something waits for ever'))
        else setImmediate(look)
      }
      setImmediate(look)
    })
    try {
      const result = await Promise.race([promise, process.died, stuck])
      this.throwIfBroken()
      return process.isAlive ? (result as T) : undefined
    } finally {
      isOver = true
    }
  }

  throwIfBroken(): void {
    const broken = this.#broken ?? this.disk.violation ?? nonceWatch.violation
    if (broken !== null) throw broken
  }

  bury(): void {
    this.life = null
    this.#tasks.clear()
    this.model.crash()
    for (const reader of this.readers) reader.end()
  }

  async #start(process: SimulatedProcess): Promise<void> {
    const { segmentBytes, blockBytesMax, bytesMax } = this.limits
    const observer = { committed: () => {}, failed: () => {} }
    const journal = await Journal.open(process, this.schedule.clock, bytesCodec, observer, {
      directory: journalDirectory,
      segmentBytes,
      blockBytesMax,
      bytesMax,
      keys: this.#keys,
    })
    const life = { process, journal }
    // Before anything is released: a recorder may not have read it yet.
    for (const { name, isForwarder } of this.readers) if (!isForwarder) await journal.hold(name, 0)
    await this.audit(life)
    for (const reader of this.readers) await reader.start(process, journal)
    this.life = life
  }

  async #readAll(journal: Journal<Buffer>, from: number): Promise<Passage> {
    const passage: Passage = { from: null, to: from }
    const reader = journal.reader(from)
    try {
      await readOn(reader, this.model, passage, Number.POSITIVE_INFINITY)
    } catch (error) {
      // Deleted files whose names came back one by one have holes between them, where nobody needs anything.
      if (this.limits.nameLoss === 'latest' || from >= this.neededFrom || error instanceof Violation) throw error
      return await this.#readAll(journal, this.neededFrom)
    } finally {
      await reader.close()
    }
    return passage
  }

  #await(process: SimulatedProcess, promised: Promised, answer: Promise<number>): void {
    const answered = (firstSeq: number): void => {
      if (process.isAlive) this.model.answer(promised, firstSeq)
    }
    const rejected = (error: unknown): void => {
      if (process.isAlive) this.#rejected(promised, error)
    }
    this.#track(answer.then(answered, rejected))
  }

  #rejected(promised: Promised, error: unknown): void {
    this.refused++
    if (!(error instanceof UnavailableError))
      throw new Violation(`an append failed: ${messageOf(error)}`, { cause: error })
    if (error.code === 'journal_failed' && !this.#hasFailedLately())
      throw new Violation(`an append was rejected, though the disk did not fail: ${error.message}`, { cause: error })
    if (error.code === 'journal_full' && this.limits.bytesMax > 2 ** 33)
      throw new Violation('an append was refused as the journal is full, but it is not')
    this.model.fail(promised, error.code !== 'journal_failed')
  }

  #hasFailedLately(): boolean {
    this.#noteFaults()
    return this.schedule.clock.monotonic() - this.#lastFault.atMs < 5 * failurePauseMs
  }

  #noteFaults(): void {
    const { count } = this.disk.faults
    if (count === this.#lastFault.count) return
    this.#lastFault = { count, atMs: this.schedule.clock.monotonic() }
  }

  /** True when it went well, false when it failed because the disk failed. */
  async #excused(what: string, action: () => Promise<void>): Promise<boolean> {
    const { count } = this.disk.faults
    try {
      await action()
      return true
    } catch (error) {
      if (error instanceof Violation) throw error
      if (this.disk.faults.count > count) return false
      throw new Violation(`${what} failed, though the disk did not: ${messageOf(error)}`, { cause: error })
    } finally {
      this.#noteFaults()
    }
  }

  #track(task: Promise<unknown>): void {
    const tracked: Promise<void> = task.then(
      () => {
        this.#tasks.delete(tracked)
      },
      (error: unknown) => {
        this.#tasks.delete(tracked)
        this.#broken ??= error instanceof Violation ? error : new Violation(messageOf(error), { cause: error })
      },
    )
    this.#tasks.add(tracked)
  }
}
