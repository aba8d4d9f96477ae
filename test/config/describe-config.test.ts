import { expect, test } from 'vitest'
import { stringify } from 'yaml'
import { concealSecrets, revealSecrets } from '../../src/base/secret.ts'
import { describeConfig } from '../../src/config/describe-config.ts'
import type { Config } from '../../src/config/schema.ts'
import { load } from './load.ts'
import { selfSigned } from './self-signed.ts'

const { key, cert } = selfSigned()

const yaml = `
publish: { listen: ["[::1]:0", "unix:/run/o.sock"], socketMode: "600", allowedHosts: [Outrigger] }
journal: { bytesMax: 1500MB, segmentBytes: 3000000 }
kafka: { tls: { serverName: k }, createTopics: { partitions: 3, replicationFactor: 2 } }
drain: { deadline: 0 }
forwarder: { retryDelay: 1500ms }
ledger: { metadata: mysql, migrate: false, retention: 36h }
mysql: { url: 'mysql://u@[::1]/d', rowsPerSecondMax: 500 }
cassandra: { contactPoints: ['[::1]:9042'], tls: { serverName: c } }
`

test('a description is in the form in which people write, and means the same when it is read again', async () => {
  const { config } = await load({ yaml })
  const described = describeConfig(config)
  expect(described).toMatchObject({
    publish: { listen: ['[::1]:0', 'unix:/run/o.sock'], socketMode: '0600', bodyBytesMax: '1MiB', headersMax: 64 },
    journal: { bytesMax: '1500MB', segmentBytes: '3MB' },
    forwarder: { retryDelay: '1500ms' },
    drain: { deadline: 0 },
    ledger: { metadata: 'mysql', log: 'embedded', migrate: false, retention: '36h', backlogBytesMax: '750MB' },
    mysql: { url: 'mysql://u@[::1]:3306/d', rowsPerSecondMax: 500 },
  })
  expect(JSON.parse(JSON.stringify(described))).toEqual(described)
  expect((await load({ yaml: stringify(described) })).config).toEqual(config)
})

test('a configuration crosses to another thread whole, its secrets included', async () => {
  const { config } = await load({
    yaml,
    env: {
      OUTRIGGER_KAFKA_SASL_MECHANISM: 'plain',
      OUTRIGGER_KAFKA_SASL_USERNAME: 'u',
      OUTRIGGER_KAFKA_SASL_PASSWORD: 'p',
      OUTRIGGER_MYSQL_PASSWORD: 'm',
      OUTRIGGER_MYSQL_TLS_CERT: cert,
      OUTRIGGER_MYSQL_TLS_KEY: key,
      OUTRIGGER_CASSANDRA_USERNAME: 'u',
      OUTRIGGER_CASSANDRA_PASSWORD: 'c',
    },
  })
  const arrived = concealSecrets<Config>(structuredClone(revealSecrets(config)))
  expect(describeConfig(arrived)).toEqual(describeConfig(config))
  expect(arrived.kafka.sasl?.password.reveal()).toBe('p')
  expect(arrived.mysql.password?.reveal()).toBe('m')
  expect(arrived.mysql.tls?.key?.reveal()).toBe(key)
  expect(arrived.cassandra.password?.reveal()).toBe('c')
})
