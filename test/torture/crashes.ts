import type { Duplicate } from './verdict.ts'

/** From when until when something was going wrong, in milliseconds since the epoch. */
interface Period {
  readonly from: number
  to: number
}

export interface ExplainedDuplicates {
  /** Written again after a kill of Outrigger, because no receipt told of the first time. */
  readonly byKill: number
  /** Written again after Kafka went away or while it came back, because it could not say that it had them. */
  readonly byOutage: number
  readonly unexplained: readonly Duplicate[]
  /** The longest time from a record's being written to the kill after which it was written again; 0 when there is none. */
  readonly beforeKillMsMax: number
}

/**
 * Receipts are on disk a fraction of a second after the delivery: a record older than this must have its own. On a machine
 * that has stalled meanwhile it may be longer.
 */
const receiptMsMax = 1000
/** What was on its way into a socket may be written a moment after its sender is gone. */
const onTheWayMs = 250
/** A broker that comes back leads its partitions a while later; until then a request may be heard but not answered. */
const returnMs = 10_000

/** Remembers when things were killed, and holds duplicates against it. */
export class Crashes {
  readonly kills: Period[] = []
  readonly outages: Period[] = []

  killBegins(): { ends(): void } {
    return begin(this.kills)
  }

  /** It ends when Kafka answers again. */
  outageBegins(): { ends(): void } {
    return begin(this.outages)
  }

  /** `stallMs` is the longest that anything had to wait for this machine, such as the slowest answer to a publisher. */
  explain(duplicates: readonly Duplicate[], stallMs: number): ExplainedDuplicates {
    const beforeMsMax = receiptMsMax + 2 * stallMs
    let byKill = 0
    let byOutage = 0
    let beforeKillMsMax = 0
    const unexplained: Duplicate[] = []
    for (const duplicate of duplicates) {
      // The first one that fits ended the run in which it was written; runs between may not have come to writing it again.
      const kill = this.kills.find((each) => isCutBy(duplicate, each, beforeMsMax))
      if (kill !== undefined) {
        byKill++
        beforeKillMsMax = Math.max(beforeKillMsMax, kill.from - duplicate.firstAt)
      } else if (this.outages.some((each) => isCutBy(duplicate, each, beforeMsMax) || isWithin(duplicate, each))) {
        byOutage++
      } else {
        unexplained.push(duplicate)
      }
    }
    return { byKill, byOutage, unexplained, beforeKillMsMax }
  }
}

function begin(periods: Period[]): { ends(): void } {
  const period: Period = { from: Date.now(), to: Infinity }
  periods.push(period)
  return {
    ends() {
      period.to = Date.now()
    },
  }
}

/** Written just before (or while) it began, and again afterwards. */
function isCutBy({ firstAt, againAt }: Duplicate, { from, to }: Period, beforeMsMax: number): boolean {
  return from - firstAt <= beforeMsMax && firstAt <= to + onTheWayMs && againAt >= from
}

function isWithin({ firstAt, againAt }: Duplicate, { from, to }: Period): boolean {
  return firstAt >= from && againAt <= to + returnMs
}
