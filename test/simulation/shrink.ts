import type { History, Step } from './history.ts'
import { runHistory } from './run-history.ts'

/** A history that breaks a promise, as short as removing steps makes it. */
export interface Shrunk {
  readonly history: History
  /** What it breaks, which may be another promise than the first. */
  readonly message: string
  readonly runs: number
  /** What happened on the disk at last. */
  readonly operations: readonly string[]
}

const runsMax = 2000
const operationsMax = 60

/**
 * Removes steps for as long as the history still breaks a promise: first many at once, at last each alone. What a step does is
 * decided by its own seed, so the others do much the same without it.
 */
export async function shrink(history: History): Promise<Shrunk | null> {
  const tally = { runs: 0 }
  const broken = async (steps: readonly Step[]): Promise<string | null> => {
    tally.runs++
    return (await runHistory({ ...history, steps })).violation?.message ?? null
  }
  let steps = history.steps
  let message = await broken(steps)
  if (message === null) return null
  for (let size = Math.ceil(steps.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < steps.length && tally.runs < runsMax;) {
      const fewer = [...steps.slice(0, at), ...steps.slice(at + size)]
      const stillBroken = await broken(fewer)
      if (stillBroken === null) {
        at += size
        continue
      }
      steps = fewer
      message = stillBroken
    }
  }
  const shortest = { ...history, steps }
  const operations: string[] = []
  await runHistory(shortest, (what) => operations.push(what))
  return { history: shortest, message, runs: tally.runs, operations: operations.slice(-operationsMax) }
}

/** What happens in it, one step a line. */
export function tell(shrunk: Shrunk | null): string {
  if (shrunk === null) return 'It does not break it again: something is not decided by the seed.'
  const { history, message, runs, operations } = shrunk
  const steps = history.steps.map((step) => `  ${JSON.stringify(step)}`)
  return [
    `Shrunk in ${runs} runs. It breaks: ${message}`,
    `limits ${JSON.stringify(history.limits)}`,
    ...steps,
    'What happened on the disk at last:',
    ...operations.map((operation) => `  ${operation}`),
  ].join('\n')
}
