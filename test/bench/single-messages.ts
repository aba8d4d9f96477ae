import { benchMessages, benchRequests } from './bodies.ts'
import type { KafkaSide } from './kafka-side.ts'
import type { Target } from './load.ts'
import type { Parameters } from './parameters.ts'
import { cpuMicros, cpuPerMessage } from './process-usage.ts'
import { publish, publishToBaseline, type Answered, type Published, type Publishing, type Tools } from './publishing.ts'
import type { Subject } from './subject.ts'

/** With which broker behind it Outrigger was measured. */
export const SURROUNDINGS = ['kafka', 'away', 'embedded'] as const
export type Surroundings = (typeof SURROUNDINGS)[number]

/** The same program three times, each with its own broker. */
export type Subjects = Readonly<Record<Surroundings, Subject>>

export interface SingleRound extends Readonly<Record<Surroundings, Published>> {
  readonly baseline: Answered & { readonly cpuMicrosPerMessage: number }
}

export interface SingleResult {
  readonly via: 'tcp' | 'unix'
  readonly connections: number
  readonly rounds: readonly SingleRound[]
}

/** (a) One message a request, over keep-alive connections, beside a server that keeps nothing. */
export async function measureSingleMessages(
  tools: Tools,
  baseline: Target & { readonly pid: number },
  subjects: Subjects,
  kafka: KafkaSide,
  parameters: Parameters,
  say: (line: string) => void,
): Promise<SingleResult[]> {
  const { rounds, seconds, valueBytes, warmUpSeconds } = parameters
  const requests = benchRequests(benchMessages(1, valueBytes, false), 1)
  const topic = await kafka.newTopic()
  const measureBaseline = async (what: Publishing): Promise<SingleRound['baseline']> => {
    const before = await cpuMicros(baseline.pid)
    const answered = await publishToBaseline(tools, baseline, what)
    const { all } = cpuPerMessage(before, await cpuMicros(baseline.pid), answered.answered)
    return { ...answered, cpuMicrosPerMessage: all }
  }
  const measure = async (what: Publishing): Promise<SingleRound> => ({
    baseline: await measureBaseline(what),
    kafka: await publish(tools, subjects.kafka, what, kafka),
    away: await publish(tools, subjects.away, what, 'away'),
    embedded: await publish(tools, subjects.embedded, what, 'embedded'),
  })

  await measure({ topic, requests, batch: 1, connections: 64, seconds: warmUpSeconds })
  const ways = [
    ...parameters.connections.map((connections) => ({ via: 'tcp' as const, connections })),
    { via: 'unix' as const, connections: parameters.unixConnections },
  ]
  const results: SingleResult[] = []
  for (const { via, connections } of ways) {
    const measured: SingleRound[] = []
    for (let round = 1; round <= rounds; round++) {
      const figures = await measure({ via, topic, requests, batch: 1, connections, seconds })
      measured.push(figures)
      const shown = (['baseline', ...SURROUNDINGS] as const).map((name) => `${name} ${figures[name].perSecond}/s`)
      say(`single, ${connections} connections (${via}), round ${round}: ${shown.join(', ')}`)
    }
    results.push({ via, connections, rounds: measured })
  }
  await kafka.deleteTopic(topic)
  return results
}
