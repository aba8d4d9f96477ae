/** A record that waits in memory. */
export interface QueuedRecord {
  readonly seq: number
  readonly bytes: Buffer<ArrayBuffer>
  readonly start: number
  readonly end: number
}

export interface QueueLimits {
  readonly countMax: number
  readonly bytesMax: number
  /** What each record costs beside its own bytes. */
  readonly overheadBytes: number
  readonly seqMax: number
  /** How many of the oldest records to pass over. */
  readonly skip: number
}

const arenaBytesMin = 512
const arenaBytesMax = 64 * 1024
/** A lane's batch, and some. */
const sparesMax = 32
/** What a queued record costs beside its bytes, roughly. */
const recordOverheadBytes = 96

/**
 * The memory of all lanes together. Arenas that are done with are used again: to leave them to the garbage collector costs
 * as much memory as V8 lets pile up outside its heap, which is 64 MiB.
 */
export class LaneMemory {
  /** What all lanes hold. */
  bytes = 0
  readonly #spares: ArrayBuffer[] = []

  take(bytes: number): Buffer<ArrayBuffer> {
    const spare = bytes === arenaBytesMax ? this.#spares.pop() : undefined
    return spare === undefined ? Buffer.allocUnsafeSlow(bytes) : Buffer.from(spare)
  }

  /** Whoever looks at the arena nevertheless finds it empty, and not another record's bytes in it. */
  giveBack(arena: Buffer<ArrayBuffer>): void {
    if (arena.length === arenaBytesMax && this.#spares.length < sparesMax) this.#spares.push(arena.buffer.transfer())
    else arena.buffer.transfer(0)
  }
}

/**
 * The records of one lane that are held in memory, oldest first. Their bytes are copied together into arenas of the
 * lane's own, so that one small record never keeps a whole block alive, and `bytes` is what is really held.
 */
export class LaneQueue {
  #records: QueuedRecord[] = []
  #head = 0
  #arena: Buffer<ArrayBuffer> = Buffer.alloc(0)
  #arenaUsed = 0
  #bytes = 0
  readonly #memory: LaneMemory

  constructor(memory: LaneMemory) {
    this.#memory = memory
  }

  get length(): number {
    return this.#records.length - this.#head
  }

  get bytes(): number {
    return this.#bytes
  }

  get first(): QueuedRecord | undefined {
    return this.#records[this.#head]
  }

  forEachSeq(visit: (seq: number) => void): void {
    for (let i = this.#head; i < this.#records.length; i++) visit((this.#records[i] as QueuedRecord).seq)
  }

  push(seq: number, source: Buffer, start: number, end: number): void {
    const length = end - start
    if (this.#arenaUsed + length > this.#arena.length) {
      const grown = Math.min(Math.max(this.#arena.length * 2, arenaBytesMin), arenaBytesMax)
      this.#arena = this.#memory.take(Math.max(length, this.length === 0 ? arenaBytesMin : grown))
      this.#arenaUsed = 0
    }
    source.copy(this.#arena, this.#arenaUsed, start, end)
    this.#records.push({ seq, bytes: this.#arena, start: this.#arenaUsed, end: this.#arenaUsed + length })
    this.#arenaUsed += length
    this.#count(length + recordOverheadBytes)
  }

  /** The oldest records behind the `skip` oldest, at least one if there is any, up to the limits, and none beyond `seqMax`. They stay queued. */
  peek(limits: QueueLimits): QueuedRecord[] {
    const batch: QueuedRecord[] = []
    let bytes = 0
    for (let i = this.#head + limits.skip; i < this.#records.length && batch.length < limits.countMax; i++) {
      const record = this.#records[i] as QueuedRecord
      bytes += record.end - record.start + limits.overheadBytes
      if (batch.length > 0 && (bytes > limits.bytesMax || record.seq > limits.seqMax)) break
      batch.push(record)
    }
    return batch
  }

  /** Forgets the oldest `count` records, of which nobody must look at the bytes any more. */
  drop(count: number): void {
    for (let i = this.#head; i < this.#head + count; i++) {
      const { bytes, start, end } = this.#records[i] as QueuedRecord
      this.#count(-(end - start + recordOverheadBytes))
      if (bytes !== this.#records[i + 1]?.bytes) this.#memory.giveBack(bytes)
    }
    this.#head += count
    if (this.#head === this.#records.length) this.clear()
    else if (this.#head > 1024 && this.#head * 2 > this.#records.length) {
      this.#records = this.#records.slice(this.#head)
      this.#head = 0
    }
  }

  clear(): void {
    this.#records = []
    this.#head = 0
    this.#count(-this.#bytes)
    this.#arena = Buffer.alloc(0)
    this.#arenaUsed = 0
  }

  #count(bytes: number): void {
    this.#bytes += bytes
    this.#memory.bytes += bytes
  }
}
