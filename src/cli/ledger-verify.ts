import { once } from 'node:events'
import type { Writable } from 'node:stream'
import type { ComparedBroker, ComparedLedger, ComparedRange, Difference } from '../recorder/reconcile.ts'
import { reconcile } from '../recorder/reconcile.ts'
import { LedgerCommandError, checkLedger } from './ledger-range.ts'

/**
 * Compares the ledger with the broker and prints every difference, and then the totals: with `json` as one object a line,
 * of which the last has the member `totals`. Resolves with the exit code: 0 when there is no difference, else 1.
 */
export async function verifyLedger(
  broker: ComparedBroker,
  ledger: ComparedLedger,
  range: ComparedRange,
  output: { json: boolean },
  out: Writable,
  signal: AbortSignal,
): Promise<number> {
  await checkLedger(ledger, signal)
  if (range.topics !== null) await checkTopics(broker, range.topics, signal)
  const show = output.json ? (difference: Difference) => JSON.stringify(difference) : differenceText
  const totals = await reconcile(
    broker,
    ledger,
    range,
    async (difference) => {
      if (!out.write(`${show(difference)}\n`)) await once(out, 'drain', { signal })
    },
    signal,
  )
  const { records, duplicates, expired, missing, extra, different } = totals
  const isRight = missing + extra + different === 0
  out.write(
    output.json
      ? `${JSON.stringify({ totals })}\n`
      : `${isRight ? 'No difference' : `${missing} missing, ${extra} extra, ${different} different`} in ${records} records ` +
          `(${duplicates} delivered more than once, ${expired} beyond the ledger's retention).\n`,
  )
  return isRight ? 0 : 1
}

/** A name that is misspelt must not pass for a topic without differences. */
async function checkTopics(broker: ComparedBroker, topics: readonly string[], signal: AbortSignal): Promise<void> {
  const known = await broker.topics(signal)
  for (const topic of topics)
    if (!known.includes(topic)) throw new LedgerCommandError(`the broker has no topic “${topic}”`)
}

const storeNouns = { metadata: 'row', log: 'entry' } as const

function differenceText({ kind, store, topic, partition, offset, id, what }: Difference): string {
  const parts = [`${kind} ${storeNouns[store]}`.padEnd(16), `${topic} ${partition}/${offset}`, id]
  if (what.length > 0) parts.push(`(${what.join(', ')})`)
  return parts.join('  ')
}
