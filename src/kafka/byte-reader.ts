/** Reads Kafka's wire format: big-endian numbers, length-prefixed strings, zigzag varints. Throws a RangeError at the end. */
export class ByteReader {
  readonly #data: Buffer
  #at: number

  constructor(data: Buffer, at = 0) {
    this.#data = data
    this.#at = at
  }

  get at(): number {
    return this.#at
  }

  get left(): number {
    return this.#data.length - this.#at
  }

  int8(): number {
    return this.#data.readInt8(this.#move(1))
  }

  int16(): number {
    return this.#data.readInt16BE(this.#move(2))
  }

  int32(): number {
    return this.#data.readInt32BE(this.#move(4))
  }

  uint32(): number {
    return this.#data.readUInt32BE(this.#move(4))
  }

  int64(): bigint {
    return this.#data.readBigInt64BE(this.#move(8))
  }

  /** An int64 of which it is known that a number holds it: an offset, a time. */
  long(): number {
    return Number(this.int64())
  }

  string(): string | null {
    const length = this.int16()
    return length < 0 ? null : this.bytes(length).toString()
  }

  array<T>(item: () => T): T[] {
    const count = this.int32()
    return Array.from({ length: Math.max(0, count) }, item)
  }

  /** A view, no copy. */
  bytes(length: number): Buffer {
    const start = this.#move(length)
    if (length < 0 || start + length > this.#data.length) throw new RangeError('the data end too early')
    return this.#data.subarray(start, start + length)
  }

  /** Bytes behind a varint of their length; null when that is -1. */
  varBytes(): Buffer | null {
    const length = this.varint()
    return length < 0 ? null : this.bytes(length)
  }

  /** A zigzag varint of up to 53 bits, which covers Kafka's varlongs as far as they are times. */
  varint(): number {
    let value = 0
    let scale = 1
    for (;;) {
      const byte = this.#data[this.#at++]
      if (byte === undefined) throw new RangeError('the data end too early')
      value += (byte & 0x7f) * scale
      if (byte < 0x80) break
      scale *= 128
    }
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }

  #move(length: number): number {
    const start = this.#at
    this.#at += length
    return start
  }
}
