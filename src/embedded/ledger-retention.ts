import type { Clock } from '../base/clock.ts'
import type { LedgerConnection, LedgerFile } from './ledger-file.ts'

/** So many pages are given back in one step, 8 MiB: that keeps the file for some ten milliseconds. */
const pagesPerStep = 1024
/** Between two steps others get at the file, and at this thread. */
const pauseMs = 2

/** What one step of retention did. */
export interface Removal {
  readonly changes: number
  readonly isMore: boolean
}

/**
 * Removes what is too old in steps, and gives the pages back to the file system. `removeSome` removes a bounded number
 * of rows, in a transaction. Returns how many rows went.
 */
export async function removeInSteps(
  clock: Clock,
  file: LedgerFile,
  removeSome: (connection: LedgerConnection) => Removal,
  signal: AbortSignal,
): Promise<number> {
  signal.throwIfAborted()
  let removed = 0
  for (;;) {
    const { changes, isMore } = file.write(removeSome)
    removed += changes
    const isMoreToGiveBack = file.giveBack(pagesPerStep)
    if (!isMore && !isMoreToGiveBack) return removed
    await clock.sleep(pauseMs, signal)
  }
}
