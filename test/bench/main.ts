/**
 * `npm run bench`: how fast Outrigger is, beside baselines in the same run. See docs/performance.md.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { messageOf } from '../../src/base/errors.ts'
import { StackUnavailableError } from '../stack/errors.ts'
import { journalParameters, measureJournal, type JournalParameters } from './journal-appends.ts'
import { journalGoalsOf, journalReportOf, withJournalReport } from './journal-report.ts'
import { benchmark, PARTS, type Part } from './benchmark.ts'
import { freeBytes } from './machine.ts'
import { diskBytesNeeded, fullParameters, quickParameters, type Parameters } from './parameters.ts'
import { profile } from './profile.ts'
import { goalsOf, reportOf, withReport, type Goal } from './report.ts'
import { LedgerSide } from './ledger-side.ts'
import { KafkaSide } from './kafka-side.ts'
import { measureTarget, targetParameters } from './target.ts'
import { profileTarget } from './target-profile.ts'
import { Workbench } from './workbench.ts'
import { readJournalResults, readResults, writeResults } from './results.ts'

const USAGE = `Measures the built program beside baselines in the same run.

  npm run bench -- [options]
  npm run bench -- journal [options]

  --only ${PARTS.join(',')}
                     just these parts: (a) single messages, (b) NDJSON, (c) until Kafka has it, (d) idle memory, and
                     bounds (a large backlog)
  --quick            one short round of everything, under 2 minutes
  --seconds N        length of one measurement (default ${fullParameters.seconds}, quick ${quickParameters.seconds})
  --rounds N         how often each is repeated (default ${fullParameters.rounds}, quick ${quickParameters.rounds})
  --name NAME        keep the results as test/bench/results/NAME.json; by default only a whole run is kept, by its date
  --journal-directory DIR
                     on which disk the journal is (default: the folder for temporary files)
  --target           instead of all that: a steady 1,000 messages/s of 1 KiB with Kafka, MySQL and Cassandra, and the
                     highest rate that both stores keep up with
  --profile          instead of all that: which functions take the time
  --render FILE      instead of all that: put a results file into docs/performance.md

journal measures the journal alone, without Kafka and HTTP, beside other ways to keep records durably, in some 2 minutes.
Its options are --quick, --rounds, --name, --journal-directory and --render.

A whole run that is kept goes into docs/performance.md too, and so does one of the journal that is kept by --name.
`

const results = fileURLToPath(new URL('results/', import.meta.url))
const document = fileURLToPath(new URL('../../docs/performance.md', import.meta.url))

interface Wanted {
  readonly parts: readonly Part[]
  readonly parameters: Parameters
  /** Just the journal. */
  readonly journal: JournalParameters | null
  /** A whole run with parameters that make it comparable. */
  readonly isWhole: boolean
  readonly name: string | null
  readonly journalDirectory: string
  readonly profile: boolean
  readonly target: boolean
  readonly render: string | null
}

async function main(): Promise<number> {
  let wanted: Wanted | 'help'
  try {
    wanted = readArguments()
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n\n${USAGE}`)
    return 64
  }
  if (wanted === 'help') {
    say(USAGE)
    return 0
  }
  if (wanted.render !== null) {
    await (wanted.journal === null ? render(wanted.render) : renderJournal(wanted.render))
    return 0
  }
  try {
    return await (wanted.journal === null ? measure(wanted) : measureAppends(wanted.journal, wanted))
  } catch (error) {
    if (!(error instanceof StackUnavailableError)) throw error
    process.stderr.write(`the benchmark needs real Kafka: ${error.message} ${error.hint}\n`)
    return 1
  }
}

async function measure({ parts, parameters, isWhole, name, journalDirectory, ...wanted }: Wanted): Promise<number> {
  const needed = diskBytesNeeded(parameters)
  const free = await freeBytes(journalDirectory)
  if (free < needed) {
    const gibibytes = (bytes: number): string => (bytes / 1024 ** 3).toFixed(1)
    process.stderr.write(`${journalDirectory} has ${gibibytes(free)} GiB free; up to ${gibibytes(needed)} are needed\n`)
    return 1
  }
  if (wanted.profile) {
    await profile(journalDirectory, parameters, say)
    return 0
  }
  if (wanted.target) {
    await using bench = await Workbench.open(journalDirectory)
    await using kafka = await KafkaSide.start(bench)
    await using ledger = await LedgerSide.start(bench)
    await measureTarget(bench, kafka, ledger, targetParameters, say)
    await profileTarget(bench, kafka, ledger, targetParameters, say)
    return 0
  }
  const measured = await benchmark(journalDirectory, parts, parameters, say)
  say(`\n${reportOf(measured)}\n`)
  const keptAs = name ?? (isWhole ? measured.takenAt.slice(0, 16).replace('T', '-').replace(':', '') : null)
  if (keptAs === null) {
    say('Not kept: that takes a whole run, or --name.')
  } else {
    const file = join(results, `${keptAs}.json`)
    await writeResults(measured, file)
    say(`Kept as ${relative(process.cwd(), file)}`)
    if (isWhole) await render(file)
  }
  sayMissed(goalsOf(measured))
  return 0
}

async function measureAppends(parameters: JournalParameters, { name, journalDirectory }: Wanted): Promise<number> {
  const measured = await measureJournal(journalDirectory, parameters, say)
  say(`\n${journalReportOf(measured)}\n`)
  if (name !== null) {
    const file = join(results, `${name}.json`)
    await writeResults(measured, file)
    say(`Kept as ${relative(process.cwd(), file)}`)
    await renderJournal(file)
  }
  sayMissed(journalGoalsOf(measured))
  return 0
}

function sayMissed(goals: readonly Goal[]): void {
  for (const { what, aim, reached, met } of goals) if (!met) say(`Not reached: ${what}: ${reached}, the goal is ${aim}`)
}

async function renderJournal(file: string): Promise<void> {
  const text = await readFile(document, 'utf8')
  await writeFile(document, withJournalReport(text, await readJournalResults(file), file))
  say(`${relative(process.cwd(), document)} shows it`)
}

async function render(file: string): Promise<void> {
  await writeFile(document, withReport(await readFile(document, 'utf8'), await readResults(file), file))
  say(`${relative(process.cwd(), document)} shows it`)
}

function readArguments(): Wanted | 'help' {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      only: { type: 'string' },
      quick: { type: 'boolean', default: false },
      seconds: { type: 'string' },
      rounds: { type: 'string' },
      name: { type: 'string' },
      'journal-directory': { type: 'string' },
      profile: { type: 'boolean', default: false },
      target: { type: 'boolean', default: false },
      render: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return 'help'
  const names = values.only?.split(',').map((each) => each.trim()) ?? PARTS
  const unknown = names.find((each) => !PARTS.some((part) => part === each))
  if (unknown !== undefined) throw new Error(`--only knows no part ${unknown}`)
  const parts = PARTS.filter((part) => names.includes(part))
  const [what, ...more] = positionals
  if ((what !== undefined && what !== 'journal') || more.length > 0)
    throw new Error(`there is nothing to measure by the name of ${positionals.join(' ')}`)
  if (values.name !== undefined && !/^[\w.-]+$/.test(values.name)) throw new Error('--name is to be a plain file name')
  const base = values.quick ? quickParameters : fullParameters
  const seconds = wholeNumber('--seconds', values.seconds, base.seconds)
  const rounds = wholeNumber('--rounds', values.rounds, base.rounds)
  const ofJournal: JournalParameters = {
    ...journalParameters,
    rounds: wholeNumber('--rounds', values.rounds, values.quick ? 5 : journalParameters.rounds),
  }
  return {
    parts,
    parameters: { ...base, seconds, rounds },
    journal: what === undefined ? null : ofJournal,
    isWhole: parts.length === PARTS.length && !values.quick,
    name: values.name ?? null,
    journalDirectory: resolve(values['journal-directory'] ?? tmpdir()),
    profile: values.profile,
    target: values.target,
    render: values.render ?? null,
  }
}

function wholeNumber(option: string, given: string | undefined, fallback: number): number {
  if (given === undefined) return fallback
  if (!/^[1-9]\d{0,3}$/.test(given)) throw new Error(`${option} must be a whole number from 1, not ${given}`)
  return Number(given)
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

// What runs for us ends with this process, however it ends; see Workbench.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))
process.exit(await main())
