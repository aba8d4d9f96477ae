import type { Writable } from 'node:stream'
import type { BackfillOptions } from '../recorder/backfill.ts'
import { backfill } from '../recorder/backfill.ts'
import type { ComparedBroker, ComparedLedger, ComparedRange } from '../recorder/reconcile.ts'
import { checkLedger } from './ledger-range.ts'

/**
 * Writes what the ledger misses, and prints how much that was. Resolves with the exit code: 1 when a store refused something
 * for good, else 0.
 */
export async function backfillLedger(
  broker: ComparedBroker,
  ledger: ComparedLedger,
  range: ComparedRange,
  options: BackfillOptions,
  out: Writable,
  signal: AbortSignal,
): Promise<number> {
  await checkLedger(ledger, signal)
  const { compared, written, refused } = await backfill(
    broker,
    ledger,
    range,
    options,
    (store, id, error) => out.write(`${store} refuses ${id}: ${error.message}\n`),
    signal,
  )
  const verb = options.dryRun ? 'Would write' : 'Wrote'
  out.write(`${verb} ${written.metadata} rows and ${written.log} entries, of ${compared.records} records.\n`)
  if (refused > 0) out.write(`${refused} were refused for good.\n`)
  if (compared.extra + compared.different > 0)
    out.write(`${compared.extra} extra and ${compared.different} different ones are left as they are: see “outrigger ledger verify”.\n`) // prettier-ignore
  return refused > 0 ? 1 : 0
}
