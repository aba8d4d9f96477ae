import { formatMs } from '../e2e/durations.ts'
import { faultsOf, type StoreVerdict } from './ledger-trial.ts'
import { namesOf, type OutageFigures, type OutageResult } from './outage.ts'
import { duties } from './outage-stack.ts'
import type { TortureResult } from './torture.ts'

export function tortureTable(result: TortureResult): string {
  const { verdict, duplicates } = result
  return table([
    ['kills of Outrigger', `${result.kills}, ${result.killsInOutage} of them while Kafka was away`],
    ['kills of Kafka', String(result.outages)],
    ['kills of MySQL', String(result.killsOfMysql)],
    ['kills of Cassandra', String(result.killsOfCassandra)],
    [
      'duration',
      `${result.seconds.toFixed(0)} s, the last ${(result.catchUpMs / 1000).toFixed(1)} of them to catch up`,
    ],
    ['slowest start', formatMs(result.readyMsMax)],
    ['answered', `${verdict.answered}, the slowest after ${formatMs(result.slowestAnswerMs)}`],
    ['requests made again', String(result.failures)],
    ['delivered', String(verdict.delivered)],
    ['lost', String(verdict.lost.length)],
    ['wrong bytes', String(verdict.damaged.length)],
    ['out of order', String(verdict.outOfOrder.length)],
    ['unknown', String(verdict.unknown)],
    ['wrong answers', String(verdict.wrongAnswers)],
    ['kept, unanswered', `${verdict.keptUnanswered} (the kill came between the disk and the answer)`],
    [
      'duplicates',
      `${verdict.duplicates.length}: ${duplicates.byKill} around kills (written at most ${duplicates.beforeKillMsMax.toFixed(0)} ms before), ` +
        `${duplicates.byOutage} around Kafka’s, ${duplicates.unexplained.length} elsewhere`,
    ],
    ['metadata rows', `${result.ledger.metadata.recorded}: ${storeWords(result.ledger.metadata)}`],
    ['log entries', `${result.ledger.log.recorded}: ${storeWords(result.ledger.log)}`],
    ['exit code at SIGTERM', String(result.exitCode)],
  ])
}

export function outageTable(result: OutageResult): string {
  const { verdict, ledger, normal } = result
  return table([
    ['start until ready', `${formatMs(result.readyMs)}${result.isAwayAtStart ? ', with all of the first away' : ''}`],
    ['answered 202', String(verdict.answered)],
    ['answered otherwise', String(result.notAccepted)],
    ['normal p50, p99', `${formatMs(normal.quantile(0.5))}, ${formatMs(normal.quantile(0.99))}`],
    ...result.outages.flatMap((outage) => outageRows(outage, result)),
    ['delivered', String(verdict.delivered)],
    ['lost', String(verdict.lost.length)],
    ['out of order', String(verdict.outOfOrder.length)],
    ['wrong bytes', String(verdict.damaged.length + verdict.unknown + verdict.wrongAnswers)],
    ['duplicates', String(verdict.duplicates.length)],
    ['metadata rows', `${ledger.metadata.recorded}: ${storeWords(ledger.metadata)}`],
    ['log entries', `${ledger.log.recorded}: ${storeWords(ledger.log)}`],
  ])
}

function outageRows(outage: OutageFigures, { seconds, normal }: OutageResult): [string, string][] {
  const { times, waitingMax, catchUpMs } = outage
  const p99 = times.quantile(0.99)
  return [
    [`${namesOf(outage.away)} away`, `for ${seconds} s, ${times.count} answered 202 meanwhile`],
    [
      '  p50, p99',
      `${formatMs(times.quantile(0.5))}, ${formatMs(p99)}; p99 is ${(p99 / normal.quantile(0.99)).toFixed(2)} times the normal`,
    ],
    ['  most that waited', duties.map((duty) => `${duty} ${waitingMax[duty]}`).join(', ')],
    ['  caught up', `${(catchUpMs / 1000).toFixed(1)} s after its return began`],
  ]
}

/** That there is one for each message in the broker, or what is wrong. */
export function storeWords(store: StoreVerdict): string {
  if (faultsOf(store) === 0) return 'exactly one for each message in the broker'
  const { missing, repeated, misplaced, damaged, unknown } = store
  return Object.entries({ missing, repeated, misplaced, 'wrong bytes': damaged, unknown })
    .filter(([, ids]) => ids.length > 0)
    .map(([fault, ids]) => `${ids.length} ${fault} (${ids.slice(0, 3).join(', ')})`)
    .join(', ')
}

function table(rows: readonly (readonly [what: string, figure: string])[]): string {
  const width = Math.max(...rows.map(([what]) => what.length)) + 2
  return rows.map(([what, figure]) => `  ${what.padEnd(width)}${figure}`).join('\n')
}
