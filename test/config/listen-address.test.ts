import * as fc from 'fast-check'
import { describe, expect, it, test } from 'vitest'
import type { ListenAddress } from '../../src/base/listen-address.ts'
import {
  formatListenAddress,
  isLocal,
  readBrokerAddress,
  readListenAddress,
  readLocalListenAddress,
} from '../../src/config/listen-address.ts'

describe('the address of a listener', () => {
  it.each<[string, ListenAddress]>([
    ['127.0.0.1:4110', { kind: 'tcp', host: '127.0.0.1', port: 4110 }],
    ['localhost:0', { kind: 'tcp', host: 'localhost', port: 0 }],
    ['0.0.0.0:65535', { kind: 'tcp', host: '0.0.0.0', port: 65535 }],
    ['[::1]:4110', { kind: 'tcp', host: '::1', port: 4110 }],
    ['host-1.example.com:80', { kind: 'tcp', host: 'host-1.example.com', port: 80 }],
    ['unix:/run/x.sock', { kind: 'unix', path: '/run/x.sock' }],
    ['unix:./x.sock', { kind: 'unix', path: './x.sock' }],
    ['unix:///run/x.sock', { kind: 'unix', path: '/run/x.sock' }],
    [`unix:/${'x'.repeat(106)}`, { kind: 'unix', path: `/${'x'.repeat(106)}` }],
  ])('is read from %s, and written the same way', (text, address) => {
    expect(readListenAddress(text)).toEqual({ ok: true, value: address })
    expect(readListenAddress(formatListenAddress(address))).toEqual({ ok: true, value: address })
  })

  it.each(['[0:0:0:0:0:0:0:1]:1', '[0000::0001]:1', '[::0:1]:1'])('%s is the same as [::1]:1', (text) => {
    expect(readListenAddress(text)).toEqual({ ok: true, value: { kind: 'tcp', host: '::1', port: 1 } })
  })

  it.each<[unknown, RegExp]>([
    [4110, /add the host: "127.0.0.1:4110"/],
    ['4110', /add the host: "127.0.0.1:4110"/],
    [':4110', /add the host: "127.0.0.1:4110"/],
    ['localhost', /add the port: "localhost:4110"/],
    ['::1', /in brackets/],
    ['*:4110', /"0.0.0.0:4110"/],
    ['/run/x.sock', /"unix:\/run\/x.sock"/],
    ['http://127.0.0.1:4110/', /leave the scheme out: "127.0.0.1:4110"/],
    ['127.0.0.1:65536', /at most 65535/],
    [`unix:/${'x'.repeat(107)}`, /at most 107 bytes, and this one 108/],
    [`unix:/${'ü'.repeat(60)}`, /at most 107 bytes, and this one 121/],
  ])('%j is refused with a hint', (input, hint) => {
    const reading = readListenAddress(input)
    expect(reading.ok ? undefined : reading.hint).toMatch(hint)
  })

  it.each([
    '',
    'unix:',
    'unix:/run/',
    'unix:/a\0b',
    '300.1.1.1:80',
    '127.1:80',
    '[127.0.0.1]:80',
    '-x:80',
    'a b:80',
    '127.0.0.1:-1',
    '127.0.0.1:99999999',
    null,
    ['127.0.0.1:1'],
  ])('%j is refused', (input) => {
    expect(readListenAddress(input)).toMatchObject({ ok: false })
  })

  it.each(['127.0.0.1:1', '127.8.9.10:1', 'localhost:1', 'LOCALHOST:1', '[::1]:1', '[0:0:0:0:0:0:0:1]:1', 'unix:x'])(
    '%s is local',
    (text) => {
      expect(readLocalListenAddress(text)).toMatchObject({ ok: true })
    },
  )

  it.each([
    '0.0.0.0:1',
    '[::]:1',
    '10.0.0.1:1',
    '128.0.0.1:1',
    'example.com:1',
    '127.0.0.1.example.com:1',
    'localhost.example.com:1',
    '[::2]:1',
    '[::1:1]:1',
    '[1::1]:1',
    '[::ffff:10.0.0.1]:1',
  ])('%s is not local', (text) => {
    const reading = readListenAddress(text)
    expect(reading.ok && isLocal(reading.value)).toBe(false)
    expect(reading.ok).toBe(true)
    expect(readLocalListenAddress(text)).toMatchObject({ ok: false, hint: expect.stringContaining('TLS') as string })
  })

  test('is read back as it was written', () => {
    const host = fc.oneof(fc.ipV4(), fc.ipV6(), fc.constant('localhost'))
    const address = fc.oneof(
      fc.record({ kind: fc.constant('tcp' as const), host, port: fc.integer({ min: 0, max: 65535 }) }),
      fc.record({ kind: fc.constant('unix' as const), path: fc.stringMatching(/^\/?[a-z0-9:._-]{1,30}$/) }),
    )
    fc.assert(
      fc.property(address, (value) => {
        expect(readListenAddress(formatListenAddress(value))).toEqual({ ok: true, value })
      }),
    )
  })
})

describe('the address of a broker', () => {
  it.each(['localhost:9092', 'kafka-1.example.com:9093', '10.0.0.1:1', '[2001:db8::1]:9092', 'kafka_1:9092'])(
    'can be %s',
    (text) => {
      expect(readBrokerAddress(text)).toEqual({ ok: true, value: text })
    },
  )

  it.each<[unknown, RegExp]>([
    ['kafka-1', /add the port: kafka-1:9092/],
    ['::1', /brackets/],
    ['a:9092,b:9092', /one list item a broker/],
    ['sasl_ssl://a:9092', /leave the scheme out/],
    ['a:0', /1 to 65535/],
    ['a:65536', /1 to 65535/],
  ])('%j is refused with a hint', (input, hint) => {
    const reading = readBrokerAddress(input)
    expect(reading.ok ? undefined : reading.hint).toMatch(hint)
  })

  it.each(['', ':9092', 'a:b', '999.1.1.1:9092', '[zz]:9092', 'user:pass@host:9092', 9092, null])(
    '%j is refused',
    (input) => {
      expect(readBrokerAddress(input)).toMatchObject({ ok: false })
    },
  )
})
