import { readFile, readdir, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { basename, join } from 'node:path'
import { expect, test } from 'vitest'
import type { QuarantineReport } from '../../src/journal/quarantine.ts'
import { parseMessageId } from '../../src/message/message-id.ts'
import { EmbeddedOutage, readEmbedded } from './embedded-records.ts'
import { Program } from './program.ts'
import { Publisher } from './publisher.ts'

const settings = { OUTRIGGER_JOURNAL_SEGMENT_BYTES: '2240KiB' }

test('a damaged journal file: the rest is delivered, what is lost is named, and the file is kept', async () => {
  await using program = await Program.start({ settings })
  using outage = EmbeddedOutage.begin(program.brokerFile)
  const ids = await publish(program, 160, 'x'.repeat(50_000))
  await program.kill()
  const segments = await segmentsIn(program, 'journal')
  expect(segments.length).toBeGreaterThan(3)
  const [damaged, next] = [segments[1] as string, segments[2] as string]
  const bytes = await readFile(damaged)
  for (const share of [0.3, 0.5]) {
    const at = Math.floor(bytes.length * share)
    bytes[at] = (bytes[at] as number) ^ 1
  }
  await writeFile(damaged, bytes)
  outage.end()
  await program.start()
  expect(await program.ask('/readyz')).toBe('ready\n')
  await program.drained()
  await program.recorded()

  const delivered = deliveredIds(program)
  const lost = ids.filter((id) => !delivered.includes(id))
  expect(delivered).toEqual(ids.filter((id) => !lost.includes(id)))
  expect(lost.length).toBeGreaterThan(1)
  expect(lost.length).toBeLessThan(20)
  for (const id of lost) {
    const fate = await fateOf(program, id)
    expect(fate).toEqual({ id, state: 'lost', reason: 'corrupt', lostAt: expect.stringMatching(/Z$/) as string })
  }
  expect(await fateOf(program, ids[0] as string)).toMatchObject({ state: 'delivered' })

  // All of the damaged file's messages are finished, so it is released as soon as cursors say so, and kept.
  const isThere = async (): Promise<boolean> => (await segmentsIn(program, 'journal')).includes(damaged)
  await expect.poll(isThere, { timeout: 10_000 }).toBe(false)
  const kept = await readdir(join(program.dataDirectory, 'journal', 'quarantine'))
  expect(kept.toSorted()).toEqual([basename(damaged), `${basename(damaged)}.json`])
  expect(await readFile(join(program.dataDirectory, 'journal', 'quarantine', basename(damaged)))).toEqual(bytes)
  const report = JSON.parse(
    await readFile(join(program.dataDirectory, 'journal', 'quarantine', `${basename(damaged)}.json`), 'utf8'),
  ) as QuarantineReport
  const seqs = lost.map((id) => parseMessageId(id)?.seq ?? 0)
  expect(report).toMatchObject({ segment: basename(damaged), damageCount: 2, lostRecords: lost.length })
  expect(report.damages.flatMap(({ fromSeq, toSeq }) => Array.from({ length: toSeq - fromSeq }, (_, i) => fromSeq + i))).toEqual(seqs) // prettier-ignore
  expect(Number(basename(next).slice(0, 16))).toBeGreaterThan(seqs.at(-1) as number)

  const metrics = await program.ask('/metrics')
  expect(metrics).toContain(`outrigger_messages_lost_total{reason="corrupt"} ${lost.length}`)
  expect(metrics).toContain('outrigger_messages_lost_total{reason="dropped"} 0')
  expect(metrics).toMatch(/^outrigger_journal_damaged_total 2$/m)
  expect(Number(/^outrigger_quarantine_bytes (\d+)$/m.exec(metrics)?.[1])).toBeGreaterThan(bytes.length)
  expect(await program.status()).toMatchObject({
    delivery: {
      lostMessages: { corrupt: lost.length, missing: 0, dropped: 0 },
      quarantine: { reports: 1, damages: 2 },
    },
  })
  // One line about the file, and one for each gap.
  const errors = (await program.log()).split('\n').filter((line) => line.includes('"level":"error"'))
  expect(errors.filter((line) => line.includes('a file of a journal is damaged'))).toHaveLength(1)
  expect(errors.filter((line) => line.includes('messages are lost'))).toHaveLength(2)

  for (const store of ['metadata', 'log']) {
    const page = JSON.parse(await program.ask(`/ledger/exceptions?store=${store}`)) as Exceptions
    const named = page.exceptions.flatMap(({ cause, lostSeqs }) => {
      expect(cause).toBe('lost')
      return lostSeqs.flatMap(({ fromSeq, toSeq }) => Array.from({ length: toSeq - fromSeq }, (_, i) => fromSeq + i))
    })
    expect([...new Set(named)]).toEqual(seqs)
  }

  // It goes on as if nothing had been, also over a start.
  await program.stop()
  await program.start()
  expect(await fateOf(program, lost[0] as string)).toMatchObject({ state: 'lost' })
  await publish(program, 1, 'hello')
  await program.drained()
  expect(deliveredIds(program).length).toBe(ids.length - lost.length + 1)
})

test('damaged receipts, dead letters and notes keep nothing from starting, and nothing from being listed', async () => {
  await using program = await Program.start()
  const ids = await publish(program, 20, 'hello')
  await program.drained()
  await program.recorded()
  await program.stop()
  const spoiled = ['receipts', 'dead-letters', join('ledger', 'metadata-exceptions'), join('ledger', 'log-exceptions')]
  for (const folder of spoiled) {
    const newest = (await segmentsIn(program, folder)).at(-1) as string
    const bytes = await readFile(newest)
    bytes.fill(0xee, 100, 200)
    await writeFile(newest, bytes)
  }
  await program.start()
  await publish(program, 5, 'hello again')
  await program.drained()
  await program.recorded()
  expect(new Set(deliveredIds(program)).size).toBe(25)
  for (const path of ['/dead-letters', '/ledger/exceptions?store=metadata', '/ledger/exceptions?store=log'])
    expect(JSON.parse(await program.ask(path))).toBeTypeOf('object')
  expect(await program.status()).toMatchObject({ delivery: { quarantine: { reports: 4, damages: 4 } } })
  expect(await fateOf(program, ids[0] as string)).toMatchObject({ state: 'delivered' })
})

interface Exceptions {
  readonly exceptions: readonly {
    readonly cause: string
    readonly lostSeqs: readonly { readonly fromSeq: number; readonly toSeq: number }[]
  }[]
}

async function publish(program: Program, count: number, body: string): Promise<string[]> {
  const publisher = new Publisher(program.tcp)
  const ids: string[] = []
  for (let i = 0; i < count; i++) {
    const answer = await publisher.publish({ topic: 'orders', headers: { 'Outrigger-Key': 'one' }, body })
    expect(answer.status).toBe(202)
    ids.push((JSON.parse(answer.body) as { id: string }).id)
  }
  publisher.close()
  return ids
}

function fateOf(program: Program, id: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    request({ ...program.tcp, path: `/messages/${id}` }, (response) => {
      response
        .setEncoding('utf8')
        .toArray()
        .then((texts) => resolve(JSON.parse(texts.join(''))), reject)
    })
      .on('error', reject)
      .end()
  })
}

async function segmentsIn(program: Program, folder: string): Promise<string[]> {
  const directory = join(program.dataDirectory, folder)
  const names = (await readdir(directory)).filter((name) => name.endsWith('.segment'))
  return names.toSorted().map((name) => join(directory, name))
}

function deliveredIds(program: Program): string[] {
  const ids: string[] = []
  readEmbedded(program.brokerFile, ({ headers }) => {
    ids.push(headers.find(([name]) => name === 'outrigger-id')?.[1].toString() ?? '')
  })
  return ids
}
