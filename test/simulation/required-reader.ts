import type { Disk } from '../../src/journal/disk.ts'
import { CursorFile } from '../../src/journal/cursor-file.ts'
import type { CursorPosition } from '../../src/journal/cursor-file.ts'
import type { Journal } from '../../src/journal/journal.ts'
import type { KeyRing } from '../../src/journal/key-ring.ts'
import type { JournalReader } from '../../src/journal/journal-reader.ts'
import { Violation } from './faults.ts'
import type { Model } from './model.ts'
import { readOn } from './reading.ts'
import type { Passage } from './reading.ts'

/** What a reader does things with, for as long as its process lives. */
interface Work {
  readonly disk: Disk
  readonly journal: Journal<Buffer>
  readonly cursor: CursorFile
  reader: JournalReader | null
  passage: Passage
  /** What was begun last, and what was begun before it. */
  reading: Promise<void>
  moving: Promise<void>
}

/**
 * A reader with a cursor, for whom the journal keeps what it has not passed: the forwarder, or a recorder. It lets go of the
 * journal in the same order as these: its cursor is durable before anything may be deleted.
 */
export class RequiredReader {
  readonly name: string
  readonly isForwarder: boolean
  readonly #path: string
  readonly #model: Model
  readonly #keys: KeyRing | null
  #work: Work | null = null
  /** Where its cursor is for sure; null before there is one. */
  #durable: CursorPosition | null = null
  /** What its cursor may be instead, because the writing was not answered. */
  #tried: CursorPosition[] = []

  constructor(name: string, directory: string, model: Model, keys: KeyRing | null) {
    this.name = name
    this.isForwarder = name === 'forwarder'
    this.#keys = keys
    this.#path = `${directory}/${name}.cursor`
    this.#model = model
  }

  /** Below it the reader needs nothing any more. */
  get needsFrom(): number {
    return this.#durable?.seq ?? 1
  }

  get readTo(): number {
    return this.#work?.passage.to ?? this.needsFrom
  }

  async start(disk: Disk, journal: Journal<Buffer>): Promise<void> {
    const initial = { seq: journal.firstSeq, mark: 0 }
    const cursor = await CursorFile.open(disk, this.#path, journal.id, initial, this.#keys)
    this.#check(cursor.position)
    this.#durable = cursor.position
    this.#tried = []
    const { seq } = cursor.position
    this.#work = { disk, journal, cursor, reader: null, passage: { from: null, to: seq }, reading: done, moving: done }
    await this.#letGo(journal, seq)
  }

  /** Its process is dead. */
  end(): void {
    this.#work = null
  }

  /** Reads so many blocks, after what it was told before. */
  read(blocks: number): Promise<void> {
    const work = this.#work
    if (work === null) return Promise.resolve()
    work.reading = work.reading.then(
      () => this.#read(work, blocks),
      () => this.#read(work, blocks),
    )
    return work.reading
  }

  /** Moves the cursor to within `lag` of what has been read, and lets go of what is behind it. */
  move(lag: number): Promise<void> {
    const work = this.#work
    if (work === null) return Promise.resolve()
    work.moving = work.moving.then(
      () => this.#move(work, lag),
      () => this.#move(work, lag),
    )
    return work.moving
  }

  async close(): Promise<void> {
    const work = this.#work
    this.#work = null
    await work?.reader?.close()
    await work?.cursor.close()
  }

  async #read(work: Work, blocks: number): Promise<void> {
    work.reader ??= work.journal.reader(work.passage.to)
    try {
      await readOn(work.reader, this.#model, work.passage, blocks)
    } catch (error) {
      // What could not be read is read again later, by a new one.
      const { reader } = work
      work.reader = null
      work.passage = { from: null, to: work.passage.to }
      await reader?.close()
      throw error
    }
  }

  async #move({ cursor, journal, passage }: Work, lag: number): Promise<void> {
    const seq = Math.max(cursor.position.seq, passage.to - lag)
    const position = { seq, mark: cursor.position.mark + 1 }
    this.#tried.push(position)
    await cursor.write(position)
    this.#durable = position
    this.#tried = []
    await this.#letGo(journal, seq)
  }

  #letGo(journal: Journal<Buffer>, seq: number): Promise<void> {
    return this.isForwarder ? journal.release(seq) : journal.hold(this.name, seq)
  }

  #check(found: CursorPosition): void {
    if (this.#durable === null) return
    const possible = [this.#durable, ...this.#tried]
    if (possible.some(({ seq, mark }) => seq === found.seq && mark === found.mark)) return
    throw new Violation(
      `the cursor of ${this.name} is at ${text(found)}, and should be at ${possible.map(text).join(' or ')}`,
    )
  }
}

const done = Promise.resolve()

function text({ seq, mark }: CursorPosition): string {
  return `${seq} (mark ${mark})`
}
