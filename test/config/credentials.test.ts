import { describe, expect, it, test } from 'vitest'
import { rootCertificates } from 'node:tls'
import { describeConfig } from '../../src/config/describe-config.ts'
import { loadConfig } from '../../src/config/load-config.ts'
import type { ConfigError } from '../../src/config/config-error.ts'
import { faultsOf, load } from './load.ts'
import { selfSigned } from './self-signed.ts'

const { key, cert, encryptedKey } = selfSigned()
const other = selfSigned()
const files = {
  'ca.pem': `${rootCertificates[0]}\n${rootCertificates[1]}\n`,
  'cert.pem': `${cert}${rootCertificates[0]}`,
  'key.pem': key,
  'encrypted.pem': encryptedKey,
  'other.pem': other.key,
  'broken.pem': cert.replace(/\n.{10}/, '\nAAAAAAAAAA'),
  'text.pem': 'hello',
  'empty.pem': '\n',
  password: 'hunter2\n',
  'windows-password': ' hunter 2\r\n',
}

test('a password file gives the password without the line breaks at its end', async () => {
  const sasl = (file: string): string => `kafka: { sasl: { mechanism: plain, username: u, passwordFile: ${file} } }`
  expect((await load({ yaml: sasl('password'), files })).config.kafka.sasl?.password.reveal()).toBe('hunter2')
  expect((await load({ yaml: sasl('windows-password'), files })).config.kafka.sasl?.password.reveal()).toBe(' hunter 2')
})

test('the texts of certificates and keys come from files, or stand in the configuration', async () => {
  const fromFiles = await load({
    yaml: 'kafka: { tls: { caFile: ca.pem, certFile: cert.pem, keyFile: key.pem } }',
    files,
  })
  expect(fromFiles.config.kafka.tls).toMatchObject({ ca: files['ca.pem'], cert: files['cert.pem'] })
  expect(fromFiles.config.kafka.tls?.key?.reveal()).toBe(key)
  const env = { OUTRIGGER_KAFKA_TLS_CA: files['ca.pem'], OUTRIGGER_KAFKA_TLS_CERT: cert, OUTRIGGER_KAFKA_TLS_KEY: key }
  const fromVariables = await load({ env })
  expect(fromVariables.config.kafka.tls).toMatchObject({ ca: files['ca.pem'], cert })
  expect(fromVariables.config.kafka.tls?.key?.reveal()).toBe(key)
})

const pemCertificate = '("-----BEGIN CERTIFICATE-----")'

test.each<[string, ...string[]]>([
  ['caFile: nope.pem', 'caFile: expected a readable file, given "nope.pem" (there is no such file)'],
  ['caFile: empty.pem', 'caFile: expected a file with content, given "empty.pem" (it is empty)'],
  ['caFile: text.pem', `caFile: expected certificates in PEM ${pemCertificate}, given "text.pem"`],
  ['caFile: broken.pem', `caFile: expected certificates in PEM ${pemCertificate}, given "broken.pem"`],
  ['ca: hello', `ca: expected certificates in PEM ${pemCertificate}`],
  ['ca: hello, caFile: ca.pem', 'ca: expected either ca or caFile, not both, given "hello"'],
  [
    'certFile: text.pem, keyFile: key.pem',
    `certFile: expected a certificate in PEM ${pemCertificate}, given "text.pem"`,
  ],
  ['certFile: cert.pem', 'key: expected the private key of cert'],
  ['keyFile: key.pem', 'cert: expected the certificate of key'],
  ['certFile: cert.pem, keyFile: text.pem', 'keyFile: expected a private key in PEM, not encrypted, given "text.pem"'],
  ['certFile: cert.pem, key: hello', 'key: expected a private key in PEM, not encrypted'],
  [
    'certFile: cert.pem, keyFile: encrypted.pem',
    'keyFile: expected a private key in PEM, not encrypted, given "encrypted.pem" (it is encrypted)',
  ],
  [
    'certFile: cert.pem, keyFile: other.pem',
    'keyFile: expected the private key of the certificate, given "other.pem" (it belongs to another one)',
  ],
])('TLS with %s is refused', async (tls, ...lines) => {
  const faults = await faultsOf({ yaml: `kafka: { tls: { ${tls} } }`, files })
  expect(faults).toEqual(lines.map((line) => `outrigger.yaml:1: kafka.tls.${line}`))
})

test.each(['mysql', 'cassandra'] as const)('the TLS of %s is read and checked as that of Kafka', async (section) => {
  const yaml = (tls: string): string => `${section}: { tls: { ${tls} } }`
  const { tls } = (await load({ yaml: yaml('caFile: ca.pem, certFile: cert.pem, keyFile: key.pem'), files })).config[
    section
  ]
  expect(tls).toMatchObject({ ca: files['ca.pem'], cert: files['cert.pem'] })
  expect(tls?.key?.reveal()).toBe(key)
  const lines = {
    'caFile: text.pem': `caFile: expected certificates in PEM ${pemCertificate}, given "text.pem"`,
    'caFile: nope.pem': 'caFile: expected a readable file, given "nope.pem" (there is no such file)',
    'ca: hello, caFile: ca.pem': 'ca: expected either ca or caFile, not both, given "hello"',
    'certFile: cert.pem': 'key: expected the private key of cert',
    'keyFile: key.pem': 'cert: expected the certificate of key',
    'certFile: cert.pem, keyFile: other.pem':
      'keyFile: expected the private key of the certificate, given "other.pem" (it belongs to another one)',
  }
  for (const [wrong, line] of Object.entries(lines)) {
    expect(await faultsOf({ yaml: yaml(wrong), files })).toEqual([`outrigger.yaml:1: ${section}.tls.${line}`])
  }
})

describe.each([
  ['mysql', ''],
  ['cassandra', 'username: u, '],
] as const)('the password file of %s', (section, user) => {
  const yaml = (file: string): string => `${section}: { ${user}passwordFile: ${file} }`

  it('is kept as a path, for its content may change', async () => {
    const { config } = await load({ yaml: yaml('password'), files })
    expect(config[section]).toMatchObject({ passwordFile: 'password' })
    expect(config[section].password).toBeUndefined()
    expect(describeConfig(config)[section]).toMatchObject({ passwordFile: 'password' })
  })

  it('must be there and have content', async () => {
    expect(await faultsOf({ yaml: yaml('nope'), files })).toEqual([
      `outrigger.yaml:1: ${section}.passwordFile: expected a readable file, given "nope" (there is no such file)`,
    ])
    expect(await faultsOf({ yaml: yaml('empty.pem'), files })).toEqual([
      `outrigger.yaml:1: ${section}.passwordFile: expected a file with content, given "empty.pem" (it is empty)`,
    ])
  })
})

test('the passwords of MySQL and Cassandra can stand in the configuration', async () => {
  const env = { OUTRIGGER_MYSQL_PASSWORD: 'm', OUTRIGGER_CASSANDRA_PASSWORD: 'c', OUTRIGGER_CASSANDRA_USERNAME: 'u' }
  const { mysql, cassandra } = (await load({ env })).config
  expect([mysql.password?.reveal(), cassandra.password?.reveal()]).toEqual(['m', 'c'])
})

test.each([
  ['EACCES', 'it may not be read'],
  ['EISDIR', 'it is a folder'],
  ['EIO', 'it could not be read: EIO'],
  [undefined, 'it could not be read'],
])('a file that fails with %s is a fault: %s', async (code, hint) => {
  const env = { OUTRIGGER_KAFKA_TLS_CA_FILE: '/ca' }
  const readFile = (): Promise<string> => Promise.reject(Object.assign(new Error('no'), { code }))
  const error = await loadConfig({ env, readFile }).catch((reason: unknown) => reason)
  expect((error as ConfigError).faults).toEqual([
    {
      path: 'kafka.tls.caFile',
      given: '"/ca"',
      expected: 'a readable file',
      hint,
      source: 'OUTRIGGER_KAFKA_TLS_CA_FILE',
    },
  ])
})

test('a description shows the names of files, and neither secrets nor what the files hold', async () => {
  const yaml =
    'kafka: { tls: { caFile: ca.pem, certFile: cert.pem, keyFile: key.pem }, sasl: { mechanism: plain, username: u, password: hunter2 } }'
  const described = describeConfig((await load({ yaml, files })).config)
  expect(described['kafka']).toMatchObject({
    tls: { caFile: 'ca.pem', certFile: 'cert.pem', keyFile: 'key.pem' },
    sasl: { mechanism: 'plain', username: 'u', password: '[secret]' },
  })
  expect(JSON.stringify(described)).not.toMatch(/hunter2|BEGIN/)
  const stores =
    'mysql: { password: hunter2, tls: { caFile: ca.pem } }\ncassandra: { username: u, password: hunter2, tls: { certFile: cert.pem, keyFile: key.pem } }'
  const ledger = describeConfig((await load({ yaml: stores, files })).config)
  expect(ledger['mysql']).toMatchObject({ password: '[secret]', tls: { caFile: 'ca.pem' } })
  expect(ledger['cassandra']).toMatchObject({ password: '[secret]', tls: { keyFile: 'key.pem' } })
  expect(JSON.stringify(ledger)).not.toMatch(/hunter2|BEGIN/)
})
