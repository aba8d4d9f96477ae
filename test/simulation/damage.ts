import { dirname } from 'node:path'
import {
  baseSeqOf,
  blockHeaderBytes,
  blockTrailerBytes,
  parseBlockHeader,
  parseSegmentHeader,
  sealBlock,
  seedOf,
  segmentHeaderBytes,
} from '../../src/journal/format.ts'
import type { Random } from '../torture/random.ts'
import { Violation } from './faults.ts'
import { readOn } from './reading.ts'
import { makeRecord } from './record.ts'
import type { SimulatedFile } from './simulated-file.ts'
import { journalDirectory } from './world.ts'
import type { World } from './world.ts'

type Life = NonNullable<World['life']>

/**
 * Spoils a segment, and reads everything, now and after a restart. Records of that segment may be lost then, and the reader
 * must say so; but what it gives must be right.
 */
export async function damage(world: World, life: Life): Promise<void> {
  const { random } = world.schedule
  const segments = [...world.disk.names.all()].flatMap(([path, file]) => {
    const base = dirname(path) === journalDirectory ? baseSeqOf(path.slice(journalDirectory.length + 1)) : null
    return base === null ? [] : [{ base, file }]
  })
  if (segments.length === 0) return
  const { base, file } = random.pick(segments)
  const next = Math.min(
    Number.POSITIVE_INFINITY,
    ...segments.map((other) => other.base).filter((other) => other > base),
  )
  const isDone =
    world.limits.damage === 'bit' || world.limits.isEncrypted ? flipBit(file, random) : replaceBlock(file, random)
  if (!isDone) return
  world.model.damage(base, Math.min(next, life.journal.end.nextSeq))
  await readDamaged(world, life)
  world.crash(random.pick(['kill', 'power']))
}

function flipBit(file: SimulatedFile, random: Random): boolean {
  if (file.size === 0) return false
  // What was written last is the end of the file; in between there may be nothing but zeros.
  file.flipBit(random.between(0, file.size - 1), random.between(0, 7))
  return true
}

/**
 * A block gives way to one of another life of the same segment, as after files of two copies were put together: its place,
 * its number and its CRCs are right, but it stood behind another block.
 */
function replaceBlock(file: SimulatedFile, random: Random): boolean {
  const bytes = file.contents()
  const segment = parseSegmentHeader(bytes.subarray(0, segmentHeaderBytes))
  if (!segment.ok) return false
  const seed = seedOf(segment.header.uuid)
  const found: number[] = []
  for (let at = segmentHeaderBytes; at + blockHeaderBytes <= bytes.length;) {
    const header = parseBlockHeader(bytes, at, seed)
    if (header === null || at + blockHeaderBytes + header.payloadBytes + blockTrailerBytes > bytes.length) break
    if (!header.isGap) found.push(at)
    at += blockHeaderBytes + header.payloadBytes + blockTrailerBytes
  }
  if (found.length === 0) return false
  const at = random.pick(found)
  const header = parseBlockHeader(bytes, at, seed)
  if (header === null) return false
  const end = at + blockHeaderBytes + header.payloadBytes + blockTrailerBytes
  const block = Buffer.from(bytes.subarray(at, end))
  for (let start = blockHeaderBytes; start < block.length - blockTrailerBytes;) {
    const length = block.readUInt32LE(start)
    makeRecord(2 ** 32 - 1, 0, length).copy(block, start + 4)
    start += 4 + length
  }
  sealBlock(block, { ...header, previousCrc: (header.previousCrc ^ 1) >>> 0 }, seed)
  file.overwrite(block, at)
  return true
}

/** The reader may stop with an error where the damage is; there is none that is right in its place. */
async function readDamaged(world: World, { journal }: Life): Promise<void> {
  const from = world.neededFrom
  const read = async (): Promise<void> => {
    const reader = journal.reader(from)
    const passage = { from: null, to: from }
    try {
      await readOn(reader, world.model, passage, Number.POSITIVE_INFINITY)
    } catch (error) {
      if (error instanceof Violation || !world.model.isDamaged(passage.to)) throw error
    } finally {
      await reader.close()
    }
  }
  world.begin('reading', read)
  await world.settle(world.life as Life)
}
