import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { Journal } from '../../src/journal/journal.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import type { LedgerException } from '../../src/recorder/ledger-exceptions.ts'
import { exceptionCodec, LedgerExceptions } from '../../src/recorder/ledger-exceptions.ts'

const refused = (detail: string): LedgerException => ({
  kind: 'refused',
  at: 1,
  id: '0123456789abc-1',
  topic: 't',
  partition: 0,
  offset: 7,
  reason: 'TOO_LONG',
  detail,
})

async function open(bytesMax: number): Promise<{ exceptions: LedgerExceptions; forgotten: number[] }> {
  const directory = await mkdtemp(join(tmpdir(), 'outrigger-exceptions-'))
  const observer = { committed() {}, failed() {} }
  const options = { directory, bytesMax, segmentBytes: 64 * 1024 }
  const journal = await Journal.open(nodeDisk, systemClock, exceptionCodec, observer, options)
  onTestFinished(async () => {
    await journal.close()
    await rm(directory, { recursive: true })
  })
  const forgotten: number[] = []
  return { exceptions: new LedgerExceptions(journal, (count) => forgotten.push(count)), forgotten }
}

test('lists what was added, page by page', async () => {
  const { exceptions } = await open(1e9)
  for (let i = 0; i < 5; i++) await exceptions.add([refused(`${i}`)])
  expect(exceptions.count).toBe(5)
  const page = await exceptions.list(2, 2)
  expect(page.map((each) => [each.number, each.kind === 'refused' && each.detail])).toEqual([[3, '2'], [4, '3']]) // prettier-ignore
})

test('a page ends when it is large enough, but is never empty', async () => {
  const { exceptions } = await open(1e9)
  for (let i = 0; i < 4; i++) await exceptions.add([refused('x'.repeat(30_000).repeat(20).slice(0, 50_000))])
  for (let i = 0; i < 40; i++) await exceptions.add([refused('x'.repeat(50_000))])
  const page = await exceptions.list(0, 1000)
  expect(page.length).toBeGreaterThan(0)
  expect(page.length).toBeLessThan(25)
})

test('when there are too many, the oldest go, and that is told; what is new is always kept', async () => {
  const { exceptions, forgotten } = await open(256 * 1024)
  for (let i = 0; i < 40; i++) await exceptions.add([refused(`${i} ${'x'.repeat(20_000)}`)])
  expect(forgotten.length).toBeGreaterThan(0)
  const kept = await exceptions.list(0, 100)
  expect(kept.at(-1)).toMatchObject({ number: 40 })
  expect(exceptions.count).toBe(40 - forgotten.reduce((sum, count) => sum + count, 0))
})

test('a gap from before there were lost ones in it is listed as if it had none', async () => {
  const { exceptions } = await open(1e9)
  const gap = { kind: 'gap', at: 1, cause: 'off', fromSeq: 1, toSeq: 5, messages: null, ranges: [], deadSeqs: [] }
  await exceptions.add([gap as unknown as LedgerException])
  expect(await exceptions.list(0, 10)).toEqual([{ ...gap, lostSeqs: [], number: 1 }])
})
