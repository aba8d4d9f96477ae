/**
 * `npm run simulate -- --seeds 10000 [--from S]` runs random histories of a journal on a simulated disk, and exits with a code
 * other than 0 when a promise was broken. A history is told again by its seed.
 */
import { parseArgs } from 'node:util'
import { messageOf } from '../../src/base/errors.ts'
import { historyOf, limitNames } from './history.ts'
import type { Limits } from './history.ts'
import { runHistory } from './run-history.ts'
import { shrink, tell } from './shrink.ts'

const usage = `Runs random histories of a journal on a simulated disk, and holds what comes of them against a model.

  npm run simulate -- [--seeds 10000] [--from 0] [--limits tiny|small|stepped|production] [--no-shrink]
`

const progressMs = 10_000

interface Arguments {
  readonly seeds: number
  readonly from: number
  /** All histories with these, rather than some with each. */
  readonly limits: Limits['name'] | undefined
  readonly shrinks: boolean
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
  return await simulate(args)
}

async function simulate({ seeds, from, limits, shrinks }: Arguments): Promise<number> {
  const startedAt = performance.now()
  let toldAt = startedAt
  const sums = { histories: 0, answered: 0, refused: 0, boots: 0 }
  for (let seed = from; seed < from + seeds; seed++) {
    const history = historyOf(seed, limits)
    const { violation, answered, refused, boots } = await runHistory(history)
    sums.histories++
    sums.answered += answered
    sums.refused += refused
    sums.boots += boots
    if (violation !== null) {
      print(`Seed ${seed} broke a promise after ${sums.histories} histories: ${violation.message}`)
      if (shrinks) print(tell(await shrink(history)))
      return 1
    }
    if (performance.now() - toldAt < progressMs) continue
    toldAt = performance.now()
    print(`${sums.histories} histories so far`)
  }
  const seconds = (performance.now() - startedAt) / 1000
  print(`Seeds ${from} to ${from + seeds - 1} kept every promise.`)
  print(`${sums.histories} histories in ${seconds.toFixed(1)} s: ${(sums.histories / seconds).toFixed(0)} a second`)
  print(`${sums.answered} appends answered, ${sums.refused} refused, ${sums.boots} processes`)
  return 0
}

function readArguments(): Arguments | null {
  const { values } = parseArgs({
    options: {
      seeds: { type: 'string', default: '10000' },
      from: { type: 'string', default: '0' },
      limits: { type: 'string' },
      shrink: { type: 'boolean', default: true },
      help: { type: 'boolean' },
    },
    allowNegative: true,
  })
  if (values.help === true) return null
  const limits = limitNames.find((name) => name === values.limits)
  if (values.limits !== undefined && limits === undefined)
    throw new Error(`--limits is one of ${limitNames.join(', ')}, not ${values.limits}`)
  return {
    seeds: wholeNumber('--seeds', values.seeds),
    from: wholeNumber('--from', values.from),
    limits,
    shrinks: values.shrink,
  }
}

function wholeNumber(name: string, text: string): number {
  if (!/^[0-9]{1,9}$/.test(text)) throw new Error(`${name} must be a whole number, not ${text}`)
  return Number(text)
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

process.exit(await main())
