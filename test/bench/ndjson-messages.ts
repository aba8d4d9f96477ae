import { benchMessages, benchRequests } from './bodies.ts'
import type { KafkaSide } from './kafka-side.ts'
import type { Parameters } from './parameters.ts'
import { publish, type Published, type Publishing, type Tools } from './publishing.ts'
import type { Subjects } from './single-messages.ts'

export interface NdjsonRound {
  readonly kafka: Published
  readonly away: Published
}

export interface NdjsonResult {
  readonly batch: number
  readonly connections: number
  readonly rounds: readonly NdjsonRound[]
}

/** (b) Many messages a request. */
export async function measureNdjson(
  tools: Tools,
  subjects: Subjects,
  kafka: KafkaSide,
  parameters: Parameters,
  say: (line: string) => void,
): Promise<NdjsonResult[]> {
  const { rounds, seconds, valueBytes, warmUpSeconds, batches, batchConnections: connections } = parameters
  const topic = await kafka.newTopic()
  const measure = async (what: Publishing): Promise<NdjsonRound> => ({
    kafka: await publish(tools, subjects.kafka, what, kafka),
    away: await publish(tools, subjects.away, what, 'away'),
  })
  const results: NdjsonResult[] = []
  for (const batch of batches) {
    const requests = benchRequests(benchMessages(batch, valueBytes, false), batch)
    const what = { topic, requests, batch, connections }
    await measure({ ...what, seconds: warmUpSeconds })
    const measured: NdjsonRound[] = []
    for (let round = 1; round <= rounds; round++) {
      const figures = await measure({ ...what, seconds })
      measured.push(figures)
      const shown = `with Kafka ${figures.kafka.perSecond}/s, Kafka away ${figures.away.perSecond}/s`
      say(`NDJSON, ${batch} a request, ${connections} connections, round ${round}: ${shown}`)
    }
    results.push({ batch, connections, rounds: measured })
  }
  await kafka.deleteTopic(topic)
  return results
}
