import { posix } from 'node:path'
import type { ListenAddress } from '../base/listen-address.ts'
import { formatListenAddress, isLocal, socketPathBytesMax } from './listen-address.ts'
import { formatDuration, formatSize } from './quantities.ts'
import type { ParsedConfig } from './schema.ts'
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
export function crossCheck(config: ParsedConfig, isSet: IsSet): CrossFault[] {
  return [...limitFaults(config, isSet), ...listenerFaults(config, isSet), ...credentialFaults(config)]
}

interface Limit {
  readonly path: string
  readonly value: number
}

function limitFaults(config: ParsedConfig, isSet: IsSet): CrossFault[] {
  const { publish, journal, forwarder } = config
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
    { path: 'publish.headersTimeout', value: publish.headersTimeout },
    { path: 'publish.requestTimeout', value: publish.requestTimeout },
    formatDuration,
  )
  return faults
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

function listenerFaults(config: ParsedConfig, isSet: IsSet): CrossFault[] {
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

function credentialFaults(config: ParsedConfig): CrossFault[] {
  const { tls, sasl } = config.kafka
  const faults: CrossFault[] = []
  const notBoth = (section: string, name: string, values: Readonly<Record<string, unknown>>): void => {
    const [path, file] = [`${section}.${name}`, `${section}.${name}File`]
    if (values[name] === undefined || values[`${name}File`] === undefined) return
    faults.push({ path, involves: [path, file], expected: `either ${name} or ${name}File, not both` })
  }
  if (sasl) {
    notBoth('kafka.sasl', 'password', sasl)
    if (sasl.password === undefined && sasl.passwordFile === undefined) {
      const involves = ['kafka.sasl.password', 'kafka.sasl.passwordFile']
      faults.push({ path: 'kafka.sasl.password', involves, expected: 'a password, or passwordFile' })
    }
  }
  if (tls) {
    for (const name of ['ca', 'cert', 'key']) notBoth('kafka.tls', name, tls)
    const involves = ['cert', 'certFile', 'key', 'keyFile'].map((name) => `kafka.tls.${name}`)
    const hasCert = tls.cert !== undefined || tls.certFile !== undefined
    const hasKey = tls.key !== undefined || tls.keyFile !== undefined
    if (hasCert && !hasKey) faults.push({ path: 'kafka.tls.key', involves, expected: 'the private key of cert' })
    if (hasKey && !hasCert) faults.push({ path: 'kafka.tls.cert', involves, expected: 'the certificate of key' })
  }
  return faults
}

/** What is allowed, but probably not meant, in full sentences. */
export function findWarnings(config: ParsedConfig, isSet: IsSet): string[] {
  const { broker, kafka, publish, admin, forwarder } = config
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
  return warnings
}
