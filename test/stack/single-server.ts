import type { ReservedPorts } from './ports.ts'
import type { ServerHome } from './server-home.ts'
import type { ServerNode } from './server-node.ts'

export interface SingleServerOptions {
  /** Where data, certificates and logs stay; default: a temporary directory that goes at `stop`. */
  readonly directory?: string
  /** Default: a free one. */
  readonly port?: number
}

/** A running server of our own. It ends with this process at the latest, however that ends. */
export class SingleServer<Access> implements AsyncDisposable {
  /** How to reach it; plain data. */
  readonly access: Access
  readonly #node: ServerNode
  readonly #home: ServerHome
  readonly #ports: ReservedPorts

  private constructor(access: Access, node: ServerNode, home: ServerHome, ports: ReservedPorts) {
    this.access = access
    this.#node = node
    this.#home = home
    this.#ports = ports
  }

  /** Starts what `prepare` makes ready in the home; leaves nothing behind when that fails. */
  static async start<Access>(
    ports: ReservedPorts,
    openHome: () => Promise<ServerHome>,
    prepare: (home: ServerHome) => Promise<{ node: ServerNode; access: Access }>,
  ): Promise<SingleServer<Access>> {
    let home: ServerHome | null = null
    try {
      home = await openHome()
      const { node, access } = await prepare(home)
      await node.start()
      return new SingleServer(access, node, home, ports)
    } catch (error) {
      await home?.close()
      await ports.release()
      throw error
    }
  }

  /** SIGKILL; resolves when the port refuses connections. Does nothing when it is dead already. */
  kill(): Promise<void> {
    return this.#node.kill()
  }

  /** Starts it again on the same port and data; resolves when it answers. Does nothing when it runs. */
  start(): Promise<void> {
    return this.#node.start()
  }

  /** Ends it for good, and removes the directory if it was a temporary one. Idempotent. */
  async stop(): Promise<void> {
    await this.#home.close()
    await this.#ports.release()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }
}
