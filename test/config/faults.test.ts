import { inspect } from 'node:util'
import { describe, expect, it, test } from 'vitest'
import { ConfigError } from '../../src/config/config-error.ts'
import type { Given } from './load.ts'
import { faultsOf, load } from './load.ts'

/** What is given, and the lines that must come out, in full. */
const cases: Record<string, [Given, ...string[]]> = {
  'a file that is not there': [
    { env: { OUTRIGGER_CONFIG: 'nope.yaml' } },
    'OUTRIGGER_CONFIG: expected a configuration file that can be read, given "nope.yaml" (there is no such file)',
  ],
  'a file that is a list': [{ yaml: '- a' }, 'outrigger.yaml:1: expected settings as "key: value", given a list'],
  'a file that is a text': [{ yaml: 'hello' }, 'outrigger.yaml:1: expected settings as "key: value", given a string'],
  'an unclosed quote': [
    { yaml: 'log:\n  level: "info\n' },
    'outrigger.yaml:3:1: expected a closing quote, bracket, comma or colon before this point',
  ],
  'a tab': [{ yaml: 'log:\n\tlevel: info' }, 'outrigger.yaml:2:1: expected spaces for indentation, not tabs'],
  'a key that stands twice': [
    { yaml: 'log: { level: info }\nbroker: kafka\nlog: { level: warn }' },
    'outrigger.yaml:3:1: expected each key only once',
  ],
  'two documents': [{ yaml: 'broker: kafka\n---\nbroker: kafka\n' }, 'outrigger.yaml:2:1: expected one YAML document'],
  'a tag': [
    { yaml: 'broker: !env X' },
    'outrigger.yaml:1:9: expected a value without a tag, and quotes around a value that starts with "!"',
  ],
  'an alias of nothing': [
    { yaml: 'broker: *x' },
    'outrigger.yaml:1:9: expected an anchor (&name) whose value ends before the alias (*name)',
  ],
  'a file with a syntax error, and a wrong variable': [
    { yaml: 'broker: "', env: { OUTRIGGER_LOG_LEVEL: 'loud', OUTRIGGER_KAFKA_SASL_USERNAME: 'u' } },
    'outrigger.yaml:1:10: expected a closing quote, bracket, comma or colon before this point',
    'OUTRIGGER_LOG_LEVEL: log.level: expected one of trace, debug, info, warn, error, given "loud"',
  ],
  'an unknown key': [
    { yaml: 'publish:\n  lisen: [x]' },
    'outrigger.yaml:2: publish.lisen: expected a known key (did you mean publish.listen?)',
  ],
  'an unknown key without a likeness': [
    { yaml: 'drain: { xyzzy: 1 }' },
    'outrigger.yaml:1: drain.xyzzy: expected a known key (known here: deadline)',
  ],
  'a key in the wrong section': [
    { yaml: 'kafka: { bodyBytesMax: 1 }' },
    'outrigger.yaml:1: kafka.bodyBytesMax: expected a known key (did you mean publish.bodyBytesMax?)',
  ],
  'a key that many sections have': [
    { yaml: 'requestTimeout: 1s' },
    'outrigger.yaml:1: requestTimeout: expected a known key (did you mean publish.requestTimeout, kafka.requestTimeout or cassandra.requestTimeout?)',
  ],
  'a path as a key': [
    { yaml: 'kafka.brokers: [a:1]' },
    'outrigger.yaml:1: kafka.brokers: expected a known key (did you mean kafka: { brokers: … }?)',
  ],
  'a key that would change a prototype': [
    { yaml: '__proto__: { broker: kafka }\nkafka: { __proto__: { acks: leader }, constructor: 1 }' },
    'outrigger.yaml:1: __proto__: expected a known key (known here: publish, admin, journal, broker, embedded, kafka, ledger, mysql, cassandra, forwarder, deadLetters, encryption, drain, log)',
    'outrigger.yaml:2: kafka.__proto__: expected a known key (known here: brokers, clientId, tls, sasl, acks, compression, connectTimeout, requestTimeout, createTopics)',
    'outrigger.yaml:2: kafka.constructor: expected a known key (known here: brokers, clientId, tls, sasl, acks, compression, connectTimeout, requestTimeout, createTopics)',
  ],
  'a section that is a text': [{ yaml: 'log: loud' }, 'outrigger.yaml:1: log: expected a mapping, given "loud"'],
  'a section that is a list': [{ yaml: 'log: [a]' }, 'outrigger.yaml:1: log: expected a mapping, given a list'],
  'an optional section that is empty': [
    { yaml: 'kafka:\n  sasl:\n  tls:\n' },
    'outrigger.yaml:2: kafka.sasl: expected a mapping, given nothing (take the key out, or give it a value)',
    'outrigger.yaml:3: kafka.tls: expected true, false or a mapping, given nothing (take the key out, or give it a value)',
  ],
  'a YAML 1.1 truth': [
    { yaml: 'kafka: { tls: yes }' },
    'outrigger.yaml:1: kafka.tls: expected true, false or a mapping, given a text',
  ],
  'a setting that is empty': [
    { yaml: 'broker:' },
    'outrigger.yaml:1: broker: expected one of embedded, kafka, given nothing (take the key out to get the default)',
  ],
  'a text for a list': [
    { yaml: 'kafka: { brokers: "a:1" }' },
    'outrigger.yaml:1: kafka.brokers: expected a list of 1 to 100 brokers, given "a:1" (write it as a list, in brackets)',
  ],
  'a list for a text': [
    { yaml: 'broker: [kafka]' },
    'outrigger.yaml:1: broker: expected one of embedded, kafka, given a list',
  ],
  'a mapping for a text': [
    { yaml: 'journal: { directory: { a: 1 } }' },
    'outrigger.yaml:1: journal.directory: expected a path, given a mapping',
  ],
  'a list that is empty': [
    { yaml: 'publish: { listen: [] }' },
    'outrigger.yaml:1: publish.listen: expected a list of 1 to 16 addresses, given an empty list',
  ],
  'items of lists on lines of their own': [
    { yaml: 'kafka:\n  brokers:\n    - a:1\n    - b\n    -\n' },
    'outrigger.yaml:4: kafka.brokers[1]: expected HOST:PORT or [IPV6]:PORT, given "b" (add the port: b:9092)',
    'outrigger.yaml:5: kafka.brokers[2]: expected HOST:PORT or [IPV6]:PORT, given nothing',
  ],
  'an item of a variable': [
    { env: { OUTRIGGER_KAFKA_BROKERS: 'a:1,,c:3' } },
    'OUTRIGGER_KAFKA_BROKERS: kafka.brokers[1]: expected HOST:PORT or [IPV6]:PORT, given ""',
  ],
  'a text that is a number to YAML': [
    { yaml: 'kafka: { clientId: 7 }' },
    'outrigger.yaml:1: kafka.clientId: expected a name, given 7 (write it in quotes)',
  ],
  'a number in quotes': [
    { yaml: 'publish: { headersMax: "7" }' },
    'outrigger.yaml:1: publish.headersMax: expected a whole number from 0 to 1000, given "7" (write it without quotes)',
  ],
  'numbers that are not whole or not in range': [
    { yaml: 'publish: { headersMax: 1.5 }\nembedded: { partitions: 0 }\nforwarder: { batchMessagesMax: 100001 }' },
    'outrigger.yaml:1: publish.headersMax: expected a whole number from 0 to 1000, given 1.5',
    'outrigger.yaml:2: embedded.partitions: expected a whole number from 1 to 1000, given 0',
    'outrigger.yaml:3: forwarder.batchMessagesMax: expected a whole number from 1 to 100000, given 100001',
  ],
  'a number from the environment': [
    { env: { OUTRIGGER_PUBLISH_HEADERS_MAX: '-1', OUTRIGGER_EMBEDDED_PARTITIONS: 'many' } },
    'OUTRIGGER_PUBLISH_HEADERS_MAX: publish.headersMax: expected a whole number from 0 to 1000, given -1',
    'OUTRIGGER_EMBEDDED_PARTITIONS: embedded.partitions: expected a whole number from 1 to 1000, given "many"',
  ],
  sizes: [
    { yaml: 'publish: { bodyBytesMax: 10mb, lineBytesMax: 5, headerBytesMax: 1MiB }' },
    'outrigger.yaml:1: publish.bodyBytesMax: expected a size from 1 to 1GiB, given "10mb" (did you mean 10MB?)',
    'outrigger.yaml:1: publish.lineBytesMax: expected a size from 64 to 1GiB, given 5',
    'outrigger.yaml:1: publish.headerBytesMax: expected a size from 1KiB to 60KiB, given "1MiB"',
  ],
  durations: [
    { yaml: 'drain: { deadline: 30 }\nforwarder: { sendTimeout: 0, retryDelay: 2h }' },
    'outrigger.yaml:1: drain.deadline: expected a duration from 0 to 1d, given 30 (a duration needs a unit: 30s, or 30ms)',
    'outrigger.yaml:2: forwarder.sendTimeout: expected a duration from 100ms to 1h, given 0',
    'outrigger.yaml:2: forwarder.retryDelay: expected a duration from 1ms to 1h, given "2h"',
  ],
  'a mode without quotes': [
    { yaml: 'publish: { socketMode: 0660 }' },
    'outrigger.yaml:1: publish.socketMode: expected three octal digits in quotes, such as "0660", given 660 (write it in quotes, such as "0660")',
  ],
  'a word in capitals': [
    { env: { OUTRIGGER_KAFKA_ACKS: 'ALL' } },
    'OUTRIGGER_KAFKA_ACKS: kafka.acks: expected one of all, leader, given "ALL" (did you mean all?)',
  ],
  'a host with a port': [
    { yaml: 'publish: { allowedHosts: ["outrigger:4110"] }' },
    'outrigger.yaml:1: publish.allowedHosts[0]: expected a host name or IP address without a port, given "outrigger:4110" (leave the port out: outrigger)',
  ],
  'a publishing listener that the network reaches': [
    { yaml: 'publish: { listen: ["0.0.0.0:4110"] }' },
    'outrigger.yaml:1: publish.listen[0]: expected a loopback HOST:PORT, [::1]:PORT or unix:PATH, such as "127.0.0.1:4110", given "0.0.0.0:4110" (publishers on other machines would need TLS and authentication, which this version does not have; use 127.0.0.1, ::1, localhost or a Unix socket)',
  ],
  'listeners at one address': [
    { yaml: 'publish:\n  listen:\n    - localhost:1\n    - "127.0.0.1:1"\n    - unix:/a/b\n    - unix:/a/./b' },
    'outrigger.yaml:4: publish.listen[1]: expected an address of its own: publish.listen[0] has localhost:1, given "127.0.0.1:1"',
    'outrigger.yaml:6: publish.listen[3]: expected an address of its own: publish.listen[2] has unix:/a/b, given "unix:/a/./b"',
  ],
  'an admin listener at the default publishing address': [
    { env: { OUTRIGGER_ADMIN_LISTEN: '0.0.0.0:4110' } },
    'OUTRIGGER_ADMIN_LISTEN: admin.listen: expected an address of its own: publish.listen[0] has 127.0.0.1:4110, given "0.0.0.0:4110"',
  ],
  'a publishing listener at the default admin address': [
    { yaml: 'publish: { listen: ["127.0.0.1:4111"] }' },
    'outrigger.yaml:1: publish.listen[0]: expected an address of its own: admin.listen has 127.0.0.1:4111, given "127.0.0.1:4111"',
  ],
  'a journal directory too long for the default socket': [
    { yaml: `broker: kafka\njournal: { directory: /${'d'.repeat(95)} }` },
    `outrigger.yaml:2: publish.listen: expected a socket whose path has at most 107 bytes, which the default, /${'d'.repeat(95)}/publish.sock, has not (set publish.listen, or choose a shorter journal.directory)`,
  ],
  'a message larger than a segment': [
    { yaml: 'publish: { bodyBytesMax: 64MiB, pendingBytesMax: 1GiB }' },
    'outrigger.yaml:1: publish.bodyBytesMax: expected less than 65408KiB, so that a message fits a journal segment (journal.segmentBytes less 128KiB), given "64MiB" (or make journal.segmentBytes larger)',
  ],
  'a message as large as the room in a segment': [
    { yaml: 'publish: { bodyBytesMax: 3968KiB, lineBytesMax: 3967KiB }\njournal: { segmentBytes: 4MiB }' },
    'outrigger.yaml:1: publish.bodyBytesMax: expected less than 3968KiB, so that a message fits a journal segment (journal.segmentBytes less 128KiB), given "3968KiB" (or make journal.segmentBytes larger)',
  ],
  'a segment smaller than the default message': [
    { yaml: 'journal: { segmentBytes: 64KiB }' },
    'outrigger.yaml:1: journal.segmentBytes: expected more than 1152KiB, so that the largest message fits (publish.bodyBytesMax and 128KiB), given "64KiB" (or make publish.bodyBytesMax smaller)',
    'outrigger.yaml:1: journal.segmentBytes: expected more than 2176KiB, so that the largest message fits (publish.lineBytesMax and 128KiB), given "64KiB" (or make publish.lineBytesMax smaller)',
  ],
  'a message larger than what may be pending': [
    { env: { OUTRIGGER_PUBLISH_PENDING_BYTES_MAX: '1MiB' } },
    'OUTRIGGER_PUBLISH_PENDING_BYTES_MAX: publish.pendingBytesMax: expected at least publish.lineBytesMax, which is 2MiB, given "1MiB"',
  ],
  'a quota of less than two segments': [
    { yaml: 'journal: { bytesMax: 100MiB }' },
    'outrigger.yaml:1: journal.bytesMax: expected at least twice journal.segmentBytes: 128MiB, given "100MiB" (or make journal.segmentBytes smaller)',
  ],
  'a batch larger than a lane, and a lane larger than the memory': [
    { yaml: 'forwarder: { batchBytesMax: 8MiB }' },
    'outrigger.yaml:1: forwarder.batchBytesMax: expected at most forwarder.laneBytesMax, which is 4MiB, given "8MiB"',
  ],
  'a memory smaller than a lane': [
    { yaml: 'forwarder: { memoryBytesMax: 1MiB }' },
    'outrigger.yaml:1: forwarder.memoryBytesMax: expected at least forwarder.laneBytesMax, which is 4MiB, given "1MiB"',
  ],
  'a first delay longer than the longest': [
    { yaml: 'forwarder: { retryDelay: 1m }' },
    'outrigger.yaml:1: forwarder.retryDelay: expected at most forwarder.retryDelayMax, which is 5s, given "1m"',
  ],
  'a head that may take longer than the request': [
    { yaml: 'publish: { requestTimeout: 5s }' },
    'outrigger.yaml:1: publish.requestTimeout: expected at least publish.headersTimeout, which is 10s, given "5s"',
  ],
  'authentication without a name or a password': [
    { env: { OUTRIGGER_KAFKA_SASL_MECHANISM: 'plain' } },
    'OUTRIGGER_KAFKA_SASL_MECHANISM: kafka.sasl.username: expected a user name, given nothing',
    'OUTRIGGER_KAFKA_SASL_MECHANISM: kafka.sasl.password: expected a password, or passwordFile',
  ],
  'a password twice': [
    { yaml: 'kafka: { sasl: { mechanism: plain, username: u, password: p, passwordFile: f } }', files: { f: 'q' } },
    'outrigger.yaml:1: kafka.sasl.password: expected either password or passwordFile, not both',
  ],
  'a URL of MySQL with a password': [
    { yaml: 'mysql: { url: "mysql://u:hunter2@h:3306/d" }' },
    'outrigger.yaml:1: mysql.url: expected mysql://USER@HOST:PORT/DATABASE (the password goes into mysql.passwordFile, or mysql.password)',
  ],
  'a URL of MySQL with a password, from the environment': [
    { env: { OUTRIGGER_MYSQL_URL: 'mysql://u:hunter2@h:3306/d' } },
    'OUTRIGGER_MYSQL_URL: mysql.url: expected mysql://USER@HOST:PORT/DATABASE (the password goes into mysql.passwordFile, or mysql.password)',
  ],
  'passwords twice': [
    {
      yaml: 'mysql: { password: p, passwordFile: f }\ncassandra: { username: u, password: p, passwordFile: f }',
      files: { f: 'q' },
    },
    'outrigger.yaml:1: mysql.password: expected either password or passwordFile, not both',
    'outrigger.yaml:2: cassandra.password: expected either password or passwordFile, not both',
  ],
  'a user of Cassandra without a password': [
    { env: { OUTRIGGER_CASSANDRA_USERNAME: 'u' } },
    'OUTRIGGER_CASSANDRA_USERNAME: cassandra.password: expected the password of username, or passwordFile',
  ],
  'a password of Cassandra without a user': [
    { yaml: 'cassandra: { password: p }' },
    'outrigger.yaml:1: cassandra.username: expected the user that the password belongs to',
  ],
  'a password file of Cassandra without a user': [
    { yaml: 'cassandra: { passwordFile: f }', files: { f: 'q' } },
    'outrigger.yaml:1: cassandra.username: expected the user that the password belongs to',
  ],
  'a node of Cassandra without its port, or with a scheme': [
    { yaml: 'cassandra: { contactPoints: [a, "cql://b:9042"] }' },
    'outrigger.yaml:1: cassandra.contactPoints[0]: expected HOST:PORT or [IPV6]:PORT, given "a" (add the port: a:9042)',
    'outrigger.yaml:1: cassandra.contactPoints[1]: expected HOST:PORT or [IPV6]:PORT, given "cql://b:9042" (leave the scheme out; cassandra.tls and cassandra.username say how to connect)',
  ],
  'a keyspace that is no name': [
    { yaml: 'cassandra: { keyspace: my-log }' },
    'outrigger.yaml:1: cassandra.keyspace: expected at most 48 letters, digits and underscores, a letter first, given "my-log"',
  ],
  'a keyspace whose name is too long': [
    { yaml: `cassandra: { keyspace: ${'k'.repeat(49)} }` },
    `outrigger.yaml:1: cassandra.keyspace: expected at most 48 letters, digits and underscores, a letter first, given "${'k'.repeat(49)}"`,
  ],
  'stores that the ledger does not know': [
    { yaml: 'ledger: { metadata: cassandra, log: mysql, whenFull: drop }' },
    'outrigger.yaml:1: ledger.metadata: expected one of embedded, mysql, none, given "cassandra"',
    'outrigger.yaml:1: ledger.log: expected one of embedded, cassandra, none, given "mysql"',
    'outrigger.yaml:1: ledger.whenFull: expected one of gap, refuse, given "drop"',
  ],
  'a switch in quotes': [
    { yaml: 'ledger:\n  migrate: "yes"' },
    'outrigger.yaml:2: ledger.migrate: expected true or false, given "yes" (write true, without quotes)',
  ],
  'a switch from the environment': [
    { env: { OUTRIGGER_LEDGER_MIGRATE: 'off' } },
    'OUTRIGGER_LEDGER_MIGRATE: ledger.migrate: expected true or false, given "off" (write false, without quotes)',
  ],
  'a backlog larger than the journal': [
    { yaml: 'journal: { bytesMax: 1GiB }\nledger: { backlogBytesMax: 2GiB }' },
    'outrigger.yaml:2: ledger.backlogBytesMax: expected at most 80% of journal.bytesMax: 858993459, given "2GiB" (or make journal.bytesMax larger)',
  ],
  'a first delay of the ledger longer than the longest': [
    { yaml: 'ledger: { retryDelayMax: 50ms }' },
    'outrigger.yaml:1: ledger.retryDelayMax: expected at least ledger.retryDelay, which is 100ms, given "50ms"',
  ],
  'rows that are written too slowly for their timeout': [
    { yaml: 'ledger: { metadata: mysql }\nmysql: { rowsPerSecondMax: 66 }' },
    'outrigger.yaml:2: mysql.rowsPerSecondMax: expected at least 67, so that two batches of 1000 messages (ledger.batchMessagesMax) go within 30s (ledger.writeTimeout), given 66 (or make ledger.batchMessagesMax smaller, or ledger.writeTimeout longer)',
  ],
  'a retention of nothing': [
    { yaml: 'ledger: { retention: 0 }' },
    'outrigger.yaml:1: ledger.retention: expected a duration from 1s to 3650d, given 0',
  ],
  'half of createTopics': [
    { env: { OUTRIGGER_KAFKA_CREATE_TOPICS_PARTITIONS: '3' } },
    'OUTRIGGER_KAFKA_CREATE_TOPICS_PARTITIONS: kafka.createTopics.replicationFactor: expected a whole number from 1 to 100, given nothing',
  ],
  'TLS off and on in the environment': [
    { env: { OUTRIGGER_KAFKA_TLS: 'false', OUTRIGGER_KAFKA_TLS_SERVER_NAME: 'x' } },
    'OUTRIGGER_KAFKA_TLS_SERVER_NAME: kafka.tls.serverName: expected OUTRIGGER_KAFKA_TLS not to be false when this is set',
  ],
  'an unknown variable': [
    { env: { OUTRIGGER_KAFKA_BROKER: 'a:1' } },
    'OUTRIGGER_KAFKA_BROKER: expected the name of a setting (did you mean OUTRIGGER_KAFKA_BROKERS?)',
  ],
  'the variable of a section': [
    { env: { OUTRIGGER_KAFKA_CREATE_TOPICS: 'true' } },
    'OUTRIGGER_KAFKA_CREATE_TOPICS: expected the name of a setting (set what is in it: OUTRIGGER_KAFKA_CREATE_TOPICS_PARTITIONS, OUTRIGGER_KAFKA_CREATE_TOPICS_REPLICATION_FACTOR)',
  ],
}

describe('reports', () => {
  it.each(Object.entries(cases))('%s', async (_name, [given, ...lines]) => {
    expect(await faultsOf(given)).toEqual(lines)
  })
})

test('a flood of aliases is refused, and at once', async () => {
  const levels = Array.from({ length: 12 }, (_, level) =>
    level === 0
      ? 'a0: &a0 [x, x]'
      : `a${level}: &a${level} [${Array(10)
          .fill(`*a${level - 1}`)
          .join(', ')}]`,
  )
  expect(await faultsOf({ yaml: levels.join('\n') })).toEqual([
    'outrigger.yaml: expected fewer aliases (*name) of large values',
  ])
})

test('a value that contains itself is refused', async () => {
  for (const yaml of ['publish: &p\n  listen: *p', 'publish: &p { allowedHosts: [[*p]] }']) {
    expect(await faultsOf({ yaml })).toEqual([
      expect.stringMatching(/^outrigger.yaml:[12]:[0-9]+: expected an anchor \(&name\) whose value ends before/),
    ])
  }
})

test('nesting without end is refused', async () => {
  const faults = await faultsOf({ yaml: `broker: ${'['.repeat(20_000)}${']'.repeat(20_000)}` })
  expect(faults[0]).toMatch(/^outrigger.yaml.*: expected fewer levels of nesting$/)
})

test('a huge file is refused', async () => {
  expect(await faultsOf({ yaml: '#'.repeat(1024 * 1024 + 1) })).toEqual([
    'outrigger.yaml: expected a configuration file of at most 1 MiB',
  ])
})

const misplaced: Given[] = [
  { yaml: 'kafka: { sasl: { passwrod: hunter2 } }' },
  { yaml: 'kafka: { sasl: hunter2 }' },
  { yaml: 'kafka: hunter2' },
  { yaml: 'kafka: { sasl: { password: [hunter2] } }' },
  { yaml: 'kafka: { sasl: { password: { hunter2: hunter2 } } }' },
  {
    yaml: 'kafka: { sasl: { mechanism: plain, username: u, password: hunter2, passwordFile: f } }',
    files: { f: 'hunter2' },
  },
  { yaml: 'kafka: { sasl: { password: *hunter2 } }' },
  { yaml: 'kafka: { sasl: { password: !hunter2 x } }' },
  { yaml: 'kafka: { sasl: { password: @hunter2 } }' },
  { yaml: 'kafka: { sasl: { password: "hunter2 } }' },
  { yaml: 'kafka: { sasl: { password: a: hunter2: b } }' },
  { yaml: 'kafka: { sasl: { password: "\\hunter2" } }' },
  { yaml: 'kafka: { brokers: ["user:hunter2@host:9092", "sasl://user:hunter2@host", "u:a/hunter2@h"] }' },
  { yaml: 'kafka: { tls: { key: hunter2 } }' },
  { yaml: 'kafka: { tls: { keyFile: f, cert: x } }', files: { f: '-----BEGIN PRIVATE KEY-----\nhunter2' } },
  { yaml: 'mysql: { url: "mysql://u:hunter2@h/d" }' },
  { yaml: 'mysql: { url: "mysql://u:hunter2/d" }' },
  { yaml: 'mysql: { url: "mysql://u:h/unter2@hunter2@h/d" }' },
  { yaml: 'mysql: { url: "mysql://u@h/d?password=hunter2" }' },
  { yaml: 'mysql: { url: "u:hunter2@h" }' },
  { yaml: 'mysql: { url: ["mysql://u:hunter2@h/d"] }' },
  { yaml: 'mysql: "mysql://u:hunter2@h/d"' },
  { yaml: 'mysql: { password: hunter2, passwordFile: f }', files: { f: 'hunter2' } },
  { yaml: 'mysql: { pasword: hunter2 }' },
  { yaml: 'cassandra: { password: hunter2 }' },
  { yaml: 'cassandra: { contactPoints: ["u:hunter2@h:9042", "cql://u:hunter2@h"] }' },
  { yaml: 'cassandra: { tls: { key: hunter2 } }' },
  { env: { OUTRIGGER_MYSQL_URL: 'mysql://u:hunter2@h/d' } },
  { env: { OUTRIGGER_CASSANDRA_PASSWORD: 'hunter2' } },
  { env: { OUTRIGGER_KAFKA_SASL_PASSWRD: 'hunter2' } },
  { env: { OUTRIGGER_KAFKA_SASL: 'hunter2' } },
  { env: { OUTRIGGER_KAFKA_TLS: 'hunter2' } },
  { env: { OUTRIGGER_KAFKA_SASL_PASSWORD: 'hunter2' } },
]

test.each(misplaced)('no secret shows in the faults of %j', async (given) => {
  const error = await load(given).catch((reason: unknown) => reason)
  expect(error).toBeInstanceOf(ConfigError)
  expect(JSON.stringify(error) + inspect(error, { depth: 9 })).not.toContain('hunter2')
})

test('a number as a password is refused without showing it', async () => {
  expect(await faultsOf({ yaml: 'kafka: { sasl: { mechanism: plain, username: u, password: 424242 } }' })).toEqual([
    'outrigger.yaml:1: kafka.sasl.password: expected a password (write it in quotes)',
  ])
})
