import * as z from 'zod'
import type { Secret } from '../base/secret.ts'
import { defaultDirectory, journal } from './journal-section.ts'
import { kafka } from './kafka-section.ts'
import { cassandra, ledger, mysql } from './ledger-sections.ts'
import { readListenAddress, readLocalListenAddress } from './listen-address.ts'
import { day, GiB, hour, KiB, MiB, minute, second, TiB } from './quantities.ts'
import {
  choice,
  duration,
  fileMode,
  flag,
  hostName,
  integer,
  list,
  listenAddress,
  path,
  secret,
  size,
  topicPattern,
} from './setting.ts'

/**
 * The whole configuration, described once, its larger sections in files of their own: from this schema come the type
 * `Config`, the checks, the names of the environment variables, the JSON Schema for editors and the reference in
 * docs/configuration.md. Defaults stand in the form in which people write them, and are read like anything written.
 */

/** What a segment must have room for beside the largest body: its own header and index, key, headers, metadata. */
export const segmentOverheadBytes = 128 * KiB

const publish = z.strictObject({
  listen: list(
    'Where publishers reach Outrigger. TCP addresses must be loopback: publishing from other machines needs TLS and authentication, which this version does not have. A Unix socket is the fastest way in, and its file permissions (`socketMode`) decide who may publish; containers of one pod share one through a volume, such as `unix:/run/outrigger/publish.sock`. Port 0 picks a free port. When only `journal.directory` is changed, the default socket moves along with it.',
    listenAddress(
      'One address.',
      readLocalListenAddress,
      'a loopback HOST:PORT, [::1]:PORT or unix:PATH, such as "127.0.0.1:4110"',
    ),
    { min: 1, max: 16, what: 'addresses' },
  ).prefault(['127.0.0.1:4110', `unix:${defaultDirectory}/publish.sock`]),
  socketMode: fileMode(
    'Permissions of the Unix sockets, in octal and in quotes. `"0660"` lets the owner and the group publish, `"0666"` everyone on the machine, `"0600"` the owner alone.',
  ).prefault('0660'),
  allowedHosts: list(
    'Names or addresses that the `Host` header of a request over TCP may carry beside `localhost` and loopback addresses; any other is refused, so that a web page that a browser on this machine shows can’t publish. Add the name under which your application addresses Outrigger, when it has one.',
    hostName('One host name.'),
    { min: 0, max: 100, what: 'host names' },
  ).prefault([]),
  bodyBytesMax: size(
    'Largest value of a message; a larger one is answered with 413. Kafka refuses messages above its own `message.max.bytes` (1 MiB unless the cluster says otherwise): raise both together.',
    { min: 1, max: GiB },
  ).prefault('1MiB'),
  lineBytesMax: size(
    'Longest line of an NDJSON request. A line holds key, headers and value in JSON, where bytes in Base64 take a third more room than in a body of their own.',
    { min: 64, max: GiB },
  ).prefault('2MiB'),
  messagesPerRequestMax: integer(
    'Most messages in one NDJSON request with a `Content-Length`. A streamed request without one may go on for ever.',
    { min: 1, max: 1_000_000 },
  ).prefault(10_000),
  headersMax: integer(
    'Most headers that one message may have: `Outrigger-Header-…` headers of a request, or `headers` of an NDJSON line.',
    { min: 0, max: 1000 },
  ).prefault(64),
  headerBytesMax: size(
    'Largest head of an HTTP request: request line and all headers together; a larger one is answered with 431. In NDJSON, the most that key and headers of one message may take together.',
    { min: KiB, max: 60 * KiB },
  ).prefault('16KiB'),
  connectionsMax: integer(
    'Most connections open at once, for each listener. Each needs a file descriptor: keep it below the process’s limit (`ulimit -n`).',
    { min: 1, max: 1_000_000 },
  ).prefault(4096),
  headersTimeout: duration(
    'Time in which a client must have sent the head of its request. Ends connections of clients that are stuck, or that mean harm. At most `requestTimeout`.',
    { min: 10, max: hour },
  ).prefault('10s'),
  requestTimeout: duration('Time in which a client must have sent a whole request that has a `Content-Length`.', {
    min: 10,
    max: hour,
  }).prefault('30s'),
  streamIdleTimeout: duration('Time for which a streamed NDJSON request may be silent before it is ended.', {
    min: 10,
    max: day,
  }).prefault('5m'),
  keepAliveTimeout: duration(
    'Time for which an idle connection stays open for the next request. Keep it longer than the idle time of the client’s connection pool, or the client now and then picks a connection that is just being closed.',
    { min: 10, max: day },
  ).prefault('75s'),
  lowPriorityTopics: list(
    'Topics whose messages have low priority: they are refused first when the journal fills up (`journal.refuseLowAt`), whatever the request says. A name, or the beginning of names and `*`: `[clicks, debug.*]`.',
    topicPattern('One topic, or topics.'),
    { min: 0, max: 1000, what: 'topics' },
  ).prefault([]),
  pendingBytesMax: size(
    'Most memory for messages that are received but not yet on disk. Beyond it, publishers are answered 503 and told to retry. Must hold the largest message.',
    { min: 64 * KiB, max: 16 * GiB },
  ).prefault('64MiB'),
})

const admin = z.strictObject({
  listen: listenAddress(
    'Where operators reach health, metrics, status and dead letters; one address. It has no authentication: bind it to more than loopback (`0.0.0.0:4111`) only in a network that you trust, such as a pod’s, so that a kubelet or Prometheus can reach it.',
    readListenAddress,
    'HOST:PORT, [IPV6]:PORT or unix:PATH, such as "127.0.0.1:4111"',
  ).prefault('127.0.0.1:4111'),
})

const embedded = z.strictObject({
  partitions: integer('Partitions of each topic. A topic keeps the number that it was created with.', {
    min: 1,
    max: 1000,
  }).prefault(3),
  retention: duration('Time for which the embedded broker keeps messages before it deletes them.', {
    min: second,
    max: 3650 * day,
  }).prefault('7d'),
})

const forwarder = z.strictObject({
  batchBytesMax: size(
    'Most bytes of one batch, which goes to one topic in one piece. Keep it below the topic’s `max.message.bytes`; a single message that is larger goes alone.',
    { min: KiB, max: 256 * MiB },
  ).prefault('900KiB'),
  batchMessagesMax: integer('Most messages of one batch.', { min: 1, max: 100_000 }).prefault(5000),
  laneBytesMax: size(
    'Most bytes of one topic that wait in memory. What is beyond stays on disk. At least `batchBytesMax`.',
    { min: KiB, max: 16 * GiB },
  ).prefault('4MiB'),
  memoryBytesMax: size(
    'Most bytes of all topics together that wait in memory. Raise it when many topics are busy at once. At least `laneBytesMax`.',
    { min: KiB, max: 64 * GiB },
  ).prefault('32MiB'),
  linger: duration(
    'Shortest time between two sends of one topic. The first message after a quiet time goes at once; under load, messages gather for so long, and the broker gets fewer and larger batches. `0` sends as soon as the send before is acknowledged.',
    { min: 0, max: minute },
  ).prefault('5ms'),
  sendTimeout: duration('Time for one attempt to deliver a batch, after which it is tried again.', {
    min: 100,
    max: hour,
  }).prefault('30s'),
  retryDelay: duration('Wait before the first retry; later ones wait longer, with jitter.', {
    min: 1,
    max: hour,
  }).prefault('100ms'),
  retryDelayMax: duration('Longest wait between two attempts. Retries never end. At least `retryDelay`.', {
    min: 1,
    max: hour,
  }).prefault('5s'),
  breakerFailures: integer(
    'Failures in a row after which the broker counts as away, and is only probed until it answers.',
    { min: 1, max: 1000 },
  ).prefault(5),
  breakerDelayMax: duration(
    'Longest wait between two probes of a broker that is away: so long it may take to notice that it is back.',
    { min: 10, max: hour },
  ).prefault('5s'),
  receiptInterval: duration(
    'How often receipts of what was delivered are made durable. After a crash, what was delivered in the last interval is delivered again.',
    { min: 1, max: minute },
  ).prefault('50ms'),
  checkpointInterval: duration(
    'How often the position up to which everything is delivered is made durable, which frees journal files and bounds the work of a start.',
    { min: 1, max: hour },
  ).prefault('1s'),
})

const deadLetters = z.strictObject({
  bytesMax: size(
    'Most disk space for messages that can never be delivered, such as ones that Kafka refuses as too large. They are kept until an operator decides.',
    { min: 64 * KiB, max: 1024 * TiB },
  ).prefault('1GiB'),
})

const encryption = z.strictObject({
  keys: secret(
    'Keys to encrypt with everything that is kept on disk, the active one first: `ID:KEY`, separated by commas, each key 32 bytes in Base64 (`outrigger keys generate`). Prefer `keysFile`, or the environment, to writing them here.',
    'keys as ID:KEY, separated by commas',
  ).optional(),
  keysFile: path(
    'Path of a file with such keys, one a line. New files are encrypted under the first one; put a new key before the others, and keep those for as long as `outrigger keys list` shows that something needs them. The file is read again when it changes.',
  ).optional(),
  acceptUnencrypted: flag(
    'Whether files that are not encrypted are read while there are keys. Only for turning encryption on while a journal still holds messages: otherwise such a file was put there by somebody else, and is refused.',
  ).prefault(false),
})

const drain = z.strictObject({
  deadline: duration(
    'After SIGTERM, time for delivering what is still waiting. What is left then stays in the journal and goes out after the next start. The end takes at most 3 s more; both together should be below the time after which the process is killed (Kubernetes: `terminationGracePeriodSeconds`, 30 s). `0` does not wait at all.',
    { min: 0, max: day },
  ).prefault('25s'),
})

const log = z.strictObject({
  level: choice('Least level that is logged. Logs are lines of JSON on standard output.', [
    'trace',
    'debug',
    'info',
    'warn',
    'error',
  ]).prefault('info'),
})

export const configSchema = z.strictObject({
  publish: publish.meta({ description: 'The listeners for publishers, and their limits.' }).prefault({}),
  admin: admin.meta({ description: 'The listener for operators.' }).prefault({}),
  journal: journal.meta({ description: 'The durable log of accepted messages on disk.' }).prefault({}),
  broker: choice(
    'Where messages go: `kafka`, or the `embedded` broker, which keeps them in a file in `journal.directory` and needs no server; for development and tests.',
    ['embedded', 'kafka'],
  ).prefault('embedded'),
  embedded: embedded.meta({ description: 'The embedded broker. Used with `broker: embedded`.' }).prefault({}),
  kafka: kafka.meta({ description: 'The Kafka cluster. Used with `broker: kafka`.' }).prefault({}),
  ledger: ledger
    .meta({ description: 'The record of what became of every message, and of what was delivered.' })
    .prefault({}),
  mysql: mysql.meta({ description: 'The MySQL or MariaDB server. Used with `ledger.metadata: mysql`.' }).prefault({}),
  cassandra: cassandra.meta({ description: 'The Cassandra cluster. Used with `ledger.log: cassandra`.' }).prefault({}),
  forwarder: forwarder
    .meta({ description: 'How messages go from the journal to the broker: batches, memory, retries.' })
    .prefault({}),
  deadLetters: deadLetters.meta({ description: 'Messages that can never be delivered.' }).prefault({}),
  encryption: encryption
    .meta({ description: 'Encryption of everything on disk (AES-256-GCM). Off without keys.' })
    .prefault({}),
  drain: drain.meta({ description: 'What happens between SIGTERM and the end.' }).prefault({}),
  log: log.meta({ description: 'Logging.' }).prefault({}),
})

type DeepReadonly<T> = T extends Secret
  ? T
  : T extends readonly (infer Item)[]
    ? readonly DeepReadonly<Item>[]
    : T extends object
      ? { readonly [Key in keyof T]: DeepReadonly<T[Key]> }
      : T

/** What the schema makes of the input: sizes in bytes, durations in milliseconds, `…File` settings not yet read. */
export type ParsedConfig = DeepReadonly<z.output<typeof configSchema>>

type ParsedKafka = ParsedConfig['kafka']
type ParsedLedger = ParsedConfig['ledger']

/** What is parsed, with the defaults that depend on other settings filled in. */
export type SettledConfig = Omit<ParsedConfig, 'ledger' | 'journal'> & {
  readonly ledger: LedgerConfig
  readonly journal: JournalConfig
}

/**
 * The resolved configuration. Sizes are bytes and durations milliseconds; what `…File` settings point to has been read
 * into the settings without `File`, but for the passwords of the ledger's stores, which are read at each connection.
 */
export type Config = Omit<SettledConfig, 'kafka'> & { readonly kafka: KafkaConfig }

export type KafkaConfig = Omit<ParsedKafka, 'sasl'> & { readonly sasl?: KafkaSaslConfig | undefined }

export type KafkaSaslConfig = Omit<NonNullable<ParsedKafka['sasl']>, 'password'> & { readonly password: Secret }

/** TLS to the servers of Kafka, MySQL or Cassandra. It is used when this is there, if only as `{}`. */
export type TlsConfig = NonNullable<ParsedKafka['tls']>

/** `topicShareMax` follows `whenFull` when nobody has set it. */
export type JournalConfig = Omit<ParsedConfig['journal'], 'topicShareMax'> & { readonly topicShareMax: number }

/** `metadata` and `log` follow `broker` when nobody has set them. */
export type LedgerConfig = Omit<ParsedLedger, 'metadata' | 'log'> & {
  readonly [Key in 'metadata' | 'log']: NonNullable<ParsedLedger[Key]>
}

/** At most one of `password` and `passwordFile` is there. */
export type MysqlConfig = ParsedConfig['mysql']

/** `username` and one of `password` and `passwordFile` are there, or none of the three. */
export type CassandraConfig = ParsedConfig['cassandra']
