import type { Certificates } from '../certificates.ts'

/** The ports of one node, in the order in which they are laid out from its first port. */
export interface KafkaPorts {
  readonly plain: number
  readonly mutualTls: number
  readonly sasl: number
  readonly internal: number
  readonly controller: number
}

export const PORTS_PER_NODE = 5

export interface KafkaNode {
  /** From 1. */
  readonly id: number
  readonly ports: KafkaPorts
  /** By which the other nodes reach it. */
  readonly internalHost: string
}

export interface ServerPropertiesOptions {
  readonly bindHost: string
  readonly dataDirectory: string
  /** As the server sees them. */
  readonly certificates: Pick<Certificates, 'caFile' | 'serverKeystoreFile'>
  readonly autoCreateTopics: boolean
  /** Come last, and so win. */
  readonly extraProperties: Readonly<Record<string, string | number | boolean>>
}

export const SASL_USER = { username: 'alice', password: 'alice-secret' } as const
export const SCRAM_MECHANISMS = ['SCRAM-SHA-256', 'SCRAM-SHA-512'] as const

export function kafkaPorts(firstPort: number): KafkaPorts {
  const [plain, mutualTls, sasl, internal, controller] = [0, 1, 2, 3, 4].map((offset) => firstPort + offset)
  return { plain, mutualTls, sasl, internal, controller } as KafkaPorts
}

/** The configuration of one node: broker and controller in one, quick to start and to notice that another is gone. */
export function serverProperties(
  node: KafkaNode,
  nodes: readonly KafkaNode[],
  options: ServerPropertiesOptions,
): string {
  const { ports } = node
  const { bindHost } = options
  const replicas = nodes.length
  const inSync = replicas > 2 ? 2 : 1
  const login = 'org.apache.kafka.common.security'
  const { username, password } = SASL_USER
  const properties: Record<string, string | number | boolean> = {
    'process.roles': 'broker,controller',
    'node.id': node.id,
    'controller.quorum.voters': nodes.map((n) => `${n.id}@${n.internalHost}:${n.ports.controller}`).join(','),
    listeners: [
      `PLAINTEXT://${bindHost}:${ports.plain}`,
      `SSL://${bindHost}:${ports.mutualTls}`,
      `SASL_SSL://${bindHost}:${ports.sasl}`,
      `INTERNAL://${bindHost}:${ports.internal}`,
      `CONTROLLER://${bindHost}:${ports.controller}`,
    ].join(','),
    'advertised.listeners': [
      `PLAINTEXT://127.0.0.1:${ports.plain}`,
      `SSL://127.0.0.1:${ports.mutualTls}`,
      `SASL_SSL://127.0.0.1:${ports.sasl}`,
      `INTERNAL://${node.internalHost}:${ports.internal}`,
    ].join(','),
    'listener.security.protocol.map':
      'PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'INTERNAL',

    'ssl.keystore.type': 'PEM',
    'ssl.keystore.location': options.certificates.serverKeystoreFile,
    'ssl.truststore.type': 'PEM',
    'ssl.truststore.location': options.certificates.caFile,
    'ssl.client.auth': 'none',
    'listener.name.ssl.ssl.client.auth': 'required',
    'sasl.enabled.mechanisms': ['PLAIN', ...SCRAM_MECHANISMS].join(','),
    'listener.name.sasl_ssl.plain.sasl.jaas.config': `${login}.plain.PlainLoginModule required user_${username}="${password}";`,
    'listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config': `${login}.scram.ScramLoginModule required;`,
    'listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config': `${login}.scram.ScramLoginModule required;`,

    'log.dirs': options.dataDirectory,
    'auto.create.topics.enable': options.autoCreateTopics,
    'num.partitions': 3,
    'default.replication.factor': replicas,
    'min.insync.replicas': inSync,
    'offsets.topic.replication.factor': replicas,
    'transaction.state.log.replication.factor': replicas,
    'transaction.state.log.min.isr': inSync,
    'share.coordinator.state.topic.replication.factor': replicas,
    'share.coordinator.state.topic.min.isr': inSync,
    // By default 50 of each, which makes the first group and the first transaction wait.
    'offsets.topic.num.partitions': 3,
    'transaction.state.log.num.partitions': 3,
    'share.coordinator.state.topic.num.partitions': 3,
    // By default the first member of a group waits 3 s for others.
    'group.initial.rebalance.delay.ms': 0,
    // How long writes wait for a broker that was killed; 9 s by default.
    'broker.session.timeout.ms': 3000,
    'broker.heartbeat.interval.ms': 500,
    'controller.quorum.fetch.timeout.ms': 2000,
    'controller.quorum.election.timeout.ms': 1000,

    // Long runs must not fill the disk; a test that reads back what it wrote stays far below this per partition.
    'log.segment.bytes': 128 * 1024 * 1024,
    'log.retention.bytes': 2 * 1024 * 1024 * 1024,
    'log.retention.check.interval.ms': 30_000,
    // 128 MiB by default, half of the heap, for compacting what is hardly there.
    'log.cleaner.dedupe.buffer.size': 4 * 1024 * 1024,
    ...options.extraProperties,
  }
  return Object.entries(properties)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('')
}
