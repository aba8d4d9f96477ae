import { createConnection } from 'mysql2'
import type { Connection, SslOptions } from 'mysql2'
import { connect, isIP } from 'node:net'
import type { Socket } from 'node:net'
import type { Clock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import { mysqlError, mysqlStoreError } from './mysql-errors.ts'
import type { MysqlOptions } from './mysql-options.ts'

export const queryTimeoutDefault = 20_000
/** For statements that change a table: a large one takes its time to get another key. */
export const ddlTimeoutMs = 3_600_000
/** How long statements that change a table may wait for the others on it, which all stand still behind it meanwhile. */
const lockWaitSecondsMax = 5
const keepAliveDelayMs = 30_000
const goodbyeMsMax = 1000

export interface QueryLimits {
  readonly signal: AbortSignal
  /** Instead of the options' `queryTimeout`. */
  readonly timeoutMs?: number | undefined
}

/**
 * One session with the server. Everything that Outrigger's statements rely on is set for the session, whatever the
 * server's defaults are: strict mode, UTC, autocommit, backslash escapes.
 */
export class MysqlConnection {
  readonly #clock: Clock
  readonly #queryTimeoutMs: number
  readonly #address: string
  readonly #socket: Socket
  readonly #driver: Connection
  #usable = true
  #statementBytesMax = 0
  /** Ends the wait for the statement that is under way. */
  #fail: ((reason: unknown) => void) | undefined

  private constructor(clock: Clock, options: MysqlOptions, socket: Socket, driver: Connection) {
    this.#clock = clock
    this.#queryTimeoutMs = options.queryTimeout ?? queryTimeoutDefault
    this.#address = `${options.host}:${options.port}`
    this.#socket = socket
    this.#driver = driver
    // Between statements, the loss of a connection is nobody's failure.
    driver.on('error', (error) => this.#cut(mysqlStoreError(error, this.#address).error))
    // Amid a statement, an error follows.
    driver.on('end', () => (this.#usable = false))
  }

  /** `ssl` is one object for all connections of a store: secure contexts and sessions are kept by it. */
  static async open(
    clock: Clock,
    options: MysqlOptions,
    ssl: SslOptions | undefined,
    signal: AbortSignal,
  ): Promise<MysqlConnection> {
    signal.throwIfAborted()
    const password = await options.password().catch((error: unknown) => {
      throw mysqlError('PASSWORD_UNREADABLE', `the password for MySQL can't be had: ${messageOf(error)}`, error)
    })
    signal.throwIfAborted()
    const { host, port, user, database } = options
    const socket = connect({ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveDelayMs })
    const driver = createConnection({
      // The socket is ours, so that it can be cut at any time; mysql2 would only ask it to end.
      stream: () => socket,
      host: verifiedName(options),
      port,
      user,
      database,
      ...(password && { password: password.reveal() }),
      ...(ssl && { ssl }),
      charset: 'utf8mb4_bin',
      // Ours, below, covers all of the way, by the injected clock.
      connectTimeout: 0,
      supportBigNumbers: true,
      // A server may not ask for files of this machine, nor have its column names compiled into code.
      flags: ['-LOCAL_FILES'],
      disableEval: true,
      connectAttributes: { program_name: 'outrigger' },
    })
    const connection = new MysqlConnection(clock, options, socket, driver)
    const limits = { signal, timeoutMs: options.connectTimeout }
    try {
      await connection.#within(limits, 'ETIMEDOUT', (done) => driver.connect((error) => done(error, undefined)))
      await connection.#setUp(limits)
      return connection
    } catch (error) {
      connection.destroy()
      throw error
    }
  }

  /** Whether it may be given another statement. */
  get usable(): boolean {
    return this.#usable
  }

  /** The longest statement that the server takes. */
  get statementBytesMax(): number {
    return this.#statementBytesMax
  }

  /**
   * The rows of a statement, which holds its values already (see sql-text.ts). When it is aborted or late, the connection
   * is cut; the server may finish the statement all the same.
   */
  async query<Row = unknown>(sql: string, limits: QueryLimits): Promise<Row[]> {
    limits.signal.throwIfAborted()
    if (!this.#usable) throw this.#closedError()
    const rows = await this.#within<unknown>(limits, 'QUERY_TIMEOUT', (done) => this.#driver.query({ sql }, done))
    return Array.isArray(rows) ? (rows as Row[]) : []
  }

  /** Says goodbye, so that the server does not count and log a client that vanished. */
  close(): void {
    if (!this.#usable) return
    this.#usable = false
    this.#socket.setTimeout(goodbyeMsMax, () => this.#socket.destroy())
    this.#driver.end()
  }

  /** Cuts the connection at once; a statement under way fails. Idempotent. */
  destroy(): void {
    this.#cut(this.#closedError())
  }

  #cut(reason: unknown): void {
    this.#usable = false
    this.#fail?.(reason)
    // mysql2 tells nobody of what it is made to end by itself.
    this.#driver.destroy()
    this.#socket.destroy()
  }

  #closedError(): Error {
    return mysqlError('CONNECTION_CLOSED', `MySQL at ${this.#address}: the connection was closed`)
  }

  async #setUp(limits: QueryLimits): Promise<void> {
    const lockWaitSeconds = Math.max(1, Math.min(lockWaitSecondsMax, Math.floor(this.#queryTimeoutMs / 1000)))
    const settings = [
      "sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
      "time_zone = '+00:00'",
      'autocommit = 1',
      `innodb_lock_wait_timeout = ${lockWaitSeconds}`,
      `lock_wait_timeout = ${lockWaitSeconds}`,
    ]
    await this.query(`SET SESSION ${settings.join(', ')}`, limits)
    const [row] = await this.query<{ bytes: number }>('SELECT @@max_allowed_packet AS bytes', limits)
    // The packet has a byte for the command, too.
    this.#statementBytesMax = (row?.bytes ?? 0) - 1
  }

  /** The outcome of `start`, or the end of patience, whichever comes first; after the latter the connection is cut. */
  #within<T>(
    { signal, timeoutMs = this.#queryTimeoutMs }: QueryLimits,
    lateReason: string,
    start: (done: (error: Error | null, result: T) => void) => void,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const over = new AbortController()
      const settle = (how: () => void): void => {
        if (over.signal.aborted) return
        over.abort()
        this.#fail = undefined
        how()
      }
      this.#fail = (reason) => settle(() => reject(reason))
      signal.addEventListener('abort', () => this.#cut(signal.reason), { once: true, signal: over.signal })
      this.#clock.sleep(timeoutMs, over.signal).then(
        () => this.#cut(mysqlError(lateReason, `MySQL at ${this.#address}: no answer for ${timeoutMs} ms`)),
        // It was not needed any more.
        () => {},
      )
      start((thrown, result) => {
        if (!thrown) {
          settle(() => resolve(result))
          return
        }
        const { error, hangUp } = mysqlStoreError(thrown, this.#address)
        settle(() => reject(error))
        if (hangUp) this.#cut(error)
      })
    })
  }
}

/** What every connection of a store says about TLS, or nothing. */
export function sslOptionsOf({ tls }: MysqlOptions): SslOptions | undefined {
  if (tls === undefined) return undefined
  return {
    rejectUnauthorized: true,
    verifyIdentity: true,
    minVersion: 'TLSv1.2',
    ...(tls.ca !== undefined && { ca: tls.ca }),
    ...(tls.cert !== undefined && { cert: tls.cert }),
    ...(tls.key && { key: tls.key.reveal() }),
  }
}

/**
 * The name that the certificate must have. mysql2 takes its `host` for it, but for an IP address it tells Node none,
 * which would then look for "localhost". With a dot behind, an address passes for a name, and Node, which takes a last
 * dot away, holds it against the addresses in the certificate.
 */
function verifiedName({ host, tls }: MysqlOptions): string {
  const name = tls?.serverName ?? host
  return isIP(name) === 0 ? name : `${name}.`
}
