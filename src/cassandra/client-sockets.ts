import { AsyncLocalStorage } from 'node:async_hooks'
import diagnostics from 'node:diagnostics_channel'
import type { Socket } from 'node:net'

/** On which Node tells of every socket that begins to connect. */
const channel = 'net.client.socket'

/**
 * All sockets that a driver's client opens, so that they can be ended. The driver keeps those to itself, and a client that
 * is still connecting can't be called off: before a server that says nothing it would hold the process for half a minute.
 */
export class ClientSockets {
  readonly #ours = new AsyncLocalStorage<true>()
  readonly #open = new Set<Socket>()
  #ended = false

  constructor() {
    diagnostics.subscribe(channel, this.#opened)
  }

  /** Calls `work`; what it opens, now or later, is ours. */
  within<T>(work: () => T): T {
    return this.#ours.run(true, work)
  }

  /** Ends every socket at once, and those that are still to come as soon as they do. Idempotent. */
  end(): void {
    this.#ended = true
    for (const socket of this.#open) endNow(socket)
  }

  /** Looks no longer for sockets, and ends those that there are. Idempotent. */
  dispose(): void {
    this.end()
    diagnostics.unsubscribe(channel, this.#opened)
  }

  readonly #opened = (message: unknown): void => {
    if (this.#ours.getStore() === undefined) return
    const { socket } = message as { readonly socket: Socket }
    this.#open.add(socket)
    socket.once('close', () => this.#open.delete(socket))
    // Not before the driver has put its listeners on it.
    if (this.#ended) setImmediate(endNow, socket)
  }
}

function endNow(socket: Socket): void {
  // A connection of the driver's gives up its requests, and their timers, when it hears of an error before the end.
  if (socket.listenerCount('error') > 0) socket.emit('error', new Error('the connection to Cassandra is closed'))
  setImmediate(() => socket.destroy())
}
