import type { CassandraAccess } from './cassandra/cassandra.ts'
import { sharedServer, type SharedServer } from './shared-server.ts'

/**
 * The one real Cassandra node of this test run, started now if it was not yet. Await it at the top of a test file, and
 * skip where it is unavailable; in CI it throws instead. Take a keyspace of your own, drop it at the end, and don't kill
 * the node: one of your own comes from `startCassandra`.
 */
export function sharedCassandra(): Promise<SharedServer<CassandraAccess>> {
  return sharedServer<CassandraAccess>('cassandra')
}
