import { basename } from 'node:path'
import { GeneratedPart } from './generated-part.ts'
import type { Machine } from './machine.ts'
import { count, rate, ratio, section, table } from './markdown.ts'
import type { Published } from './publishing.ts'
import type { Results } from './results.ts'
import type { SingleResult } from './single-messages.ts'
import { medianOf } from './statistics.ts'

const generated = new GeneratedPart('npm run bench')

/** The document with its generated part made anew from a results file. */
export function withReport(document: string, results: Results, file: string): string {
  return generated.replaced(document, basename(file), reportOf(results))
}

/** The results file from which the document's generated part was made. */
export function reportedFile(document: string): string | null {
  return generated.file(document)
}

/** Everything that was measured, as Markdown. */
export function reportOf(results: Results): string {
  return [
    surroundings(results),
    goalsTable(goalsOf(results)),
    singleTable(results),
    ndjsonTable(results),
    endToEndTable(results),
    costTable(results),
    backlogTable(results),
  ]
    .filter((part) => part !== null)
    .join('\n\n')
}

/** A figure that was aimed at, and what was reached. */
export interface Goal {
  readonly what: string
  readonly aim: string
  readonly reached: string
  readonly met: boolean
}

/** What this version is to reach; only what was measured. */
export function goalsOf(results: Results): Goal[] {
  const goals: Goal[] = []
  const least = (what: string, aim: number, reached: number, show: (figure: number) => string): void => {
    goals.push({ what, aim: `≥ ${show(aim)}`, reached: show(reached), met: reached >= aim })
  }
  const most = (what: string, aim: number, reached: number, unit: string): void => {
    goals.push({ what, aim: `≤ ${aim} ${unit}`, reached: `${reached} ${unit}`, met: reached <= aim })
  }
  const single = results.single?.find(({ via, connections }) => via === 'tcp' && connections === 64)
  if (single) least('single messages beside bare `node:http`, 64 connections', 0.55, ratioOf(single, 'kafka'), ratio)
  const ndjson = results.ndjson?.find(({ batch }) => batch === 1000)
  if (ndjson) {
    const reached = medianOf(ndjson.rounds, ({ kafka }) => kafka.perSecond)
    least('messages a second, NDJSON of 1,000', 100_000, reached, rate)
  }
  for (const { batch, rounds } of results.endToEnd ?? []) {
    const reached = medianOf(rounds, (round) => Math.min(...producerRatios(round)))
    least(`until Kafka has it, beside the bare producer at its best, ${count(batch)} a request`, 0.6, reached, ratio)
  }
  const idle = results.idle?.find(({ broker }) => broker === 'kafka')
  if (idle) most('resident memory, idle', 90, idle.residentMiB, 'MiB')
  const { backlog } = results
  if (backlog) {
    const size = `${gibibytes(backlog.journalBytes)} GiB backlog`
    const peak = Math.max(backlog.peakMiB, backlog.steadyMiB, backlog.restartedMiB, backlog.drainPeakMiB)
    most(`resident memory at its highest, ${size}`, 200, peak, 'MiB')
    most(
      `ready after SIGKILL, ${size}, slowest of ${backlog.restartMs.length}`,
      1000,
      Math.max(...backlog.restartMs),
      'ms',
    )
    const fresh = (backlog.freshBeforePerSecond + backlog.freshAfterPerSecond) / 2
    const drained = backlog.drainPerSecond / fresh
    least('draining beside fresh messages', 1, drained, ratio)
  }
  return goals
}

function surroundings({ takenAt, minutes, machine, versions, parameters }: Results): string {
  return [
    `Taken on ${takenAt.slice(0, 10)} in ${minutes} minutes, ${machineText(machine)}, with`,
    `Outrigger ${versions.outrigger}, Node ${versions.node}, Kafka ${versions.kafka}, kafkajs ${versions.kafkajs} and`,
    `${versions.wrk === null ? 'a load generator on Node in place of wrk' : `wrk ${versions.wrk}`}. Medians of`,
    `${parameters.rounds} rounds of ${parameters.seconds} s.${busyText(machine)}`,
  ].join('\n')
}

/** What the figures depend on. */
export function machineText({ cpu, cores, memoryMiB, kernel, fileSystem, syncMs }: Machine): string {
  return [
    `on ${cores} × ${cpu}, ${Math.round(memoryMiB / 1024)} GiB`,
    `of memory, Linux ${kernel}, ${fileSystem} (4 KiB written and synced: p50 ${syncMs.p50} ms, p99 ${syncMs.p99} ms)`,
  ].join('\n')
}

/** A sentence, or nothing. */
export function busyText({ cores, loadBefore }: Machine): string {
  return loadBefore > cores / 4 ? ` **The machine was busy before the run (load ${loadBefore}).**` : ''
}

export function goalsTable(goals: readonly Goal[]): string | null {
  const rows = goals.map(({ what, aim, reached, met }) => [what, aim, reached, met ? 'yes' : '**no**'])
  if (rows.length === 0) return null
  return section('Goals of this version', table(['What', 'Goal', 'Measured', 'Reached'], rows))
}

function singleTable({ single, parameters }: Results): string | null {
  if (single === undefined) return null
  const rows = single.map((result) => {
    const { via, connections, rounds } = result
    const cell = (name: 'kafka' | 'away' | 'embedded'): string => {
      const perSecond = medianOf(rounds, (round) => round[name].perSecond)
      return `${rate(perSecond)} (${ratio(ratioOf(result, name))})`
    }
    return [
      via === 'tcp' ? count(connections) : `${connections}, Unix socket`,
      rate(medianOf(rounds, ({ baseline }) => baseline.perSecond)),
      cell('kafka'),
      cell('away'),
      cell('embedded'),
      times(rounds.map(({ baseline }) => baseline)),
      times(rounds.map(({ kafka }) => kafka)),
      rate(medianOf(rounds, ({ kafka }) => kafka.backlog)),
    ]
  })
  const heads = ['Connections', 'bare `node:http`', 'Outrigger, Kafka', 'Kafka away', 'embedded']
  const further = ['bare: p50 / p99 ms', 'Kafka: p50 / p99 ms', 'Backlog at the end']
  const node = single.some(({ rounds }) => rounds.some(({ baseline }) => baseline.generator === 'node'))
  const note = node ? '\n\nOver the Unix socket the load generator is ours, on Node: `wrk` knows only TCP.' : ''
  const title = `(a) Single messages of ${parameters.valueBytes} B: accepted a second, and the ratio to bare \`node:http\``
  return section(title, table([...heads, ...further], rows) + note)
}

function ndjsonTable({ ndjson, parameters }: Results): string | null {
  if (ndjson === undefined) return null
  const rows = ndjson.map(({ batch, connections, rounds }) => [
    count(batch),
    count(connections),
    rate(medianOf(rounds, ({ kafka }) => kafka.perSecond)),
    rate(medianOf(rounds, ({ away }) => away.perSecond)),
    times(rounds.map(({ kafka }) => kafka)),
    rate(medianOf(rounds, ({ kafka }) => kafka.backlog)),
  ])
  const heads = [
    'Messages a request',
    'Connections',
    'with Kafka',
    'Kafka away',
    'Kafka: p50 / p99 ms',
    'Backlog at the end',
  ]
  return section(`(b) NDJSON, values of ${parameters.valueBytes} B: messages accepted a second`, table(heads, rows))
}

function endToEndTable({ endToEnd, parameters }: Results): string | null {
  if (endToEnd === undefined) return null
  const inFlight = parameters.inFlight
  const rows = endToEnd.map(({ batch, connections, rounds }) => [
    count(batch),
    count(connections),
    ...inFlight.map((_, index) => rate(medianOf(rounds, ({ producers }) => producers[index]?.perSecond ?? 0))),
    rate(medianOf(rounds, ({ outrigger }) => outrigger.deliveredPerSecond ?? 0)),
    inFlight.map((_, index) => ratio(medianOf(rounds, (round) => producerRatios(round)[index] ?? 0))).join(' / '),
    inFlight
      .map((_, index) => micros(medianOf(rounds, ({ producers }) => producers[index]?.cpuMicrosPerMessage ?? 0)))
      .join(' / '),
    micros(medianOf(rounds, ({ outrigger }) => outrigger.cpuMicros.all)),
  ])
  const heads = [
    'Messages a request or batch',
    'Connections',
    ...inFlight.map((each) => `bare producer, ${each} in flight`),
    'Outrigger',
    'Ratio',
    'bare: CPU-µs a message',
    'Outrigger: CPU-µs a message',
  ]
  const title = `(c) Until Kafka has it, values of ${parameters.valueBytes} B with keys: messages a second`
  return section(title, table(heads, rows))
}

function costTable(results: Results): string | null {
  const measured: [what: string, rounds: readonly Published[]][] = []
  const rows: string[][] = []
  for (const { via, connections, rounds } of results.single ?? []) {
    if (via !== 'tcp' || connections !== 64) continue
    const bare = medianOf(rounds, ({ baseline }) => baseline.cpuMicrosPerMessage)
    rows.push(['bare `node:http`, 64 connections', micros(bare), '', '', '', ''])
    measured.push(['single, 64 connections, until Kafka has it', rounds.map(({ kafka }) => kafka)])
    measured.push(['the same, until the embedded broker has it', rounds.map(({ embedded }) => embedded)])
    measured.push(['the same, accepted only', rounds.map(({ away }) => away)])
  }
  for (const { batch, rounds } of results.ndjson ?? []) {
    measured.push([`NDJSON of ${count(batch)}, until Kafka has it`, rounds.map(({ kafka }) => kafka)])
    measured.push(['the same, accepted only', rounds.map(({ away }) => away)])
  }
  for (const [what, rounds] of measured) {
    const cells = (['all', 'main', 'delivery', 'files', 'other'] as const).map((thread) =>
      micros(medianOf(rounds, ({ cpuMicros }) => cpuMicros[thread])),
    )
    rows.push([what, ...cells])
  }
  const heads = ['CPU-µs a message', 'all', 'accepting thread', 'delivering thread', 'file threads', 'V8 and others']
  const memory = [
    ...(results.idle ?? []).map(
      ({ broker, seconds, residentMiB }) => `${residentMiB} MiB idle with broker ${broker} (after ${seconds} s)`,
    ),
    ...(results.loadPeakMiB === undefined ? [] : [`${results.loadPeakMiB} MiB at the highest under all of the above`]),
  ]
  const parts = [
    ...(rows.length === 0 ? [] : [table(heads, rows)]),
    ...(memory.length === 0 ? [] : [`Resident memory: ${memory.join(', ')}.`]),
  ]
  return parts.length === 0 ? null : section('(d) CPU time and memory', parts.join('\n\n'))
}

function backlogTable({ backlog }: Results): string | null {
  if (backlog === undefined) return null
  const megabytes = (perSecond: number): string => `${Math.round((perSecond * backlog.valueBytes) / 1e6)} MB/s`
  const both = (perSecond: number): string => `${rate(perSecond)} messages/s, ${megabytes(perSecond)}`
  const rows = [
    ['Backlog', `${rate(backlog.messages)} messages, ${gibibytes(backlog.journalBytes)} GiB on disk`],
    ['Resident memory while it grows: peak, and after 3 s', `${backlog.peakMiB} MiB, ${backlog.steadyMiB} MiB`],
    ['Ready after SIGKILL', backlog.restartMs.map((ms) => `${ms} ms`).join(', ')],
    [
      'Resident memory after the restart; peak while draining',
      `${backlog.restartedMiB} MiB, ${backlog.drainPeakMiB} MiB`,
    ],
    ['First message in Kafka, after a start on the backlog', `${backlog.resumedAfterMs} ms`],
    ['Draining', both(backlog.drainPerSecond)],
    ['Fresh messages until Kafka has them, before the outage', both(backlog.freshBeforePerSecond)],
    ['The same, after it', both(backlog.freshAfterPerSecond)],
  ]
  return section(`Bounds: a backlog of messages of ${backlog.valueBytes} B`, table(['What', 'Measured'], rows))
}

function ratioOf({ rounds }: SingleResult, name: 'kafka' | 'away' | 'embedded'): number {
  return medianOf(rounds, (round) => round[name].perSecond / round.baseline.perSecond)
}

function producerRatios({
  producers,
  outrigger,
}: NonNullable<Results['endToEnd']>[number]['rounds'][number]): number[] {
  return producers.map(({ perSecond }) => (outrigger.deliveredPerSecond ?? 0) / perSecond)
}

function times(rounds: readonly { readonly p50Ms: number; readonly p99Ms: number }[]): string {
  return `${medianOf(rounds, ({ p50Ms }) => p50Ms).toFixed(1)} / ${medianOf(rounds, ({ p99Ms }) => p99Ms).toFixed(1)}`
}

function micros(figure: number): string {
  return figure.toFixed(1)
}

function gibibytes(bytes: number): string {
  return (bytes / 1024 ** 3).toFixed(2)
}
