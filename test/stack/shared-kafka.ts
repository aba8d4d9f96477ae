import type { KafkaAccess } from './kafka/kafka.ts'

/** What global-setup.ts has for the tests: a broker, or why there is none. */
export type SharedKafka =
  { readonly access: KafkaAccess; readonly unavailable: null } | { readonly access: null; readonly unavailable: string }

declare module 'vitest' {
  interface ProvidedContext {
    /** The test run's Kafka; use `requireKafka`. */
    kafka: SharedKafka
  }
}

/** Whether a missing server fails the run. */
export function runsInCi(env: NodeJS.ProcessEnv = process.env): boolean {
  return !['', '0', 'false'].includes(env['CI'] ?? '')
}
