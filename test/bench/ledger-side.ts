import { Client } from 'cassandra-driver'
import { createConnection } from 'mysql2/promise'
import { startCassandra } from '../stack/cassandra/cassandra.ts'
import type { CassandraAccess } from '../stack/cassandra/cassandra.ts'
import { startMysql } from '../stack/mysql/mysql.ts'
import type { SqlAccess } from '../stack/mysql/sql-server.ts'
import type { SingleServer } from '../stack/single-server.ts'
import type { Workbench } from './workbench.ts'

/** From acceptance until a message is there, in milliseconds. */
export interface Spread {
  readonly p50Ms: number
  readonly p99Ms: number
}

export interface LedgerTimes {
  readonly untilKafka: Spread
  /** Until the write of its batch began; see docs/performance.md. */
  readonly untilMysql: Spread
  readonly untilCassandra: Spread
  readonly rows: number
  readonly entries: number
}

interface LogTimes {
  readonly topic: string
  readonly accepted_at: Date
  /** Microseconds. */
  readonly written: { toNumber(): number }
}

const keyspace = 'bench'

/** Real MySQL and Cassandra on this machine, and what Outrigger has written there. */
export class LedgerSide implements AsyncDisposable {
  readonly #mysql: SingleServer<SqlAccess>
  readonly #cassandra: SingleServer<CassandraAccess>

  private constructor(mysql: SingleServer<SqlAccess>, cassandra: SingleServer<CassandraAccess>) {
    this.#mysql = mysql
    this.#cassandra = cassandra
  }

  static async start(bench: Workbench): Promise<LedgerSide> {
    const [mysql, cassandra] = await Promise.all([
      startMysql({ directory: bench.path('mysql') }),
      startCassandra({ directory: bench.path('cassandra') }),
    ])
    return new LedgerSide(mysql, cassandra)
  }

  /** The part of Outrigger's configuration that uses them. */
  get settings(): object {
    const url = new URL(this.#mysql.access.url)
    const { password } = url
    url.password = ''
    const { contactPoints, localDataCenter } = this.#cassandra.access
    return {
      ledger: { metadata: 'mysql', log: 'cassandra' },
      mysql: { url: url.href, password },
      cassandra: { contactPoints, localDataCenter, keyspace, replicationFactor: 1 },
    }
  }

  /** Of the messages of a topic that were accepted since then. */
  async times(topic: string, since: number): Promise<LedgerTimes> {
    const connection = await createConnection({ uri: this.#mysql.access.url })
    const [rows] = await connection.query(
      'SELECT accepted_at, finished_at, recorded_at FROM message_metadata WHERE topic = ? AND accepted_at >= ?',
      [topic, since],
    )
    await connection.end()
    const times = rows as { accepted_at: number; finished_at: number; recorded_at: number }[]
    const { contactPoints, localDataCenter } = this.#cassandra.access
    const client = new Client({ contactPoints: [...contactPoints], localDataCenter })
    const delays: number[] = []
    const query = `SELECT topic, accepted_at, WRITETIME(value_bytes) AS written FROM ${keyspace}.message_log`
    for (let pageState: string | undefined, isFirst = true; isFirst || pageState; isFirst = false) {
      const page = await client.execute(query, [], { fetchSize: 5000, ...(pageState && { pageState }) })
      for (const row of page.rows) {
        const { topic: own, accepted_at: accepted, written } = row as unknown as LogTimes
        if (own === topic && accepted.getTime() >= since) delays.push(written.toNumber() / 1000 - accepted.getTime())
      }
      pageState = page.pageState
    }
    await client.shutdown()
    return {
      untilKafka: spread(times.map((row) => row.finished_at - row.accepted_at)),
      untilMysql: spread(times.map((row) => row.recorded_at - row.accepted_at)),
      untilCassandra: spread(delays),
      rows: times.length,
      entries: delays.length,
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#mysql.stop(), this.#cassandra.stop()])
  }
}

function spread(delays: readonly number[]): Spread {
  const sorted = Float64Array.from(delays).toSorted()
  const percentile = (share: number): number => Math.round(sorted[Math.floor(sorted.length * share)] ?? Number.NaN)
  return { p50Ms: percentile(0.5), p99Ms: percentile(0.99) }
}
