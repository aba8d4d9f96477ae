import { systemClock } from '../../../src/base/clock.ts'
import type { Broker, Delivered, OutgoingMessage } from '../../../src/forwarder/broker.ts'
import { BrokerError } from '../../../src/forwarder/broker.ts'

/** Sends as the forwarder does: the same batch again until it is through. */
export async function insist(
  broker: Broker,
  topic: string,
  messages: readonly OutgoingMessage[],
  failures: string[],
): Promise<Delivered> {
  for (;;) {
    try {
      return await broker.send(topic, messages, AbortSignal.timeout(20_000))
    } catch (error) {
      failures.push(error instanceof BrokerError ? `${error.failure} ${error.reason}` : String(error))
      await systemClock.sleep(100)
    }
  }
}
