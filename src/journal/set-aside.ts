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
      const path = join(directory, newest)
      const toOffset = (await disk.sizeOf(path)) ?? 0
      const fromSeq = baseSeqOf(newest) ?? 0
      const toSeq = fromSeq + Math.ceil(toOffset / recordBytesMin)
      const found = `${(error as JournalCorruptError).message}; how many records it has is not known, and not more than so many`
      const damage = { reason: 'corrupt', found, bytes: { fromOffset: 0, toOffset }, fromSeq, toSeq } as const
      await quarantine.report(newest, fromSeq, toSeq, async () => [damage])
      // Without its report it stays where it is.
      if (!(await quarantine.take(path))) throw error
      await disk.syncDirectory(directory)
    }
  }
}

async function newestSegment(disk: Disk, directory: string): Promise<string | null> {
  const segments = (await disk.list(directory)).filter((name) => baseSeqOf(name) !== null)
  return segments.toSorted().at(-1) ?? null
}
