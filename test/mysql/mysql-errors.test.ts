import { describe, expect, test } from 'vitest'
import { mysqlFailures, mysqlStoreError } from '../../src/mysql/mysql-errors.ts'
import type { StoreFailure } from '../../src/recorder/store-error.ts'
import { StoreError } from '../../src/recorder/store-error.ts'

const address = 'db.example:3306'
const driverError = (fields: object, message = 'no reason given'): Error => Object.assign(new Error(message), fields)
const translate = (error: unknown): StoreError => mysqlStoreError(error, address).error as StoreError

describe('an error of MySQL', () => {
  const known: Record<StoreFailure, string[]> = {
    transient: [
      'ECONNREFUSED',
      'ECONNRESET',
      'ETIMEDOUT',
      'PROTOCOL_CONNECTION_LOST',
      'ER_LOCK_WAIT_TIMEOUT',
      'ER_LOCK_DEADLOCK',
      'ER_CON_COUNT_ERROR',
      'ER_TOO_MANY_USER_CONNECTIONS',
      'ER_OPTION_PREVENTS_STATEMENT',
      'ER_READ_ONLY_MODE',
      'ER_SERVER_SHUTDOWN',
      'ER_DISK_FULL',
      'ER_RECORD_FILE_FULL',
    ],
    permanent: [
      'ER_DATA_TOO_LONG',
      'ER_WARN_DATA_OUT_OF_RANGE',
      'ER_TRUNCATED_WRONG_VALUE_FOR_FIELD',
      'ER_BAD_NULL_ERROR',
      'ER_NET_PACKET_TOO_LARGE',
    ],
    fatal: [
      'ER_ACCESS_DENIED_ERROR',
      'ER_DBACCESS_DENIED_ERROR',
      'ER_TABLEACCESS_DENIED_ERROR',
      'ER_BAD_DB_ERROR',
      'ER_NO_SUCH_TABLE',
      'ER_SECURE_TRANSPORT_REQUIRED',
      'HANDSHAKE_NO_SSL_SUPPORT',
      'HANDSHAKE_SSL_ERROR',
    ],
  }
  const cases = Object.entries(known).flatMap(([failure, codes]) => codes.map((code) => [code, failure]))

  test.each(cases)('%s is %s', (code, failure) => {
    const cause = driverError({ code, errno: 1, sqlState: 'HY000' })
    expect(translate(cause)).toMatchObject({ failure, reason: code, cause })
    expect(translate(cause).message).toContain(address)
  })

  test('that is fatal always has a hint', () => {
    const silent = Object.entries(mysqlFailures).filter(([, { failure, hint }]) => failure === 'fatal' && hint === '')
    expect(silent).toEqual([])
  })

  test.each([
    ['22001', 'permanent'],
    ['23000', 'permanent'],
    ['28000', 'fatal'],
    ['42000', 'fatal'],
    ['08S01', 'transient'],
    ['40001', 'transient'],
    ['HY000', 'transient'],
  ])('that is not in the table is told by its state: %s is %s', (sqlState, failure) => {
    expect(translate(driverError({ code: 'ER_NEVER_HEARD_OF', errno: 9999, sqlState }))).toMatchObject({
      failure,
      reason: 'ER_NEVER_HEARD_OF',
    })
  })

  test('that has a number alone, as MariaDB has some, is named by it', () => {
    expect(translate(driverError({ code: undefined, errno: 1927, sqlState: '70100' }))).toMatchObject({
      failure: 'transient',
      reason: 'ER_1927',
    })
  })

  test('carries no statement and no certificate into the logs', () => {
    const { cause } = translate(driverError({ code: 'ER_LOCK_DEADLOCK', errno: 1213, sql: 'INSERT …', cert: {} }))
    expect(cause).not.toHaveProperty('sql')
    expect(cause).not.toHaveProperty('cert')
  })

  test('amid a TLS handshake that was merely cut short is transient', () => {
    const cut = 'Client network socket disconnected before secure TLS connection was established'
    expect(translate(driverError({ code: 'HANDSHAKE_SSL_ERROR', fatal: true }, cut)).failure).toBe('transient')
    expect(translate(driverError({ code: 'HANDSHAKE_SSL_ERROR', syscall: 'read' })).failure).toBe('transient')
  })

  test('that leaves the connection of no use says so', () => {
    const hangUp = (fields: object): boolean => mysqlStoreError(driverError(fields), address).hangUp
    expect(hangUp({ code: 'ER_DATA_TOO_LONG', errno: 1406 })).toBe(false)
    expect(hangUp({ code: 'ER_LOCK_DEADLOCK', errno: 1213 })).toBe(false)
    // Else it would stay with a server that is no longer the primary.
    expect(hangUp({ code: 'ER_OPTION_PREVENTS_STATEMENT', errno: 1290 })).toBe(true)
    expect(hangUp({ code: 'ER_SERVER_SHUTDOWN', errno: 1053 })).toBe(true)
    expect(hangUp({ code: 'ER_PARSE_ERROR', errno: 1064, fatal: true })).toBe(true)
  })

  test('that is none, but a bug of ours, stays as it is', () => {
    const bug = new TypeError('x is not a function')
    expect(translate(bug)).toBe(bug)
    const done = new StoreError('fatal', 'X', 'x')
    expect(translate(done)).toBe(done)
  })
})
