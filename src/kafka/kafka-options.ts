import type { Secret } from '../base/secret.ts'
import type { Compression } from './compression.ts'

/** How to reach a cluster: the part of the configuration `kafka` that both directions need. Durations are milliseconds. */
export interface KafkaConnectionOptions {
  /** `HOST:PORT` or `[IPV6]:PORT`, of the brokers to ask first. */
  readonly brokers: readonly string[]
  readonly clientId: string
  /** Present, if only as `{}`: TLS. The broker's certificate is always verified. PEM texts. */
  readonly tls?:
    | {
        readonly ca?: string | undefined
        readonly cert?: string | undefined
        readonly key?: Secret | undefined
        readonly serverName?: string | undefined
      }
    | undefined
  readonly sasl?:
    | {
        readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'
        readonly username: string
        readonly password: Secret
      }
    | undefined
  /** Until a connection stands and is authenticated. */
  readonly connectTimeout: number
  /** Until a request is answered. */
  readonly requestTimeout: number
}

/** The configuration `kafka`, resolved. */
export interface KafkaBrokerOptions extends KafkaConnectionOptions {
  /** `all` makes the producer idempotent, too. */
  readonly acks: 'all' | 'leader'
  readonly compression: Compression
  /** Create a topic that is missing; without it that is the cluster's business. */
  readonly createTopics?: { readonly partitions: number; readonly replicationFactor: number } | undefined
}
