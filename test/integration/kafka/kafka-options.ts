import type { KafkaBrokerOptions } from '../../../src/kafka/kafka-options.ts'

/** The configuration's defaults, with shorter times. */
export function brokerOptions(brokers: readonly string[], more: Partial<KafkaBrokerOptions> = {}): KafkaBrokerOptions {
  return {
    brokers,
    clientId: 'outrigger-test',
    acks: 'all',
    compression: 'none',
    connectTimeout: 5000,
    requestTimeout: 10_000,
    ...more,
  }
}
