import { posix } from 'node:path'
import type { ListenAddress } from '../base/listen-address.ts'
import { formatListenAddress, socketPathBytesMax } from './listen-address.ts'
import { formatDuration, formatShare, formatSize } from './quantities.ts'
import type { SettledConfig, TlsConfig } from './schema.ts'
import { segmentOverheadBytes } from './schema.ts'

/** A fault between settings each of which is right in itself. */
export interface CrossFault {
  /** The setting to report. */
  readonly path: string
  /** Every setting that the check looked at: when one of them is at fault itself, the finding means nothing. */
  readonly involves: readonly string[]
  readonly expected: string
  readonly hint?: string
  /** The setting that somebody set and that brings the fault about, when `path` itself is left to its default. */
  readonly because?: string
}

/** Which settings somebody has set, as against defaults. */
export type IsSet = (path: string) => boolean

/** Every fault between settings. */
export function crossCheck(config: SettledConfig, isSet: IsSet): CrossFault[] {
  return [...limitFaults(config, isSet), ...listenerFaults(config, isSet), ...credentialFaults(config)]
}

interface Limit {
  readonly path: string
  readonly value: number
}

function limitFaults(config: SettledConfig, isSet: IsSet): CrossFault[] {
  const { publish, journal, forwarder, ledger } = config
  const faults: CrossFault[] = []
  /** Reports the setting that somebody set; the larger of the two first, then the smaller. */
  const atMost = (small: Limit, large: Limit, format: (value: number) => string): void => {
    if (small.value <= large.value) return
    const involves = [small.path, large.path]
    const expected =
      isSet(small.path) || !isSet(large.path)
        ? { path: small.path, expected: `at most ${large.path}, which is ${format(large.value)}` }
        : { path: large.path, expected: `at least ${small.path}, which is ${format(small.value)}` }
    faults.push({ ...expected, involves })
  }
  const bodyBytesMax = { path: 'publish.bodyBytesMax', value: publish.bodyBytesMax }
  const lineBytesMax = { path: 'publish.lineBytesMax', value: publish.lineBytesMax }
  const pendingBytesMax = { path: 'publish.pendingBytesMax', value: publish.pendingBytesMax }
  const laneBytesMax = { path: 'forwarder.laneBytesMax', value: forwarder.laneBytesMax }

  for (const message of [bodyBytesMax, lineBytesMax]) {
    const fault = segmentFault(message, journal.segmentBytes, isSet)
    if (fault) faults.push(fault)
    atMost(message, pendingBytesMax, formatSize)
  }
  if (journal.bytesMax < 2 * journal.segmentBytes) {
    const involves = ['journal.bytesMax', 'journal.segmentBytes']
    const expected = `at least twice journal.segmentBytes: ${formatSize(2 * journal.segmentBytes)}`
    faults.push({ path: 'journal.bytesMax', involves, expected, hint: 'or make journal.segmentBytes smaller' })
  }
  atMost({ path: 'forwarder.batchBytesMax', value: forwarder.batchBytesMax }, laneBytesMax, formatSize)
  atMost(laneBytesMax, { path: 'forwarder.memoryBytesMax', value: forwarder.memoryBytesMax }, formatSize)
  atMost(
    { path: 'forwarder.retryDelay', value: forwarder.retryDelay },
    { path: 'forwarder.retryDelayMax', value: forwarder.retryDelayMax },
    formatDuration,
  )
  atMost(
    { path: 'ledger.retryDelay', value: ledger.retryDelay },
    { path: 'ledger.retryDelayMax', value: ledger.retryDelayMax },
    formatDuration,
  )
  atMost(
    { path: 'publish.headersTimeout', value: publish.headersTimeout },
    { path: 'publish.requestTimeout', value: publish.requestTimeout },
    formatDuration,
  )
  const inOrder = shareFault(journal, isSet)
  if (inOrder) faults.push(inOrder)
  faults.push(...ledgerFaults(config))
  const tooSlow = rowsPerSecondFault(config)
  if (tooSlow) faults.push(tooSlow)
  return faults
}

/** First a warning, then a refusal; one at the same time as the other is none. */
function shareFault({ warnAt, refuseLowAt }: SettledConfig['journal'], isSet: IsSet): CrossFault | undefined {
  if (warnAt < refuseLowAt) return undefined
  const [warn, refuse] = ['journal.warnAt', 'journal.refuseLowAt']
  return isSet(warn) || !isSet(refuse)
    ? { path: warn, involves: [warn, refuse], expected: `less than ${refuse}, which is ${formatShare(refuseLowAt)}` }
    : { path: refuse, involves: [warn, refuse], expected: `more than ${warn}, which is ${formatShare(warnAt)}` }
}

/** So much of the journal, at most, may be held for the ledger: what waits for the broker needs room as well. */
const backlogShareMax = 0.8

function ledgerFaults({ ledger, journal }: SettledConfig): CrossFault[] {
  const faults: CrossFault[] = []
  const backlogMost = Math.floor(journal.bytesMax * backlogShareMax)
  if (ledger.backlogBytesMax > backlogMost) {
    const path = 'ledger.backlogBytesMax'
    const expected = `at most ${formatShare(backlogShareMax)} of journal.bytesMax: ${formatSize(backlogMost)}`
    faults.push({ path, involves: [path, 'journal.bytesMax'], expected, hint: 'or make journal.bytesMax larger' })
  }
  const hasLedger = ledger.metadata !== 'none' || ledger.log !== 'none'
  if (hasLedger && ledger.whenFull === 'refuse' && journal.whenFull === 'drop-oldest') {
    const path = 'ledger.whenFull'
    const involves = [path, 'journal.whenFull', 'ledger.metadata', 'ledger.log']
    const expected = 'gap, because journal.whenFull is drop-oldest, which deletes what the ledger has not got'
    faults.push({ path, involves, expected, hint: 'or let journal.whenFull be reject or block' })
  }
  return faults
}

/** A write waits for its turn within its timeout, behind what the one before it has used up: both must fit. */
function rowsPerSecondFault({ ledger, mysql }: SettledConfig): CrossFault | undefined {
  const { batchMessagesMax, writeTimeout } = ledger
  const { rowsPerSecondMax } = mysql
  if (ledger.metadata !== 'mysql' || rowsPerSecondMax === undefined) return undefined
  const atLeast = Math.ceil((2 * batchMessagesMax * 1000) / writeTimeout)
  if (rowsPerSecondMax >= atLeast) return undefined
  const path = 'mysql.rowsPerSecondMax'
  return {
    path,
    involves: [path, 'ledger.metadata', 'ledger.batchMessagesMax', 'ledger.writeTimeout'],
    expected: `at least ${atLeast}, so that two batches of ${batchMessagesMax} messages (ledger.batchMessagesMax) go within ${formatDuration(writeTimeout)} (ledger.writeTimeout)`,
    hint: 'or make ledger.batchMessagesMax smaller, or ledger.writeTimeout longer',
  }
}

function segmentFault(message: Limit, segmentBytes: number, isSet: IsSet): CrossFault | undefined {
  if (message.value + segmentOverheadBytes < segmentBytes) return undefined
  const involves = [message.path, 'journal.segmentBytes']
  const overhead = formatSize(segmentOverheadBytes)
  const room = segmentBytes - segmentOverheadBytes
  if (room > 0 && (isSet(message.path) || !isSet('journal.segmentBytes'))) {
    const expected = `less than ${formatSize(room)}, so that a message fits a journal segment (journal.segmentBytes less ${overhead})`
    return { path: message.path, involves, expected, hint: 'or make journal.segmentBytes larger' }
  }
  const expected = `more than ${formatSize(message.value + segmentOverheadBytes)}, so that the largest message fits (${message.path} and ${overhead})`
  return { path: 'journal.segmentBytes', involves, expected, hint: `or make ${message.path} smaller` }
}

function listenerFaults(config: SettledConfig, isSet: IsSet): CrossFault[] {
  const listeners = [
    ...config.publish.listen.map((address, index) => ({ path: `publish.listen[${index}]`, address })),
    { path: 'admin.listen', address: config.admin.listen },
  ]
  const faults = listeners.flatMap((later, index): CrossFault[] => {
    const earlier = listeners.slice(0, index).find(({ address }) => clash(address, later.address))
    if (!earlier) return []
    // Only one of the two may have been set: that is the one to report.
    const [fault, other] = isSet(later.path) || !isSet(earlier.path) ? [later, earlier] : [earlier, later]
    const expected = `an address of its own: ${other.path} has ${formatListenAddress(other.address)}`
    return [{ path: fault.path, involves: [later.path, earlier.path], expected }]
  })
  for (const { path, address } of listeners) {
    // An address that somebody wrote was checked when it was read; this is the default, moved to journal.directory.
    if (address.kind === 'unix' && Buffer.byteLength(address.path) > socketPathBytesMax) {
      faults.push({
        path: 'publish.listen',
        involves: [path, 'journal.directory'],
        because: 'journal.directory',
        expected: `a socket whose path has at most ${socketPathBytesMax} bytes, which the default, ${address.path}, has not`,
        hint: 'set publish.listen, or choose a shorter journal.directory',
      })
    }
  }
  return faults
}

/** Whether two listeners can't both be bound. */
function clash(a: ListenAddress, b: ListenAddress): boolean {
  if (a.kind === 'unix' || b.kind === 'unix') {
    return a.kind === 'unix' && b.kind === 'unix' && posix.normalize(a.path) === posix.normalize(b.path)
  }
  if (a.port !== b.port || a.port === 0) return false
  const hosts = [a.host, b.host].map((host) => (host.toLowerCase() === 'localhost' ? '127.0.0.1' : host.toLowerCase()))
  return hosts[0] === hosts[1] || hosts.some((host) => host === '0.0.0.0' || host === '::')
}

function credentialFaults(config: SettledConfig): CrossFault[] {
  const { kafka, mysql, cassandra, encryption } = config
  const faults: CrossFault[] = [...encryptionFaults(config), ...twiceFaults('encryption', encryption, ['keys'])]
  if (kafka.sasl) {
    faults.push(...twiceFaults('kafka.sasl', kafka.sasl, ['password']))
    if (!hasPassword(kafka.sasl)) {
      const involves = ['kafka.sasl.password', 'kafka.sasl.passwordFile']
      faults.push({ path: 'kafka.sasl.password', involves, expected: 'a password, or passwordFile' })
    }
  }
  faults.push(...twiceFaults('mysql', mysql, ['password']), ...twiceFaults('cassandra', cassandra, ['password']))
  const involves = ['username', 'password', 'passwordFile'].map((name) => `cassandra.${name}`)
  if (cassandra.username !== undefined && !hasPassword(cassandra)) {
    faults.push({ path: 'cassandra.password', involves, expected: 'the password of username, or passwordFile' })
  }
  if (cassandra.username === undefined && hasPassword(cassandra)) {
    faults.push({ path: 'cassandra.username', involves, expected: 'the user that the password belongs to' })
  }
  for (const section of ['kafka', 'mysql', 'cassandra'] as const) {
    const { tls } = config[section]
    if (tls) faults.push(...tlsFaults(`${section}.tls`, tls))
  }
  return faults
}

/** The embedded broker and ledger keep messages in SQLite files, which are not encrypted. */
function encryptionFaults({ broker, ledger, encryption }: SettledConfig): CrossFault[] {
  if (encryption.keys === undefined && encryption.keysFile === undefined) return []
  const keptPlain = [
    ['broker', broker, 'kafka'],
    ['ledger.metadata', ledger.metadata, 'mysql or none'],
    ['ledger.log', ledger.log, 'cassandra or none'],
  ] as const
  return keptPlain.flatMap(([path, value, instead]) =>
    value === 'embedded'
      ? [
          {
            path,
            involves: ['broker', path, 'encryption.keys', 'encryption.keysFile'],
            expected: `${instead}, because everything on disk is to be encrypted (encryption)`,
            hint: 'what is embedded keeps messages in a file as they are',
          },
        ]
      : [],
  )
}

/** Whether a section says a password, or where it is. */
export function hasPassword(section: { readonly password?: unknown; readonly passwordFile?: unknown }): boolean {
  return section.password !== undefined || section.passwordFile !== undefined
}

/** What stands in the section and in a file as well. */
function twiceFaults(section: string, values: object, names: readonly string[]): CrossFault[] {
  const given = values as Readonly<Record<string, unknown>>
  return names.flatMap((name) => {
    if (given[name] === undefined || given[`${name}File`] === undefined) return []
    const [path, file] = [`${section}.${name}`, `${section}.${name}File`]
    return [{ path, involves: [path, file], expected: `either ${name} or ${name}File, not both` }]
  })
}

function tlsFaults(section: string, tls: TlsConfig): CrossFault[] {
  const faults = twiceFaults(section, tls, ['ca', 'cert', 'key'])
  const involves = ['cert', 'certFile', 'key', 'keyFile'].map((name) => `${section}.${name}`)
  const hasCert = tls.cert !== undefined || tls.certFile !== undefined
  const hasKey = tls.key !== undefined || tls.keyFile !== undefined
  if (hasCert && !hasKey) faults.push({ path: `${section}.key`, involves, expected: 'the private key of cert' })
  if (hasKey && !hasCert) faults.push({ path: `${section}.cert`, involves, expected: 'the certificate of key' })
  return faults
}
