import { benchMessages, benchRequests } from './bodies.ts'
import type { KafkaSide } from './kafka-side.ts'
import type { Parameters } from './parameters.ts'
import type { ProducerResult } from './producer-baseline.ts'
import { publish, type Published, type Tools } from './publishing.ts'
import type { Subject } from './subject.ts'

export interface EndToEndRound {
  /** The bare producer, by its batches in flight. */
  readonly producers: readonly (ProducerResult & { readonly inFlight: number; readonly perSecond: number })[]
  readonly outrigger: Published
}

export interface EndToEndResult {
  readonly batch: number
  readonly connections: number
  readonly rounds: readonly EndToEndRound[]
}

/** Keyed messages take turns with these many keys, and so with the partitions. */
const MESSAGES = 10_000

/** (c) The whole way until the last message is in Kafka, beside a bare kafkajs producer. */
export async function measureEndToEnd(
  tools: Tools,
  subject: Subject,
  kafka: KafkaSide,
  parameters: Parameters,
  say: (line: string) => void,
): Promise<EndToEndResult[]> {
  const { rounds, seconds, valueBytes } = parameters
  const messages = benchMessages(MESSAGES, valueBytes, true)
  const results: EndToEndResult[] = []
  for (const batch of [1, ...parameters.batches]) {
    const connections = batch === 1 ? 64 : parameters.batchConnections
    const requests = benchRequests(messages.slice(0, batch === 1 ? 1000 : MESSAGES), batch)
    const measured: EndToEndRound[] = []
    // The first round warms up, and is left out.
    for (let round = 0; round <= rounds; round++) {
      const producers: (ProducerResult & { inFlight: number; perSecond: number })[] = []
      for (const inFlight of parameters.inFlight) {
        const produced = await kafka.produce({ messages, batch, inFlight, seconds })
        producers.push({ ...produced, inFlight, perSecond: Math.round(produced.messages / produced.seconds) })
      }
      const topic = await kafka.newTopic()
      const what = { topic, requests, batch, connections, seconds }
      const outrigger = await publish(tools, subject, what, kafka)
      await kafka.deleteTopic(topic)
      if (round === 0) continue
      measured.push({ producers, outrigger })
      const bare = producers.map(({ inFlight, perSecond }) => `${perSecond}/s with ${inFlight} in flight`)
      const shown = `bare producer ${bare.join(', ')}, Outrigger ${outrigger.deliveredPerSecond}/s`
      say(`until Kafka has it, ${batch} a request, round ${round}: ${shown}`)
    }
    results.push({ batch, connections, rounds: measured })
  }
  return results
}
