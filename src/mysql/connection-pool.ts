import type { Clock } from '../base/clock.ts'
import type { MysqlConnection } from './mysql-connection.ts'
import { mysqlError } from './mysql-errors.ts'

/** A connection that was idle for longer is not trusted: firewalls forget such connections without a word. */
const idleMsMax = 60_000
/** More look-ups than so many at once are a mistake somewhere, or somebody's attack. */
const waitingMax = 100
/** How long `close` waits for what is under way. */
const closeTimeoutMs = 5000

/**
 * What a connection is for. Writes go first, and one connection is theirs: look-ups and maintenance share the others. Of a
 * single connection they get a turn when no write wants it.
 */
export type Purpose = 'write' | 'lookup' | 'maintenance'

interface Waiting {
  readonly purpose: Purpose
  readonly go: () => void
  readonly fail: (error: unknown) => void
}

/** At most so many connections, opened when they are needed and kept for the next call. Calls wait in order, writes first. */
export class ConnectionPool {
  readonly #clock: Clock
  readonly #open: (signal: AbortSignal) => Promise<MysqlConnection>
  readonly #connectionsMax: number
  /** Last used last. */
  readonly #idle: { connection: MysqlConnection; since: number }[] = []
  readonly #busy = new Set<MysqlConnection>()
  readonly #waiting: Waiting[] = []
  /** Calls that may have a connection now. */
  #running = 0
  /** Those among them that are no writes. */
  #runningAside = 0
  readonly #closed = new AbortController()
  #drained: (() => void) | undefined
  #closing: Promise<void> | undefined

  constructor(clock: Clock, connectionsMax: number, open: (signal: AbortSignal) => Promise<MysqlConnection>) {
    this.#clock = clock
    this.#connectionsMax = connectionsMax
    this.#open = open
  }

  /** Gives `work` a connection for itself alone. */
  async use<T>(
    signal: AbortSignal,
    work: (connection: MysqlConnection) => Promise<T>,
    purpose: Purpose = 'write',
  ): Promise<T> {
    await this.#turn(signal, purpose)
    try {
      const connection = this.#takeIdle() ?? (await this.#open(signal))
      this.#busy.add(connection)
      try {
        return await work(connection)
      } finally {
        this.#busy.delete(connection)
        this.#keep(connection)
      }
    } finally {
      this.#running--
      if (purpose !== 'write') this.#runningAside--
      this.#next()
    }
  }

  /** Refuses further calls, waits a little for those under way, and hangs up. Idempotent. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close())
  }

  async #close(): Promise<void> {
    this.#closed.abort()
    for (const { fail } of this.#waiting.splice(0)) fail(closedError())
    if (this.#running > 0) {
      const enough = new AbortController()
      const drained = new Promise<void>((resolve) => (this.#drained = resolve))
      await Promise.race([drained, this.#clock.sleep(closeTimeoutMs, enough.signal).catch(() => {})])
      enough.abort()
    }
    for (const connection of this.#busy) connection.destroy()
    for (const { connection } of this.#idle.splice(0)) connection.close()
  }

  async #turn(signal: AbortSignal, purpose: Purpose): Promise<void> {
    signal.throwIfAborted()
    if (this.#closed.signal.aborted) throw closedError()
    // Whoever waits already is let in by `#next` as soon as there is room for him.
    if (this.#hasRoomFor(purpose)) {
      this.#begin(purpose)
      return
    }
    const isLookup = (call: { purpose: Purpose }): boolean => call.purpose === 'lookup'
    if (purpose === 'lookup' && this.#waiting.filter(isLookup).length >= waitingMax) {
      throw mysqlError('POOL_EXHAUSTED', `more than ${waitingMax} look-ups wait for one of ${this.#asideMax} connections to MySQL`) // prettier-ignore
    }
    await new Promise<void>((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(waiting), 1)
        reject(signal.reason as Error)
      }
      const settle = (then: () => void): void => {
        signal.removeEventListener('abort', onAbort)
        then()
      }
      const waiting: Waiting = {
        purpose,
        go: () => settle(resolve),
        fail: (error) => settle(() => reject(error)),
      }
      signal.addEventListener('abort', onAbort, { once: true })
      this.#waiting.push(waiting)
    })
  }

  #next(): void {
    const next = this.#waiting.find(({ purpose }) => purpose === 'write') ?? this.#waiting[0]
    if (next && this.#hasRoomFor(next.purpose)) {
      this.#waiting.splice(this.#waiting.indexOf(next), 1)
      this.#begin(next.purpose)
      next.go()
    }
    if (this.#running === 0) this.#drained?.()
  }

  /** How many connections look-ups and maintenance may have together. */
  get #asideMax(): number {
    return Math.max(1, this.#connectionsMax - 1)
  }

  #hasRoomFor(purpose: Purpose): boolean {
    if (this.#running >= this.#connectionsMax) return false
    return purpose === 'write' || this.#runningAside < this.#asideMax
  }

  #begin(purpose: Purpose): void {
    this.#running++
    if (purpose !== 'write') this.#runningAside++
  }

  #takeIdle(): MysqlConnection | undefined {
    for (;;) {
      const newest = this.#idle.pop()
      if (!newest) return undefined
      const { connection, since } = newest
      if (connection.usable && this.#clock.monotonic() - since <= idleMsMax) return connection
      connection.close()
    }
  }

  #keep(connection: MysqlConnection): void {
    if (this.#closed.signal.aborted) connection.close()
    else if (connection.usable) this.#idle.push({ connection, since: this.#clock.monotonic() })
  }
}

function closedError(): Error {
  return mysqlError('CLOSED', 'the connection to MySQL is closed')
}
