import type { IsSet } from './cross-checks.ts'
import { hasPassword } from './cross-checks.ts'
import { formatListenAddress, isLocal, isLoopback } from './listen-address.ts'
import { hostOfMysqlUrl } from './mysql-url.ts'
import { formatDuration, formatShare, formatSize, hour } from './quantities.ts'
import type { SettledConfig } from './schema.ts'

/** What is allowed, but probably not meant, in full sentences. */
export function findWarnings(config: SettledConfig, isSet: IsSet): string[] {
  const { broker, kafka, publish, admin, forwarder, encryption } = config
  const warnings: string[] = []
  if (broker === 'embedded' && isSet('kafka')) {
    warnings.push('kafka is configured, but not used: set "broker: kafka" (OUTRIGGER_BROKER=kafka) to use it.')
  }
  if (broker === 'kafka' && isSet('embedded')) {
    warnings.push('embedded is configured, but not used, because broker is kafka.')
  }
  if (broker === 'kafka' && kafka.sasl && !kafka.tls) {
    const risk = kafka.sasl.mechanism === 'plain' ? 'the password crosses the network as it is' : 'nothing is encrypted'
    warnings.push(`kafka.sasl is used without kafka.tls: ${risk}.`)
  }
  if (!isLocal(admin.listen)) {
    const where = formatListenAddress(admin.listen)
    warnings.push(
      `admin.listen is ${where}: whoever reaches it can see and change the state, for it has no authentication.`,
    )
  }
  if (broker === 'kafka' && publish.bodyBytesMax > 1024 * 1024 && isSet('publish.bodyBytesMax')) {
    warnings.push(
      `publish.bodyBytesMax is ${formatSize(publish.bodyBytesMax)}: unless the cluster's message.max.bytes was raised from 1 MiB, Kafka refuses such messages, and they become dead letters.`,
    )
  }
  if (broker === 'kafka' && kafka.requestTimeout > forwarder.sendTimeout) {
    warnings.push(
      `kafka.requestTimeout (${formatDuration(kafka.requestTimeout)}) is longer than forwarder.sendTimeout (${formatDuration(forwarder.sendTimeout)}), which ends an attempt first.`,
    )
  }
  if (encryption.acceptUnencrypted)
    warnings.push(
      encryption.keys === undefined && encryption.keysFile === undefined
        ? 'encryption.acceptUnencrypted is set, and there are no keys: nothing is encrypted.'
        : 'encryption.acceptUnencrypted is set: files that somebody else puts into journal.directory are not told from those of before. Take it out when “outrigger keys list” shows nothing that is not encrypted.',
    )
  return [...warnings, ...shareWarnings(config, isSet), ...ledgerWarnings(config, isSet)]
}

/** A small share of some topic is what it is for; but with a small one for all, one topic never gets as far as the rest says. */
function shareWarnings({ journal }: SettledConfig, isSet: IsSet): string[] {
  const { topicShareMax, refuseLowAt, whenFull } = journal
  if (!isSet('journal.topicShareMax') || topicShareMax > refuseLowAt) return []
  const rest = whenFull === 'reject' ? '' : `, and journal.whenFull (${whenFull}) does nothing for it`
  return [
    `journal.topicShareMax (${formatShare(topicShareMax)}) is not more than journal.refuseLowAt (${formatShare(refuseLowAt)}): a topic alone is refused before its messages of low priority are${rest}.`,
  ]
}

function ledgerWarnings(config: SettledConfig, isSet: IsSet): string[] {
  const { broker, ledger, mysql, cassandra } = config
  const { metadata, log } = ledger
  const warnings: string[] = []
  if (metadata !== 'mysql' && isSet('mysql')) {
    warnings.push(
      'mysql is configured, but not used: set "ledger: { metadata: mysql }" (OUTRIGGER_LEDGER_METADATA=mysql) to use it.',
    )
  }
  if (log !== 'cassandra' && isSet('cassandra')) {
    warnings.push(
      'cassandra is configured, but not used: set "ledger: { log: cassandra }" (OUTRIGGER_LEDGER_LOG=cassandra) to use it.',
    )
  }
  if (metadata === 'none' && log === 'none') {
    const isChosen = isSet('ledger.metadata') && isSet('ledger.log')
    if (isSet('ledger') && !isChosen) {
      warnings.push(
        'ledger is configured, but not used: beside Kafka, ledger.metadata and ledger.log are none unless they are set.',
      )
    }
    return warnings
  }
  const embedded = [metadata === 'embedded' && 'ledger.metadata', log === 'embedded' && 'ledger.log'].filter(Boolean)
  if (broker === 'kafka' && embedded.length > 0) {
    const what = log === 'embedded' ? 'a copy of every message' : 'a row for every message'
    warnings.push(
      `${embedded.join(' and ')} ${embedded.length > 1 ? 'are' : 'is'} embedded while broker is kafka: ${what} stays on this machine's disk for ${formatDuration(ledger.retention)} (ledger.retention), and no setting bounds how much that is.`,
    )
  }
  if (ledger.retention < hour) {
    warnings.push(
      `ledger.retention is ${formatDuration(ledger.retention)}: what the ledger gets late, after an outage of that length, is deleted as soon as it is there.`,
    )
  }
  if (metadata === 'mysql' && hasPassword(mysql) && !mysql.tls && !isLoopback(hostOfMysqlUrl(mysql.url))) {
    warnings.push('mysql has a password and no tls: nothing is encrypted on the way to the server.')
  }
  if (log === 'cassandra') {
    const isAway = cassandra.contactPoints.some((point) => !isLoopback(hostOf(point)))
    if (hasPassword(cassandra) && !cassandra.tls && isAway) {
      warnings.push('cassandra has a password and no tls: the password crosses the network as it is.')
    }
    if (cassandra.requestTimeout > ledger.writeTimeout) {
      warnings.push(
        `cassandra.requestTimeout (${formatDuration(cassandra.requestTimeout)}) is longer than ledger.writeTimeout (${formatDuration(ledger.writeTimeout)}), which ends an attempt first.`,
      )
    }
  }
  return warnings
}

/** Of `HOST:PORT` or `[IPV6]:PORT`. */
function hostOf(address: string): string {
  return address.slice(0, address.lastIndexOf(':')).replace(/^\[(.*)\]$/, '$1')
}
