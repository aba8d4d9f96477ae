/**
 * As much of kafkajs 2.2.4's inside as is used. kafkajs serves here as what carries requests: connections, TLS, SASL,
 * protocol versions. Its producer and consumer are not used: they fail all topics of a request for one, roll sequence
 * numbers back that may have been taken, lose the order of headers, keep one request in flight per broker, and know no
 * reading without a group. test/kafka/kafkajs-internals.test.ts holds what stands here against the installed version.
 */
declare module 'kafkajs/src/broker/index.js' {
  import type ConnectionPool from 'kafkajs/src/network/connectionPool.js'
  import type { Logger } from 'kafkajs/src/network/connectionPool.js'
  import type { Exchange, RequestDefinition } from 'kafkajs/src/protocol/requests/index.js'

  export default class Broker {
    constructor(options: {
      connectionPool: ConnectionPool
      logger: Logger
      authenticationTimeout?: number
      allowAutoTopicCreation?: boolean
    })
    readonly connectionPool: ConnectionPool
    connect(): Promise<void>
    /** The newest version of a request that both sides know. */
    lookupRequest<Arguments, Answer>(
      apiKey: number,
      definition: RequestDefinition<Arguments, Answer>,
    ): (args: Arguments) => Exchange<Answer>
  }
}

declare module 'kafkajs/src/network/connectionPool.js' {
  import type { Socket } from 'node:net'
  import type { Exchange } from 'kafkajs/src/protocol/requests/index.js'

  export interface Logger {
    namespace(name: string): Logger
    debug(message: string, details?: object): void
    info(message: string, details?: object): void
    warn(message: string, details?: object): void
    error(message: string, details?: object): void
  }

  export interface RequestQueue {
    readonly pending: readonly unknown[]
    scheduleCheckPendingRequests(): void
    push(request: {
      entry: QueueEntry
      expectResponse: true
      requestTimeout: null
      /** Called when its turn has come. */
      sendRequest(): void
    }): void
    maybeThrottle(ms: number | null): void
    /** Stops the timers. */
    destroy(): void
  }

  export interface QueueEntry {
    readonly apiKey: number
    readonly apiName: string
    readonly apiVersion: number
    readonly correlationId: number
    resolve(answer: { readonly payload: Buffer }): void
    reject(error: unknown): void
  }

  export interface Connection {
    readonly requestQueue: RequestQueue
    readonly clientId: string
    readonly socket: Socket
    isConnected(): boolean
    /** False when the session of SASL is over. */
    isAuthenticated(): boolean
    authenticate(): Promise<void>
    nextCorrelationId(): number
    send<Answer>(exchange: Exchange<Answer>): Promise<Answer>
  }

  export interface SocketFactoryArguments {
    host: string
    port: number
    ssl: object | null
    onConnect: () => void
  }

  export default class ConnectionPool {
    constructor(options: {
      host: string
      port: number
      rack: null
      ssl: object | null
      sasl: { mechanism: string; username: string; password: string } | null
      clientId: string
      socketFactory: (args: SocketFactoryArguments) => Socket
      connectionTimeout: number
      requestTimeout: number
      enforceRequestTimeout: boolean
      maxInFlightRequests: null
      instrumentationEmitter: null
      reauthenticationThreshold: number
      logger: Logger
    })
    /** The connection for fetching stands second, that for everything else first. */
    readonly pool: readonly [Connection, Connection]
    /** Connected, if need be. */
    getConnection(index: 0 | 1): Promise<Connection>
    send<Answer>(exchange: Exchange<Answer>): Promise<Answer>
  }
}

declare module 'kafkajs/src/protocol/requests/index.js' {
  /** What kafkajs takes for an encoded request: its own `Encoder`, or something like it. */
  export interface Encoded {
    readonly buf: Buffer
    readonly buffer: Buffer
  }

  export interface Exchange<Answer> {
    request: {
      apiKey: number
      apiVersion: number
      apiName: string
      expectResponse?: () => boolean
      encode?(): Promise<Encoded>
      /** In place of `encode`, and unknown to kafkajs: what follows the request's header, piece by piece. */
      pieces?(): readonly Buffer[]
    }
    response: {
      decode(data: Buffer): Promise<{ readonly clientSideThrottleTime?: number }>
      parse(decoded: { readonly clientSideThrottleTime?: number }): Promise<Answer>
    }
    requestTimeout?: number
    logResponseError?: boolean
  }

  export interface RequestDefinition<Arguments, Answer> {
    versions: readonly string[]
    protocol(choice: { version: number }): (args: Arguments) => Exchange<Answer>
  }

  export interface MetadataAnswer {
    readonly brokers: readonly { readonly nodeId: number; readonly host: string; readonly port: number }[]
    readonly controllerId: number
    /** Since version 2 of the request. */
    readonly clusterId?: string | null
    readonly topicMetadata: readonly {
      readonly topicErrorCode: number
      readonly topic: string
      readonly partitionMetadata: readonly {
        readonly partitionErrorCode: number
        readonly partitionId: number
        readonly leader: number
      }[]
    }[]
  }

  export const requests: {
    readonly Metadata: RequestDefinition<{ topics: string[]; allowAutoTopicCreation: boolean }, MetadataAnswer>
    readonly InitProducerId: RequestDefinition<
      { transactionTimeout: number },
      { readonly producerId: string; readonly producerEpoch: number }
    >
    readonly CreateTopics: RequestDefinition<
      { topics: { topic: string; numPartitions: number; replicationFactor: number }[]; timeout: number },
      {
        readonly topicErrors: readonly {
          readonly topic: string
          readonly errorCode: number
          readonly errorMessage?: string | null
        }[]
      }
    >
    readonly ListOffsets: RequestDefinition<
      {
        isolationLevel: number
        topics: { topic: string; partitions: { partition: number; timestamp: number }[] }[]
      },
      {
        readonly responses: readonly {
          readonly partitions: readonly {
            readonly partition: number
            readonly errorCode: number
            readonly offset: string
          }[]
        }[]
      }
    >
    readonly Fetch: RequestDefinition<
      {
        isolationLevel: number
        maxWaitTime: number
        minBytes: number
        maxBytes: number
        topics: { topic: string; partitions: { partition: number; fetchOffset: number; maxBytes: number }[] }[]
      },
      unknown
    >
  }
}

declare module 'kafkajs/src/protocol/error.js' {
  export const errorCodes: readonly { readonly code: number; readonly type: string; readonly retriable: boolean }[]
}
