/** A record that waits in memory. */
export interface QueuedRecord {
  readonly seq: number
  readonly bytes: Buffer
  readonly start: number
  readonly end: number
}

const arenaBytesMin = 512
const arenaBytesMax = 64 * 1024
/** What a queued record costs beside its bytes, roughly. */
const recordOverheadBytes = 96

/**
 * The records of one lane that are held in memory, oldest first. Their bytes are copied together into arenas of the
 * lane's own, so that one small record never keeps a whole block alive, and `bytes` is what is really held.
 */
export class LaneQueue {
  #records: QueuedRecord[] = []
  #head = 0
  #arena: Buffer = Buffer.alloc(0)
  #arenaUsed = 0
  #bytes = 0
  readonly #total: { bytes: number }

  /** Keeps `total` up to date with what it holds, beside other queues. */
  constructor(total: { bytes: number }) {
    this.#total = total
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

  push(seq: number, source: Buffer, start: number, end: number): void {
    const length = end - start
    if (this.#arenaUsed + length > this.#arena.length) {
      const grown = Math.min(Math.max(this.#arena.length * 2, arenaBytesMin), arenaBytesMax)
      this.#arena = Buffer.allocUnsafeSlow(Math.max(length, this.length === 0 ? arenaBytesMin : grown))
      this.#arenaUsed = 0
    }
    source.copy(this.#arena, this.#arenaUsed, start, end)
    this.#records.push({ seq, bytes: this.#arena, start: this.#arenaUsed, end: this.#arenaUsed + length })
    this.#arenaUsed += length
    this.#count(length + recordOverheadBytes)
  }

  /** The oldest records, at least one, up to the limits, and none beyond `seqMax`. They stay queued. */
  peek(limits: { countMax: number; bytesMax: number; overheadBytes: number; seqMax: number }): QueuedRecord[] {
    const batch: QueuedRecord[] = []
    let bytes = 0
    for (let i = this.#head; i < this.#records.length && batch.length < limits.countMax; i++) {
      const record = this.#records[i] as QueuedRecord
      bytes += record.end - record.start + limits.overheadBytes
      if (batch.length > 0 && (bytes > limits.bytesMax || record.seq > limits.seqMax)) break
      batch.push(record)
    }
    return batch
  }

  /** Forgets the oldest `count` records. */
  drop(count: number): void {
    for (let i = this.#head; i < this.#head + count; i++) {
      const record = this.#records[i] as QueuedRecord
      this.#count(-(record.end - record.start + recordOverheadBytes))
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
    this.#total.bytes += bytes
  }
}
