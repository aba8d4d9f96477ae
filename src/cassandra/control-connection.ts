/* oxlint-disable no-underscore-dangle -- the names are the driver's */
import type { Client } from 'cassandra-driver'
import type { EventEmitter } from 'node:events'

/**
 * The connection by which a client learns of nodes and of changes of the schema: one of a node's pool, that it borrows. Not
 * in the driver's types: a test fails when another version of the driver is installed.
 */
export interface ControlConnection extends EventEmitter {
  readonly hosts: { values(): readonly ClosableHost[] }
  connection: BorrowedConnection | null
  /** Without `nodes` it begins a new round; with them it goes on with the next one of a round. */
  _refresh(nodes?: Iterator<unknown>): Promise<void>
  _refreshControlConnection(nodes: Iterator<unknown>): Promise<void>
  _borrowAConnection(nodes: Iterator<unknown>): BorrowedConnection
  shutdown(): void
}

interface BorrowedConnection {
  close(closed: () => void): void
}

/** A node, with its pool of connections. */
interface ClosableHost {
  shutdown(waitForPending: boolean): Promise<void>
}

export function controlConnectionOf(client: Client): ControlConnection | undefined {
  return (client as unknown as { readonly controlConnection?: ControlConnection }).controlConnection
}

/**
 * Mends how the driver gets its control connection back after a cut:
 *
 * - When no pool has a connection to lend (a node that is alone, and drops connections), the driver opens one of its own,
 *   and makes its nodes anew to keep it in. The pools of the old ones are never ended and go on connecting, more at each
 *   cut; and two listeners wait for the end of the new connection. Here it waits until a pool has connected again, and the
 *   addresses of the contact points are looked up when the whole client is made anew.
 * - Two refreshes at once take each other's connection away, and fail with a TypeError. Here there is one at a time.
 * - One that begins by a timer has nobody who hears of its failure: an unhandled rejection, which ends the process. Here
 *   `lost` hears of it. The client has no control connection then, and gets none any more: it is of no use.
 */
export function mendControlConnection(client: Client, lost: (error: unknown) => void): void {
  const control = controlConnectionOf(client)
  if (control === undefined) return
  control._refreshControlConnection = async (nodes) => {
    control.connection = control._borrowAConnection(nodes)
  }
  const refresh = control._refresh.bind(control)
  let running: Promise<void> | undefined
  control._refresh = (nodes) => {
    if (nodes !== undefined) return refresh(nodes)
    running ??= refresh()
      .catch(lost)
      .finally(() => (running = undefined))
    return running
  }
}
