/**
 * `npm run torture -- --kills 200 [--seed N]` kills Outrigger again and again, and real Kafka, MySQL and Cassandra beside
 * it; `npm run torture -- --outage 60 [--broker embedded]` lets these be away. Both print what came of it, and exit with a
 * code other than 0 when a promise was broken.
 */
import { parseArgs } from 'node:util'
import { messageOf } from '../../src/base/errors.ts'
import { hasKeptAll, runOutages } from './outage.ts'
import { embeddedOutageStack, outagesOf, realOutageStack, type OutageStack } from './outage-stack.ts'
import { RealStack } from './real-stack.ts'
import { outageTable, tortureTable } from './tables.ts'
import { hasPassed, torture } from './torture.ts'

const usage = `Kills Outrigger or what it writes to, and shows that nothing is lost.

  npm run torture -- [--kills 200] [--seed N] [--publishers 64]
      Outrigger is killed so many times, and Kafka, MySQL and Cassandra meanwhile, all of them real

  npm run torture -- --outage SECONDS [--broker kafka|embedded]
      Kafka, MySQL and Cassandra are away for so long: each alone, then both stores, then all three at the start;
      or, without any server, the embedded broker, the embedded ledger, then both, then both at the start
`

interface Arguments {
  readonly kills: number
  readonly seed: number
  readonly publishers: number
  readonly outageSeconds: number | null
  readonly broker: 'kafka' | 'embedded'
}

async function main(): Promise<number> {
  let args: Arguments | null
  try {
    args = readArguments()
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n\n${usage}`)
    return 64
  }
  if (args === null) {
    print(usage)
    return 0
  }
  // What was started is ended by its supervisors as soon as this process is gone.
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => process.exit(130))
  return args.outageSeconds === null ? runTorture(args) : runAllOutages(args.broker, args.outageSeconds)
}

async function runTorture({ kills, seed, publishers }: Arguments): Promise<number> {
  say(`Seed ${seed}: the same seed sends the same messages, and kills at the same moments.`)
  await using stack = await RealStack.start()
  const result = await torture(stack, { kills, seed, publishers, say })
  print(`\n${tortureTable(result)}`)
  return hasPassed(result) ? 0 : 1
}

async function runAllOutages(broker: Arguments['broker'], seconds: number): Promise<number> {
  if (broker === 'embedded') return runOutagesOn(async () => embeddedOutageStack(), seconds)
  await using servers = await RealStack.start()
  return await runOutagesOn(() => realOutageStack(servers), seconds)
}

async function runOutagesOn(open: () => Promise<OutageStack>, seconds: number): Promise<number> {
  let exitCode = 0
  for (const isAwayAtStart of [false, true]) {
    await using stack = await open()
    const outages = isAwayAtStart ? [stack.parties] : outagesOf(stack)
    const result = await runOutages(stack, { outages, seconds, isAwayAtStart, say })
    print(`\n${outageTable(result)}\n`)
    if (!hasKeptAll(result)) exitCode = 1
  }
  return exitCode
}

function readArguments(): Arguments | null {
  const { values } = parseArgs({
    options: {
      kills: { type: 'string', default: '200' },
      seed: { type: 'string', default: String(Math.floor(Math.random() * 1e9)) },
      publishers: { type: 'string', default: '64' },
      outage: { type: 'string' },
      broker: { type: 'string', default: 'kafka' },
      help: { type: 'boolean' },
    },
  })
  if (values.help === true) return null
  const { broker } = values
  if (broker !== 'kafka' && broker !== 'embedded') throw new Error(`--broker is kafka or embedded, not ${broker}`)
  return {
    kills: wholeNumber('--kills', values.kills),
    seed: wholeNumber('--seed', values.seed),
    publishers: wholeNumber('--publishers', values.publishers),
    outageSeconds: values.outage === undefined ? null : wholeNumber('--outage', values.outage),
    broker,
  }
}

function wholeNumber(name: string, text: string): number {
  if (!/^[0-9]{1,9}$/.test(text)) throw new Error(`${name} must be a whole number, not ${text}`)
  return Number(text)
}

const begun = performance.now()

function say(text: string): void {
  print(`${((performance.now() - begun) / 1000).toFixed(1).padStart(6)} s  ${text}`)
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

process.exit(await main())
