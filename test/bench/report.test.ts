import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import type { IdleResult } from './footprint.ts'
import { goalsOf, reportedFile, withReport } from './report.ts'
import { readResults, type Results } from './results.ts'
import { median } from './statistics.ts'

const document = fileURLToPath(new URL('../../docs/performance.md', import.meta.url))

test('docs/performance.md shows the results file that it names', async () => {
  const text = await readFile(document, 'utf8')
  const name = reportedFile(text)
  if (name === null) throw new Error('docs/performance.md names no results file')
  const file = fileURLToPath(new URL(`results/${name}`, import.meta.url))
  expect(withReport(text, await readResults(file), file)).toBe(text)
})

test('a goal is reached or not, and only what was measured has one', async () => {
  const idle = (residentMiB: number): IdleResult[] => [{ broker: 'kafka', seconds: 10, residentMiB, startMs: 300 }]
  const text = await readFile(document, 'utf8')
  const taken = await readResults(fileURLToPath(new URL(`results/${reportedFile(text)}`, import.meta.url)))
  const { format, takenAt, minutes, machine, versions, parameters } = taken
  const nothing: Results = { format, takenAt, minutes, machine, versions, parameters }
  expect(goalsOf(nothing)).toEqual([])
  expect(goalsOf({ ...nothing, idle: idle(90) })).toMatchObject([{ reached: '90 MiB', met: true }])
  expect(goalsOf({ ...nothing, idle: idle(90.1) })).toMatchObject([{ reached: '90.1 MiB', met: false }])
})

test('the median of an even number of figures is the mean of the two in the middle', () => {
  expect(median([3, 1, 2])).toBe(2)
  expect(median([4, 1, 3, 2])).toBe(2.5)
  expect(() => median([])).toThrow(RangeError)
})
