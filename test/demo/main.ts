/**
 * `npm run demo [-- --stack real]`: shows Outrigger's main job on real input, and what it survives. Takes half a minute,
 * uses free ports and a temporary folder, and leaves nothing behind.
 */
import { parseArgs } from 'node:util'
import { messageOf } from '../../src/base/errors.ts'
import { formatMs } from '../e2e/durations.ts'
import { isComplete, type StoreVerdict } from '../torture/ledger-trial.ts'
import { storeWords } from '../torture/tables.ts'
import { isFlawless } from '../torture/verdict.ts'
import { openEmbedded, openReal } from './demo-stack.ts'
import { count, runDemo, type DemoResult } from './demo.ts'

const usage = `Publishes real GitHub webhooks, takes broker and ledger away, kills Outrigger, and shows that nothing is lost.

  npm run demo                    with the embedded broker and ledger; needs nothing but Node
  npm run demo -- --stack real    with real Kafka, MySQL and Cassandra, downloaded and started (or started by Docker)
`

async function main(): Promise<number> {
  let isReal: boolean
  try {
    const { values } = parseArgs({ options: { stack: { type: 'string' }, help: { type: 'boolean' } } })
    if (values.help === true) {
      print(usage)
      return 0
    }
    if (values.stack !== undefined && values.stack !== 'real') throw new Error('--stack can only be “real”')
    isReal = values.stack === 'real'
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n\n${usage}`)
    return 64
  }
  // What was started is ended by its supervisors as soon as this process is gone.
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, () => {
      print('\nInterrupted. What was started is ended and removed.')
      process.exit(130)
    })
  }
  const begun = performance.now()
  const say = (text: string): void => {
    print(`${((performance.now() - begun) / 1000).toFixed(1).padStart(5)} s  ${text}`)
  }
  const openStack = isReal ? openReal : openEmbedded
  const result = await runDemo(openStack, { edition: 'source', rounds: 10, perSecond: 600, say })
  print(report(result))
  return isRight(result) ? 0 : 1
}

function isRight({ verdict, ledger }: DemoResult): boolean {
  return isFlawless(verdict) && isComplete(ledger)
}

function report(result: DemoResult): string {
  const { verdict, ledger, publishers } = result
  const { allTimes, outageTimes } = publishers
  const p = (share: number): string =>
    `${formatMs(allTimes.quantile(share)).padStart(9)}   ${formatMs(outageTimes.quantile(share)).padStart(9)} while broker and ledger were away`
  const rows: [string, string][] = [
    ['accepted', number(verdict.answered)],
    ['time to answer, p50', p(0.5)],
    ['time to answer, p99', p(0.99)],
    ['delivered', number(verdict.delivered)],
    ['lost', number(verdict.lost.length)],
    ['out of order', number(verdict.outOfOrder.length)],
    ['not byte for byte', number(verdict.damaged.length + verdict.unknown + verdict.wrongAnswers)],
    ['duplicated', number(verdict.duplicates.length)],
    ['metadata rows', figures(ledger.metadata)],
    ['log entries', figures(ledger.log)],
    [
      'not answered',
      `${number(publishers.repeated)}   at the kill, and sent again; ${verdict.keptUnanswered} of them had been kept already`,
    ],
  ]
  const width = Math.max(...rows.map(([what]) => what.length)) + 2
  const end = isRight(result)
    ? 'Everything that was answered is in the broker, in order, and once in the ledger. Try next, each in a terminal of its own:'
    : 'THIS MUST NOT BE: see the table. Try, to look into it:'
  return [
    '',
    ...rows.map(([what, figure]) => `  ${what.padEnd(width)}${figure}`),
    '',
    end,
    '',
    '  npm start',
    "  curl -d 'hello' localhost:4110/topics/greetings",
    '  node_modules/.bin/node src/main.ts tail greetings --from beginning',
  ].join('\n')
}

function figures(store: StoreVerdict): string {
  return `${number(store.recorded)}   ${storeWords(store)}`
}

function number(value: number): string {
  return count(value).padStart(9)
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

process.exit(await main())
