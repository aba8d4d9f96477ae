/**
 * `npm run stack [-- --kafka 3] [--only kafka,cassandra,mysql,mariadb]`: starts the real servers for playing with, on their
 * usual ports where these are free, prints how to reach them, and ends them at Ctrl-C.
 */
import { once } from 'node:events'
import { parseArgs } from 'node:util'
import { messageOf } from '../../src/base/errors.ts'
import { startCassandra, type CassandraAccess } from './cassandra/cassandra.ts'
import { givenServers } from './given-servers.ts'
import { startKafka, type KafkaAccess } from './kafka/kafka.ts'
import { PORTS_PER_NODE } from './kafka/server-properties.ts'
import { startMariadb } from './mysql/mariadb.ts'
import { startMysql } from './mysql/mysql.ts'
import type { SqlAccess } from './mysql/sql-server.ts'
import { areFree } from './ports.ts'

const SERVERS = ['kafka', 'cassandra', 'mysql', 'mariadb'] as const
type ServerName = (typeof SERVERS)[number]

const USAGE = `Starts real servers for playing with, until Ctrl-C.

  npm run stack -- [--kafka 1|3] [--only ${SERVERS.join(',')}]

  --kafka N   how many Kafka brokers (default 1)
  --only …    just these servers (default: all)

A server that OUTRIGGER_TEST_KAFKA, _CASSANDRA, _MYSQL or _MARIADB point to is used instead of started.
OUTRIGGER_TEST_STACK=docker|packages says how to get the others (default: docker where an engine runs).
Downloads are kept in ~/.cache/outrigger-stack, or where OUTRIGGER_STACK_CACHE says.
`

/** A server as the table shows it. */
interface Shown {
  readonly rows: readonly (readonly [what: string, where: string])[]
  readonly stop: () => Promise<void>
  /** Where Kafka is, for the commands to try next. */
  readonly brokers?: readonly string[]
}

const nothingToStop = (): Promise<void> => Promise.resolve()

async function main(): Promise<number> {
  const wanted = readArguments()
  if (wanted === 'help') {
    print(USAGE)
    return 0
  }
  if (typeof wanted === 'string') {
    process.stderr.write(`${wanted}\n\n${USAGE}`)
    return 64
  }
  // A second signal finds no listener, and ends this at once.
  const interrupted = Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')])
  const started = startAll(wanted.only, wanted.kafkaNodes)
  // Interrupted while starting: the servers' supervisors end them when this process ends.
  const servers = await Promise.race([started, interrupted.then(() => null)])
  if (servers === null) return 130
  if (servers.length === 0) return 1
  print(table(servers))
  // Nothing else keeps this process alive: the supervisors must not.
  const alive = setInterval(() => undefined, 60_000)
  await interrupted
  clearInterval(alive)
  print('\nEnding the servers.')
  await Promise.all(servers.map(({ stop }) => stop()))
  return 0
}

function readArguments(): { kafkaNodes: 1 | 3; only: ServerName[] } | string {
  let values: { kafka?: string | undefined; only?: string | undefined; help?: boolean | undefined }
  try {
    const options = { kafka: { type: 'string' }, only: { type: 'string' }, help: { type: 'boolean' } } as const
    values = parseArgs({ options }).values
  } catch (error) {
    return messageOf(error)
  }
  if (values.help === true) return 'help'
  const kafka = values.kafka ?? '1'
  if (kafka !== '1' && kafka !== '3') return `--kafka must be 1 or 3, not ${kafka}`
  const names = values.only?.split(',').map((name) => name.trim()) ?? SERVERS
  const only = SERVERS.filter((name) => names.includes(name))
  const unknown = names.find((name) => !SERVERS.some((known) => known === name))
  if (unknown !== undefined) return `--only knows no server ${unknown}`
  return { kafkaNodes: kafka === '3' ? 3 : 1, only }
}

/** Starts them at once; one that can't be had is reported and does not keep the others from being used. */
async function startAll(names: readonly ServerName[], kafkaNodes: 1 | 3): Promise<Shown[]> {
  print(`Starting ${names.join(', ')}; the first time this downloads them.`)
  const servers = await Promise.all(
    names.map(async (name): Promise<Shown | null> => {
      const begun = Date.now()
      try {
        const server = await startOne(name, kafkaNodes)
        print(`  ${name} is ready after ${((Date.now() - begun) / 1000).toFixed(1)} s`)
        return server
      } catch (error) {
        const hint = typeof error === 'object' && error !== null && 'hint' in error ? String(error.hint) : ''
        process.stderr.write(`  ${name} can't be started: ${messageOf(error)} ${hint}\n`)
        return null
      }
    }),
  )
  return servers.filter((server) => server !== null)
}

async function startOne(name: ServerName, kafkaNodes: 1 | 3): Promise<Shown> {
  const given = givenServers()
  switch (name) {
    case 'kafka': {
      if (given.kafka !== null) return showKafka(given.kafka, nothingToStop)
      const basePort = 9092
      const distance = 10
      const ports = Array.from({ length: kafkaNodes }, (_, node) =>
        Array.from({ length: PORTS_PER_NODE }, (_, port) => basePort + node * distance + port),
      )
      const free = await areFree(ports.flat())
      const cluster = await startKafka({ nodes: kafkaNodes, ...(free ? { basePort } : {}) })
      return showKafka(cluster, () => cluster.stop())
    }
    case 'cassandra': {
      if (given.cassandra !== null) return showCassandra(given.cassandra, nothingToStop)
      const server = await startCassandra(await usualPort(9042))
      return showCassandra(server.access, () => server.stop())
    }
    case 'mysql': {
      if (given.mysql !== null) return showSql('MySQL', given.mysql, nothingToStop)
      const server = await startMysql(await usualPort(3306))
      return showSql('MySQL', server.access, () => server.stop())
    }
    case 'mariadb': {
      if (given.mariadb !== null) return showSql('MariaDB', given.mariadb, nothingToStop)
      const server = await startMariadb(await usualPort(3307))
      return showSql('MariaDB', server.access, () => server.stop())
    }
    default:
      return name satisfies never
  }
}

async function usualPort(port: number): Promise<{ port?: number }> {
  return (await areFree([port])) ? { port } : {}
}

function showKafka({ brokers, secure }: KafkaAccess, stop: Shown['stop']): Shown {
  const rows: [string, string][] = [['Kafka', brokers.join(',')]]
  if (secure !== null) {
    rows.push(
      ['  with SASL and TLS', secure.saslBrokers.join(',')],
      ['', `user ${secure.username}, password ${secure.password}; PLAIN, SCRAM-SHA-256, SCRAM-SHA-512`],
      ['  with client certificate', secure.mutualTlsBrokers.join(',')],
      ['', `${secure.clientCertFile}, ${secure.clientKeyFile}`],
      ['  CA', secure.caFile],
    )
  }
  return { rows, stop, brokers }
}

function showCassandra(access: CassandraAccess, stop: Shown['stop']): Shown {
  const rows: [string, string][] = [['Cassandra', `${access.contactPoints.join(',')}, ${access.localDataCenter}`]]
  if (access.tls !== null) rows.push(['  CA', access.tls.caFile])
  return { rows, stop }
}

function showSql(name: string, access: SqlAccess, stop: Shown['stop']): Shown {
  const rows: [string, string][] = [[name, access.url]]
  if (access.caFile !== null) rows.push(['  CA', access.caFile])
  return { rows, stop }
}

function table(servers: readonly Shown[]): string {
  const rows = servers.flatMap((server) => server.rows)
  const width = Math.max(...rows.map(([what]) => what.length)) + 2
  const lines = rows.map(([what, where]) => `  ${what.padEnd(width)}${where}`)
  const brokers = servers.find((server) => server.brokers !== undefined)?.brokers
  if (brokers !== undefined) {
    const elsewhere = brokers[0] === '127.0.0.1:9092' ? '' : `OUTRIGGER_KAFKA_BROKERS=${brokers.join(',')} `
    lines.push(
      '',
      'Try, in another terminal:',
      `  ${elsewhere}npm start -- --config deploy/examples/local-stack.yaml`,
      `and in a third:`,
      `  curl -d 'hello' localhost:4110/topics/greetings`,
    )
  }
  return ['', ...lines, '', 'Ctrl-C ends them, and removes their data.'].join('\n')
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

process.exit(await main())
