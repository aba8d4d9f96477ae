import { OutriggerError } from '../base/errors.ts'
import { isTopicName } from '../message/message.ts'
import type { LedgerSchema } from '../recorder/ledger-schema.ts'
import type { MessageLog } from '../recorder/message-log.ts'
import type { MetadataStore } from '../recorder/metadata-store.ts'
import type { ComparedRange } from '../recorder/reconcile.ts'
import type { PointInTime } from './point-in-time.ts'

/** What a command about the ledger was asked for makes no sense. */
export class LedgerCommandError extends OutriggerError {
  override readonly name = 'LedgerCommandError'
  override readonly code = 'ledger_command_invalid'
}

/** What is newer may still be on its way into the ledger. */
const defaultToAgoMs = 60_000

/** The range that `--from`, `--to` and `--topic` name. Throws a `LedgerCommandError`. */
export function ledgerRange(
  asked: { from: PointInTime | undefined; to: PointInTime | undefined; topics: readonly string[] },
  now: number,
  retentionMs: number,
): ComparedRange {
  for (const topic of asked.topics)
    if (!isTopicName(topic)) throw new LedgerCommandError(`--topic: “${topic}” is not the name of a topic`)
  const from = asked.from === undefined ? 'beginning' : timeOf(asked.from, now)
  const to = timeOf(asked.to ?? { agoMs: defaultToAgoMs }, now)
  if (from !== 'beginning' && from >= to) throw new LedgerCommandError('--from must be before --to')
  return {
    from,
    to,
    topics: asked.topics.length === 0 ? null : [...new Set(asked.topics)],
    keptSince: now - retentionMs,
  }
}

function timeOf(point: PointInTime, now: number): number {
  return 'at' in point ? point.at : now - point.agoMs
}

/** Throws unless there is a ledger, and its stores have the schema that is needed. */
export async function checkLedger(
  { metadata, log }: { metadata: MetadataStore | null; log: MessageLog | null },
  signal: AbortSignal,
): Promise<void> {
  const schemas = [metadata?.schema, log?.schema].filter((schema): schema is LedgerSchema => schema !== undefined)
  if (schemas.length === 0)
    throw new LedgerCommandError('there is no ledger: ledger.metadata and ledger.log are both “none”')
  for (const schema of schemas) {
    const { found, needed, pending } = await schema.inspect(signal)
    if (pending.length > 0)
      throw new LedgerCommandError(`a store of the ledger has schema version ${found}, and ${needed} is needed`, {
        hint: 'Run “outrigger migrate” first.',
      })
  }
}
