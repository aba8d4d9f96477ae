import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { ActiveSegment, writeFooter } from './active-segment.ts'
import type { Disk } from './disk.ts'
import type { SegmentHeader } from './format.ts'
import { encodeSegmentHeader, noUuid, segmentHeaderBytes, segmentName } from './format.ts'
import { copyBytes } from './journal-copy.ts'
import type { JournalSource, JournalSurvey, SurveyedSegment } from './journal-survey.ts'
import { surveyParts } from './journal-survey.ts'
import type { KeyRing } from './key-ring.ts'
import { PendingBlock } from './pending-block.ts'
import { encryptSegment } from './segment-cipher.ts'
import type { Block } from './segment-reader.ts'

/** Of a journal whose id is known. */
export type RepairableSurvey = JournalSurvey & { readonly journalId: string }

/** What a repair has done. */
export interface Repair {
  /** Segments that were written anew. */
  readonly rewritten: readonly string[]
  /** Records that they hold. */
  readonly records: number
  /** Seqs for which they hold gaps now, because the records are lost. */
  readonly lost: number
}

/** A repaired segment waits under this name until it is whole. */
const partSuffix = '.repaired'
const quarantineFolder = 'quarantine'
/** Of a segment that was damaged, as it was before the repair. Never a segment's own name: that is the sidecar's to use. */
const originalSuffix = '.before-repair'
/** Blocks are put together up to this size: each one costs a sync. */
const blockBytesMax = 1024 * 1024
/** What the count in a gap block's header can hold. */
const gapCountMax = 2 ** 32 - 1
/** No space is taken ahead: the segment will not grow. */
const nothingAhead = 0

/**
 * Writes what is readable of a journal into another directory, which is made and must be empty: every record keeps its seq,
 * and gaps stand for those that are lost, so that their seqs are never given again. Nothing of the original is touched.
 * `survey` is what was found in it; what is released since is left out. Durable when it resolves.
 */
export async function repairInto(source: JournalSource, survey: RepairableSurvey, target: string): Promise<Repair> {
  const { disk } = source
  await disk.makeDirectory(target)
  const repair = await rewrite(source, survey, target, () => true)
  for (const name of repair.rewritten) await disk.rename(join(target, name + partSuffix), join(target, name))
  await disk.syncDirectory(target)
  return repair
}

/**
 * Repairs a journal that nobody uses: only damaged segments are written anew, and each stays in `quarantine/` as it was.
 * Each is replaced in one step, so that after a crash the journal is as it was or better; then it may be repaired again.
 */
export async function repairInPlace(source: JournalSource, survey: RepairableSurvey): Promise<Repair> {
  const { disk, directory } = source
  const isDamaged = ({ damages, footer }: SurveyedSegment): boolean => damages.length > 0 || footer === 'broken'
  await removeParts(disk, directory)
  const repair = await rewrite(source, survey, directory, isDamaged)
  const quarantine = join(directory, quarantineFolder)
  for (const name of repair.rewritten) {
    await disk.makeDirectory(quarantine)
    await keepOriginal(disk, join(directory, name), join(quarantine, name + originalSuffix))
    await disk.syncDirectory(quarantine)
    await disk.rename(join(directory, name + partSuffix), join(directory, name))
    await disk.syncDirectory(directory)
  }
  return repair
}

/** Writes the wanted segments anew, under names that no journal reads. */
async function rewrite(
  source: JournalSource,
  survey: RepairableSurvey,
  target: string,
  isWanted: (segment: SurveyedSegment) => boolean,
): Promise<Repair> {
  const wanted = new Map(survey.segments.filter(isWanted).map((segment) => [segment.baseSeq, segment]))
  const rewritten: string[] = []
  let [records, lost] = [0, 0]
  let writer: SegmentWriter | null = null
  try {
    for await (const part of surveyParts(source)) {
      switch (part.kind) {
        case 'begin':
          // The one before was released while it was read.
          await writer?.giveUp()
          writer = null
          if (!wanted.has(part.segment.baseSeq)) break
          writer = await SegmentWriter.begin(source, target, identityOf(survey, part.segment.baseSeq))
          break
        case 'block':
          await writer?.add(part.block)
          break
        case 'damage':
          await writer?.skipTo(part.damage.toSeq, true)
          lost += writer === null ? 0 : part.damage.toSeq - part.damage.fromSeq
          break
        case 'end':
          if (writer === null) break
          await writer.finish()
          writer = null
          rewritten.push(part.segment.name)
          records += part.segment.records
          break
      }
    }
    return { rewritten, records, lost }
  } finally {
    await writer?.giveUp()
  }
}

type Identity = Pick<SegmentHeader, 'journalId' | 'uuid' | 'previousUuid' | 'baseSeq' | 'createdAt'>

/**
 * Who the segment is that stands there after the repair. The next one names it as the one before; what does not, can't be
 * what was there.
 */
function identityOf(survey: RepairableSurvey, baseSeq: number): Identity {
  const at = survey.segments.findIndex((segment) => segment.baseSeq === baseSeq)
  const own = survey.segments[at]?.header ?? null
  const next = survey.segments[at + 1]?.header?.previousUuid ?? noUuid
  const before = survey.segments[at - 1]?.header?.uuid ?? noUuid
  return {
    journalId: survey.journalId,
    uuid: next.equals(noUuid) ? (own?.uuid ?? randomBytes(16)) : next,
    previousUuid: own?.previousUuid ?? before,
    baseSeq,
    createdAt: own?.createdAt ?? 0, // not known
  }
}

/** Writes one segment: blocks and gaps one behind the other, and a footer. */
class SegmentWriter {
  readonly #disk: Disk
  readonly #active: ActiveSegment
  #block: PendingBlock
  #writtenAt = 0

  private constructor(disk: Disk, active: ActiveSegment) {
    this.#disk = disk
    this.#active = active
    this.#block = new PendingBlock(active.nextSeq)
  }

  static async begin({ disk, keys }: JournalSource, target: string, identity: Identity): Promise<SegmentWriter> {
    const { header, cipher } = newHeader(identity, keys)
    const path = join(target, segmentName(identity.baseSeq) + partSuffix)
    const file = await disk.open(path, 'create')
    try {
      const bytes = encodeSegmentHeader(header)
      await file.writeDurably(bytes, 0)
      const crc = bytes.readUInt32LE(segmentHeaderBytes - 4)
      return new SegmentWriter(disk, new ActiveSegment(path, file, header, crc, cipher, nothingAhead, nothingAhead))
    } catch (error) {
      await file.close()
      throw error
    }
  }

  async add(block: Block): Promise<void> {
    if (block.lost !== null) return this.skipTo(block.firstSeq + block.count, block.lost.reason === 'corrupt')
    const records: Buffer[] = []
    block.forEach((_, bytes, start, end) => records.push(bytes.subarray(start, end)))
    const bytes = records.reduce((sum, record) => sum + 4 + record.length, 0)
    if (this.#block.bytes + bytes > blockBytesMax) await this.#write()
    if (this.#block.count === 0) this.#writtenAt = block.writtenAt
    for (const record of records) this.#block.add(record, record.length, rawCodec)
  }

  /** Writes gaps up to a seq: for records that are lost, or for seqs that were left out before. */
  async skipTo(seq: number, isLost: boolean): Promise<void> {
    await this.#write()
    for (let left = seq - this.#active.nextSeq; left > 0; left = seq - this.#active.nextSeq) {
      this.#block.makeGap(Math.min(left, gapCountMax), isLost)
      await this.#write()
    }
  }

  async finish(): Promise<void> {
    await this.#write()
    const { file, nextSeq, offset, index, uuid, cipher } = this.#active
    await writeFooter(file, { nextSeq, offset, index }, uuid, cipher)
    await file.close()
  }

  async giveUp(): Promise<void> {
    await this.#active.file.close()
    await this.#disk.unlink(this.#active.path)
  }

  async #write(): Promise<void> {
    const block = this.#block
    if (block.count > 0) await this.#active.write(block, this.#writtenAt)
    this.#block = new PendingBlock(this.#active.nextSeq)
  }
}

function newHeader(
  identity: Identity,
  keys: KeyRing | null,
): ReturnType<typeof encryptSegment> | { readonly header: SegmentHeader; readonly cipher: null } {
  // prettier-ignore
  const header: SegmentHeader = { ...identity, encryption: null }
  return keys === null ? { header, cipher: null } : encryptSegment(header, keys, randomBytes)
}

const rawCodec = {
  sizeMax: (record: Buffer): number => record.length,
  encode: (record: Buffer, into: Buffer, at: number): number => at + record.copy(into, at),
}

/** Copies rather than moves: until the repaired one takes its name, the damaged one must be there. */
async function keepOriginal(disk: Disk, from: string, to: string): Promise<void> {
  let name = to
  for (let again = 2; (await disk.sizeOf(name)) !== null; again++) name = `${to}-${again}`
  const file = await disk.open(from, 'read')
  try {
    await copyBytes(disk, file, name, await file.size())
  } finally {
    await file.close()
  }
}

/** Of a repair that was cut short. */
async function removeParts(disk: Disk, directory: string): Promise<void> {
  for (const name of await disk.list(directory)) if (name.endsWith(partSuffix)) await disk.unlink(join(directory, name))
}
