import { Client, errors, metrics, policies, types } from 'cassandra-driver'
import type { DseClientOptions, Host, QueryOptions } from 'cassandra-driver'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { StoreError } from '../recorder/store-error.ts'
import { cassandraStoreError } from './cassandra-errors.ts'
import type { CassandraOptions } from './cassandra-options.ts'
import { hostAndPort, tlsOptionsOf } from './cassandra-tls.ts'
import { disposeClient } from './dispose-client.ts'
import { PasswordProvider } from './password-provider.ts'

/** How long a client is believed in that reaches nobody: until then the driver's own reconnecting has its chance. */
const renewAfterMs = 30_000
const reconnectMs = { initial: 250, max: 5000 } as const

export interface Call {
  /** What is being done, for messages: "reading from message_log". */
  readonly what: string
  readonly options?: QueryOptions
}

/**
 * The connection to a cluster: made at the first call, and made anew when it could not be made, or when all nodes have been
 * out of reach for long (they may have come back under other addresses). Rejects with `StoreError`s.
 */
export class CassandraSession {
  readonly #clock: Clock
  readonly #log: Log
  readonly #options: CassandraOptions
  #client: Promise<Client> | undefined
  /** The client, when it is connected. */
  #live: Client | undefined
  #awaySince: number | undefined
  /** Why the last connection could not be made, since one last could. */
  #refusal: Error | undefined
  #closing: Promise<void> | undefined

  constructor(clock: Clock, log: Log, options: CassandraOptions) {
    this.#clock = clock
    this.#log = log
    this.#options = options
  }

  execute(query: string, params: unknown[], call: Call, signal: AbortSignal): Promise<types.ResultSet> {
    return this.#run(call, signal, (client) => client.execute(query, params, { ...prepared, ...call.options }))
  }

  /** Writes rows of one Cassandra partition in one unlogged batch. */
  batch(query: string, rows: readonly unknown[][], call: Call, signal: AbortSignal): Promise<types.ResultSet> {
    const queries = rows.map((params) => ({ query, params }))
    return this.#run(call, signal, (client) => client.batch(queries, { ...prepared, logged: false, ...call.options }))
  }

  /**
   * Changes the schema. Every sidecar asks the same node, as long as it is up: two nodes that create the same table at
   * once would each make their own. Resolves when all nodes agree.
   */
  async define(statement: string, what: string, signal: AbortSignal): Promise<void> {
    const result = await this.#run({ what }, signal, (client) => {
      const host = firstHost(client, this.#options.localDataCenter)
      // Not idempotent: the driver would send it to another node at once when this one is slow.
      return client.execute(statement, [], { ...(host === undefined ? {} : { host }), isIdempotent: false })
    })
    const { isSchemaInAgreement } = result.info as { isSchemaInAgreement?: boolean }
    if (isSchemaInAgreement === false) {
      const hint = 'All nodes must be up while the schema changes (nodetool describecluster).'
      throw new StoreError('transient', 'SCHEMA_DISAGREEMENT', `${what}: the nodes don't agree on the schema yet`, {
        hint,
      })
    }
  }

  assertOpen(): void {
    if (this.#closing) throw closed()
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close())
  }

  async #close(): Promise<void> {
    const live = this.#live
    this.#client = undefined
    this.#live = undefined
    // A connection that is being made can't be called off; it ends by its timeouts, and `#connect` shuts it down.
    if (live !== undefined) await disposeClient(live)
  }

  async #run<T>(call: Call, signal: AbortSignal, action: (client: Client) => Promise<T>): Promise<T> {
    signal.throwIfAborted()
    return untilAborted(signal, this.#attempt(call.what, action))
  }

  async #attempt<T>(what: string, action: (client: Client) => Promise<T>): Promise<T> {
    const connecting = this.#connected()
    try {
      const result = await action(await connecting)
      this.#awaySince = undefined
      return result
    } catch (error) {
      if (error instanceof errors.NoHostAvailableError) this.#heardNobody(connecting)
      throw cassandraStoreError(error, what, this.#refusal)
    }
  }

  #connected(): Promise<Client> {
    if (this.#closing) return Promise.reject(closed())
    return (this.#client ??= this.#connect())
  }

  async #connect(): Promise<Client> {
    const client = new Client(this.#clientOptions())
    client.on('log', (severity: string, part: string, text: string, detail: unknown) => {
      this.#log.debug(
        { severity, part, ...(detail instanceof Error && { error: detail }) },
        `cassandra-driver: ${text}`,
      )
    })
    try {
      await client.connect()
    } catch (error) {
      // A client that failed once is not used again: it keeps the state of its first try.
      this.#client = undefined
      await disposeClient(client)
      throw error
    }
    if (this.#closing) {
      await disposeClient(client)
      throw closed()
    }
    client.on('hostUp', () => (this.#refusal = undefined))
    this.#refusal = undefined
    this.#live = client
    return client
  }

  /** All nodes are out of reach. After a while we start anew, which also looks up the contact points again. */
  #heardNobody(connecting: Promise<Client>): void {
    const now = this.#clock.monotonic()
    this.#awaySince ??= now
    if (this.#client !== connecting || now - this.#awaySince < renewAfterMs) return
    this.#client = undefined
    this.#live = undefined
    this.#awaySince = undefined
    void connecting.then(disposeClient, () => undefined)
  }

  #clientOptions(): DseClientOptions {
    const { contactPoints, localDataCenter, username, password, tls, connectTimeout, requestTimeout } = this.#options
    const [first = 'localhost:9042'] = contactPoints
    return {
      contactPoints: [...contactPoints],
      localDataCenter,
      applicationName: 'outrigger',
      ...(username === undefined ? {} : { authProvider: new PasswordProvider(username, password) }),
      ...(tls === undefined ? {} : { sslOptions: tlsOptionsOf(tls, contactPoints) }),
      protocolOptions: { port: hostAndPort(first).port },
      // A node that has not answered so many requests in time is taken for dead, and connected to anew.
      socketOptions: { connectTimeout, readTimeout: requestTimeout, defunctReadTimeoutThreshold: 16 },
      policies: {
        reconnection: new JitteredReconnection(),
        speculativeExecution: policies.defaultSpeculativeExecutionPolicy(),
      },
      queryOptions: { consistency: types.consistencies.localQuorum, isIdempotent: true },
      maxPrepared: 32,
      monitorReporting: { enabled: false },
      metrics: new RefusalWatch((error) => (this.#refusal = error)),
    }
  }
}

const prepared: QueryOptions = { prepare: true, autoPage: false }

/** Full jitter: many sidecars that lost a node at the same moment must not come back together. */
class JitteredReconnection extends policies.reconnection.ExponentialReconnectionPolicy {
  constructor() {
    super(reconnectMs.initial, reconnectMs.max)
  }

  override *newSchedule(): Generator<number> {
    for (let highest: number = reconnectMs.initial * 2; ; highest = Math.min(highest * 2, reconnectMs.max)) {
      yield Math.round(reconnectMs.initial + Math.random() * (highest - reconnectMs.initial))
    }
  }
}

/** Of the driver's metrics only why connections can't be made. */
class RefusalWatch extends metrics.DefaultMetrics {
  readonly #refused: (error: Error) => void

  constructor(refused: (error: Error) => void) {
    super()
    this.#refused = refused
  }

  override onAuthenticationError(error: Error): void {
    this.#refused(error)
  }

  override onConnectionError(error: Error): void {
    this.#refused(error)
  }
}

function closed(): StoreError {
  return new StoreError('transient', 'CLOSED', 'the connection to Cassandra is closed')
}

function firstHost(client: Client, dataCenter: string): Host | undefined {
  const up = client.hosts.values().filter((host) => host.isUp() && host.datacenter === dataCenter)
  return up.toSorted((a, b) => (a.address < b.address ? -1 : 1))[0]
}

/** The promise, or the signal's reason as soon as it aborts: the driver knows no signals. */
function untilAborted<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error)
    signal.addEventListener('abort', onAbort, { once: true })
    void promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
