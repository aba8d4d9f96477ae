/**
 * `npm run torture -- --kills 200 [--seed N]` kills Outrigger again and again beside real Kafka;
 * `npm run torture -- --outage 60 [--broker embedded]` lets the broker be away. Both print what came of it, and exit with
 * a code other than 0 when a promise was broken.
 */
import { parseArgs } from 'node:util'
import { messageOf } from '../../src/base/errors.ts'
import { startKafka } from '../stack/kafka/kafka.ts'
import { runOutage } from './outage.ts'
import { outageBroker } from './outage-broker.ts'
import { outageTable, tortureTable } from './tables.ts'
import { hasPassed, torture } from './torture.ts'
import { isFlawless } from './verdict.ts'

const usage = `Kills Outrigger or its broker, and shows that nothing is lost.

  npm run torture -- [--kills 200] [--seed N] [--publishers 64]     real Kafka; Outrigger is killed so many times
  npm run torture -- --outage SECONDS [--broker kafka|embedded]     the broker is away for so long, and at the start
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
  return args.outageSeconds === null ? runTorture(args) : runOutages(args.broker, args.outageSeconds)
}

async function runTorture({ kills, seed, publishers }: Arguments): Promise<number> {
  say(`Seed ${seed}: the same seed sends the same messages, and kills at the same moments.`)
  await using cluster = await startKafka()
  const result = await torture(cluster, { kills, seed, publishers, say })
  print(`\n${tortureTable(result)}`)
  return hasPassed(result) ? 0 : 1
}

async function runOutages(name: Arguments['broker'], seconds: number): Promise<number> {
  let exitCode = 0
  for (const isAwayAtStart of [false, true]) {
    await using broker = await outageBroker(name)
    const result = await runOutage(broker, { seconds, isAwayAtStart, say })
    print(`\n${outageTable(result)}\n`)
    if (!isFlawless(result.verdict) || result.notAccepted > 0) exitCode = 1
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
