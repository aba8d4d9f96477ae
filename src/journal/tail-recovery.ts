import { basename } from 'node:path'
import { indexSpacing, writeFooter } from './active-segment.ts'
import type { Disk } from './disk.ts'
import type { IndexEntry, SegmentHeader } from './format.ts'
import { baseSeqOf } from './format.ts'
import { JournalCorruptError } from './journal-errors.ts'
import type { KeyRing } from './key-ring.ts'
import { segmentCipher } from './segment-cipher.ts'
import { SegmentReader, corruptHint } from './segment-reader.ts'

/**
 * Makes an unsealed last segment whole: syncs what is valid, cuts off a torn tail, and seals it. A bad block that a valid one
 * follows is no torn tail, for one block is unsynced at a time: it stays as it is, and readers will give a gap in its place.
 */
export async function recoverTail(
  disk: Disk,
  path: string,
  keys: KeyRing | null,
): Promise<{ readonly header: SegmentHeader; readonly nextSeq: number }> {
  const reader = await SegmentReader.open(disk, path, keys)
  try {
    const { header } = reader
    // Its end would be taken for the journal's, and the next segment would get the name of one that is there.
    if (header.baseSeq !== baseSeqOf(basename(path)))
      throw new JournalCorruptError(`${path}: by its header it is the segment that begins with record ${header.baseSeq}`, { hint: corruptHint }) // prettier-ignore
    const footer = await reader.footer()
    if (footer) return { header, nextSeq: footer.nextSeq }
    const { index, last } = await readThrough(reader)
    const file = await disk.open(path, 'write')
    try {
      // Before anything is served from it: the process that wrote the last block may have died before its sync. Or the
      // sync failed, and the kernel takes the pages for clean, so that only writing them again brings them to the disk.
      // The bytes that were found whole, not what a second read would bring: the kernel may drop such pages at any moment.
      await file.write(last.bytes, last.offset)
      await file.sync()
      const { nextSeq, offset } = reader
      // As in `sealLater`: on a full disk the journal must start all the same.
      await writeFooter(file, { nextSeq, offset, index }, header.uuid, segmentCipher(header, keys, path)).catch(
        () => {},
      )
    } finally {
      await file.close()
    }
    return { header, nextSeq: reader.nextSeq }
  } finally {
    await reader.close()
  }
}

interface LastBlock {
  readonly offset: number
  readonly bytes: Buffer
}

/** Goes up to the end of the last valid block, which is wherever that begins. */
async function readThrough(reader: SegmentReader): Promise<{ index: IndexEntry[]; last: LastBlock }> {
  const index: IndexEntry[] = []
  let last: LastBlock = { offset: reader.offset, bytes: Buffer.alloc(0) }
  for (;;) {
    const { offset, nextSeq } = reader
    if ((await reader.next(Number.MAX_SAFE_INTEGER)) === null) {
      if ((await reader.skipDamage()) === null) return { index, last }
      continue
    }
    last = { offset, bytes: Buffer.from(reader.blockBytes) }
    const indexed = index.at(-1)
    if (indexed === undefined || offset - indexed[1] >= indexSpacing) index.push([nextSeq, offset])
  }
}
