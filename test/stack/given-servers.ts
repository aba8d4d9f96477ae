import type { CassandraAccess } from './cassandra/cassandra.ts'
import type { KafkaAccess } from './kafka/kafka.ts'
import type { SqlAccess } from './mysql/sql-server.ts'

/** The servers that environment variables point to, which are then used instead of starting some. */
export interface GivenServers {
  /** OUTRIGGER_TEST_KAFKA=host:port,… */
  readonly kafka: KafkaAccess | null
  /** OUTRIGGER_TEST_CASSANDRA=host:port,… in a data centre named `datacenter1`, without authentication */
  readonly cassandra: CassandraAccess | null
  /** OUTRIGGER_TEST_MYSQL=mysql://user:password@host:port/database */
  readonly mysql: SqlAccess | null
  /** OUTRIGGER_TEST_MARIADB=mysql://user:password@host:port/database */
  readonly mariadb: SqlAccess | null
}

export function givenServers(env: NodeJS.ProcessEnv = process.env): GivenServers {
  const kafka = addresses(env['OUTRIGGER_TEST_KAFKA'])
  const cassandra = addresses(env['OUTRIGGER_TEST_CASSANDRA'])
  return {
    kafka: kafka === null ? null : { brokers: kafka, secure: null },
    cassandra:
      cassandra === null
        ? null
        : { contactPoints: cassandra, localDataCenter: 'datacenter1', credentials: null, tls: null },
    mysql: sqlAccess(env['OUTRIGGER_TEST_MYSQL']),
    mariadb: sqlAccess(env['OUTRIGGER_TEST_MARIADB']),
  }
}

function addresses(value: string | undefined): string[] | null {
  const list = (value ?? '').split(',').map((address) => address.trim())
  const given = list.filter((address) => address !== '')
  return given.length === 0 ? null : given
}

function sqlAccess(value: string | undefined): SqlAccess | null {
  return value ? { url: value, caFile: null } : null
}
