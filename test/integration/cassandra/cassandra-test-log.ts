import { randomBytes } from 'node:crypto'
import { systemClock } from '../../../src/base/clock.ts'
import { silentLog } from '../../../src/base/log.ts'
import { Secret } from '../../../src/base/secret.ts'
import { CassandraMessageLog } from '../../../src/cassandra/cassandra-message-log.ts'
import type { CassandraOptions } from '../../../src/cassandra/cassandra-options.ts'
import type { CassandraAccess } from '../../stack/cassandra/cassandra.ts'

export const never = new AbortController().signal

/** The configuration's defaults, on a single node, with shorter times, in a keyspace of its own. */
export function logOptions(access: CassandraAccess, more: Partial<CassandraOptions> = {}): CassandraOptions {
  const { contactPoints, localDataCenter, credentials } = access
  return {
    contactPoints,
    localDataCenter,
    keyspace: `test_${randomBytes(6).toString('hex')}`,
    replicationFactor: 1,
    username: credentials?.username,
    password: () => Promise.resolve(credentials === null ? undefined : new Secret(credentials.password)),
    connectTimeout: 5000,
    requestTimeout: 12_000,
    valueChunkBytes: 256 * 1024,
    retention: 7 * 86_400_000,
    ...more,
  }
}

export function openLog(options: CassandraOptions): CassandraMessageLog {
  return new CassandraMessageLog(systemClock, silentLog, options)
}

/** A message log with its schema, to be closed by the test. */
export async function migratedLog(options: CassandraOptions): Promise<CassandraMessageLog> {
  const log = openLog(options)
  await log.schema.migrate(never, () => {})
  return log
}
