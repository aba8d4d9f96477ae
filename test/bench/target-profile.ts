import { mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { benchMessages, benchRequests } from './bodies.ts'
import type { CpuProfile, ProfileNode } from './cpu-profile.ts'
import { placeOf, sourcesOf } from './cpu-profile.ts'
import type { KafkaSide } from './kafka-side.ts'
import type { LedgerSide } from './ledger-side.ts'
import { applySocketLoad } from './load.ts'
import { cpuMicros } from './process-usage.ts'
import { Subject } from './subject.ts'
import type { TargetParameters } from './target.ts'
import type { Workbench } from './workbench.ts'

/** What CPU time goes into. */
const ACTIVITIES = ['processing', 'storage', 'network'] as const
type Activity = (typeof ACTIVITIES)[number]

/** By where a function stands; the first of a stack, from the top, that is named here decides. */
const places: readonly (readonly [place: RegExp, activity: Activity])[] = [
  [/^node:(internal\/)?fs|^src\/(journal|embedded)\//, 'storage'],
  [/^node:(net|dgram|tls|_tls|http|_http|internal\/(net|stream|streams|tls|dgram|http))/, 'network'],
  [/^src\/(http|kafka\/kafka-node|mysql\/mysql-connection|cassandra\/cassandra-session)/, 'network'],
  [/node_modules\/(kafkajs\/src\/network|mysql2\/lib\/(base\/connection|packet)|cassandra-driver\/lib\/(connection|streams|writers))/, 'network'], // prettier-ignore
  [/^src\/|node_modules\//, 'processing'],
]

/** Runs the target's steady load under V8's profiler and says how Outrigger's CPU time divides by activity. */
export async function profileTarget(
  bench: Workbench,
  kafka: KafkaSide,
  ledger: LedgerSide,
  parameters: TargetParameters,
  say: (line: string) => void,
): Promise<Record<Activity, number>> {
  const profiles = bench.path('profiles')
  await mkdir(profiles)
  const nodeOptions = ['--cpu-prof', `--cpu-prof-dir=${profiles}`]
  const subject = new Subject(bench, {
    broker: 'kafka',
    brokers: kafka.brokers,
    settings: ledger.settings,
    nodeOptions,
  })
  await subject.start()
  const topic = await kafka.newTopic()
  const requests = benchRequests(benchMessages(1, parameters.valueBytes, true), 1)
  await applySocketLoad(bench, {
    target: subject,
    via: 'tcp',
    path: `/topics/${topic}`,
    requests,
    connections: parameters.publishers,
    perSecond: parameters.perSecond,
    seconds: 20,
  })
  const { files, other } = await cpuMicros(subject.pid)
  const { pid } = subject
  await subject.stop()
  // What no stack tells: the threads of the file system, and those of V8, which compile and collect garbage.
  const micros: Record<Activity, number> = { processing: other, storage: files, network: 0 }
  for (const file of await readdir(profiles)) {
    const [, , , processId] = file.split('.')
    if (Number(processId) !== pid) continue
    const profile = JSON.parse(await readFile(join(profiles, file), 'utf8')) as CpuProfile
    for (const [activity, spent] of await activitiesOf(profile)) micros[activity] += spent
  }
  const all = ACTIVITIES.reduce((sum, activity) => sum + micros[activity], 0)
  const shares = Object.fromEntries(
    ACTIVITIES.map((activity) => [activity, Math.round((micros[activity] / all) * 100)]),
  )
  say(`CPU time by activity at ${parameters.perSecond}/s: ${JSON.stringify(shares)} percent`)
  return shares as Record<Activity, number>
}

async function activitiesOf(profile: CpuProfile): Promise<Map<Activity, number>> {
  const { nodes, samples, timeDeltas } = profile
  const nodeOf = new Map(nodes.map((node) => [node.id, node]))
  const parentOf = new Map(nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id] as const)))
  const sources = await sourcesOf(profile)
  const known = new Map<number, Activity | null>()
  const activityOf = (id: number): Activity | null => {
    const top = nodeOf.get(id) as ProfileNode
    if (top.callFrame.functionName === '(idle)') return null
    for (let at: number | undefined = id; at !== undefined; at = parentOf.get(at)) {
      const node = nodeOf.get(at) as ProfileNode
      const place = placeOf(node, sources) ?? node.callFrame.url
      const found = places.find(([pattern]) => pattern.test(place))
      if (found) return found[1]
    }
    return 'processing'
  }
  const micros = new Map<Activity, number>()
  for (const [index, id] of samples.entries()) {
    const activity = known.get(id) ?? activityOf(id)
    known.set(id, activity)
    if (activity !== null) micros.set(activity, (micros.get(activity) ?? 0) + (timeDeltas[index] ?? 0))
  }
  return micros
}
