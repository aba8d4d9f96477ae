import * as z from 'zod'
import { day, hour, KiB, MiB, minute, second, TiB } from './quantities.ts'
import {
  choice,
  contactPoint,
  duration,
  flag,
  follows,
  identifier,
  integer,
  list,
  mysqlUrl,
  path,
  secret,
  size,
  text,
} from './setting.ts'
import { tlsSection } from './tls-section.ts'

export const ledger = z.strictObject({
  metadata: follows(
    choice(
      'Where the metadata of every message is kept (where it went, when, what became of it): in `mysql`, or `embedded`, in a file in `journal.directory`, or in no place at all (`none`).',
      ['embedded', 'mysql', 'none'],
    ),
    '`embedded` with `broker: embedded`, `none` with `broker: kafka`',
  ),
  log: follows(
    choice(
      'Where every delivered message is kept, its value included: in `cassandra`, or `embedded`, in a file in `journal.directory`, or in no place at all (`none`).',
      ['embedded', 'cassandra', 'none'],
    ),
    '`embedded` with `broker: embedded`, `none` with `broker: kafka`',
  ),
  retention: duration(
    'Time for which the ledger keeps what is written to it. MySQL gives up whole days, so that metadata may stay for up to a day longer.',
    { min: second, max: 3650 * day },
  ).prefault('7d'),
  migrate: flag(
    'Whether Outrigger creates and upgrades the tables in MySQL and Cassandra itself when it starts. With `false`, `outrigger migrate` does it, and a store without the right tables counts as away until then.',
  ).prefault(true),
  whenFull: choice(
    'What happens when the messages that are delivered and wait for the ledger alone take more than `backlogBytesMax`. `gap` gives up the oldest of them for the store that lags, and records exactly which (`GET /ledger/exceptions`; `outrigger ledger backfill` brings them back from the broker): publishing is never held up. `refuse` gives up none: the journal fills up, and at `journal.bytesMax` publishers are answered 503.',
    ['gap', 'refuse'],
  ).prefault('gap'),
  backlogBytesMax: size(
    'Most disk space for messages that are delivered and wait for the ledger alone; it is part of `journal.bytesMax`. It decides how long MySQL or Cassandra can be away without a gap: divide it by the bytes published in a second. At most `journal.bytesMax`; without a value of its own, at most half of it.',
    { min: 64 * KiB, max: 1024 * TiB },
  ).prefault('2GiB'),
  batchMessagesMax: integer('Most messages that are written to a store at once.', { min: 1, max: 10_000 }).prefault(
    1000,
  ),
  batchBytesMax: size(
    'Most bytes of messages that are written to a store at once. A single message that is larger goes alone.',
    { min: KiB, max: 256 * MiB },
  ).prefault('4MiB'),
  writeTimeout: duration('Time for one attempt to write a batch, after which it is tried again.', {
    min: 100,
    max: hour,
  }).prefault('30s'),
  retryDelay: duration('Wait before the first retry; later ones wait longer, with jitter.', {
    min: 1,
    max: hour,
  }).prefault('100ms'),
  retryDelayMax: duration(
    'Longest wait between two attempts, and between two probes of a store that is away: so long it may take to notice that it is back. Retries never end. At least `retryDelay`.',
    { min: 1, max: hour },
  ).prefault('10s'),
  breakerFailures: integer(
    'Failures in a row after which a store counts as away, and is only probed until it answers.',
    { min: 1, max: 1000 },
  ).prefault(5),
})

const readAgain =
  'Line breaks at its end are not part of the password. It is read again at each new connection, so that a password can be changed without a restart.'

export const mysql = z.strictObject({
  url: mysqlUrl(
    'Where the database is, and as which user: `mysql://USER@HOST:PORT/DATABASE`. The port may be left out, and is then 3306. The database must exist; Outrigger makes its tables. The password stands in `passwordFile` or `password`, never here.',
  ).prefault('mysql://outrigger@localhost:3306/outrigger'),
  password: secret(
    'Password of the user in `url`. Prefer `passwordFile`, or the environment, to writing it here.',
    'a password',
  ).optional(),
  passwordFile: path(
    `Path of a file that holds the password, such as a mounted Kubernetes or Docker secret. ${readAgain}`,
  ).optional(),
  tls: tlsSection({ to: 'the server', server: 'server', address: 'mysql.url' }),
  connectionsMax: integer(
    'Most connections of this Outrigger to the database. Multiply it by the number of sidecars, and compare with the server’s `max_connections`.',
    { min: 1, max: 100 },
  ).prefault(2),
  connectTimeout: duration('Time in which a connection to the server must stand.', {
    min: 100,
    max: 10 * minute,
  }).prefault('5s'),
  rowsPerSecondMax: integer(
    'Most rows that this Outrigger writes in a second, on average, so that many sidecars that catch up at once don’t overwhelm the database. No limit without it. Two batches of ledger.batchMessagesMax must go within ledger.writeTimeout.',
    { min: 1, max: 1_000_000 },
  ).optional(),
})

export const cassandra = z.strictObject({
  contactPoints: list(
    'Nodes to ask first for the cluster’s layout; the others are found through them. Name two or three, so that one may be down. All nodes must listen on the same port.',
    contactPoint('One node.'),
    { min: 1, max: 100, what: 'nodes' },
  ).prefault(['localhost:9042']),
  localDataCenter: text(
    'Name of the data center whose nodes are written to and read from, as `nodetool status` shows it. Names of data centers are case-sensitive.',
    'a name',
    255,
  ).prefault('datacenter1'),
  keyspace: identifier('Keyspace of the message log. It is made when it is missing, and the user has the right to.', {
    lengthMax: 48,
  }).prefault('outrigger'),
  replicationFactor: integer(
    'Copies of each message in `localDataCenter`, for a keyspace that Outrigger makes; at most the number of nodes there. One that exists keeps its own.',
    { min: 1, max: 100 },
  ).prefault(3),
  username: text(
    'Name of the user that Outrigger authenticates as. Needs `password` or `passwordFile`. No authentication without it.',
    'a user name',
  ).optional(),
  password: secret('Password. Prefer `passwordFile`, or the environment, to writing it here.', 'a password').optional(),
  passwordFile: path(
    `Path of a file that holds the password, such as a mounted Kubernetes or Docker secret. ${readAgain}`,
  ).optional(),
  tls: tlsSection({ to: 'the nodes', server: 'node', address: 'cassandra.contactPoints' }),
  connectTimeout: duration('Time in which a connection to a node must stand.', {
    min: 100,
    max: 10 * minute,
  }).prefault('5s'),
  requestTimeout: duration(
    'Time in which a node must have answered a request. Keep it above the nodes’ own timeouts (`write_request_timeout`), so that they can say what went wrong.',
    { min: 100, max: 10 * minute },
  ).prefault('12s'),
  valueChunkBytes: size(
    'Values larger than this are kept in pieces of this size, and joined on reading. Keep it well below half of the nodes’ `commitlog_segment_size` (32 MiB by default), which is the most that they take in one piece.',
    { min: KiB, max: 8 * MiB },
  ).prefault('256KiB'),
})
