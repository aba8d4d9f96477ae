/** What became of messages, as the forwarder records it in the journal of receipts. Times are milliseconds since the epoch. */
export type Receipt = DeliveredReceipt | DeadReceipt | LostReceipt | Checkpoint

/** One batch of one lane that the broker acknowledged. Entry i of the three arrays is about the same message; seqs ascend. */
export interface DeliveredReceipt {
  readonly kind: 'delivered'
  readonly topic: string
  readonly deliveredAt: number
  /** How often the batch was sent, the successful time included. */
  readonly attempts: number
  readonly seqs: readonly number[]
  readonly partitions: readonly number[]
  readonly offsets: readonly number[]
}

/** A message that the broker refused for good; it is among the dead letters. */
export interface DeadReceipt {
  readonly kind: 'dead'
  readonly topic: string
  readonly diedAt: number
  readonly attempts: number
  readonly seq: number
  readonly reason: string
}

/** Messages that will never be delivered, because they are gone. */
export interface LostReceipt {
  readonly kind: 'lost'
  /** Of all of them; null when nobody knows, because they can't be read. */
  readonly topic: string | null
  readonly lostAt: number
  readonly reason: LossReason
  /** At least one; ascending, and apart from one another. */
  readonly ranges: readonly SeqRange[]
}

/** From the first seq to below the second. */
export type SeqRange = readonly [fromSeq: number, toSeq: number]

/**
 * Why messages are lost: the file that they stood in is `corrupt`; it is `missing`, or the end of the journal is; or they were
 * `dropped`, because they were the oldest, the journal was full, and that was what the configuration asks for then.
 */
export type LossReason = (typeof lossReasons)[number]

export const lossReasons = ['corrupt', 'missing', 'dropped'] as const

/**
 * Sums up all receipts before it, so that a start needs only what follows it: every message below `head` is finished,
 * but those of the topics in `positions` only below the position given there.
 */
export interface Checkpoint {
  readonly kind: 'checkpoint'
  readonly head: number
  readonly positions: ReadonlyMap<string, number>
}

/**
 * ```
 *   0  1  record version, 1
 *   1  1  kind: 1 delivered, 2 dead, 3 checkpoint, 4 lost
 *   then, all numbers as LEB128 varints and text as length and UTF-8 bytes:
 *   delivered   topic, delivered at, attempts, count, then for each message: seq (the first, then distances),
 *               partition, and the zigzag distance of its offset from the one that would follow the partition's last
 *   dead        topic, died at, attempts, seq, reason
 *   checkpoint  head, count, then for each: topic, position
 *   lost        topic (empty: not known), lost at, reason (1 corrupt, 2 missing, 3 dropped), count, then for each range: the
 *               distance of its first seq from the end of the range before (from 0 at first), and how many seqs it has
 * ```
 */
export const receiptCodec = {
  sizeMax(receipt: Receipt): number {
    switch (receipt.kind) {
      case 'delivered':
        return 2 + textMax(receipt.topic) + 3 * varintMax + receipt.seqs.length * 3 * varintMax
      case 'dead':
        return 2 + textMax(receipt.topic) + 3 * varintMax + textMax(receipt.reason)
      case 'checkpoint': {
        let size = 2 + 2 * varintMax
        for (const topic of receipt.positions.keys()) size += textMax(topic) + varintMax
        return size
      }
      case 'lost':
        return 2 + textMax(receipt.topic ?? '') + 3 * varintMax + receipt.ranges.length * 2 * varintMax
    }
  },

  encode(receipt: Receipt, into: Buffer, start: number): number {
    into[start] = recordVersion
    into[start + 1] = kinds.indexOf(receipt.kind) + 1
    let at = start + 2
    switch (receipt.kind) {
      case 'delivered': {
        at = writeText(into, receipt.topic, at)
        at = writeVarint(into, receipt.deliveredAt, at)
        at = writeVarint(into, receipt.attempts, at)
        at = writeVarint(into, receipt.seqs.length, at)
        const expected = new Map<number, number>()
        let previous = 0
        for (let i = 0; i < receipt.seqs.length; i++) {
          const seq = receipt.seqs[i] as number
          const partition = receipt.partitions[i] as number
          const offset = receipt.offsets[i] as number
          at = writeVarint(into, seq - previous, at)
          at = writeVarint(into, partition, at)
          at = writeVarint(into, zigzag(offset - (expected.get(partition) ?? 0)), at)
          previous = seq
          expected.set(partition, offset + 1)
        }
        return at
      }
      case 'dead':
        at = writeText(into, receipt.topic, at)
        at = writeVarint(into, receipt.diedAt, at)
        at = writeVarint(into, receipt.attempts, at)
        at = writeVarint(into, receipt.seq, at)
        return writeText(into, receipt.reason, at)
      case 'checkpoint':
        at = writeVarint(into, receipt.head, at)
        at = writeVarint(into, receipt.positions.size, at)
        for (const [topic, position] of receipt.positions) at = writeVarint(into, position, writeText(into, topic, at))
        return at
      case 'lost': {
        at = writeText(into, receipt.topic ?? '', at)
        at = writeVarint(into, receipt.lostAt, at)
        at = writeVarint(into, lossReasons.indexOf(receipt.reason) + 1, at)
        at = writeVarint(into, receipt.ranges.length, at)
        let previous = 0
        for (const [fromSeq, toSeq] of receipt.ranges) {
          at = writeVarint(into, fromSeq - previous, at)
          at = writeVarint(into, toSeq - fromSeq, at)
          previous = toSeq
        }
        return at
      }
    }
  },
}

/** The receipt between `start` and `end`. */
export function decodeReceipt(bytes: Buffer, start: number, end: number): Receipt {
  const input = new Input(bytes, start + 2, end)
  const kind = kinds[(bytes[start + 1] as number) - 1]
  if (bytes[start] !== recordVersion || kind === undefined)
    throw new Error(`receipt version ${bytes[start]}, kind ${bytes[start + 1]} is not known`)
  switch (kind) {
    case 'delivered': {
      const topic = input.text()
      const deliveredAt = input.varint()
      const attempts = input.varint()
      const count = input.varint()
      const seqs: number[] = []
      const partitions: number[] = []
      const offsets: number[] = []
      const expected = new Map<number, number>()
      let seq = 0
      for (let i = 0; i < count; i++) {
        seq += input.varint()
        const partition = input.varint()
        const offset = unzigzag(input.varint()) + (expected.get(partition) ?? 0)
        expected.set(partition, offset + 1)
        seqs.push(seq)
        partitions.push(partition)
        offsets.push(offset)
      }
      return { kind, topic, deliveredAt, attempts, seqs, partitions, offsets }
    }
    case 'dead':
      return {
        kind,
        topic: input.text(),
        diedAt: input.varint(),
        attempts: input.varint(),
        seq: input.varint(),
        reason: input.text(),
      }
    case 'checkpoint': {
      const head = input.varint()
      const positions = new Map<string, number>()
      for (let left = input.varint(); left > 0; left--) {
        const topic = input.text()
        positions.set(topic, input.varint())
      }
      return { kind, head, positions }
    }
    case 'lost': {
      const topic = input.text() || null
      const lostAt = input.varint()
      const code = input.varint()
      const reason = lossReasons[code - 1]
      if (reason === undefined)
        throw new Error(`a receipt says that messages are lost for a reason ${code} that is not known`)
      const ranges: SeqRange[] = []
      let seq = 0
      for (let left = input.varint(); left > 0; left--) {
        const fromSeq = seq + input.varint()
        seq = fromSeq + input.varint()
        ranges.push([fromSeq, seq])
      }
      return { kind, topic, lostAt, reason, ranges }
    }
  }
}

const recordVersion = 1
const kinds = ['delivered', 'dead', 'checkpoint', 'lost'] as const
const varintMax = 8

function textMax(text: string): number {
  return varintMax + text.length * 3
}

function zigzag(value: number): number {
  return value >= 0 ? value * 2 : -value * 2 - 1
}

function unzigzag(value: number): number {
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2
}

/** Up to 2^53, so without bit operations above 31 bits. */
function writeVarint(into: Buffer, value: number, start: number): number {
  let at = start
  let rest = value
  while (rest > 0x7f) {
    into[at++] = (rest % 0x80) + 0x80
    rest = Math.floor(rest / 0x80)
  }
  into[at++] = rest
  return at
}

function writeText(into: Buffer, text: string, at: number): number {
  const length = Buffer.byteLength(text)
  const start = writeVarint(into, length, at)
  return start + into.write(text, start)
}

class Input {
  readonly #bytes: Buffer
  readonly #end: number
  #at: number

  constructor(bytes: Buffer, start: number, end: number) {
    this.#bytes = bytes
    this.#at = start
    this.#end = end
  }

  varint(): number {
    let value = 0
    for (let scale = 1; ; scale *= 0x80) {
      if (this.#at >= this.#end) throw new Error('a receipt ends too early')
      const byte = this.#bytes[this.#at++] as number
      value += (byte % 0x80) * scale
      if (byte < 0x80) return value
    }
  }

  text(): string {
    const length = this.varint()
    const start = this.#at
    this.#at += length
    if (this.#at > this.#end) throw new Error('a receipt ends too early')
    return this.#bytes.toString('utf8', start, this.#at)
  }
}
