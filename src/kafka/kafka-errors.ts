import { errorCodes } from 'kafkajs/src/protocol/error.js'
import { codeOf, messageOf } from '../base/errors.ts'
import type { BrokerFailure } from '../forwarder/broker.ts'
import { BrokerError } from '../forwarder/broker.ts'

/** What one of Kafka's errors means for us. */
export interface KafkaFailure {
  readonly failure: BrokerFailure
  /** What a person can do about it. */
  readonly hint: string
  /**
   * What is to be tried before the failure is passed on:
   * - `refresh`: our view of the cluster may be old; look again, and send again;
   * - `renew`: the sequence numbers are out of step; send again as a new producer;
   * - `none`: nothing.
   */
  readonly remedy: 'refresh' | 'renew' | 'none'
  /** Although this is an error, the batch may stand in the log. */
  readonly maybeKept: boolean
}

type Rest = Partial<Omit<KafkaFailure, 'failure' | 'hint'>>
const is = (failure: BrokerFailure, hint: string, rest: Rest = {}): KafkaFailure => ({
  remedy: 'none',
  maybeKept: false,
  failure,
  hint,
  ...rest,
})

const leaderMoved = is('blocked', 'The partition is getting a new leader; sending goes on when it has one.', {
  remedy: 'refresh',
})
const outOfStep = is('blocked', 'The producer starts anew by itself.', { remedy: 'renew' })
const coordinating = is('transient', 'The cluster is starting or moving a coordinator; sending goes on afterwards.')
const credentials = is('fatal', 'Check kafka.sasl, and that the user exists in the cluster.')
const unsupported = is('fatal', 'The brokers are too old, or refuse this kind of request.')
const storage = is('blocked', "Check the disks of the partition's leader.", { remedy: 'refresh' })

/**
 * Every error that a broker may answer us with. What concerns one topic alone is `blocked` or `permanent`, never
 * `transient`: it must not open the breaker that stops the other topics.
 */
export const kafkaFailures: Readonly<Record<string, KafkaFailure>> = {
  UNKNOWN_TOPIC_OR_PARTITION: is(
    'blocked',
    'Create the topic, or set kafka.createTopics, or let the brokers do it (auto.create.topics.enable).',
    { remedy: 'refresh' },
  ),
  UNKNOWN_TOPIC_ID: leaderMoved,
  INCONSISTENT_TOPIC_ID: leaderMoved,
  TOPIC_AUTHORIZATION_FAILED: is('blocked', "Allow the user to write to the topic (ACL operations Write and Describe)."), // prettier-ignore
  INVALID_TOPIC_EXCEPTION: is('permanent', 'The brokers accept no topic of this name.'),
  LEADER_NOT_AVAILABLE: leaderMoved,
  NOT_LEADER_FOR_PARTITION: leaderMoved,
  REPLICA_NOT_AVAILABLE: leaderMoved,
  FENCED_LEADER_EPOCH: leaderMoved,
  UNKNOWN_LEADER_EPOCH: leaderMoved,
  PREFERRED_LEADER_NOT_AVAILABLE: leaderMoved,
  ELIGIBLE_LEADERS_NOT_AVAILABLE: leaderMoved,
  OFFSET_NOT_AVAILABLE: leaderMoved,
  LISTENER_NOT_FOUND: is('blocked', "The partition's leader has no listener like ours; check its listeners.", {
    remedy: 'refresh',
  }),

  // Other topics have other replicas: too few of them is this topic's trouble alone.
  NOT_ENOUGH_REPLICAS: is('blocked', 'Bring back the missing brokers, or lower min.insync.replicas of the topic.'),
  NOT_ENOUGH_REPLICAS_AFTER_APPEND: is(
    'blocked',
    'Bring back the missing brokers, or lower min.insync.replicas of the topic.',
    { maybeKept: true },
  ),
  // The leader has it, the replicas did not confirm in time.
  REQUEST_TIMED_OUT: is('blocked', 'The replicas of the partition are slow or away; check the brokers.', {
    maybeKept: true,
  }),
  KAFKA_STORAGE_ERROR: storage,
  LOG_DIR_NOT_FOUND: storage,

  MESSAGE_TOO_LARGE: is('permanent', 'Raise max.message.bytes of the topic, or send smaller messages.'),
  RECORD_LIST_TOO_LARGE: is('permanent', 'Raise the segment size of the topic, or send smaller messages.'),
  INVALID_RECORD: is('permanent', 'A compacted topic takes no messages without a key.'),
  CORRUPT_MESSAGE: is('permanent', 'A compacted topic takes no messages without a key.'),
  INVALID_TIMESTAMP: is('permanent', "The message's timestamp is outside what the topic allows (message.timestamp.*)."),
  UNSUPPORTED_COMPRESSION_TYPE: is('fatal', 'Choose another kafka.compression.'),
  UNSUPPORTED_FOR_MESSAGE_FORMAT: unsupported,
  INVALID_REQUIRED_ACKS: unsupported,
  UNSUPPORTED_VERSION: unsupported,
  INVALID_REQUEST: unsupported,

  OUT_OF_ORDER_SEQUENCE_NUMBER: outOfStep,
  // It is so old that the broker has forgotten its offset.
  DUPLICATE_SEQUENCE_NUMBER: outOfStep,
  INVALID_PRODUCER_EPOCH: outOfStep,
  INVALID_PRODUCER_ID_MAPPING: outOfStep,
  UNKNOWN_PRODUCER_ID: outOfStep,
  PRODUCER_FENCED: outOfStep,
  INVALID_TXN_STATE: outOfStep,
  CONCURRENT_TRANSACTIONS: outOfStep,

  GROUP_LOAD_IN_PROGRESS: coordinating,
  GROUP_COORDINATOR_NOT_AVAILABLE: coordinating,
  NOT_COORDINATOR_FOR_GROUP: coordinating,
  NOT_CONTROLLER: coordinating,
  STALE_CONTROLLER_EPOCH: coordinating,
  STALE_BROKER_EPOCH: coordinating,
  BROKER_NOT_AVAILABLE: coordinating,
  NETWORK_EXCEPTION: is('transient', '', { maybeKept: true }),
  UNKNOWN: is('blocked', "Look into the broker's log.", { maybeKept: true }),
  THROTTLING_QUOTA_EXCEEDED: is('blocked', "The cluster's quota is used up; sending goes on later."),

  SASL_AUTHENTICATION_FAILED: credentials,
  UNSUPPORTED_SASL_MECHANISM: is('fatal', 'Choose another kafka.sasl.mechanism; the brokers do not offer this one.'),
  ILLEGAL_SASL_STATE: is('fatal', 'The listener expects SASL: set kafka.sasl.'),
  SECURITY_DISABLED: unsupported,
  CLUSTER_AUTHORIZATION_FAILED: is(
    'fatal',
    'Allow the user IdempotentWrite (and Create, with kafka.createTopics) on the cluster, or set kafka.acks: leader.',
  ),
  TRANSACTIONAL_ID_AUTHORIZATION_FAILED: credentials,

  // Answers to creating a topic.
  TOPIC_ALREADY_EXISTS: leaderMoved,
  INVALID_PARTITIONS: is('blocked', 'Check kafka.createTopics.partitions.'),
  INVALID_REPLICATION_FACTOR: is('blocked', 'kafka.createTopics.replicationFactor must not exceed the brokers.'),
  INVALID_REPLICA_ASSIGNMENT: is('blocked', 'Check kafka.createTopics.'),
  INVALID_CONFIG: is('blocked', "The brokers' own defaults for new topics are invalid."),
  POLICY_VIOLATION: is('blocked', "The cluster's policy forbids it; create the topic by hand."),
  OPERATION_NOT_ATTEMPTED: coordinating,
  REASSIGNMENT_IN_PROGRESS: leaderMoved,

  // Answers to fetching.
  OFFSET_OUT_OF_RANGE: is('blocked', 'The records were removed before they were read.'),
  FETCH_SESSION_ID_NOT_FOUND: leaderMoved,
  INVALID_FETCH_SESSION_EPOCH: leaderMoved,
  INVALID_FETCH_SIZE: unsupported,
}

/** Errors of groups, transactions, ACLs, tokens: no broker answers our requests with them. */
const strange = is('blocked', "This answer makes no sense; look into the broker's log.", { maybeKept: true })

export function kafkaFailureOf(name: string): KafkaFailure {
  return kafkaFailures[name] ?? strange
}

/** Kafka's name of an error code, also of such as are younger than kafkajs. */
export function kafkaErrorName(code: number): string {
  return names.get(code) ?? `KAFKA_ERROR_${code}`
}

const names = new Map<number, string>([
  ...errorCodes.map(({ code, type }) => [code, type] as const),
  [89, 'THROTTLING_QUOTA_EXCEEDED'],
  [90, 'PRODUCER_FENCED'],
  [100, 'UNKNOWN_TOPIC_ID'],
  [103, 'INCONSISTENT_TOPIC_ID'],
])

/** The error with which a broker answered, about `subject` ("topic orders, partition 3"). */
export function kafkaAnswerError(name: string, subject: string, details?: string | null): BrokerError {
  const { failure, hint } = kafkaFailureOf(name)
  const message = `Kafka refuses ${subject}: ${name}${details ? ` (${details})` : ''}`
  return new BrokerError(failure, name, message, { hint })
}

/** The error with which a broker answered when it was to create a topic. */
export function kafkaCreationError(topic: string, name: string, details: string | null): BrokerError {
  if (name !== 'TOPIC_AUTHORIZATION_FAILED' && name !== 'CLUSTER_AUTHORIZATION_FAILED') {
    return kafkaAnswerError(name, `to create topic ${topic}`, details)
  }
  return new BrokerError('blocked', name, `Kafka refuses to create topic ${topic}: ${name}`, {
    hint: 'Allow the user to create topics (ACL operation Create on the cluster or topic), or create it by hand.',
  })
}

/** The same error, as one that holds up only whoever asked: the rest of the cluster gets on without the answer. */
export function blockingOnly<T>(error: T): T | BrokerError {
  if (!(error instanceof BrokerError) || error.failure !== 'transient') return error
  return new BrokerError('blocked', error.reason, error.message, { cause: error, hint: error.hint })
}

const unreachable = 'Check kafka.brokers, the network, and whether the brokers run.'
const resolving = 'Check the host names in kafka.brokers and in the advertised.listeners of the brokers.'

/** Errors of sockets, by `code`; all others of sockets are about TLS. */
const socketFailures: Readonly<Record<string, string>> = {
  ECONNREFUSED: unreachable,
  ECONNRESET: 'The broker closed the connection; when it always does, it may expect TLS or SASL.',
  CONNECTION_CLOSED: 'The broker closed the connection; when it always does, it may expect TLS or SASL.',
  EPIPE: unreachable,
  ETIMEDOUT: unreachable,
  REQUEST_TIMEOUT: 'The broker did not answer within kafka.requestTimeout; it may be overloaded or hang.',
  EHOSTUNREACH: unreachable,
  EHOSTDOWN: unreachable,
  ENETUNREACH: unreachable,
  ENETDOWN: unreachable,
  ENETRESET: unreachable,
  ECONNABORTED: unreachable,
  EADDRNOTAVAIL: unreachable,
  ENOTFOUND: resolving,
  EAI_AGAIN: resolving,
  EAI_FAIL: resolving,
  EAI_NODATA: resolving,
  EAI_NONAME: resolving,
  EMFILE: 'Allow the process more open files (ulimit -n).',
  ENFILE: 'The machine has no open files left.',
  ENOBUFS: 'The machine is out of memory for sockets.',
  ENOMEM: 'The machine is out of memory.',
}

/** Node's and OpenSSL's codes for TLS that can't be. */
const tlsCode =
  /^(ERR_(SSL|TLS|OSSL)|CERT_|CRL_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|HOSTNAME_MISMATCH|INVALID_(CA|PURPOSE)|PATH_LENGTH|EPROTO$)/

/** Translates whatever kafkajs or a socket of its threw while talking to `address`. What is neither is a bug of ours. */
export function kafkaBrokerError(error: unknown, address: string): unknown {
  if (error instanceof BrokerError || !(error instanceof Error)) return error
  if (error.name === 'KafkaJSSASLAuthenticationError') {
    const reason = /not supported/.test(error.message) ? 'UNSUPPORTED_SASL_MECHANISM' : 'SASL_AUTHENTICATION_FAILED'
    const { failure, hint } = kafkaFailureOf(reason)
    return new BrokerError(failure, reason, `${address} refuses us: ${error.message}`, { cause: error, hint })
  }
  if ('type' in error && typeof error.type === 'string') {
    const { failure, hint } = kafkaFailureOf(error.type)
    return new BrokerError(failure, error.type, `${address}: ${error.message}`, { cause: error, hint })
  }
  const reason = socketReasonOf(error)
  if (reason !== undefined) return socketError(reason, error, address)
  if (error.name === 'KafkaJSServerDoesNotSupportApiKey') {
    const { failure, hint } = unsupported
    return new BrokerError(failure, 'UNSUPPORTED_VERSION', `${address}: ${error.message}`, { cause: error, hint })
  }
  // Only what stands in the answer can be out of range.
  if (error instanceof RangeError) {
    const hint = 'Check that the address in kafka.brokers is that of a Kafka broker, and whether it expects TLS.'
    return new BrokerError('transient', 'MALFORMED_ANSWER', `${address}: ${error.message}`, { cause: error, hint })
  }
  return error
}

function socketReasonOf(error: Error): string | undefined {
  const code = codeOf(error)
  if (code !== undefined && (code in socketFailures || tlsCode.test(code))) return code
  switch (error.name) {
    case 'KafkaJSConnectionClosedError':
      return 'CONNECTION_CLOSED'
    case 'KafkaJSRequestTimeoutError':
      return 'REQUEST_TIMEOUT'
    case 'KafkaJSConnectionError':
      return /timeout/i.test(error.message) ? 'ETIMEDOUT' : 'CONNECTION_CLOSED'
    default:
      return undefined
  }
}

function socketError(reason: string, error: Error, address: string): BrokerError {
  const hint = socketFailures[reason]
  const message = `the broker at ${address} can't be reached: ${messageOf(error)}`
  if (hint !== undefined) return new BrokerError('transient', reason, message, { cause: error, hint })
  return new BrokerError('fatal', reason, message, {
    cause: error,
    hint: "Check kafka.tls (ca, cert, key, serverName), and the broker's certificate.",
  })
}
