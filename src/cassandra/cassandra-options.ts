import type { Secret } from '../base/secret.ts'

/** The configuration `cassandra`, resolved, and `ledger.retention`. Durations are milliseconds. */
export interface CassandraOptions {
  /** `HOST:PORT` or `[IPV6]:PORT`, of the nodes to ask first. All nodes of the cluster listen on the port of the first one. */
  readonly contactPoints: readonly string[]
  /** Only nodes of this data center are written to and read from. */
  readonly localDataCenter: string
  /** Made by the first migration when it is missing; an existing one is used as it is. */
  readonly keyspace: string
  /** Of a keyspace that is made. */
  readonly replicationFactor: number
  readonly username?: string | undefined
  /** Asked at each new connection, so that a password that was changed in its file is taken up. */
  readonly password: () => Promise<Secret | undefined>
  /** Present, if only as `{}`: TLS. The node's certificate is always verified. PEM texts. */
  readonly tls?:
    | {
        readonly ca?: string | undefined
        readonly cert?: string | undefined
        readonly key?: Secret | undefined
        /** The name in the certificates of all nodes; see cassandra-tls.ts for what holds without it. */
        readonly serverName?: string | undefined
      }
    | undefined
  /** Until a connection stands. */
  readonly connectTimeout: number
  /** Until a request is answered. */
  readonly requestTimeout: number
  /** Values that stand apart are cut in pieces of this size. */
  readonly valueChunkBytes: number
  /** Entries go this long after they were delivered. */
  readonly retention: number
}
