import type { ListenAddress } from '../base/listen-address.ts'
import type { IsSet } from './cross-checks.ts'
import { defaultDirectory } from './journal-section.ts'
import type { JournalConfig, LedgerConfig, ParsedConfig, SettledConfig } from './schema.ts'

/** Fills in the defaults that depend on other settings. */
export function settleDefaults(parsed: ParsedConfig, isSet: IsSet): SettledConfig {
  return {
    ...parsed,
    publish: settlePublish(parsed, isSet),
    journal: settleJournal(parsed, isSet),
    ledger: settleLedger(parsed, isSet),
  }
}

/** The default Unix socket lies in `journal.directory`, and moves along with it. */
function settlePublish({ publish, journal }: ParsedConfig, isSet: IsSet): ParsedConfig['publish'] {
  if (isSet('publish.listen') || journal.directory === defaultDirectory) return publish
  const socket: ListenAddress = { kind: 'unix', path: `${journal.directory.replace(/\/+$/, '')}/publish.sock` }
  return { ...publish, listen: publish.listen.map((address) => (address.kind === 'unix' ? socket : address)) }
}

/**
 * A topic that is over its share is refused at once. So whoever lets publishers wait, or drops the oldest messages, has no limit
 * unasked: with a single topic the journal would never be full. A small journal has a small reserve.
 */
function settleJournal({ journal }: ParsedConfig, isSet: IsSet): JournalConfig {
  const topicShareMax = journal.topicShareMax ?? (journal.whenFull === 'reject' ? 0.9 : 1)
  const quarter = Math.floor(journal.bytesMax / 4)
  const reserveBytes = isSet('journal.reserveBytes') ? journal.reserveBytes : Math.min(journal.reserveBytes, quarter)
  return { ...journal, topicShareMax, reserveBytes }
}

/**
 * Beside Kafka there is no ledger unasked: an embedded one would fill this machine's disk with a copy of everything.
 * The default backlog leaves half of a small journal to what waits for the broker.
 */
function settleLedger({ broker, ledger, journal }: ParsedConfig, isSet: IsSet): LedgerConfig {
  const unasked = broker === 'embedded' ? 'embedded' : 'none'
  const half = Math.floor(journal.bytesMax / 2)
  const backlogBytesMax = isSet('ledger.backlogBytesMax')
    ? ledger.backlogBytesMax
    : Math.min(ledger.backlogBytesMax, half)
  return { ...ledger, metadata: ledger.metadata ?? unasked, log: ledger.log ?? unasked, backlogBytesMax }
}
