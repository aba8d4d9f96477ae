import { basename } from 'node:path'
import type { Way } from './durable-logs.ts'
import type { AppendResult, AppendRound } from './journal-appender.ts'
import type { AppendCase, JournalResults } from './journal-appends.ts'
import { GeneratedPart } from './generated-part.ts'
import { count, rate, ratio, section, table } from './markdown.ts'
import { busyText, goalsTable, machineText, type Goal } from './report.ts'
import { medianOf } from './statistics.ts'

const generated = new GeneratedPart('npm run bench -- journal')

/** The document with what it shows of the journal made anew from a results file. */
export function withJournalReport(document: string, results: JournalResults, file: string): string {
  return generated.replaced(document, basename(file), journalReportOf(results))
}

/** The results file from which that was made. */
export function reportedJournalFile(document: string): string | null {
  return generated.file(document)
}

export function journalReportOf(results: JournalResults): string {
  return [surroundings(results), goalsTable(journalGoalsOf(results)), ratesTable(results), costsTable(results)]
    .filter((each) => each !== null)
    .join('\n\n')
}

/** What the journal is to reach, as far as it was measured with so many appenders. */
export function journalGoalsOf({ cases }: JournalResults): Goal[] {
  const goals: Goal[] = []
  for (const each of cases) {
    const { appenders, recordBytes } = each
    if (appenders !== 256) continue
    const least = (what: string, aim: number, reached: number): void => {
      const named = `${what}, 256 appenders, ${count(recordBytes)} B`
      goals.push({ what: named, aim: `≥ ${ratio(aim)}`, reached: ratio(reached), met: reached >= aim })
    }
    least('journal beside the bare loop at its best', 0.8, besideBare(each))
    least(
      'journal beside SQLite',
      2,
      overRounds(each, (round) => beside(round, 'journal', 'sqlite')),
    )
    least(
      'journal beside LevelDB',
      3,
      overRounds(each, (round) => beside(round, 'journal', 'level')),
    )
    least(
      'encrypted beside unencrypted',
      0.6,
      overRounds(each, (round) => beside(round, 'encrypted', 'journal')),
    )
    if (recordBytes !== 1024) continue
    const written = overRounds(each, ({ journal }) => journal?.writtenPerByte ?? NaN)
    const what = 'bytes written for a byte kept, 256 appenders, 1,024 B'
    goals.push({ what, aim: '≤ 1.10', reached: ratio(written), met: written <= 1.1 })
  }
  return goals
}

const wayNames: Readonly<Record<Way, string>> = {
  journal: 'journal',
  encrypted: 'journal, encrypted',
  undrained: 'journal, undrained',
  appended: 'write + fdatasync',
  appendedDsync: 'write, O_DSYNC',
  sqlite: 'SQLite',
  level: 'LevelDB',
}
const wayOrder = Object.keys(wayNames) as Way[]

function surroundings({ takenAt, minutes, machine, versions, parameters }: JournalResults): string {
  const { outrigger, node, sqlite, classicLevel } = versions
  return [
    `Taken on ${takenAt.slice(0, 10)} in ${minutes} minutes, ${machineText(machine)}, with`,
    `Outrigger ${outrigger}, Node ${node}, its SQLite ${sqlite}, and classic-level ${classicLevel}. Medians of`,
    `${parameters.rounds} rounds, in each of which every way has a turn of ${parameters.turnMs} ms.${busyText(machine)}`,
  ].join('\n')
}

function ratesTable({ cases }: JournalResults): string {
  const rows = cases.map((each) => [
    `${count(each.appenders)} × ${count(each.recordBytes)} B`,
    ...wayOrder.map((way) => figure(each, way, ({ perSecond }) => perSecond, rate)),
    ratio(besideBare(each)),
    ratio(overRounds(each, (round) => beside(round, 'journal', 'sqlite'))),
    ratio(overRounds(each, (round) => beside(round, 'journal', 'level'))),
    ratio(overRounds(each, (round) => beside(round, 'encrypted', 'journal'))),
  ])
  const ratios = ['beside the bare loop', 'beside SQLite', 'beside LevelDB', 'encrypted beside unencrypted']
  return section(
    'Records a second, durable',
    table(['Appenders', ...wayOrder.map((way) => wayNames[way]), ...ratios], rows),
  )
}

function costsTable({ cases }: JournalResults): string {
  const appendersMax = Math.max(...cases.map(({ appenders }) => appenders))
  const largest = cases.filter(({ appenders }) => appenders === appendersMax)
  const rows = wayOrder.map((way) => [
    wayNames[way],
    ...largest.flatMap((each) => [
      figure(each, way, ({ cpuMicrosPerRecord }) => cpuMicrosPerRecord, ratio),
      figure(each, way, ({ writtenPerByte }) => writtenPerByte, ratio),
    ]),
  ])
  const heads = largest.flatMap(({ recordBytes }) => {
    const size = `${count(recordBytes)} B`
    return [`${size}: CPU-µs a record`, `${size}: bytes written for a byte`]
  })
  return section(`What a record costs, with ${count(appendersMax)} appenders`, table(['', ...heads], rows))
}

function figure(
  { rounds }: AppendCase,
  way: Way,
  of: (result: AppendResult) => number,
  show: (figure: number) => string,
): string {
  const measured = rounds.flatMap((round) => round[way] ?? [])
  if (measured.length === 0) return ''
  return show(medianOf(measured, of))
}

/** Ratios are taken within a round. */
function overRounds({ rounds }: AppendCase, of: (round: AppendRound) => number): number {
  return medianOf(rounds, of)
}

function beside(round: AppendRound, way: Way, other: Way): number {
  return (round[way]?.perSecond ?? NaN) / (round[other]?.perSecond ?? NaN)
}

/** Beside the bare loop that is the faster on the whole. */
function besideBare(each: AppendCase): number {
  const ratios = (['appended', 'appendedDsync'] as const).map((bare) =>
    overRounds(each, (round) => beside(round, 'journal', bare)),
  )
  return Math.min(...ratios)
}
