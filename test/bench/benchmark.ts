import { measureBacklog } from './backlog.ts'
import { measureEndToEnd } from './end-to-end.ts'
import { measureIdle } from './footprint.ts'
import { KafkaSide } from './kafka-side.ts'
import type { Target } from './load.ts'
import { describeMachine, describeVersions } from './machine.ts'
import { measureNdjson } from './ndjson-messages.ts'
import type { Parameters } from './parameters.ts'
import { residentMiB } from './process-usage.ts'
import type { Tools } from './publishing.ts'
import type { Results } from './results.ts'
import { measureSingleMessages, SURROUNDINGS, type Subjects } from './single-messages.ts'
import { Subject } from './subject.ts'
import { Workbench } from './workbench.ts'
import { findWrk } from './wrk.ts'

export const PARTS = ['a', 'b', 'c', 'd', 'bounds'] as const
export type Part = (typeof PARTS)[number]

type Measured = Pick<Results, 'single' | 'ndjson' | 'endToEnd' | 'idle' | 'loadPeakMiB' | 'backlog'>

/** Measures the given parts; `say` hears how it goes. The journals lie in a temporary folder in `directory`. */
export async function benchmark(
  directory: string,
  parts: readonly Part[],
  parameters: Parameters,
  say: (line: string) => void,
): Promise<Results> {
  const begunAt = performance.now()
  const wrk = await findWrk(say)
  await using bench = await Workbench.open(directory)
  const machine = await describeMachine(bench.directory)
  if (machine.fileSystem === 'tmpfs')
    say(`${directory} is in memory: a sync costs nothing there. Use --journal-directory.`)
  if (machine.loadBefore > machine.cores / 4)
    say(`The machine is busy (load ${machine.loadBefore}): take the figures as rough.`)
  const versions = await describeVersions(wrk)
  const takenAt = new Date().toISOString()
  await using kafka = await KafkaSide.start(bench)
  say('Kafka is ready')
  const measured = await measureParts({ bench, wrk }, kafka, parts, parameters, say)
  const minutes = Math.round((performance.now() - begunAt) / 6000) / 10
  return { format: 1, takenAt, minutes, machine, versions, parameters, ...measured }
}

async function measureParts(
  tools: Tools,
  kafka: KafkaSide,
  parts: readonly Part[],
  parameters: Parameters,
  say: (line: string) => void,
): Promise<Measured> {
  const { bench } = tools
  let measured: Measured = {}
  // First, while the page cache and the CPU are its own.
  if (parts.includes('d')) measured = { idle: await measureIdle(bench, kafka, parameters, say) }
  if (parts.some((part) => part === 'a' || part === 'b' || part === 'c')) {
    const subjects = await startSubjects(bench, kafka)
    if (parts.includes('a')) {
      const baseline = await startBaseline(bench)
      const single = await measureSingleMessages(tools, baseline, subjects, kafka, parameters, say)
      await baseline.stop()
      measured = { ...measured, single }
    }
    // From here on it is not needed, and takes the CPU now and then.
    await subjects.embedded.kill()
    if (parts.includes('b'))
      measured = { ...measured, ndjson: await measureNdjson(tools, subjects, kafka, parameters, say) }
    await subjects.away.kill()
    if (parts.includes('c'))
      measured = { ...measured, endToEnd: await measureEndToEnd(tools, subjects.kafka, kafka, parameters, say) }
    const { peak } = await residentMiB(subjects.kafka.pid)
    measured = { ...measured, loadPeakMiB: peak }
    await subjects.kafka.kill()
  }
  if (parts.includes('bounds')) measured = { ...measured, backlog: await measureBacklog(tools, kafka, parameters, say) }
  return measured
}

async function startSubjects(bench: Workbench, kafka: KafkaSide): Promise<Subjects> {
  const nobody = `127.0.0.1:${bench.port()}`
  const subjects: Subjects = {
    kafka: new Subject(bench, { broker: 'kafka', brokers: kafka.brokers }),
    away: new Subject(bench, { broker: 'kafka', brokers: [nobody] }),
    embedded: new Subject(bench, { broker: 'embedded' }),
  }
  for (const name of SURROUNDINGS) await subjects[name].start()
  return subjects
}

async function startBaseline(bench: Workbench): Promise<Target & { readonly pid: number; stop(): Promise<void> }> {
  const target = { port: bench.port(), socketPath: bench.path('s') }
  const file = new URL('http-baseline.ts', import.meta.url)
  const { process } = await bench.startReady(file, [String(target.port), target.socketPath])
  return { ...target, pid: process.pid, stop: () => process.kill() }
}
