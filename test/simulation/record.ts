import type { RecordCodec } from '../../src/journal/record-codec.ts'
import { Random } from '../torture/random.ts'

/** What every record begins with: which append it is of, and its place there. */
const recordBytesMin = 8

const filler = new Random(1).bytes(64 * 1024)

/** A record that tells what it is, with bytes behind that no other record has at the same place. */
export function makeRecord(append: number, index: number, bytes: number): Buffer {
  const record = Buffer.allocUnsafe(Math.max(bytes, recordBytesMin))
  record.writeUInt32LE(append, 0)
  record.writeUInt32LE(index, 4)
  let from = (append * 7919 + index * 104729) % filler.length
  for (let at = recordBytesMin; at < record.length; from = 0) at += filler.copy(record, at, from)
  return record
}

/** A record that holds bytes of the journal's own files. */
export function makeEcho(append: number, index: number, contents: Buffer): Buffer {
  const record = Buffer.allocUnsafe(recordBytesMin + contents.length)
  record.writeUInt32LE(append, 0)
  record.writeUInt32LE(index, 4)
  contents.copy(record, recordBytesMin)
  return record
}

export function identify(bytes: Buffer): { readonly append: number; readonly index: number } | null {
  return bytes.length < recordBytesMin ? null : { append: bytes.readUInt32LE(0), index: bytes.readUInt32LE(4) }
}

export const bytesCodec: RecordCodec<Buffer> = {
  sizeMax: (record) => record.length,
  encode: (record, into, at) => at + record.copy(into, at),
}
