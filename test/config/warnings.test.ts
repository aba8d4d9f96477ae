import { expect, test } from 'vitest'
import type { Given } from './load.ts'
import { load } from './load.ts'

const sasl = 'sasl: { mechanism: plain, username: u, password: p }'

test.each<[Given, ...RegExp[]]>([
  [{ env: { OUTRIGGER_KAFKA_BROKERS: 'a:1' } }, /^kafka is configured, but not used: set "broker: kafka"/],
  [{ yaml: 'broker: kafka\nembedded: { partitions: 1 }' }, /^embedded is configured, but not used/],
  [{ yaml: `broker: kafka\nkafka: { ${sasl} }` }, /^kafka.sasl is used without kafka.tls: the password crosses/],
  [
    { yaml: `broker: kafka\nkafka: { ${sasl.replace('plain', 'scram-sha-256')} }` },
    /without kafka.tls: nothing is encrypted/,
  ],
  [{ yaml: `broker: kafka\nkafka: { tls: true, ${sasl} }` }],
  [{ yaml: 'admin: { listen: "0.0.0.0:4111" }' }, /^admin.listen is 0.0.0.0:4111: .* no authentication/],
  [{ yaml: 'admin: { listen: "unix:/a" }' }],
  [{ yaml: 'broker: kafka\npublish: { bodyBytesMax: 2MiB }' }, /^publish.bodyBytesMax is 2MiB: .* dead letters/],
  [{ yaml: 'publish: { bodyBytesMax: 2MiB }' }],
  [
    { yaml: 'broker: kafka\nkafka: { requestTimeout: 1m }' },
    /^kafka.requestTimeout \(1m\) is longer than forwarder.sendTimeout/,
  ],
  [{ yaml: 'broker: kafka' }],
])('%j warns as it should', async (given, ...expected) => {
  const { warnings } = await load(given)
  expect(warnings).toEqual(expected.map((pattern) => expect.stringMatching(pattern) as string))
})

test('the section of a broker that is not used is checked all the same', async () => {
  await expect(load({ yaml: 'broker: embedded\nkafka: { acks: none }' })).rejects.toThrow('kafka.acks')
})
