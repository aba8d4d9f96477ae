import { mkdir, readdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { CpuProfile, ProfileNode, Sources } from './cpu-profile.ts'
import { placeOf, sourcesOf } from './cpu-profile.ts'
import { benchMessages, benchRequests } from './bodies.ts'
import { KafkaSide } from './kafka-side.ts'
import type { Parameters } from './parameters.ts'
import { publish } from './publishing.ts'
import { Subject } from './subject.ts'
import { Workbench } from './workbench.ts'
import { findWrk } from './wrk.ts'

const FUNCTIONS_SHOWN = 30

/** Runs the program under V8's profiler, with Kafka behind it, and shows in which functions each thread's time goes. */
export async function profile(directory: string, parameters: Parameters, say: (line: string) => void): Promise<void> {
  const wrk = await findWrk(say)
  await using bench = await Workbench.open(directory)
  await using kafka = await KafkaSide.start(bench)
  const { seconds, warmUpSeconds, valueBytes, batchConnections } = parameters
  for (const batch of [1, ...parameters.batches]) {
    const profiles = bench.path('profiles')
    await mkdir(profiles)
    const nodeOptions = ['--cpu-prof', `--cpu-prof-dir=${profiles}`]
    const subject = new Subject(bench, { broker: 'kafka', brokers: kafka.brokers, nodeOptions })
    await subject.start()
    const topic = await kafka.newTopic()
    const requests = benchRequests(benchMessages(batch, valueBytes, false), batch)
    const connections = batch === 1 ? 64 : batchConnections
    const what = { topic, requests, batch, connections, seconds: warmUpSeconds + seconds }
    const { perSecond, deliveredPerSecond, cpuMicros } = await publish({ bench, wrk }, subject, what, kafka)
    const { pid } = subject
    await subject.stop()
    const shown = `accepted ${perSecond}/s, delivered ${deliveredPerSecond}/s, ${JSON.stringify(cpuMicros)} CPU-µs each`
    say(`\n${batch} a request, ${connections} connections, under the profiler: ${shown}`)
    for (const file of await readdir(profiles)) {
      // Named CPU.date.time.process.thread.number.cpuprofile. A process that was only there for the start is left out.
      const [, , , processId, threadId] = file.split('.')
      if (Number(processId) !== pid) continue
      const cpuProfile = JSON.parse(await readFile(join(profiles, file), 'utf8')) as CpuProfile
      const { busySeconds, functions } = hottestFunctions(cpuProfile, await sourcesOf(cpuProfile))
      say(`  ${threadId === '0' ? 'accepting' : 'delivering'} thread, busy for ${busySeconds.toFixed(1)} s:`)
      for (const { name, share } of functions) say(`  ${(share * 100).toFixed(1).padStart(5)} %  ${name}`)
    }
  }
}

interface Hottest {
  readonly busySeconds: number
  readonly functions: readonly { readonly name: string; readonly share: number }[]
}

/** By the time that they take themselves. What is not of this program is named with the function of it that called. */
function hottestFunctions({ nodes, samples, timeDeltas }: CpuProfile, sources: Sources): Hottest {
  const nodeOf = new Map(nodes.map((node) => [node.id, node]))
  const parentOf = new Map(nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id] as const)))
  const names = new Map<number, string>()
  const nameOf = (id: number): string => {
    const frame = nodeOf.get(id)?.callFrame
    if (frame === undefined) return '(unknown)'
    const own = ownName(frame, sources)
    if (own !== null) return own
    const elsewhere = `${frame.functionName || '(anonymous)'} ${frame.url}`.trimEnd()
    for (let caller = parentOf.get(id); caller !== undefined; caller = parentOf.get(caller)) {
      const name = ownName((nodeOf.get(caller) as ProfileNode).callFrame, sources)
      if (name !== null) return `${elsewhere}  for ${name}`
    }
    return elsewhere
  }
  const microsByName = new Map<string, number>()
  let busyMicros = 0
  for (const [index, id] of samples.entries()) {
    const name = names.get(id) ?? nameOf(id)
    names.set(id, name)
    if (name === '(idle)') continue
    const micros = timeDeltas[index] ?? 0
    busyMicros += micros
    microsByName.set(name, (microsByName.get(name) ?? 0) + micros)
  }
  const sorted = [...microsByName].toSorted(([, a], [, b]) => b - a).slice(0, FUNCTIONS_SHOWN)
  const functions = sorted.map(([name, micros]) => ({ name, share: micros / busyMicros }))
  return { busySeconds: busyMicros / 1e6, functions }
}

/** Null when it is not in the program's files. */
function ownName(frame: ProfileNode['callFrame'], sources: Sources): string | null {
  if (!sources.has(frame.url)) return null
  const name = frame.functionName || '(anonymous)'
  return `${name} ${placeOf({ callFrame: frame }, sources) ?? basename(frame.url)}`
}
