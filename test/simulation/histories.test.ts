import { expect, test } from 'vitest'
import { historyOf } from './history.ts'
import type { History } from './history.ts'
import { regressions } from './regressions.ts'
import { runHistory } from './run-history.ts'
import { shrink, tell } from './shrink.ts'

const histories = 2100
/** The suite's own: `npm run simulate` begins elsewhere when it is told to. */
const firstSeed = 0

/** The promise that a history breaks, with the shortest history that breaks one; empty when it keeps all. */
async function broken(history: History, sums?: Sums): Promise<string> {
  const { violation, answered, refused, boots } = await runHistory(history)
  if (violation !== null) return `seed ${history.seed}: ${violation.message}\n${tell(await shrink(history))}`
  if (sums) {
    sums.answered += answered
    sums.refused += refused
    sums.boots += boots
  }
  return ''
}

interface Sums {
  answered: number
  refused: number
  boots: number
}

test(`the journal keeps its promises through ${histories} random histories`, { timeout: 180_000 }, async () => {
  const sums: Sums = { answered: 0, refused: 0, boots: 0 }
  const startedAt = performance.now()
  for (let seed = firstSeed; seed < firstSeed + histories; seed++) expect(await broken(historyOf(seed), sums)).toBe('')
  const rate = histories / ((performance.now() - startedAt) / 1000)
  console.log(`${histories} histories, ${rate.toFixed(0)} a second: ${JSON.stringify(sums)}`)
  // Histories in which nothing happens would keep every promise too.
  expect(sums.answered).toBeGreaterThan(10 * histories)
  expect(sums.refused).toBeGreaterThan(histories)
  expect(sums.boots).toBeGreaterThan(5 * histories)
})

test('it keeps them with the limits that are the default in production', { timeout: 60_000 }, async () => {
  for (let seed = firstSeed; seed < firstSeed + 4; seed++) expect(await broken(historyOf(seed, 'production'))).toBe('')
})

test.each([...regressions])('seed $seed keeps what it broke once: $broke', async ({ seed, limits }) => {
  expect(await broken(historyOf(seed, limits))).toBe('')
})

test('a seed decides all: the same one brings about the same', async () => {
  for (const seed of [3, 1004, 1005, 1006]) {
    const [first, second] = [await observed(seed), await observed(seed)]
    expect(second).toEqual(first)
    expect(first.length).toBeGreaterThan(50)
  }
})

/** All that happens on the disk, without names that are made of random bytes. */
async function observed(seed: number): Promise<string[]> {
  const operations: string[] = []
  await runHistory(historyOf(seed), (what) => operations.push(what.replaceAll(/[0-9a-f]{32}/g, 'spare')))
  return operations
}
