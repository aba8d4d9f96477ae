import * as z from 'zod'
import { minute } from './quantities.ts'
import { brokerAddress, choice, duration, integer, list, path, secret, text } from './setting.ts'
import { tlsSection } from './tls-section.ts'

const sasl = z.strictObject({
  mechanism: choice('How to authenticate. `plain` sends the password as it is: use it with `kafka.tls` only.', [
    'plain',
    'scram-sha-256',
    'scram-sha-512',
  ]),
  username: text('Name of the user that Outrigger authenticates as.', 'a user name'),
  password: secret('Password. Prefer `passwordFile`, or the environment, to writing it here.', 'a password').optional(),
  passwordFile: path(
    'Path of a file that holds the password, such as a mounted Kubernetes or Docker secret. Line breaks at its end are not part of the password.',
  ).optional(),
})

const createTopics = z.strictObject({
  partitions: integer('Partitions of a topic that Outrigger creates.', { min: 1, max: 100_000 }),
  replicationFactor: integer('Replicas of each partition; at most the number of brokers.', { min: 1, max: 100 }),
})

export const kafka = z.strictObject({
  brokers: list(
    'Brokers to ask first for the cluster’s layout; the others are found through them. Name two or three, so that one may be down.',
    brokerAddress('One broker.'),
    { min: 1, max: 100, what: 'brokers' },
  ).prefault(['localhost:9092']),
  clientId: text('Name under which Outrigger shows in the brokers’ logs, metrics and quotas.', 'a name', 255).prefault(
    'outrigger',
  ),
  tls: tlsSection({ to: 'the brokers', server: 'broker', address: 'kafka.brokers' }),
  sasl: sasl.meta({ description: 'Authentication to the brokers. None without it.' }).optional(),
  acks: choice(
    'What Kafka must have done before a message counts as delivered: `all` in-sync replicas have it, or the `leader` alone. With `leader`, a broker that fails can take delivered messages with it.',
    ['all', 'leader'],
  ).prefault('all'),
  compression: choice(
    'Compression of what is sent to Kafka. `zstd` and `lz4` save the most network and broker disk for the least CPU.',
    ['none', 'gzip', 'snappy', 'lz4', 'zstd'],
  ).prefault('none'),
  connectTimeout: duration('Time in which a connection to a broker must stand.', {
    min: 100,
    max: 10 * minute,
  }).prefault('5s'),
  requestTimeout: duration('Time in which a broker must have answered a request.', {
    min: 100,
    max: 10 * minute,
  }).prefault('15s'),
  createTopics: createTopics
    .meta({
      description:
        'Makes Outrigger create topics that are missing. Without it, that is the cluster’s business (`auto.create.topics.enable`), and messages for a missing topic wait.',
    })
    .optional(),
})
