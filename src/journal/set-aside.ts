import { join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import type { Disk } from './disk.ts'
import { baseSeqOf } from './format.ts'
import type { Journal } from './journal.ts'
import { JournalCorruptError } from './journal-errors.ts'
import type { QuarantineObserver } from './quarantine.ts'
import { Quarantine } from './quarantine.ts'

/** A record takes at least its length. */
const recordBytesMin = 4
/** What a segment may have held that may have been cut off; unless it is larger. */
const segmentBytesMin = 64 * 1024 * 1024

/**
 * Opens a journal that may lose its newest records rather than keep Outrigger from starting: receipts, dead letters, notes.
 * When the newest segment can't be opened because it is damaged, it goes to the quarantine. With `seqs: 'unique'`, the next
 * record gets a seq that none in it can have had, and readers see a gap; else seqs are given again.
 */
export async function openSettingAside<T>(
  open: () => Promise<Journal<T>>,
  disk: Disk,
  directory: string,
  seqs: 'unique' | 'repeated',
  clock: Clock,
  observer: QuarantineObserver,
): Promise<Journal<T>> {
  const quarantine = new Quarantine(disk, directory, clock, observer)
  for (;;) {
    try {
      const journal = await open()
      if (seqs === 'unique') await journal.skipTo(await quarantine.lostBelow())
      return journal
    } catch (error) {
      const newest = error instanceof JournalCorruptError ? await newestSegment(disk, directory) : null
      if (newest === null) throw error
      const bytes = (await disk.sizeOf(join(directory, newest))) ?? 0
      const fromSeq = baseSeqOf(newest) ?? 0
      // It may begin with a gap: up to what the one before can have had that was set aside.
      const toSeq =
        seqs === 'unique'
          ? Math.max(fromSeq, await quarantine.lostBelow()) + recordsMax(Math.max(bytes, segmentBytesMin))
          : fromSeq + recordsMax(bytes)
      const found = `${(error as JournalCorruptError).message}; how many records it has is not known, and not more than so many`
      const damage = { reason: 'corrupt', found, bytes: { fromOffset: 0, toOffset: bytes }, fromSeq, toSeq } as const
      // Without its report it stays where it is.
      if (!(await quarantine.setAside(newest, damage))) throw error
      await disk.syncDirectory(directory)
    }
  }
}

function recordsMax(bytes: number): number {
  return Math.ceil(bytes / recordBytesMin)
}

async function newestSegment(disk: Disk, directory: string): Promise<string | null> {
  const segments = (await disk.list(directory)).filter((name) => baseSeqOf(name) !== null)
  return segments.toSorted().at(-1) ?? null
}
