import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import type { AppendResult } from './journal-appender.ts'
import type { JournalResults } from './journal-appends.ts'
import { journalGoalsOf, journalReportOf, reportedJournalFile, withJournalReport } from './journal-report.ts'
import { reportedFile } from './report.ts'
import { readJournalResults } from './results.ts'

const document = fileURLToPath(new URL('../../docs/performance.md', import.meta.url))

test('docs/performance.md shows the journal’s results file that it names, beside that of the whole', async () => {
  const text = await readFile(document, 'utf8')
  const name = reportedJournalFile(text)
  if (name === null) throw new Error('docs/performance.md names no results file of the journal')
  expect(reportedFile(text)).not.toBe(name)
  const file = fileURLToPath(new URL(`results/${name}`, import.meta.url))
  expect(withJournalReport(text, await readJournalResults(file), file)).toBe(text)
})

test('the journal is held against the bare loop that is the faster, round by round', () => {
  const at = (perSecond: number): AppendResult => ({ perSecond, cpuMicrosPerRecord: 1, writtenPerByte: 1.05 })
  const round = (journal: number, appended: number, appendedDsync: number) => ({
    journal: at(journal),
    encrypted: at(journal * 0.7),
    appended: at(appended),
    appendedDsync: at(appendedDsync),
    sqlite: at(300),
    level: at(300),
  })
  const rounds = [round(900, 1000, 1500), round(90, 100, 100), round(900, 1000, 1000)]
  const results = {
    ...({} as JournalResults),
    cases: [
      { appenders: 16, recordBytes: 1024, rounds: [round(1, 1000, 1000)] },
      { appenders: 256, recordBytes: 1024, rounds },
    ],
  }
  expect(journalGoalsOf(results).map(({ reached, met }) => [reached, met])).toEqual([
    ['0.90', true],
    ['3.00', true],
    ['3.00', true],
    ['0.70', true],
    ['1.05', true],
  ])
  const slower = { ...results, cases: [{ appenders: 256, recordBytes: 1024, rounds: [round(790, 1000, 900)] }] }
  expect(journalGoalsOf(slower).map(({ met }) => met)).toEqual([false, true, false, true, true])
})

test('what was not measured is left out of the table', async () => {
  const text = await readFile(document, 'utf8')
  const taken = await readJournalResults(
    fileURLToPath(new URL(`results/${reportedJournalFile(text)}`, import.meta.url)),
  )
  const cases = taken.cases.map((each) => ({
    ...each,
    rounds: each.rounds.map((round) =>
      Object.fromEntries(Object.entries(round).filter(([way]) => way !== 'undrained')),
    ),
  }))
  expect(journalReportOf({ ...taken, cases })).toContain('| journal, undrained |  |  |')
})
