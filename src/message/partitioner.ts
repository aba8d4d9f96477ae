/**
 * The partition of a key among `partitions`, as Java's default partitioner has it
 * (`Utils.toPositive(Utils.murmur2(key)) % partitions`, `org.apache.kafka.clients.producer.internals.BuiltInPartitioner`),
 * so that a key lands where every other producer of the topic puts it.
 */
export function partitionOfKey(key: Uint8Array, partitions: number): number {
  return (murmur2(key) & 0x7fffffff) % partitions
}

const seed = 0x9747b28c
const mix = 0x5bd1e995

/** MurmurHash2, 32 bits, with Kafka's seed; signed, as Java's `Utils.murmur2` returns it. */
export function murmur2(data: Uint8Array): number {
  const length = data.length
  let hash = seed ^ length
  let i = 0
  for (; i + 4 <= length; i += 4) {
    let k =
      (data[i] as number) |
      ((data[i + 1] as number) << 8) |
      ((data[i + 2] as number) << 16) |
      ((data[i + 3] as number) << 24)
    k = Math.imul(k, mix)
    k ^= k >>> 24
    k = Math.imul(k, mix)
    hash = Math.imul(hash, mix) ^ k
  }
  const left = length - i
  if (left === 3) hash ^= (data[i + 2] as number) << 16
  if (left >= 2) hash ^= (data[i + 1] as number) << 8
  if (left >= 1) hash = Math.imul(hash ^ (data[i] as number), mix)
  hash ^= hash >>> 13
  hash = Math.imul(hash, mix)
  return hash ^ (hash >>> 15)
}
