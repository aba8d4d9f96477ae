import type { Client } from 'cassandra-driver'
import { controlConnectionOf } from './control-connection.ts'

/**
 * Ends a client for good. The driver's own `shutdown` does nothing for one whose `connect` has failed, and leaves its
 * socket and its heartbeat behind: one more at each try, for as long as, say, a wrong data center is configured. Nor does it
 * stop a reconnect that is under way, which would stand for ever.
 */
export async function disposeClient(client: Client): Promise<void> {
  await client.shutdown()
  const control = controlConnectionOf(client)
  if (control === undefined) return
  const close = (): void => control.connection?.close(() => {})
  control.on('newConnection', close)
  control.shutdown()
  close()
  // One whose `connect` has failed late has pools already, which would go on connecting.
  await Promise.all(control.hosts.values().map((host) => host.shutdown(false)))
}
