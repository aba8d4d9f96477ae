import { mkdir, rm, writeFile } from 'node:fs/promises'
import classicLevelPackage from 'classic-level/package.json' with { type: 'json' }
import { ways } from './durable-logs.ts'
import type { AppendLoad, AppendRound } from './journal-appender.ts'
import { describeMachine, describeVersions, type Machine } from './machine.ts'
import { Workbench } from './workbench.ts'
import { WRK_MISSING } from './wrk.ts'

export interface JournalParameters {
  readonly appenders: readonly number[]
  readonly recordBytes: readonly number[]
  /** How many turns each way has. */
  readonly rounds: number
  readonly turnMs: number
}

export const journalParameters: JournalParameters = {
  appenders: [1, 16, 256],
  recordBytes: [200, 1024],
  rounds: 25,
  turnMs: 80,
}

export interface AppendCase {
  readonly appenders: number
  readonly recordBytes: number
  readonly rounds: readonly AppendRound[]
}

/** All that one run has found, every round of it. */
export interface JournalResults {
  readonly format: 1
  readonly takenAt: string
  readonly minutes: number
  readonly machine: Machine
  readonly versions: Readonly<Record<'outrigger' | 'commit' | 'node' | 'sqlite' | 'classicLevel', string | null>>
  readonly parameters: JournalParameters
  readonly cases: readonly AppendCase[]
}

/** The journal beside other ways to keep records durably, on the disk of `directory`; `say` hears how it goes. */
export async function measureJournal(
  directory: string,
  parameters: JournalParameters,
  say: (line: string) => void,
): Promise<JournalResults> {
  const begunAt = performance.now()
  await using bench = await Workbench.open(directory)
  const machine = await describeMachine(bench.directory)
  const { outrigger, commit, node } = await describeVersions(WRK_MISSING)
  const { version: classicLevel } = classicLevelPackage
  const versions = { outrigger, commit, node, sqlite: process.versions['sqlite'] ?? null, classicLevel }
  const takenAt = new Date().toISOString()
  const cases: AppendCase[] = []
  for (const appenders of parameters.appenders)
    for (const recordBytes of parameters.recordBytes) {
      cases.push({ appenders, recordBytes, rounds: await appendRounds(bench, parameters, appenders, recordBytes) })
      say(`${appenders} appenders of ${recordBytes} B are measured`)
    }
  const minutes = Math.round((performance.now() - begunAt) / 6000) / 10
  return { format: 1, takenAt, minutes, machine, versions, parameters, cases }
}

async function appendRounds(
  bench: Workbench,
  { appenders: allAppenders, rounds, turnMs }: JournalParameters,
  appenders: number,
  recordBytes: number,
): Promise<AppendRound[]> {
  const directory = bench.path('appended')
  await mkdir(directory)
  const file = bench.path('append.json')
  // Without many appenders new space costs next to nothing.
  const isLargest = appenders === Math.max(...allAppenders)
  const load: AppendLoad = {
    ways: ways.filter((way) => way !== 'undrained' || isLargest),
    directory,
    appenders,
    recordBytes,
    rounds,
    turnMs,
  }
  await writeFile(file, JSON.stringify(load))
  const program = new URL('journal-appender.ts', import.meta.url).pathname
  const printed = await bench.run('appender', process.execPath, [program, file], 120_000)
  await rm(directory, { recursive: true })
  return JSON.parse(printed) as AppendRound[]
}
