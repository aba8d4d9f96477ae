/**
 * CRC-32C (Castagnoli), which Kafka's record batches are checked by. `zlib.crc32` is another polynomial. Eight bytes a
 * step by tables (the "slicing-by-8" of Kounavis and Berry): every byte that goes to Kafka passes through here.
 */
export function crc32c(data: Uint8Array, start = 0, end = data.length): number {
  let crc = -1
  let i = start
  for (const last = end - 7; i < last; i += 8) {
    crc ^=
      (data[i] as number) |
      ((data[i + 1] as number) << 8) |
      ((data[i + 2] as number) << 16) |
      ((data[i + 3] as number) << 24)
    crc =
      (tables[0x700 | (crc & 0xff)] as number) ^
      (tables[0x600 | ((crc >>> 8) & 0xff)] as number) ^
      (tables[0x500 | ((crc >>> 16) & 0xff)] as number) ^
      (tables[0x400 | (crc >>> 24)] as number) ^
      (tables[0x300 | (data[i + 4] as number)] as number) ^
      (tables[0x200 | (data[i + 5] as number)] as number) ^
      (tables[0x100 | (data[i + 6] as number)] as number) ^
      (tables[data[i + 7] as number] as number)
  }
  for (; i < end; i++) crc = (tables[(crc ^ (data[i] as number)) & 0xff] as number) ^ (crc >>> 8)
  return ~crc >>> 0
}

/** Table k, at k · 256: the CRC of a byte followed by k zero bytes. */
const tables = buildTables()

function buildTables(): Int32Array {
  const built = new Int32Array(8 * 256)
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
    built[byte] = crc
  }
  for (let i = 256; i < built.length; i++) {
    const before = built[i - 256] as number
    built[i] = (built[before & 0xff] as number) ^ (before >>> 8)
  }
  return built
}
