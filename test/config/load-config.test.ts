import { readdir, readFile } from 'node:fs/promises'
import { describe, expect, it, test } from 'vitest'
import { ConfigError } from '../../src/config/config-error.ts'
import { faultsOf, load } from './load.ts'

test('no configuration at all is a working one, with the defaults of the contract', async () => {
  const { config, sources, warnings, file } = await load({})
  expect(config).toEqual({
    publish: {
      listen: [
        { kind: 'tcp', host: '127.0.0.1', port: 4110 },
        { kind: 'unix', path: './outrigger-data/publish.sock' },
      ],
      socketMode: 0o660,
      allowedHosts: [],
      bodyBytesMax: 1_048_576,
      lineBytesMax: 2_097_152,
      messagesPerRequestMax: 10_000,
      headersMax: 64,
      headerBytesMax: 16_384,
      connectionsMax: 4096,
      headersTimeout: 10_000,
      requestTimeout: 30_000,
      streamIdleTimeout: 300_000,
      keepAliveTimeout: 75_000,
      lowPriorityTopics: [],
      pendingBytesMax: 67_108_864,
    },
    admin: { listen: { kind: 'tcp', host: '127.0.0.1', port: 4111 } },
    journal: {
      directory: './outrigger-data',
      bytesMax: 10_737_418_240,
      segmentBytes: 67_108_864,
      warnAt: 0.7,
      refuseLowAt: 0.85,
      whenFull: 'reject',
      blockDeadline: 5000,
      topicShareMax: 0.9,
      reserveBytes: 33_554_432,
    },
    broker: 'embedded',
    embedded: { partitions: 3, retention: 604_800_000 },
    kafka: {
      brokers: ['localhost:9092'],
      clientId: 'outrigger',
      acks: 'all',
      compression: 'none',
      connectTimeout: 5000,
      requestTimeout: 15_000,
    },
    ledger: {
      metadata: 'embedded',
      log: 'embedded',
      retention: 604_800_000,
      migrate: true,
      whenFull: 'gap',
      backlogBytesMax: 2_147_483_648,
      batchMessagesMax: 1000,
      batchBytesMax: 4_194_304,
      writeTimeout: 30_000,
      retryDelay: 100,
      retryDelayMax: 10_000,
      breakerFailures: 5,
    },
    mysql: { url: 'mysql://outrigger@localhost:3306/outrigger', connectionsMax: 2, connectTimeout: 5000 },
    cassandra: {
      contactPoints: ['localhost:9042'],
      localDataCenter: 'datacenter1',
      keyspace: 'outrigger',
      replicationFactor: 3,
      connectTimeout: 5000,
      requestTimeout: 12_000,
      valueChunkBytes: 262_144,
    },
    forwarder: {
      batchBytesMax: 921_600,
      batchMessagesMax: 5000,
      laneBytesMax: 4_194_304,
      memoryBytesMax: 33_554_432,
      linger: 5,
      sendTimeout: 30_000,
      retryDelay: 100,
      retryDelayMax: 5000,
      breakerFailures: 5,
      breakerDelayMax: 5000,
      receiptInterval: 50,
      checkpointInterval: 1000,
    },
    deadLetters: { bytesMax: 1_073_741_824 },
    encryption: { acceptUnencrypted: false },
    drain: { deadline: 25_000 },
    log: { level: 'info' },
  })
  expect([...sources]).toEqual([])
  expect(warnings).toEqual([])
  expect(file).toBeUndefined()
})

test('the environment beats the file, and the file the defaults, setting by setting', async () => {
  const { config, sources } = await load({
    yaml: 'kafka:\n  brokers: [a:1]\n  clientId: file\nlog: { level: debug }\n',
    env: { OUTRIGGER_KAFKA_BROKERS: 'b:2, c:3', OUTRIGGER_LOG_LEVEL: '' },
  })
  expect(config.kafka).toMatchObject({ brokers: ['b:2', 'c:3'], clientId: 'file', acks: 'all' })
  expect(config.log.level).toBe('debug')
  expect([...sources]).toEqual([
    ['kafka.brokers', 'OUTRIGGER_KAFKA_BROKERS'],
    ['kafka.clientId', 'outrigger.yaml:3'],
    ['log.level', 'outrigger.yaml:4'],
  ])
})

test('OUTRIGGER_CONFIG names the file when nothing else does', async () => {
  const files = { 'other.yaml': 'log: { level: warn }' }
  const named = await load({ env: { OUTRIGGER_CONFIG: 'other.yaml' }, files })
  expect(named).toMatchObject({ file: 'other.yaml', config: { log: { level: 'warn' } } })
  const beaten = await load({ yaml: 'log: { level: error }', env: { OUTRIGGER_CONFIG: 'other.yaml' }, files })
  expect(beaten).toMatchObject({ file: 'outrigger.yaml', config: { log: { level: 'error' } } })
})

describe('the default socket', () => {
  it.each(['/var/lib/o', '/var/lib/o/', './data', 'data'])(
    'lies in journal.directory when that is %s',
    async (directory) => {
      const { config } = await load({ yaml: `journal: { directory: ${directory} }` })
      expect(config.publish.listen).toEqual([
        { kind: 'tcp', host: '127.0.0.1', port: 4110 },
        { kind: 'unix', path: `${directory.replace(/\/$/, '')}/publish.sock` },
      ])
    },
  )

  it('stays out of the way when publish.listen is given', async () => {
    const { config } = await load({ yaml: 'journal: { directory: /d }\npublish: { listen: ["unix:/run/o.sock"] }' })
    expect(config.publish.listen).toEqual([{ kind: 'unix', path: '/run/o.sock' }])
  })
})

test('empty files, sections and variables are as good as none', async () => {
  const { config } = await load({})
  for (const yaml of ['', '# nothing\n', '---\n', 'publish:\nkafka:\n  # brokers: [x:1]\n', '{}']) {
    expect((await load({ yaml, env: { OUTRIGGER_PUBLISH_LISTEN: '', OUTRIGGER_TYPO: '' } })).config).toEqual(config)
  }
})

test('allowed hosts are names in lower case, and addresses', async () => {
  const { config } = await load({ yaml: 'publish: { allowedHosts: [Outrigger.Local, 10.0.0.7, "2001:db8::1"] }' })
  expect(config.publish.allowedHosts).toEqual(['outrigger.local', '10.0.0.7', '2001:db8::1'])
})

test.each([
  ['true', {}],
  ['{}', {}],
  ['{ serverName: k }', { serverName: 'k' }],
  ['false', undefined],
])('the tls of Kafka, MySQL and Cassandra can be %s', async (text, tls) => {
  const yaml = ['kafka', 'mysql', 'cassandra'].map((section) => `${section}: { tls: ${text} }`).join('\n')
  const { kafka, mysql, cassandra } = (await load({ yaml })).config
  expect([kafka.tls, mysql.tls, cassandra.tls]).toEqual([tls, tls, tls])
})

test.each([
  [{ OUTRIGGER_KAFKA_TLS: 'true' }, '{ serverName: k }', { serverName: 'k' }],
  [{ OUTRIGGER_KAFKA_TLS: 'true' }, 'false', {}],
  [{ OUTRIGGER_KAFKA_TLS: 'false' }, '{ serverName: k }', undefined],
  [{ OUTRIGGER_KAFKA_TLS_SERVER_NAME: 'e' }, 'true', { serverName: 'e' }],
  [{ OUTRIGGER_KAFKA_TLS_SERVER_NAME: 'e' }, 'false', { serverName: 'e' }],
  [{ OUTRIGGER_KAFKA_TLS: 'true', OUTRIGGER_KAFKA_TLS_SERVER_NAME: 'e' }, 'false', { serverName: 'e' }],
])('%j over tls: %s in the file', async (env, text, tls) => {
  expect((await load({ yaml: `kafka: { tls: ${text} }`, env })).config.kafka.tls).toEqual(tls)
})

test('an anchor can stand for a value, and what the environment changes in one place stays in the other', async () => {
  const yaml = 'publish: { bodyBytesMax: &most 100KiB, lineBytesMax: *most }'
  const { config } = await load({ yaml, env: { OUTRIGGER_PUBLISH_LINE_BYTES_MAX: '200KiB' } })
  expect(config.publish).toMatchObject({ bodyBytesMax: 102_400, lineBytesMax: 204_800 })
})

test('every fault is reported at once, in the order of the file', async () => {
  const yaml = [
    'publish:',
    '  lisen: ["127.0.0.1:1"]',
    '  bodyBytesMax: huge',
    'kafka:',
    '  brokers: ["a:1", "b"]',
    '  sasl: { mechanism: plan, passwordFile: /nope }',
    'journal: { bytesMax: 1MiB, segmentBytes: 512KiB }',
    'forwarder: { batchBytesMax: 2MiB, laneBytesMax: 1MiB }',
  ].join('\n')
  const error = await load({ yaml, env: { OUTRIGGER_LOG_LEVEL: 'loud', OUTRIGGER_LOGLEVEL: 'x' } }).catch(
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(ConfigError)
  const { faults, code, name } = error as ConfigError
  expect([name, code]).toEqual(['ConfigError', 'config_invalid'])
  expect(faults.map(({ source, path }) => `${source} ${path}`)).toEqual([
    'outrigger.yaml:2 publish.lisen',
    'outrigger.yaml:3 publish.bodyBytesMax',
    'outrigger.yaml:5 kafka.brokers[1]',
    'outrigger.yaml:6 kafka.sasl.mechanism',
    'outrigger.yaml:6 kafka.sasl.username',
    'outrigger.yaml:6 kafka.sasl.passwordFile',
    'outrigger.yaml:7 journal.segmentBytes',
    'outrigger.yaml:8 forwarder.batchBytesMax',
    'OUTRIGGER_LOGLEVEL ',
    'OUTRIGGER_LOG_LEVEL log.level',
  ])
  expect(faults[2]).toEqual({
    path: 'kafka.brokers[1]',
    given: '"b"',
    expected: 'HOST:PORT or [IPV6]:PORT',
    source: 'outrigger.yaml:5',
    hint: 'add the port: b:9092',
  })
  expect((error as ConfigError).message.split('\n')).toHaveLength(1 + faults.length)
})

test('a check between settings is silent when one of them is at fault itself', async () => {
  expect(await faultsOf({ yaml: 'journal: { segmentBytes: 1XB, bytesMax: 1MiB }' })).toHaveLength(1)
  expect(await faultsOf({ yaml: 'publish: { listen: ["x"] }\nadmin: { listen: "127.0.0.1:4110" }' })).toHaveLength(1)
})

test('the examples in deploy/examples and docs/configuration.md are valid, without a warning', async () => {
  const folder = new URL('../../deploy/examples/', import.meta.url)
  const names = (await readdir(folder)).filter((name) => name.endsWith('.yaml'))
  const examples = await Promise.all(names.map((name) => readFile(new URL(name, folder), 'utf8')))
  const document = await readFile(new URL('../../docs/configuration.md', import.meta.url), 'utf8')
  const blocks = [...document.matchAll(/```yaml\n(.*?)```/gs)].map((match) => match[1] as string)
  expect(names.length).toBeGreaterThanOrEqual(3)
  expect(blocks.length).toBeGreaterThanOrEqual(3)
  const { rootCertificates } = await import('node:tls')
  const files = {
    '/etc/outrigger/kafka/ca.crt': rootCertificates[0] as string,
    '/etc/outrigger/kafka/password': 'hunter2\n',
    '/etc/outrigger/mysql/ca.crt': rootCertificates[0] as string,
    '/etc/outrigger/mysql/password': 'hunter2\n',
    '/etc/outrigger/cassandra/ca.crt': rootCertificates[0] as string,
    '/etc/outrigger/cassandra/password': 'hunter2\n',
  }
  for (const yaml of [...examples, ...blocks]) {
    const { warnings } = await load({ yaml, files })
    expect(warnings.filter((warning) => !warning.startsWith('admin.listen is 0.0.0.0'))).toEqual([])
  }
})
