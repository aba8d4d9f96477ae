import { errors, types } from 'cassandra-driver'
import { createRequire } from 'node:module'
import { describe, expect, test } from 'vitest'
import { cassandraFailures, cassandraStoreError } from '../../src/cassandra/cassandra-errors.ts'
import { StoreError } from '../../src/recorder/store-error.ts'

/** What the driver puts values into requests with; it is not among what it exports. */
interface DriverEncoder {
  encode(value: unknown, type: { readonly code: number; readonly info: unknown }): Buffer
}
const Encoder = createRequire(import.meta.url)('cassandra-driver/lib/encoder.js') as new (
  protocolVersion: number,
  options: object,
) => DriverEncoder

const translate = (error: unknown, refusal?: unknown): StoreError => {
  const translated = cassandraStoreError(error, 'writing', refusal)
  if (!(translated instanceof StoreError)) throw new Error('expected a StoreError', { cause: translated })
  return translated
}
const answer = (code: number, message = 'text'): StoreError => translate(new errors.ResponseError(code, message))
const noHost = (innerErrors: object, refusal?: unknown): StoreError =>
  translate(new errors.NoHostAvailableError(innerErrors), refusal)
const withCode = (code: string): Error => Object.assign(new Error(`it says ${code}`), { code })

describe('the errors of Cassandra', () => {
  test('are all known, as far as the driver knows them', () => {
    const known = Object.entries(types.responseErrorCodes).filter(([name]) => Number.isNaN(Number(name)))
    expect(known.length).toBeGreaterThan(15)
    expect(known.filter(([, code]) => !(Number(code) in cassandraFailures))).toEqual([])
  })

  test.each([
    [0x1000, 'transient', 'UNAVAILABLE'],
    [0x1001, 'transient', 'OVERLOADED'],
    [0x1002, 'transient', 'IS_BOOTSTRAPPING'],
    [0x1100, 'transient', 'WRITE_TIMEOUT'],
    [0x1200, 'transient', 'READ_TIMEOUT'],
    [0x1500, 'transient', 'WRITE_FAILURE'],
    [0x2100, 'fatal', 'UNAUTHORIZED'],
    [0x2200, 'permanent', 'INVALID'],
    [0x2300, 'fatal', 'CONFIG_ERROR'],
    [0x2500, 'fatal', 'UNPREPARED'],
    [0x9999, 'transient', 'CASSANDRA_ERROR_39321'],
  ])('with code %i are %s', (code, failure, reason) => {
    expect(answer(code)).toMatchObject({ failure, reason, cause: expect.any(errors.ResponseError) })
  })

  test.each([
    ["Keyspace 'outrigger' does not exist", 0x2200, 'fatal', 'SCHEMA_MISSING'],
    ['table message_log does not exist', 0x2200, 'fatal', 'SCHEMA_MISSING'],
    ['unconfigured table message_log', 0x2200, 'fatal', 'SCHEMA_MISSING'],
    ['Undefined column name chunks in table', 0x2200, 'fatal', 'SCHEMA_DIFFERS'],
    ['Batch too large', 0x2200, 'permanent', 'TOO_LARGE'],
    ['Mutation of 3MiB is too large for the maximum size of 2MiB', 0x0000, 'permanent', 'TOO_LARGE'],
    ['Write request failed because disk usage exceeds failure threshold', 0x2200, 'transient', 'DISK_FULL'],
    ['Unable to perform authentication: Cannot achieve consistency level', 0x0100, 'transient', 'AUTHENTICATION_UNAVAILABLE'], // prettier-ignore
  ])('that say "%s" are told by their text', (message, code, failure, reason) => {
    expect(answer(code, message)).toMatchObject({ failure, reason })
  })

  test('that an operator must see have a hint', () => {
    const silent = Object.entries(cassandraFailures).filter(
      ([, { failure, hint }]) => failure !== 'permanent' && hint === '',
    )
    expect(silent).toEqual([])
  })

  test('name what was being done', () => {
    expect(answer(0x1000, 'too few').message).toBe('writing: too few')
  })
})

describe("the driver's errors", () => {
  test.each([
    [new errors.OperationTimedOutError('slow'), 'transient', 'OPERATION_TIMED_OUT'],
    [new errors.BusyConnectionError('a', 1, 1), 'transient', 'BUSY_CONNECTION'],
    [new errors.ArgumentError('Datacenter x was not found. Available DCs are: [y]'), 'fatal', 'NO_SUCH_DATA_CENTER'],
    [new errors.AuthenticationError('Provided username a and/or password are incorrect'), 'fatal', 'BAD_CREDENTIALS'],
    [new errors.ResponseError(0x8000, 'Not a valid blob'), 'permanent', 'CLIENT_WRITE_FAILURE'],
    [new TypeError('Not a valid blob'), 'permanent', 'UNWRITABLE_VALUE'],
    [new TypeError("Cannot read properties of undefined (reading 'isUp')"), 'transient', 'DRIVER_FAULT'],
    [new RangeError('Maximum call stack size exceeded'), 'transient', 'DRIVER_FAULT'],
    [new RangeError('The value of "offset" is out of range. It must be >= 0 and <= 4.'), 'transient', 'DRIVER_FAULT'],
    [withCode('ECONNRESET'), 'transient', 'ECONNRESET'],
    [withCode('ENOTFOUND'), 'transient', 'ENOTFOUND'],
    [withCode('CERT_HAS_EXPIRED'), 'fatal', 'CERT_HAS_EXPIRED'],
    [withCode('ERR_TLS_CERT_ALTNAME_INVALID'), 'fatal', 'ERR_TLS_CERT_ALTNAME_INVALID'],
    [withCode('ERR_SSL_WRONG_VERSION_NUMBER'), 'fatal', 'ERR_SSL_WRONG_VERSION_NUMBER'],
  ])('%s is %s', (error, failure, reason) => {
    expect(translate(error)).toMatchObject({ failure, reason })
  })

  test.each([
    ['text', types.dataTypes.text, 5],
    ['int', types.dataTypes.int, 2 ** 31],
    ['int', types.dataTypes.int, 'x'],
    ['int', types.dataTypes.int, {}],
    ['tinyint', types.dataTypes.tinyint, 1000],
    ['tinyint', types.dataTypes.tinyint, 'x'],
    ['bigint', types.dataTypes.bigint, {}],
    ['blob', types.dataTypes.blob, 5],
    ['timestamp', types.dataTypes.timestamp, 'yesterday'],
    ['timestamp', types.dataTypes.timestamp, {}],
    ['list', types.dataTypes.list, ['a', null]],
    ['list', types.dataTypes.list, 'a'],
  ])('a value that its encoder does not take for %s (%#) is permanent', (_, code, value) => {
    let thrown: unknown
    try {
      new Encoder(4, {}).encode(value, { code, info: { code: types.dataTypes.text, info: null } })
    } catch (error) {
      thrown = error
    }
    expect(translate(thrown)).toMatchObject({ failure: 'permanent', reason: 'UNWRITABLE_VALUE' })
  })

  test('a closed socket tells what closed it', () => {
    const closed = Object.assign(new Error('Socket was closed'), { isSocketError: true })
    expect(translate(closed)).toMatchObject({ failure: 'transient', reason: 'CONNECTION_CLOSED' })
    expect(translate(Object.assign(closed, { innerError: withCode('EPIPE') }))).toMatchObject({ reason: 'EPIPE' })
  })

  test('errors of nobody we know are bugs, and pass', () => {
    const bug = new Error('a bug')
    expect(cassandraStoreError(bug, 'writing')).toBe(bug)
    const known = new StoreError('transient', 'CLOSED', 'closed')
    expect(cassandraStoreError(known, 'writing')).toBe(known)
  })
})

describe('when no node can be asked', () => {
  test('that is transient while they are away', () => {
    const failure = noHost({ '10.0.0.1:9042': 'Host considered as DOWN', '10.0.0.2:9042': withCode('ECONNREFUSED') })
    expect(failure).toMatchObject({ failure: 'transient', reason: 'ECONNREFUSED' })
    expect(failure.message).toContain('10.0.0.2:9042')
    expect(noHost({ '10.0.0.1:9042': 'Host considered as DOWN' })).toMatchObject({ reason: 'NO_HOST_AVAILABLE' })
    expect(noHost({})).toMatchObject({ failure: 'transient', reason: 'NO_HOST_AVAILABLE' })
  })

  test('a statement that they have forgotten, and do not take again, has the schema looked at', () => {
    const forgotten = new errors.ResponseError(0x2500, 'Prepared query with ID 1 not found')
    const failure = noHost({ '10.0.0.1:9042': forgotten, '10.0.0.2:9042': 'Host considered as DOWN' })
    expect(failure).toMatchObject({ failure: 'fatal', reason: 'UNPREPARED', hint: expect.stringContaining('migrate') })
  })

  test('a refusal by one of them counts for more than that others are away', () => {
    const innerErrors = { a: withCode('ECONNREFUSED'), b: new errors.AuthenticationError('incorrect'), c: 'DOWN' }
    expect(noHost(innerErrors)).toMatchObject({ failure: 'fatal', reason: 'BAD_CREDENTIALS' })
    expect(noHost({ a: 'DOWN', b: withCode('SELF_SIGNED_CERT_IN_CHAIN') })).toMatchObject({ failure: 'fatal' })
    expect(noHost({ a: new StoreError('fatal', 'PASSWORD_UNREADABLE', 'no file') })).toMatchObject({
      failure: 'fatal',
      reason: 'PASSWORD_UNREADABLE',
    })
  })

  test('and the driver only says that they are down, the last refused connection says why', () => {
    const refusal = new errors.AuthenticationError('incorrect')
    expect(noHost({ a: 'Host considered as DOWN' }, refusal)).toMatchObject({ failure: 'fatal' })
    expect(noHost({ a: withCode('ECONNREFUSED') }, refusal)).toMatchObject({ failure: 'transient' })
  })
})
