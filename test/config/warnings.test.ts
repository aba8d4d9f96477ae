import { expect, test } from 'vitest'
import type { Given } from './load.ts'
import { load } from './load.ts'

const sasl = 'sasl: { mechanism: plain, username: u, password: p }'
const mysql = (url: string, rest: string): string => `ledger: { metadata: mysql }\nmysql: { url: "${url}", ${rest} }`
const cassandra = (points: string, rest: string): string =>
  `ledger: { log: cassandra }\ncassandra: { contactPoints: [${points}], ${rest} }`

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
  [{ yaml: 'mysql: { connectionsMax: 3 }' }, /^mysql is configured, but not used: .*OUTRIGGER_LEDGER_METADATA=mysql/],
  [{ yaml: 'cassandra: { keyspace: k }' }, /^cassandra is configured, but not used: .*OUTRIGGER_LEDGER_LOG=cassandra/],
  [{ yaml: 'ledger: { metadata: mysql }\nmysql: { connectionsMax: 3 }' }],
  [{ yaml: 'ledger: { log: cassandra }\ncassandra: { keyspace: k }' }],
  [{ yaml: 'broker: kafka\nledger: { retention: 1d }' }, /^ledger is configured, but not used: beside Kafka/],
  [{ yaml: 'broker: kafka\nledger: { metadata: none, log: none }' }],
  [{ yaml: 'ledger: { metadata: embedded, log: embedded }' }],
  [
    { yaml: 'broker: kafka\nledger: { metadata: embedded }' },
    /^ledger.metadata is embedded while broker is kafka: a row for every message stays on this machine's disk for 7d/,
  ],
  [
    { yaml: 'broker: kafka\nledger: { metadata: embedded, log: embedded, retention: 2d }' },
    /^ledger.metadata and ledger.log are embedded while broker is kafka: a copy of every message .* for 2d/,
  ],
  [{ yaml: 'ledger: { retention: 59m }' }, /^ledger.retention is 59m: .* is deleted as soon as it is there/],
  [{ yaml: 'ledger: { retention: 1h }' }],
  [
    { yaml: 'journal: { topicShareMax: 80%, whenFull: block }' },
    /^journal.topicShareMax \(80%\) is not more than journal.refuseLowAt \(85%\): .*whenFull \(block\)/,
  ],
  [
    { yaml: 'journal: { topicShareMax: 85% }' },
    /^journal.topicShareMax \(85%\) is not more than .* low priority are\.$/,
  ],
  [{ yaml: 'journal: { topicShareMax: 86%, topicShares: { clicks: 5% } }' }],
  [{ yaml: mysql('mysql://u@db:3306/d', 'password: p') }, /^mysql has a password and no tls: nothing is encrypted/],
  [{ yaml: mysql('mysql://u@db:3306/d', 'passwordFile: f'), files: { f: 'p' } }, /^mysql has a password and no tls/],
  [{ yaml: mysql('mysql://u@db:3306/d', 'password: p, tls: true') }],
  [{ yaml: mysql('mysql://u@db:3306/d', 'connectionsMax: 1') }],
  [{ yaml: mysql('mysql://u@localhost/d', 'password: p') }],
  [{ yaml: mysql('mysql://u@127.0.0.1:3306/d', 'password: p') }],
  [{ yaml: mysql('mysql://u@[::1]:3306/d', 'password: p') }],
  [{ yaml: cassandra('a:9042', 'username: u, password: p') }, /^cassandra has a password and no tls: .* as it is/],
  [{ yaml: cassandra('localhost:9042, a:9042', 'username: u, password: p') }, /^cassandra has a password and no tls/],
  [{ yaml: cassandra('a:9042', 'username: u, password: p, tls: true') }],
  [{ yaml: cassandra('a:9042', 'keyspace: k') }],
  [{ yaml: cassandra('"127.0.0.1:9042", "[::1]:9042"', 'username: u, password: p') }],
  [
    { yaml: cassandra('a:9042', 'requestTimeout: 31s') },
    /^cassandra.requestTimeout \(31s\) is longer than ledger.writeTimeout \(30s\)/,
  ],
])('%j warns as it should', async (given, ...expected) => {
  const { warnings } = await load(given)
  expect(warnings).toEqual(expected.map((pattern) => expect.stringMatching(pattern) as string))
})

test('the section of a broker that is not used is checked all the same', async () => {
  await expect(load({ yaml: 'broker: embedded\nkafka: { acks: none }' })).rejects.toThrow('kafka.acks')
})
