/**
 * Starts one real Kafka broker for a whole test run. Vitest runs this file before the first test of a project that names
 * it as `globalSetup`, and only when a file of that project is part of the run.
 */
import type { TestProject } from 'vitest/node'
import { messageOf } from '../../src/base/errors.ts'
import { givenServers } from './given-servers.ts'
import { startKafka } from './kafka/kafka.ts'
import { runsInCi, type SharedKafka } from './shared-kafka.ts'

export async function setup(project: TestProject): Promise<(() => Promise<void>) | undefined> {
  // Several projects may name this file; the first one's broker is everyone's.
  const root = project.vitest.getRootProject()
  const started = root.getProvidedContext().kafka as SharedKafka | undefined
  if (started !== undefined) return undefined

  const given = givenServers().kafka
  if (given !== null) {
    root.provide('kafka', { access: given, unavailable: null })
    return undefined
  }
  try {
    const cluster = await startKafka()
    root.provide('kafka', { access: cluster.access, unavailable: null })
    return () => cluster.stop()
  } catch (error) {
    if (runsInCi()) throw error
    root.provide('kafka', { access: null, unavailable: messageOf(error) })
    sayLoudly(['The tests that need real Kafka are SKIPPED: it could not be started.', ...explain(error)])
    return undefined
  }
}

function explain(error: unknown): string[] {
  const hint = typeof error === 'object' && error !== null && 'hint' in error ? String(error.hint) : ''
  const ways = 'Or run Docker, or set OUTRIGGER_TEST_KAFKA=host:port to a broker that may be written to.'
  return [...messageOf(error).split('\n'), hint, ways].filter((line) => line !== '')
}

function sayLoudly(lines: readonly string[]): void {
  const rule = '!'.repeat(100)
  process.stderr.write(`\n${[rule, ...lines.map((line) => `!! ${line}`), rule].join('\n')}\n\n`)
}
