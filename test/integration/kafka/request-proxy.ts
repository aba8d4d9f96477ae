import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'

/**
 * Stands between a client and one Kafka broker, sees which requests are made over which connection, and can hold some of
 * them back, as a broker does that can't answer them: what comes behind on the same connection waits too.
 */
export class RequestProxy implements AsyncDisposable {
  /** By API key: how many requests were made. */
  readonly counts = new Map<number, number>()
  /** By API key: how many requests were without an answer at most. */
  readonly inFlightMax = new Map<number, number>()
  /** How many connections were made. */
  connections = 0
  readonly #held = new Set<number>()
  readonly #inFlight = new Map<number, number>()
  readonly #released: (() => void)[] = []
  readonly #sockets = new Set<Socket>()
  readonly #server: Server
  readonly #target: number

  private constructor(target: number) {
    this.#target = target
    this.#server = createServer((client) => this.#serve(client))
  }

  /** Listens on a port of 127.0.0.1; the broker may come later. */
  static async listen(port: number, target: number): Promise<RequestProxy> {
    const proxy = new RequestProxy(target)
    proxy.#server.listen(port, '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  /** Forgets what it has seen. */
  reset(): void {
    this.counts.clear()
    this.inFlightMax.clear()
    this.connections = 0
  }

  /** From now on these requests get no answer. */
  hold(...apiKeys: number[]): void {
    for (const apiKey of apiKeys) this.#held.add(apiKey)
  }

  /** What was held back goes on its way. */
  release(): void {
    this.#held.clear()
    for (const release of this.#released.splice(0)) release()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #serve(client: Socket): void {
    this.connections++
    const broker = connect(this.#target, '127.0.0.1')
    /** By correlation id. */
    const asked = new Map<number, number>()
    let isHeld = false
    const waiting: Buffer[] = []
    const forward = (frame: Buffer): void => {
      if (this.#held.has(frame.readInt16BE(4))) isHeld = true
      if (isHeld) waiting.push(frame)
      else broker.write(frame)
    }
    this.#released.push(() => {
      isHeld = false
      for (const frame of waiting.splice(0)) forward(frame)
    })
    eachFrame(client, (frame) => {
      const apiKey = frame.readInt16BE(4)
      asked.set(frame.readInt32BE(8), apiKey)
      this.counts.set(apiKey, (this.counts.get(apiKey) ?? 0) + 1)
      this.#add(apiKey, 1)
      forward(frame)
    })
    eachFrame(broker, (frame) => {
      const correlationId = frame.readInt32BE(4)
      const apiKey = asked.get(correlationId)
      asked.delete(correlationId)
      if (apiKey !== undefined) this.#add(apiKey, -1)
      client.write(frame)
    })
    client.on('close', () => {
      for (const apiKey of asked.values()) this.#add(apiKey, -1)
      asked.clear()
    })
    for (const [socket, other] of [
      [client, broker],
      [broker, client],
    ] as const) {
      this.#sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('error', () => {}) // its end is all that the other side needs to know
      socket.on('close', () => {
        this.#sockets.delete(socket)
        other.destroy()
      })
    }
  }

  #add(apiKey: number, change: number): void {
    const inFlight = (this.#inFlight.get(apiKey) ?? 0) + change
    this.#inFlight.set(apiKey, inFlight)
    this.inFlightMax.set(apiKey, Math.max(this.inFlightMax.get(apiKey) ?? 0, inFlight))
  }
}

/** Calls with each request or answer, whole, with its length in front. */
function eachFrame(socket: Socket, take: (frame: Buffer) => void): void {
  let bytes: Buffer = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => {
    bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk])
    while (bytes.length >= 4 && bytes.length >= 4 + bytes.readInt32BE(0)) {
      const end = 4 + bytes.readInt32BE(0)
      take(bytes.subarray(0, end))
      bytes = bytes.subarray(end)
    }
  })
}
