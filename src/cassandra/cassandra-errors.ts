import { errors } from 'cassandra-driver'
import { codeOf, messageOf } from '../base/errors.ts'
import type { StoreFailure } from '../recorder/store-error.ts'
import { StoreError } from '../recorder/store-error.ts'

/** What one of Cassandra's errors means for us. */
export interface CassandraFailure {
  readonly failure: StoreFailure
  /** The error's name in Cassandra's protocol. */
  readonly reason: string
  /** What a person can do about it. */
  readonly hint: string
}

const is = (failure: StoreFailure, reason: string, hint: string): CassandraFailure => ({ failure, reason, hint })

const nodes = 'Check the nodes of the cluster (nodetool status); writing goes on when enough of them are back.'
const busy = 'The cluster is overloaded; writing goes on when it has caught up.'
const schema = 'Run `outrigger migrate`, or set ledger.migrate: true; and check cassandra.keyspace.'
const credentials = 'Check cassandra.username and cassandra.password (or passwordFile).'
const placement = 'Check cassandra.localDataCenter and cassandra.replicationFactor, or create the keyspace by hand.'

/** Every error that a node may answer with, by the code of the native protocol. */
export const cassandraFailures: Readonly<Record<number, CassandraFailure>> = {
  0x0000: is('transient', 'SERVER_ERROR', "Look into the node's log."),
  0x000a: is(
    'fatal',
    'PROTOCOL_ERROR',
    'The node speaks another protocol; check its version, and cassandra.contactPoints.',
  ),
  0x0100: is('fatal', 'BAD_CREDENTIALS', credentials),
  0x1000: is('transient', 'UNAVAILABLE', nodes),
  0x1001: is('transient', 'OVERLOADED', busy),
  0x1002: is('transient', 'IS_BOOTSTRAPPING', nodes),
  0x1003: is('transient', 'TRUNCATE_ERROR', "Look into the node's log."),
  0x1100: is('transient', 'WRITE_TIMEOUT', busy),
  0x1200: is('transient', 'READ_TIMEOUT', busy),
  0x1300: is('transient', 'READ_FAILURE', "Look into the nodes' logs."),
  0x1400: is('fatal', 'FUNCTION_FAILURE', "Look into the node's log."),
  0x1500: is('transient', 'WRITE_FAILURE', "Look into the nodes' logs."),
  0x2000: is('fatal', 'SYNTAX_ERROR', 'The cluster is too old; Cassandra 4 or newer is needed.'),
  0x2100: is('fatal', 'UNAUTHORIZED', 'Grant the user SELECT and MODIFY on the keyspace, and CREATE for migrations.'),
  0x2200: is('permanent', 'INVALID', ''),
  0x2300: is('fatal', 'CONFIG_ERROR', placement),
  0x2400: is('transient', 'ALREADY_EXISTS', 'Another sidecar was faster; it is tried again.'),
  // The driver prepares it again, and tells of it only when that has failed too: as when the keyspace was dropped. What a
  // node said to that is not told. So the schema must be looked at.
  0x2500: is('fatal', 'UNPREPARED', `The nodes have forgotten a statement, and don't take it again. ${schema}`),
  // The driver's own: it could not put a value into a request.
  0x8000: is('permanent', 'CLIENT_WRITE_FAILURE', ''),
}

/** Answers whose code says too little, by their text. */
const answersByText: readonly (readonly [text: RegExp, failure: CassandraFailure])[] = [
  // The store of roles could not be read, which says nothing about the password.
  [
    /unable to perform authentication|cannot achieve consistency/i,
    is('transient', 'AUTHENTICATION_UNAVAILABLE', nodes),
  ],
  [
    /(keyspace|table|columnfamily) .*does(n't| not) exist|unconfigured (table|columnfamily)/i,
    is('fatal', 'SCHEMA_MISSING', schema),
  ],
  [/undefined column|unknown identifier|unknown column/i, is('fatal', 'SCHEMA_DIFFERS', schema)],
  [
    /disk usage/i,
    is('transient', 'DISK_FULL', 'The disks of the cluster are full; add space, or shorten ledger.retention.'),
  ],
  [
    /too (large|big)|exceed|guardrail/i,
    is('permanent', 'TOO_LARGE', 'Lower cassandra.valueChunkBytes, or raise the limits of the cluster.'),
  ],
]

function failureOfAnswer(code: number, message: string): CassandraFailure {
  const byText = answersByText.find(([text]) => text.test(message))?.[1]
  return byText ?? cassandraFailures[code] ?? is('transient', `CASSANDRA_ERROR_${code}`, "Look into the node's log.")
}

const unreachable = 'Check cassandra.contactPoints, the network, and whether the nodes run.'
const resolving = 'Check the host names in cassandra.contactPoints.'

/** Node's and OpenSSL's codes for TLS that can't be. */
const tlsCode =
  /^(ERR_(SSL|TLS|OSSL)|CERT_|CRL_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|HOSTNAME_MISMATCH|INVALID_(CA|PURPOSE)|PATH_LENGTH|EPROTO$)/
const tlsHint = "Check cassandra.tls (ca, cert, key, serverName), and the nodes' certificates."

/**
 * Translates whatever the driver threw while doing `what` ("writing to message_log"); what is not about the store (a bug)
 * passes as it is. `refusal` is why the last connection failed: the driver says of a node only that it is down.
 */
export function cassandraStoreError(error: unknown, what: string, refusal?: unknown): unknown {
  if (error instanceof StoreError || !(error instanceof Error)) return error
  if (error instanceof errors.NoHostAvailableError) return noHostError(error, what, refusal)
  const failure = failureOf(error)
  if (failure === undefined) return error
  const { failure: kind, reason, hint } = failure
  return new StoreError(kind, reason, `${what}: ${error.message}`, { cause: error, hint })
}

/**
 * What the driver's encoder says of a value that can't be put into a request, or a `Buffer` of a number that has no room in
 * its bytes. A test holds it against the driver's own encoder.
 */
const encoderText =
  /^(Not a valid |Expected (Number|Date\/|string representation)|Invalid date: |A (collection|map) can't contain |Target data type could not be guessed|The value of "value" is out of range)/

function failureOf(error: Error): CassandraFailure | undefined {
  if (error instanceof errors.ResponseError) return failureOfAnswer(error.code, error.message)
  if (error instanceof errors.AuthenticationError) return failureOfAnswer(0x0100, error.message)
  if (error instanceof errors.OperationTimedOutError) {
    return is(
      'transient',
      'OPERATION_TIMED_OUT',
      'No answer within cassandra.requestTimeout; the node may be overloaded or hang.',
    )
  }
  if (error instanceof errors.BusyConnectionError) return is('transient', 'BUSY_CONNECTION', busy)
  if (error instanceof errors.ArgumentError && /datacenter/i.test(error.message)) {
    return is(
      'fatal',
      'NO_SUCH_DATA_CENTER',
      'Set cassandra.localDataCenter to one that the cluster has (nodetool status).',
    )
  }
  if (error instanceof TypeError || error instanceof RangeError) {
    // Anything else of this kind is a fault of the driver's, say amid a reconnect; the values are none the worse for it.
    return encoderText.test(error.message)
      ? is('permanent', 'UNWRITABLE_VALUE', '')
      : is('transient', 'DRIVER_FAULT', 'The driver stumbled; it is tried again. When it stays, restart Outrigger.')
  }
  const code = codeOf(error)
  if (code !== undefined && tlsCode.test(code)) return is('fatal', code, tlsHint)
  if (code !== undefined && /^E(?!RR_)[A-Z_]+$/.test(code)) {
    return is('transient', code, /^(ENOTFOUND|EAI_)/.test(code) ? resolving : unreachable)
  }
  // A TLS error without a code of its own stands below one of the driver's.
  if ('innerError' in error && error.innerError instanceof Error) return failureOf(error.innerError)
  if (/Socket was closed|Connection (timeout|closed)|No connection available/i.test(error.message)) {
    return is('transient', 'CONNECTION_CLOSED', `${unreachable} Nodes that expect TLS close other connections.`)
  }
  if (error instanceof errors.DriverError) return is('transient', error.name.toUpperCase(), unreachable)
  return undefined
}

/** No node could be asked: what the nodes themselves said counts for more than that others are down. */
function noHostError(error: errors.NoHostAvailableError, what: string, refusal: unknown): StoreError {
  const inner = Object.entries((error.innerErrors ?? {}) as Record<string, unknown>)
  const found = inner.filter((entry): entry is [string, Error] => entry[1] instanceof Error)
  if (found.length === 0 && refusal instanceof Error) found.push(['the last connection', refusal])
  const failures = found.map(([host, cause]) => ({ host, cause, failure: ofNode(cause) }))
  const told = failures.find(({ failure }) => failure.failure !== 'transient') ?? failures[0]
  if (told === undefined) {
    const hosts = inner.map(([host]) => host).join(', ')
    const message = `${what}: no node can be reached${hosts === '' ? ` (${error.message})` : `: ${hosts}`}`
    const hint = /resolved/.test(error.message) ? resolving : unreachable
    return new StoreError('transient', 'NO_HOST_AVAILABLE', message, { cause: error, hint })
  }
  const { host, cause, failure } = told
  const message = `${what}: no node can be reached; ${host}: ${messageOf(cause)}`
  return new StoreError(failure.failure, failure.reason, message, { cause, hint: failure.hint })
}

function ofNode(error: Error): CassandraFailure {
  if (error instanceof StoreError) return { failure: error.failure, reason: error.reason, hint: error.hint }
  return failureOf(error) ?? is('transient', 'NO_HOST_AVAILABLE', unreachable)
}
