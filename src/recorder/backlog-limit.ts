/** A journal whose files are held for recorders after everybody else is done with them. */
export interface HeldJournal {
  /** Bytes that are held for recorders alone. */
  readonly heldBytes: number
  /** The lowest seq below which there are at least so many bytes. */
  seqAfter(bytes: number): number
}

/** So much more than must be is given up at once, so that it is not done again for every segment. */
const slack = 0.1

/** Where recorders have to give up, so that what is held for them takes at most `bytesMax`; null when it takes less. */
export function giveUpPoint(journal: HeldJournal, bytesMax: number): number | null {
  const excess = journal.heldBytes - bytesMax
  return excess > 0 ? journal.seqAfter(Math.min(excess + bytesMax * slack, journal.heldBytes)) : null
}
