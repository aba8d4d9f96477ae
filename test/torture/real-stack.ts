import type { TestContext } from 'vitest'
import { readCassandra } from '../e2e/cassandra-records.ts'
import type { LedgerRecords } from '../e2e/ledger-records.ts'
import { createMysqlDatabase, readMysql } from '../e2e/mysql-records.ts'
import { startCassandra, type CassandraAccess } from '../stack/cassandra/cassandra.ts'
import { StackUnavailableError } from '../stack/errors.ts'
import { startKafka, type KafkaCluster } from '../stack/kafka/kafka.ts'
import { startMysql } from '../stack/mysql/mysql.ts'
import type { SqlAccess } from '../stack/mysql/sql-server.ts'
import { runsInCi } from '../stack/shared-kafka.ts'
import type { SingleServer } from '../stack/single-server.ts'

/** A database and a keyspace of one run's own. */
export interface RealLedger extends LedgerRecords {
  /** Outrigger's configuration for Kafka and for both stores. */
  readonly settings: Readonly<Record<string, string>>
}

/**
 * Kafka, MySQL and Cassandra of our own, real, and each to be killed. Cassandra syncs before it acknowledges
 * (`commitlog_sync: batch`): with one node, what it acknowledged and then loses is lost for good.
 */
export class RealStack implements AsyncDisposable {
  readonly kafka: KafkaCluster
  readonly mysql: SingleServer<SqlAccess>
  readonly cassandra: SingleServer<CassandraAccess>
  #ledgers = 0

  private constructor(kafka: KafkaCluster, mysql: SingleServer<SqlAccess>, cassandra: SingleServer<CassandraAccess>) {
    this.kafka = kafka
    this.mysql = mysql
    this.cassandra = cassandra
  }

  /** @throws StackUnavailableError when this machine can't have one of them */
  static async start(): Promise<RealStack> {
    const starting = [startKafka(), startMysql(), startCassandra({ commitLogSync: 'batch' })] as const
    try {
      return new RealStack(...(await Promise.all(starting)))
    } catch (error) {
      const outcomes = await Promise.allSettled(starting)
      const started = outcomes.filter((outcome) => outcome.status === 'fulfilled')
      await Promise.all(started.map(({ value }) => value.stop()))
      throw error
    }
  }

  /** An empty ledger. All three servers must be up. */
  async freshLedger(): Promise<RealLedger> {
    const name = `ledger_${++this.#ledgers}`
    const url = await createMysqlDatabase(this.mysql.access.url, name)
    return {
      settings: {
        OUTRIGGER_BROKER: 'kafka',
        OUTRIGGER_KAFKA_BROKERS: this.kafka.brokers.join(','),
        ...mysqlSettings({ ...this.mysql.access, url }),
        ...cassandraSettings(this.cassandra.access, name),
      },
      readMetadata: (visit) => readMysql(url, visit),
      readLog: (visit) => readCassandra(this.cassandra.access, name, visit),
    }
  }

  /** Ends all of them, and removes their data. Idempotent. */
  async stop(): Promise<void> {
    await Promise.all([this.kafka.stop(), this.mysql.stop(), this.cassandra.stop()])
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }
}

/**
 * All three for one test, which may kill them; give it 150 s for a cold start. Where they can't be had the test is
 * skipped with the reason; in CI it fails.
 */
export async function requireRealStack(context: Pick<TestContext, 'skip'>): Promise<RealStack> {
  try {
    return await RealStack.start()
  } catch (error) {
    if (!(error instanceof StackUnavailableError) || runsInCi()) throw error
    return context.skip(`needs real Kafka, MySQL and Cassandra: ${error.message}`)
  }
}

function mysqlSettings({ url, caFile }: SqlAccess): Record<string, string> {
  const bare = new URL(url)
  const password = decodeURIComponent(bare.password)
  bare.password = ''
  return {
    OUTRIGGER_LEDGER_METADATA: 'mysql',
    OUTRIGGER_MYSQL_URL: bare.href,
    OUTRIGGER_MYSQL_PASSWORD: password,
    ...(caFile !== null && { OUTRIGGER_MYSQL_TLS_CA_FILE: caFile }),
  }
}

function cassandraSettings(access: CassandraAccess, keyspace: string): Record<string, string> {
  const { contactPoints, localDataCenter, credentials, tls } = access
  return {
    OUTRIGGER_LEDGER_LOG: 'cassandra',
    OUTRIGGER_CASSANDRA_CONTACT_POINTS: contactPoints.join(','),
    OUTRIGGER_CASSANDRA_LOCAL_DATA_CENTER: localDataCenter,
    OUTRIGGER_CASSANDRA_KEYSPACE: keyspace,
    OUTRIGGER_CASSANDRA_REPLICATION_FACTOR: '1',
    ...(credentials && {
      OUTRIGGER_CASSANDRA_USERNAME: credentials.username,
      OUTRIGGER_CASSANDRA_PASSWORD: credentials.password,
    }),
    ...(tls && {
      OUTRIGGER_CASSANDRA_TLS_CA_FILE: tls.caFile,
      OUTRIGGER_CASSANDRA_TLS_CERT_FILE: tls.clientCertFile,
      OUTRIGGER_CASSANDRA_TLS_KEY_FILE: tls.clientKeyFile,
    }),
  }
}
