import { expect, test } from 'vitest'
import { stringify } from 'yaml'
import { concealSecrets, revealSecrets } from '../../src/base/secret.ts'
import { describeConfig } from '../../src/config/describe-config.ts'
import type { Config } from '../../src/config/schema.ts'
import { load } from './load.ts'

const yaml = `
publish: { listen: ["[::1]:0", "unix:/run/o.sock"], socketMode: "600", allowedHosts: [Outrigger] }
journal: { bytesMax: 1500MB, segmentBytes: 3000000 }
kafka: { tls: { serverName: k }, createTopics: { partitions: 3, replicationFactor: 2 } }
drain: { deadline: 0 }
forwarder: { retryDelay: 1500ms }
`

test('a description is in the form in which people write, and means the same when it is read again', async () => {
  const { config } = await load({ yaml })
  const described = describeConfig(config)
  expect(described).toMatchObject({
    publish: { listen: ['[::1]:0', 'unix:/run/o.sock'], socketMode: '0600', bodyBytesMax: '1MiB', headersMax: 64 },
    journal: { bytesMax: '1500MB', segmentBytes: '3MB' },
    forwarder: { retryDelay: '1500ms' },
    drain: { deadline: 0 },
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
    },
  })
  const arrived = concealSecrets<Config>(structuredClone(revealSecrets(config)))
  expect(describeConfig(arrived)).toEqual(describeConfig(config))
  expect(arrived.kafka.sasl?.password.reveal()).toBe('p')
})
