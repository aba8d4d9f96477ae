import { connect, isIP } from 'node:net'
import type { Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import Broker from 'kafkajs/src/broker/index.js'
import ConnectionPool from 'kafkajs/src/network/connectionPool.js'
import type { Connection, Logger, SocketFactoryArguments } from 'kafkajs/src/network/connectionPool.js'
import type { Exchange, RequestDefinition } from 'kafkajs/src/protocol/requests/index.js'
import type { Log } from '../base/log.ts'
import { apiKeys } from './api-keys.ts'
import type { KafkaConnectionOptions } from './kafka-options.ts'

export interface NodeAddress {
  readonly host: string
  readonly port: number
}

/** kafkajs's broker object with its connections, from the connecting to the first failure. */
export class KafkaLink {
  readonly #broker: Broker
  readonly #sockets: Set<Socket>
  #fetching: Promise<unknown> | undefined

  private constructor(broker: Broker, sockets: Set<Socket>) {
    this.#broker = broker
    this.#sockets = sockets
  }

  static async open(target: NodeAddress, options: KafkaConnectionOptions, logger: Logger): Promise<KafkaLink> {
    const sockets = new Set<Socket>()
    const { sasl } = options
    const pool = new ConnectionPool({
      ...target,
      rack: null,
      ssl: tlsOptionsOf(options),
      sasl: sasl ? { ...sasl, password: sasl.password.reveal() } : null,
      clientId: options.clientId,
      socketFactory: (args) => openSocket(args, sockets),
      connectionTimeout: options.connectTimeout,
      requestTimeout: options.requestTimeout,
      enforceRequestTimeout: true,
      maxInFlightRequests: null,
      instrumentationEmitter: null,
      reauthenticationThreshold: 10_000,
      logger,
    })
    for (const connection of pool.pool) quietenTimer(connection)
    const broker = new Broker({ connectionPool: pool, logger, authenticationTimeout: options.connectTimeout })
    const link = new KafkaLink(broker, sockets)
    const failures = recordFailures(pool.pool[0])
    let timer: NodeJS.Timeout | undefined
    try {
      await Promise.race([
        broker.connect(),
        // kafkajs limits the time of the TCP connection only; the broker may hang behind it.
        new Promise<never>((_, reject) => {
          timer = setTimeout(() => reject(connectTimeoutError(options.connectTimeout)), options.connectTimeout)
        }),
      ])
      return link
    } catch (error) {
      link.destroy(closedError())
      throw failures.behind(error)
    } finally {
      clearTimeout(timer)
    }
  }

  get isUsable(): boolean {
    return this.#broker.connectionPool.pool[0].isConnected()
  }

  async ask<Arguments, Answer>(
    apiKey: number,
    definition: RequestDefinition<Arguments, Answer>,
    args: Arguments,
  ): Promise<Answer> {
    const pool = this.#broker.connectionPool
    // kafkajs opens the second connection when it is first needed; and once for each who needs it at that moment.
    if (apiKey === apiKeys.fetch && !pool.pool[1].isConnected()) {
      this.#fetching ??= pool.getConnection(1).finally(() => {
        this.#fetching = undefined
      })
      await this.#fetching
    }
    const exchange = this.#broker.lookupRequest(apiKey, definition)(args)
    const pieces = exchange.request.pieces?.()
    return pieces === undefined ? pool.send(exchange) : sendPieces(await pool.getConnection(0), exchange, pieces)
  }

  /** kafkajs learns of it by the sockets' errors: it rejects what waits, and stops its timers. */
  destroy(error: Error): void {
    for (const socket of this.#sockets) socket.destroy(error)
    for (const connection of this.#broker.connectionPool.pool) connection.requestQueue.destroy()
  }
}

/** Whether the broker did answer, if only with an error. */
export function isAnswer(error: unknown): boolean {
  return error instanceof Error && 'type' in error
}

export function closedError(): Error {
  return Object.assign(new Error('the connection was given up'), { code: 'ECONNABORTED' })
}

/**
 * As kafkajs's `Connection.send`, which copies a request twice into memory that it has cleared before. Here the pieces go
 * to the socket as they are; they must not change until there is an answer, or the connection is destroyed.
 */
async function sendPieces<Answer>(
  connection: Connection,
  { request, response }: Exchange<Answer>,
  pieces: readonly Buffer[],
): Promise<Answer> {
  const { requestQueue, clientId, socket } = connection
  if (!connection.isAuthenticated()) await connection.authenticate()
  const { apiKey, apiName, apiVersion } = request
  const correlationId = connection.nextCorrelationId()
  const header = requestHeader(request, correlationId, clientId, pieces)
  const { payload } = await new Promise<{ readonly payload: Buffer }>((resolve, reject) => {
    requestQueue.push({
      entry: { apiKey, apiName, apiVersion, correlationId, resolve, reject },
      expectResponse: true,
      requestTimeout: null,
      sendRequest() {
        socket.cork()
        for (const piece of [header, ...pieces]) socket.write(piece)
        socket.uncork()
      },
    })
  })
  const decoded = await response.decode(payload)
  requestQueue.maybeThrottle(decoded.clientSideThrottleTime ?? null)
  return response.parse(decoded)
}

/** Request header v1 (https://kafka.apache.org/protocol#protocol_messages), behind the length of all. */
function requestHeader(
  { apiKey, apiVersion }: Exchange<unknown>['request'],
  correlationId: number,
  clientId: string,
  pieces: readonly Buffer[],
): Buffer {
  const clientIdBytes = Buffer.byteLength(clientId)
  const header = Buffer.alloc(4 + 2 + 2 + 4 + 2 + clientIdBytes)
  header.writeInt32BE(
    pieces.reduce((sum, { length }) => sum + length, header.length - 4),
    0,
  )
  header.writeInt16BE(apiKey, 4)
  header.writeInt16BE(apiVersion, 6)
  header.writeInt32BE(correlationId, 8)
  header.writeInt16BE(clientIdBytes, 12)
  header.write(clientId, 14)
  return header
}

function openSocket({ host, port, ssl, onConnect }: SocketFactoryArguments, sockets: Set<Socket>): Socket {
  const servername = isIP(host) ? {} : { servername: host }
  const socket = ssl ? connectTls({ host, port, ...servername, ...ssl }, onConnect) : connect({ host, port }, onConnect)
  sockets.add(socket)
  socket.on('close', () => sockets.delete(socket))
  socket.setKeepAlive(true, 60_000)
  // Each request is written whole; waiting to fill a packet would only delay the second of two in flight.
  socket.setNoDelay(true)
  return socket
}

function tlsOptionsOf({ tls }: KafkaConnectionOptions): object | null {
  if (!tls) return null
  return {
    rejectUnauthorized: true,
    ...(tls.ca === undefined ? {} : { ca: tls.ca }),
    ...(tls.cert === undefined ? {} : { cert: tls.cert }),
    ...(tls.key === undefined ? {} : { key: tls.key.reveal() }),
    ...(tls.serverName === undefined ? {} : { servername: tls.serverName }),
  }
}

/**
 * kafkajs arms a timer with a time in the past after every answer, also when nothing waits for it; Node warns of that
 * (`TimeoutNegativeWarning`).
 */
function quietenTimer({ requestQueue }: Connection): void {
  const schedule = requestQueue.scheduleCheckPendingRequests.bind(requestQueue)
  requestQueue.scheduleCheckPendingRequests = () => {
    if (requestQueue.pending.length > 0) schedule()
  }
}

/**
 * kafkajs calls everything that goes wrong while authenticating "authentication failed", also a broken connection, and
 * drops the cause. This keeps it.
 */
function recordFailures(connection: Connection): { behind(error: unknown): unknown } {
  const send = connection.send.bind(connection)
  let last: unknown
  connection.send = async <Answer>(exchange: Exchange<Answer>): Promise<Answer> => {
    try {
      return await send(exchange)
    } catch (error) {
      last = error
      throw error
    }
  }
  return {
    behind(error) {
      connection.send = send
      const isWrapped = error instanceof Error && error.name === 'KafkaJSSASLAuthenticationError'
      return isWrapped && last instanceof Error && !isAnswer(last) ? last : error
    },
  }
}

function connectTimeoutError(ms: number): Error {
  return Object.assign(new Error(`no connection within ${ms} ms`), { code: 'ETIMEDOUT' })
}

/** What kafkajs reports are steps, of which the outcome is told by our errors: all of it is for debugging. */
export function kafkajsLogger(log: Log): Logger {
  const debug = (message: string, details?: object): void => log.debug({ ...details, driver: 'kafkajs' }, message)
  const logger: Logger = { namespace: () => logger, debug, info: debug, warn: debug, error: debug }
  return logger
}
