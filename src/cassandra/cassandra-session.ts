import { Client, errors, metrics, policies, types } from 'cassandra-driver'
import type { DseClientOptions, Host, QueryOptions } from 'cassandra-driver'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { StoreError } from '../recorder/store-error.ts'
import { cassandraStoreError } from './cassandra-errors.ts'
import type { CassandraOptions } from './cassandra-options.ts'
import { ClientSockets } from './client-sockets.ts'
import { hostAndPort, tlsOptionsOf } from './cassandra-tls.ts'
import { mendControlConnection } from './control-connection.ts'
import { disposeClient } from './dispose-client.ts'
import { PasswordProvider } from './password-provider.ts'

/** How long a client is believed in that reaches nobody: until then the driver's own reconnecting has its chance. */
const renewAfterMs = 30_000
/** How long `close` waits for what is under way. */
const closeTimeoutMs = 5000
const reconnectMs = { initial: 250, max: 5000 } as const

/** What the driver logs when it tells a node of a statement once more, and when it gets a node back. Nothing else tells of it. */
const interruption = /not prepared on host|^Re-preparing all queries|^Connecting to cluster/

/** A client of the driver's, from the moment when it begins to connect. */
interface Link {
  readonly sockets: ClientSockets
  readonly connecting: Promise<Client>
  isConnected: boolean
}

export interface Call {
  /** What is being done, for messages: "reading from message_log". */
  readonly what: string
  readonly options?: QueryOptions
}

/**
 * The connection to a cluster: made at the first call, and made anew when it could not be made, when all nodes have been
 * out of reach for long (they may have come back under other addresses), or when the driver can't get its control
 * connection back. Rejects with `StoreError`s.
 */
export class CassandraSession {
  readonly #clock: Clock
  readonly #log: Log
  readonly #options: CassandraOptions
  #link: Link | undefined
  #awaySince: number | undefined
  /** Why the last connection could not be made, since one last could. */
  #refusal: Error | undefined
  #closing: Promise<void> | undefined
  #interruptions = 0

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

  /**
   * How often a node may have lost what it had, without any call that failed: it was connected to anew, or had forgotten a
   * statement, which it also does when a table is dropped, and made again.
   */
  get interruptions(): number {
    return this.#interruptions
  }

  assertOpen(): void {
    if (this.#closing) throw closed()
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close())
  }

  async #close(): Promise<void> {
    const link = this.#link
    this.#link = undefined
    if (link === undefined) return
    const { connecting, sockets } = link
    // A client that is still connecting can't be called off. Without its sockets it fails, and `#connect` ends it.
    if (!link.isConnected) sockets.end()
    const enough = new AbortController()
    await Promise.race([
      connecting.then((client) => this.#dispose(client, sockets)).catch(() => {}),
      this.#clock.sleep(closeTimeoutMs, enough.signal).catch(() => {}),
    ])
    enough.abort()
    sockets.end()
  }

  async #run<T>(call: Call, signal: AbortSignal, action: (client: Client) => Promise<T>): Promise<T> {
    signal.throwIfAborted()
    return untilAborted(signal, this.#attempt(call.what, action))
  }

  async #attempt<T>(what: string, action: (client: Client) => Promise<T>): Promise<T> {
    let link: Link | undefined
    try {
      link = this.#connected()
      const { connecting, sockets } = link
      const client = await connecting
      const result = await sockets.within(() => action(client))
      this.#awaySince = undefined
      return result
    } catch (error) {
      if (error instanceof errors.NoHostAvailableError) {
        if (this.#closing) throw closed()
        this.#heardNobody(link)
      }
      throw cassandraStoreError(error, what, this.#refusal)
    }
  }

  #connected(): Link {
    if (this.#closing) throw closed()
    return (this.#link ??= this.#begin())
  }

  #begin(): Link {
    // Throws before there is a link that would fail all calls to come.
    const client = new Client(this.#clientOptions())
    const sockets = new ClientSockets()
    const link: Link = { sockets, isConnected: false, connecting: this.#connect(client, sockets) }
    mendControlConnection(client, (error) => {
      this.#log.debug({ error }, 'the connection to Cassandra is made anew: the driver could not get its own back')
      this.#renew(link)
    })
    link.connecting.then(
      () => (link.isConnected = true),
      // A client that failed once is not used again: it keeps the state of its first try. Whoever waits for it is told.
      () => {
        if (this.#link === link) this.#link = undefined
      },
    )
    return link
  }

  async #connect(client: Client, sockets: ClientSockets): Promise<Client> {
    client.on('log', (severity: string, part: string, text: string, detail: unknown) => {
      if (interruption.test(text)) this.#interruptions++
      this.#log.debug(
        { severity, part, ...(detail instanceof Error && { error: detail }) },
        `cassandra-driver: ${text}`,
      )
    })
    try {
      await sockets.within(() => client.connect())
    } catch (error) {
      await this.#dispose(client, sockets)
      throw error
    }
    client.on('hostUp', () => (this.#refusal = undefined))
    this.#refusal = undefined
    return client
  }

  /** All nodes are out of reach. After a while we start anew, which also looks up the contact points again. */
  #heardNobody(link: Link | undefined): void {
    const now = this.#clock.monotonic()
    this.#awaySince ??= now
    if (link !== undefined && now - this.#awaySince >= renewAfterMs) this.#renew(link)
  }

  /** The next call makes a link of its own. */
  #renew(link: Link): void {
    if (this.#link !== link) return
    this.#link = undefined
    this.#awaySince = undefined
    // One that failed to connect was disposed of then.
    void link.connecting.then(
      (client) => this.#dispose(client, link.sockets),
      () => undefined,
    )
  }

  /** Ends a client that nobody uses any more. Nobody can do anything about its failures, so they are only logged. */
  async #dispose(client: Client, sockets: ClientSockets): Promise<void> {
    try {
      await disposeClient(client)
    } catch (error) {
      this.#log.debug({ error }, "a connection to Cassandra could not be ended in the driver's way")
    }
    sockets.dispose()
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
