import type { Client } from 'cassandra-driver'
import type { EventEmitter } from 'node:events'

/** What a client keeps its first connection in: not in the driver's types, and watched over by an integration test. */
interface ControlConnection extends EventEmitter {
  readonly connection?: { close(closed: () => void): void } | null
  shutdown(): void
}

/**
 * Ends a client for good. The driver's own `shutdown` does nothing for one whose `connect` has failed, and leaves its
 * socket and its heartbeat behind: one more at each try, for as long as, say, a wrong data center is configured. Nor does it
 * stop a reconnect that is under way, which would stand for ever.
 */
export async function disposeClient(client: Client): Promise<void> {
  await client.shutdown()
  const { controlConnection } = client as unknown as { readonly controlConnection?: ControlConnection }
  if (controlConnection === undefined) return
  const close = (): void => controlConnection.connection?.close(() => {})
  controlConnection.on('newConnection', close)
  controlConnection.shutdown()
  close()
}
