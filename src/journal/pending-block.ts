import { blockHeaderBytes, blockTrailerBytes } from './format.ts'
import type { RecordCodec } from './record-codec.ts'

interface Waiter {
  readonly resolve: (firstSeq: number) => void
  readonly reject: (error: unknown) => void
  readonly firstSeq: number
}

/** A block in memory: records are encoded straight into the bytes that will be written. */
export class PendingBlock {
  readonly firstSeq: number
  count = 0
  /** Its records are lost; it says only which they were. */
  isGap = false
  /** Of a gap: they were there, and can't be read any more. Else their seqs are only left out. */
  isLost = false
  /** With room for the header before the payload. */
  buffer: Buffer
  /** Where the payload ends. */
  bytes = blockHeaderBytes
  /** Counts its records when they are kept. */
  tally: { keep(): void } | null = null
  readonly #waiters: Waiter[] = []

  constructor(firstSeq: number, buffer: Buffer = Buffer.allocUnsafeSlow(64 * 1024)) {
    this.firstSeq = firstSeq
    this.buffer = buffer
  }

  get payloadBytes(): number {
    return this.bytes - blockHeaderBytes
  }

  add<T>(record: T, sizeMax: number, codec: RecordCodec<T>): void {
    this.#reserve(4 + sizeMax + blockTrailerBytes)
    const start = this.bytes + 4
    const end = codec.encode(record, this.buffer, start)
    this.buffer.writeUInt32LE(end - start, this.bytes)
    this.bytes = end
    this.count++
  }

  /** Of an empty block: it stands for so many records that are lost. */
  makeGap(count: number, isLost = false): void {
    this.count = count
    this.isGap = true
    this.isLost = isLost
  }

  /** Resolves with `firstSeq` when the block is on stable storage. */
  committed(firstSeq: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject, firstSeq })
    })
  }

  resolve(): void {
    for (const waiter of this.#waiters) waiter.resolve(waiter.firstSeq)
  }

  reject(error: unknown): void {
    for (const waiter of this.#waiters) waiter.reject(error)
  }

  #reserve(bytes: number): void {
    const needed = this.bytes + bytes
    if (needed <= this.buffer.length) return
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.buffer.length * 2))
    this.buffer.copy(larger, 0, 0, this.bytes)
    this.buffer = larger
  }
}
