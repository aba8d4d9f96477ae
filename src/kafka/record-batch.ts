import { createHash } from 'node:crypto'
import type { OutgoingMessage } from '../forwarder/broker.ts'
import { ByteReader } from './byte-reader.ts'
import type { Compression } from './compression.ts'
import { codecOf, codecs } from './compression.ts'
import { crc32c } from './crc32c.ts'

/**
 * Kafka's record batch, magic 2 (https://kafka.apache.org/documentation/#recordbatch; KIP-98):
 *
 *      0  base offset            i64    always 0 from a producer
 *      8  length                 i32    of all that follows
 *     12  partition leader epoch i32
 *     16  magic                  i8     2
 *     17  CRC-32C                u32    of all that follows
 *     21  attributes             i16    compression, timestamp type, transactional, control
 *     23  last offset delta      i32
 *     27  base timestamp         i64
 *     35  max timestamp          i64
 *     43  producer id            i64    -1: not idempotent
 *     51  producer epoch         i16
 *     53  base sequence          i32
 *     57  records count          i32
 *     61  records                       compressed as a whole, if at all
 *
 * A record: length, attributes (i8), timestamp delta, offset delta, key, value, headers; all numbers zigzag varints.
 *
 * Own code instead of kafkajs's encoder, which keeps headers in an object (order and repeats are lost) and takes
 * several times as long.
 */
const headerBytes = 61
const transactionalBit = 0x10
const controlBit = 0x20
const logAppendTimeBit = 0x08

/** Who wrote a batch, and which number it has among the writer's batches for its partition. */
export interface ProducerStamp {
  readonly producerId: bigint
  readonly epoch: number
  readonly sequence: number
}

/** Stands for a producer that is not idempotent. */
export const noProducer: ProducerStamp = { producerId: -1n, epoch: -1, sequence: -1 }

/** One partition's share of a batch, encoded. */
export class RecordBatch {
  readonly count: number
  readonly #bytes: Buffer
  /** The same without compression. */
  readonly #plain: Buffer

  constructor(count: number, bytes: Buffer, plain = bytes) {
    this.count = count
    this.#bytes = bytes
    this.#plain = plain
  }

  /** Equal for batches of the same messages with the same timestamps, whatever their stamps and compression. */
  digest(): string {
    const timestamps = this.#plain.subarray(27, 43)
    const records = this.#plain.subarray(57)
    return createHash('sha256').update(timestamps).update(records).digest('base64')
  }

  /** The bytes as they go to Kafka, under the writer's number. They are overwritten by the next call. */
  stampedWith(stamp: ProducerStamp): Buffer {
    const bytes = this.#bytes
    bytes.writeBigInt64BE(stamp.producerId, 43)
    bytes.writeInt16BE(stamp.epoch, 51)
    bytes.writeInt32BE(stamp.sequence, 53)
    bytes.writeUInt32BE(crc32c(bytes, 21), 17)
    return bytes
  }

  async compressed(compression: Compression): Promise<RecordBatch> {
    if (compression === 'none') return this
    const codec = codecs[compression]
    const records = await codec.compress(this.#bytes.subarray(headerBytes))
    const bytes = Buffer.allocUnsafe(headerBytes + records.length)
    this.#bytes.copy(bytes, 0, 0, headerBytes)
    records.copy(bytes, headerBytes)
    bytes.writeInt32BE(bytes.length - 12, 8)
    bytes.writeInt16BE(codec.id, 21)
    return new RecordBatch(this.count, bytes, this.#plain)
  }
}

/** Header names repeat from message to message: their bytes are kept, up to so many. */
const namesMax = 1000

/** Encodes record batches; keeps the header names that it has seen. */
export class RecordEncoder {
  readonly #names = new Map<string, Buffer>()

  /** The messages, all for one partition, as one batch. There must be at least one. */
  encode(messages: readonly OutgoingMessage[]): RecordBatch {
    const first = messages[0] as OutgoingMessage
    const sizes = new Int32Array(messages.length)
    let total = headerBytes
    let maxTimestamp = first.timestamp
    for (let i = 0; i < messages.length; i++) {
      const message = messages[i] as OutgoingMessage
      const size = this.#sizeOf(message, i, message.timestamp - first.timestamp)
      sizes[i] = size
      total += varintBytes(size) + size
      if (message.timestamp > maxTimestamp) maxTimestamp = message.timestamp
    }
    const bytes = Buffer.allocUnsafeSlow(total)
    writeBatchHeader(bytes, messages.length, first.timestamp, maxTimestamp)
    let at = headerBytes
    for (let i = 0; i < messages.length; i++) {
      at = writeVarint(bytes, at, sizes[i] as number)
      at = this.#write(bytes, at, messages[i] as OutgoingMessage, i, first.timestamp)
    }
    return new RecordBatch(messages.length, bytes)
  }

  #sizeOf(message: OutgoingMessage, offsetDelta: number, timestampDelta: number): number {
    const { key, value, headers } = message
    let size = 1 + varintBytes(timestampDelta) + varintBytes(offsetDelta)
    size += key === null ? 1 : varintBytes(key.length) + key.length
    size += value === null ? 1 : varintBytes(value.length) + value.length
    size += varintBytes(headers.length)
    for (let i = 0; i < headers.length; i++) {
      const [name, content] = headers[i] as OutgoingMessage['headers'][number]
      const nameLength = this.#nameOf(name).length
      const length = typeof content === 'string' ? Buffer.byteLength(content) : content.length
      size += varintBytes(nameLength) + nameLength + varintBytes(length) + length
    }
    return size
  }

  #write(bytes: Buffer, start: number, message: OutgoingMessage, offsetDelta: number, baseTimestamp: number): number {
    const { headers } = message
    let at = start
    bytes[at++] = 0
    at = writeVarint(bytes, at, message.timestamp - baseTimestamp)
    at = writeVarint(bytes, at, offsetDelta)
    at = writeVarBytes(bytes, at, message.key)
    at = writeVarBytes(bytes, at, message.value)
    at = writeVarint(bytes, at, headers.length)
    for (let i = 0; i < headers.length; i++) {
      const [name, content] = headers[i] as OutgoingMessage['headers'][number]
      at = writeVarBytes(bytes, at, this.#nameOf(name))
      if (typeof content === 'string') {
        const length = Buffer.byteLength(content)
        at = writeVarint(bytes, at, length)
        at += bytes.write(content, at, length)
      } else {
        at = writeVarBytes(bytes, at, content)
      }
    }
    return at
  }

  #nameOf(name: string): Buffer {
    const known = this.#names.get(name)
    if (known) return known
    const encoded = Buffer.from(name)
    if (this.#names.size < namesMax) this.#names.set(name, encoded)
    return encoded
  }
}

function writeBatchHeader(bytes: Buffer, count: number, baseTimestamp: number, maxTimestamp: number): void {
  bytes.writeBigInt64BE(0n, 0)
  bytes.writeInt32BE(bytes.length - 12, 8)
  bytes.writeInt32BE(-1, 12)
  bytes.writeInt8(2, 16)
  bytes.writeInt16BE(0, 21)
  bytes.writeInt32BE(count - 1, 23)
  bytes.writeBigInt64BE(BigInt(baseTimestamp), 27)
  bytes.writeBigInt64BE(BigInt(maxTimestamp), 35)
  bytes.writeInt32BE(count, 57)
}

function writeVarBytes(bytes: Buffer, start: number, content: Buffer | null): number {
  if (content === null) {
    bytes[start] = 1
    return start + 1
  }
  const at = writeVarint(bytes, start, content.length)
  bytes.set(content, at)
  return at + content.length
}

/** Zigzag of numbers beyond 31 bits has no room in 32-bit arithmetic. */
const smallMax = 0x3fffffff

function varintBytes(value: number): number {
  let rest = value >= 0 ? value * 2 : value * -2 - 1
  let bytes = 1
  while (rest >= 128) {
    rest = Math.floor(rest / 128)
    bytes++
  }
  return bytes
}

function writeVarint(bytes: Buffer, start: number, value: number): number {
  let at = start
  if (value >= 0 && value <= smallMax) {
    let rest = value << 1
    for (; rest >= 128; rest >>>= 7) bytes[at++] = (rest & 0x7f) | 0x80
    bytes[at++] = rest
    return at
  }
  let rest = value >= 0 ? value * 2 : value * -2 - 1
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes[at++] = (rest % 128) + 128
  bytes[at++] = rest
  return at
}

/** A record as it is decoded from a partition's log. */
export interface DecodedRecord {
  readonly offset: number
  readonly timestamp: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly (readonly [name: string, value: Buffer])[]
}

/** A transaction whose records are not to be seen, and the offset of the first of them. */
export interface AbortedTransaction {
  readonly producerId: bigint
  readonly firstOffset: number
}

/** What was fetched of one partition: its records, and where to fetch next. */
export interface DecodedRecords {
  readonly records: readonly DecodedRecord[]
  readonly nextOffset: number
}

/**
 * Decodes the record batches of a fetch response. The last one may be cut off, which is how Kafka fills a response, and
 * the first one may begin before the offset asked for. Control records and those of aborted transactions are left out.
 */
export function decodeRecordBatches(
  data: Buffer,
  fromOffset: number,
  abortedTransactions: readonly AbortedTransaction[],
): DecodedRecords {
  const records: DecodedRecord[] = []
  const pending = abortedTransactions.toSorted((a, b) => a.firstOffset - b.firstOffset)
  const aborted = new Set<bigint>()
  let nextOffset = fromOffset
  for (let start = 0; start + headerBytes <= data.length;) {
    const end = start + 12 + data.readInt32BE(start + 8)
    if (end > data.length) break
    const batch = readBatchHeader(data.subarray(start, end))
    while (pending[0] && pending[0].firstOffset <= batch.lastOffset) aborted.add(pending.shift()?.producerId as bigint)
    if (batch.attributes & controlBit) aborted.delete(batch.producerId)
    else if (!(batch.attributes & transactionalBit && aborted.has(batch.producerId))) {
      for (const record of readRecords(batch)) if (record.offset >= fromOffset) records.push(record)
    }
    nextOffset = Math.max(nextOffset, batch.lastOffset + 1)
    start = end
  }
  return { records, nextOffset }
}

interface BatchHeader {
  readonly baseOffset: number
  readonly lastOffset: number
  readonly attributes: number
  readonly baseTimestamp: number
  readonly maxTimestamp: number
  readonly producerId: bigint
  readonly count: number
  readonly records: Buffer
}

function readBatchHeader(batch: Buffer): BatchHeader {
  const magic = batch.readInt8(16)
  if (magic !== 2) throw new RangeError(`record batches of magic ${magic} are from before Kafka 0.11`)
  if (batch.readUInt32BE(17) !== crc32c(batch, 21)) throw new RangeError('a record batch fails its checksum')
  const baseOffset = Number(batch.readBigInt64BE(0))
  return {
    baseOffset,
    lastOffset: baseOffset + batch.readInt32BE(23),
    attributes: batch.readInt16BE(21),
    baseTimestamp: Number(batch.readBigInt64BE(27)),
    maxTimestamp: Number(batch.readBigInt64BE(35)),
    producerId: batch.readBigInt64BE(43),
    count: batch.readInt32BE(57),
    records: batch.subarray(headerBytes),
  }
}

function readRecords(batch: BatchHeader): DecodedRecord[] {
  const reader = new ByteReader(codecOf(batch.attributes)?.decompress(batch.records) ?? batch.records)
  return Array.from({ length: batch.count }, () => {
    const end = reader.varint() + reader.at
    reader.int8()
    const timestampDelta = reader.varint()
    const offset = batch.baseOffset + reader.varint()
    const key = reader.varBytes()
    const value = reader.varBytes()
    const headers = Array.from({ length: reader.varint() }, () => {
      const name = String(reader.varBytes() ?? '')
      return [name, reader.varBytes() ?? Buffer.alloc(0)] as const
    })
    if (reader.at !== end) throw new RangeError('a record has another length than it says')
    const timestamp = batch.attributes & logAppendTimeBit ? batch.maxTimestamp : batch.baseTimestamp + timestampDelta
    return { offset, timestamp, key, value, headers }
  })
}
