/**
 * Starts one real Kafka broker for a whole test run, and the other real servers when a test asks for them. Vitest runs
 * this file before the first test of a project that names it as `globalSetup`, and only when a file of that project is
 * part of the run.
 */
import type { TestProject } from 'vitest/node'
import { messageOf } from '../../src/base/errors.ts'
import { startCassandra } from './cassandra/cassandra.ts'
import { givenServers } from './given-servers.ts'
import { startKafka } from './kafka/kafka.ts'
import { startMariadb } from './mysql/mariadb.ts'
import { startMysql } from './mysql/mysql.ts'
import { runsInCi, type SharedKafka } from './shared-kafka.ts'
import { SharedServers, type StartedServer } from './shared-server.ts'

export async function setup(project: TestProject): Promise<(() => Promise<void>) | undefined> {
  // Several projects may name this file; the first one's servers are everyone's.
  const root = project.vitest.getRootProject()
  const prepared = root.getProvidedContext().kafka as SharedKafka | undefined
  if (prepared !== undefined) return undefined

  const stopKafka = await provideKafka(root)
  const others = sharedServers()
  root.provide('sharedServersPort', await others.listen())
  return async () => {
    await others.close()
    await stopKafka()
  }
}

async function provideKafka(root: TestProject): Promise<() => Promise<void>> {
  const given = givenServers().kafka
  if (given !== null) {
    root.provide('kafka', { access: given, unavailable: null })
    return async () => {}
  }
  try {
    const cluster = await startKafka()
    root.provide('kafka', { access: cluster.access, unavailable: null })
    return () => cluster.stop()
  } catch (error) {
    if (runsInCi()) throw error
    root.provide('kafka', { access: null, unavailable: messageOf(error) })
    saySkipped(
      'Kafka',
      error,
      'Or run Docker, or set OUTRIGGER_TEST_KAFKA=host:port to a broker that may be written to.',
    )
    return async () => {}
  }
}

/** What tests may ask for beside Kafka, by name. */
function sharedServers(): SharedServers {
  const given = givenServers()
  return new SharedServers(
    {
      cassandra: () => startUnlessGiven(given.cassandra, startCassandra),
      mysql: () => startUnlessGiven(given.mysql, startMysql),
      mariadb: () => startUnlessGiven(given.mariadb, startMariadb),
    },
    (name, error) => saySkipped(name, error, 'Or run Docker, or set an OUTRIGGER_TEST_… variable to a server.'),
  )
}

async function startUnlessGiven(given: object | null, start: () => Promise<StartedServer>): Promise<StartedServer> {
  return given === null ? start() : { access: given, stop: async () => {} }
}

function saySkipped(server: string, error: unknown, ways: string): void {
  const hint = typeof error === 'object' && error !== null && 'hint' in error ? String(error.hint) : ''
  const explained = [...messageOf(error).split('\n'), hint, ways].filter((line) => line !== '')
  sayLoudly([`The tests that need real ${server} are SKIPPED: it could not be started.`, ...explained])
}

function sayLoudly(lines: readonly string[]): void {
  const rule = '!'.repeat(100)
  process.stderr.write(`\n${[rule, ...lines.map((line) => `!! ${line}`), rule].join('\n')}\n\n`)
}
