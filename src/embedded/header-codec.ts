/**
 * A record's headers as one blob, in order and with repeats; no headers are no blob.
 *
 *     ┌───────────────┬───────────┬─────────────────┬────────────┐
 *     │ name length   │ name      │ value length    │ value      │   … and so on, to the end
 *     │ u16 BE        │ UTF-8     │ u32 BE          │ bytes      │
 *     └───────────────┴───────────┴─────────────────┴────────────┘
 */
export function encodeHeaders(headers: readonly (readonly [name: string, value: Buffer | string])[]): Buffer | null {
  if (headers.length === 0) return null
  let size = 0
  for (const [name, value] of headers) {
    size += 6 + Buffer.byteLength(name) + (typeof value === 'string' ? Buffer.byteLength(value) : value.length)
  }
  const blob = Buffer.allocUnsafe(size)
  let at = 0
  for (const [name, value] of headers) {
    const nameLength = blob.write(name, at + 2)
    blob.writeUInt16BE(nameLength, at)
    at += 2 + nameLength
    const valueLength = typeof value === 'string' ? blob.write(value, at + 4) : value.copy(blob, at + 4)
    blob.writeUInt32BE(valueLength, at)
    at += 4 + valueLength
  }
  return blob
}

export function decodeHeaders(blob: Uint8Array | null): (readonly [name: string, value: Buffer])[] {
  if (blob === null) return []
  const bytes = Buffer.from(blob.buffer, blob.byteOffset, blob.byteLength)
  const headers: (readonly [string, Buffer])[] = []
  let at = 0
  while (at < bytes.length) {
    const nameEnd = at + 2 + bytes.readUInt16BE(at)
    const valueStart = nameEnd + 4
    const valueEnd = valueStart + bytes.readUInt32BE(nameEnd)
    headers.push([bytes.toString('utf8', at + 2, nameEnd), bytes.subarray(valueStart, valueEnd)])
    at = valueEnd
  }
  return headers
}
