import { formatMs } from '../e2e/durations.ts'
import type { OutageResult } from './outage.ts'
import type { TortureResult } from './torture.ts'

export function tortureTable(result: TortureResult): string {
  const { verdict, duplicates } = result
  return table([
    ['kills of Outrigger', `${result.kills}, ${result.killsInOutage} of them while Kafka was away`],
    ['kills of Kafka', String(result.outages)],
    ['duration', `${result.seconds.toFixed(0)} s`],
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
    ['exit code at SIGTERM', String(result.exitCode)],
  ])
}

export function outageTable(result: OutageResult): string {
  const { verdict, normal, outage } = result
  const ratio = outage.quantile(0.99) / normal.quantile(0.99)
  return table([
    ['broker', `${result.broker}, away ${result.isAwayAtStart ? 'at the start, ' : ''}for ${result.seconds} s`],
    ['start until ready', formatMs(result.readyMs)],
    ['answered 202', `${verdict.answered}, ${outage.count} of them while the broker was away`],
    ['answered otherwise', String(result.notAccepted)],
    ['normal p50, p99', `${formatMs(normal.quantile(0.5))}, ${formatMs(normal.quantile(0.99))}`],
    ['away p50, p99', `${formatMs(outage.quantile(0.5))}, ${formatMs(outage.quantile(0.99))}`],
    ['p99, away to normal', ratio.toFixed(2)],
    ['largest backlog', String(result.backlogMax)],
    ['delivered', `${verdict.delivered}, all ${(result.catchUpMs / 1000).toFixed(1)} s after the broker was back`],
    ['lost', String(verdict.lost.length)],
    ['out of order', String(verdict.outOfOrder.length)],
    ['wrong bytes', String(verdict.damaged.length + verdict.unknown + verdict.wrongAnswers)],
    ['duplicates', String(verdict.duplicates.length)],
  ])
}

function table(rows: readonly (readonly [what: string, figure: string])[]): string {
  const width = Math.max(...rows.map(([what]) => what.length)) + 2
  return rows.map(([what, figure]) => `  ${what.padEnd(width)}${figure}`).join('\n')
}
