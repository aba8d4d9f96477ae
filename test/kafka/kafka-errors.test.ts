import { errorCodes } from 'kafkajs/src/protocol/error.js'
import { describe, expect, test } from 'vitest'
import type { BrokerError } from '../../src/forwarder/broker.ts'
import { kafkaAnswerError, kafkaBrokerError, kafkaErrorName, kafkaFailures } from '../../src/kafka/kafka-errors.ts'

/** Errors of requests that are never made here. */
const ofOtherRequests =
  /GROUP|MEMBER|GENERATION|REBALANCE|COMMIT|OFFSET_METADATA|DELEGATION|PRINCIPAL|SESSION_TIMEOUT|TRANSACTION|DELETION|ELECTION|INSTANCE_ID|NO_REASSIGNMENT/

describe("the table of Kafka's errors", () => {
  test('has an answer to every error that kafkajs knows, but those of requests that are never made', () => {
    const unknown = errorCodes.map(({ type }) => type).filter((type) => !(type in kafkaFailures))
    expect(errorCodes.length).toBeGreaterThan(80)
    expect(unknown.filter((type) => !ofOtherRequests.test(type))).toEqual([])
  })

  test('has no error that Kafka does not know', () => {
    const known = new Set([
      ...errorCodes.map(({ type }) => type),
      ...Array.from({ length: 200 }, (_, code) => kafkaErrorName(code)),
    ])
    expect(Object.keys(kafkaFailures).filter((name) => !known.has(name))).toEqual([])
  })

  test.each([
    ['UNKNOWN_TOPIC_OR_PARTITION', 'blocked'],
    ['TOPIC_AUTHORIZATION_FAILED', 'blocked'],
    ['NOT_LEADER_FOR_PARTITION', 'blocked'],
    ['LEADER_NOT_AVAILABLE', 'blocked'],
    ['NOT_ENOUGH_REPLICAS', 'blocked'],
    ['INVALID_TOPIC_EXCEPTION', 'permanent'],
    ['MESSAGE_TOO_LARGE', 'permanent'],
    ['INVALID_RECORD', 'permanent'],
    ['CORRUPT_MESSAGE', 'permanent'],
    ['SASL_AUTHENTICATION_FAILED', 'fatal'],
    ['CLUSTER_AUTHORIZATION_FAILED', 'fatal'],
    ['GROUP_COORDINATOR_NOT_AVAILABLE', 'transient'],
    ['KAFKA_ERROR_4711', 'blocked'],
  ])('%s is %s, and says what to do', (name, failure) => {
    const error = kafkaAnswerError(name, 'a batch')
    expect(error).toMatchObject({ failure, reason: name })
    expect(error.hint).not.toBe('')
  })

  test('lets no topic of its own open the breaker for all: what a produce answer says is never transient', () => {
    const ofTheCluster = /COORDINATOR|CONTROLLER|BROKER|LOAD_IN_PROGRESS|NETWORK|NOT_ATTEMPTED/
    const others = Object.entries(kafkaFailures).filter(
      ([name, { failure }]) => failure === 'transient' && !ofTheCluster.test(name),
    )
    expect(others).toEqual([])
  })
})

describe('errors of connections', () => {
  const connectionError = (code?: string, message = 'Connection error') =>
    Object.assign(new Error(message), { name: 'KafkaJSConnectionError', code })

  test.each(['ECONNREFUSED', 'ECONNRESET', 'ENOTFOUND', 'EAI_AGAIN', 'ETIMEDOUT', 'EHOSTUNREACH', 'EPIPE'])(
    '%s is transient, and says what to do',
    (code) => {
      const error = kafkaBrokerError(connectionError(code), 'kafka:9092') as BrokerError
      expect(error).toMatchObject({ failure: 'transient', reason: code })
      expect(error.message).toContain('kafka:9092')
      expect(error.hint).not.toBe('')
    },
  )

  test.each([
    'DEPTH_ZERO_SELF_SIGNED_CERT',
    'SELF_SIGNED_CERT_IN_CHAIN',
    'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
    'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
    'CERT_HAS_EXPIRED',
    'ERR_TLS_CERT_ALTNAME_INVALID',
    'ERR_SSL_WRONG_VERSION_NUMBER',
    'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED',
    'EPROTO',
  ])('%s is fatal, and points to kafka.tls', (code) => {
    const error = kafkaBrokerError(connectionError(code), 'kafka:9092') as BrokerError
    expect(error).toMatchObject({ failure: 'fatal', reason: code })
    expect(error.hint).toContain('kafka.tls')
  })

  test('kafkajs says what happened by a name or a text where there is no code', () => {
    const reasonOf = (error: unknown) => (kafkaBrokerError(error, 'kafka:9092') as BrokerError).reason
    const named = (name: string, message = 'it') => Object.assign(new Error(message), { name })
    expect(reasonOf(named('KafkaJSConnectionClosedError'))).toBe('CONNECTION_CLOSED')
    expect(reasonOf(named('KafkaJSRequestTimeoutError'))).toBe('REQUEST_TIMEOUT')
    expect(reasonOf(connectionError(undefined, 'Connection timeout'))).toBe('ETIMEDOUT')
    expect(reasonOf(named('KafkaJSSASLAuthenticationError', 'SASL X mechanism is not supported by the server'))).toBe(
      'UNSUPPORTED_SASL_MECHANISM',
    )
  })

  test('a bug of ours is not dressed up as the trouble of a broker', () => {
    const bug = new TypeError('undefined is not a function')
    expect(kafkaBrokerError(bug, 'kafka:9092')).toBe(bug)
  })
})
