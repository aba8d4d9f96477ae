import type { PeerCertificate } from 'node:tls'
import { describe, expect, test } from 'vitest'
import { Secret } from '../../src/base/secret.ts'
import { hostAndPort, tlsOptionsOf } from '../../src/cassandra/cassandra-tls.ts'

const certificateFor = (subjectaltname: string) => ({ subject: {}, subjectaltname }) as unknown as PeerCertificate
const accepts = (serverName: string | undefined, subjectaltname: string): boolean => {
  const options = tlsOptionsOf({ serverName }, ['one.example.com:9042', '[2001:db8::1]:9042'])
  // The driver connects to an address.
  return options.checkServerIdentity?.('10.0.0.1', certificateFor(subjectaltname)) === undefined
}

describe('TLS to Cassandra', () => {
  test('verifies the chain, whatever else is set', () => {
    expect(tlsOptionsOf({}, [])).toMatchObject({ rejectUnauthorized: true })
    expect(tlsOptionsOf({ ca: 'CA', cert: 'C', key: new Secret('K'), serverName: 's' }, [])).toMatchObject({
      ca: 'CA',
      cert: 'C',
      key: 'K',
      servername: 's',
      rejectUnauthorized: true,
    })
  })

  test.each([
    ['its address', 'IP Address:10.0.0.1', true],
    ["a contact point's name", 'DNS:one.example.com', true],
    ["a contact point's address", 'IP Address:2001:db8:0:0:0:0:0:1', true],
    ['another name', 'DNS:two.example.com', false],
    ['another address', 'IP Address:10.0.0.2', false],
  ])('takes a certificate for %s: %s → %s', (_, names, accepted) => {
    expect(accepts(undefined, names)).toBe(accepted)
  })

  test.each([
    ['DNS:cassandra.internal', true],
    ['DNS:one.example.com', false],
    ['IP Address:10.0.0.1', false],
  ])('takes only certificates for serverName when there is one: %s → %s', (names, accepted) => {
    expect(accepts('cassandra.internal', names)).toBe(accepted)
  })
})

test('contact points are taken apart', () => {
  expect(hostAndPort('a.b:1')).toEqual({ host: 'a.b', port: 1 })
  expect(hostAndPort('[::1]:19042')).toEqual({ host: '::1', port: 19042 })
  expect(hostAndPort('10.0.0.1')).toEqual({ host: '10.0.0.1', port: 9042 })
  expect(() => hostAndPort('::1')).toThrow(RangeError)
})
