import { promisify } from 'node:util'
import { gunzipSync, gzip, zstdCompress, zstdDecompressSync } from 'node:zlib'
import snappy from 'snappyjs'
import { lz4Compress, lz4Decompress } from './lz4.ts'

export type Compression = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'

interface Codec {
  /** The lowest three bits of a record batch's attributes. */
  readonly id: number
  compress(records: Buffer): Promise<Buffer> | Buffer
  decompress(records: Buffer): Buffer
}

const gzipAsync = promisify(gzip)
const zstdAsync = promisify(zstdCompress)

/** gzip and zstd are Node's own, and work on its thread pool; snappy and lz4 are plain JavaScript. */
export const codecs: Readonly<Record<Exclude<Compression, 'none'>, Codec>> = {
  gzip: { id: 1, compress: (records) => gzipAsync(records), decompress: (records) => gunzipSync(records) },
  snappy: { id: 2, compress: snappyCompress, decompress: snappyDecompress },
  lz4: { id: 3, compress: lz4Compress, decompress: lz4Decompress },
  zstd: { id: 4, compress: (records) => zstdAsync(records), decompress: (records) => zstdDecompressSync(records) },
}

/** The codec that a batch's attributes name; undefined for none. */
export function codecOf(attributes: number): Codec | undefined {
  const id = attributes & 7
  if (id === 0) return undefined
  const codec = Object.values(codecs).find((candidate) => candidate.id === id)
  if (!codec) throw new RangeError(`unknown compression ${id}`)
  return codec
}

/**
 * Kafka's snappy is that of snappy-java's `SnappyOutputStream`: blocks of 32 KiB, each with its length in front, behind
 * a header of 16 bytes (magic, version 1, lowest compatible version 1).
 */
const xerialMagic = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00])
const xerialHeader = Buffer.from([...xerialMagic, 0, 0, 0, 1, 0, 0, 0, 1])
const xerialBlockBytes = 32 * 1024

function snappyCompress(records: Buffer): Buffer {
  const parts: Buffer[] = [xerialHeader]
  for (let start = 0; start < records.length; start += xerialBlockBytes) {
    const block = snappy.compress(records.subarray(start, start + xerialBlockBytes))
    const length = Buffer.allocUnsafe(4)
    length.writeUInt32BE(block.length)
    parts.push(length, block)
  }
  return Buffer.concat(parts)
}

function snappyDecompress(records: Buffer): Buffer {
  // Some producers write one bare block.
  if (!records.subarray(0, xerialMagic.length).equals(xerialMagic)) return snappy.uncompress(records)
  const parts: Buffer[] = []
  for (let at = xerialHeader.length; at < records.length;) {
    const length = records.readUInt32BE(at)
    parts.push(snappy.uncompress(records.subarray(at + 4, at + 4 + length)))
    at += 4 + length
  }
  return Buffer.concat(parts)
}
