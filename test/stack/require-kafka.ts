import { inject, type TestContext } from 'vitest'
import { StackUnavailableError } from './errors.ts'
import { startKafka, type KafkaAccess, type KafkaCluster, type KafkaOptions } from './kafka/kafka.ts'
import { runsInCi, type SharedKafka } from './shared-kafka.ts'

/**
 * The one real Kafka broker of this test run, which creates topics by itself. Take topics of your own, and don't kill it.
 * Where it can't be had the test is skipped with the reason; in CI it fails.
 */
export function requireKafka(context: Pick<TestContext, 'skip'>): KafkaAccess {
  const shared = inject('kafka') as SharedKafka | undefined
  if (shared === undefined) {
    throw new Error("no Kafka was prepared: this test's project needs globalSetup: ['test/stack/global-setup.ts']")
  }
  if (shared.access === null) return refuse(context, shared.unavailable)
  return shared.access
}

/**
 * A real Kafka cluster of this test's own, which it may kill; `stop` it at the end (`await using`). Give the test 150 s
 * for a cold start. Where it can't be had the test is skipped with the reason; in CI it fails.
 */
export async function requireOwnKafka(
  context: Pick<TestContext, 'skip'>,
  options: KafkaOptions = {},
): Promise<KafkaCluster> {
  try {
    return await startKafka(options)
  } catch (error) {
    if (!(error instanceof StackUnavailableError)) throw error
    return refuse(context, error.message)
  }
}

function refuse(context: Pick<TestContext, 'skip'>, reason: string): never {
  if (runsInCi()) throw new Error(`real Kafka is needed in CI: ${reason}`)
  return context.skip(`needs real Kafka: ${reason}`)
}
