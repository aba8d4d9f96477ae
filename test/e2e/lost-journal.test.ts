import { readdir, rm, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { ConsumedRecord } from '../../src/subscriptions/consumer.ts'
import { EmbeddedOutage, readEmbedded } from './embedded-records.ts'
import { Program } from './program.ts'
import { Publisher } from './publisher.ts'

/** A disk that has lost what it had synced, or a directory put together from copies of different times. */

test('when the end of the journal is lost, no id is given twice, and all that comes after is delivered', async () => {
  await using program = await Program.start()
  const before = await publish(program, 'first', 300)
  await program.drained()
  await program.recorded()
  // So that cursors and receipts know of all of them.
  await program.stop()
  const segments = await segmentsOf(program)
  const newest = segments.at(-1) as string
  await truncate(newest, 4096 + Math.floor(((await stat(newest)).size - 4096) / 2))
  await program.start()
  expect(await program.log()).toContain('the end of the journal is missing')
  const after = await publish(program, 'second', 50)
  expect(new Set([...before, ...after]).size).toBe(350)
  await program.drained()
  expect(deliveredIds(program, 'second')).toEqual(after)
  expect((await program.status()).delivery.backlogMessages).toBe(0)
  await program.stop()
  await program.start()
  expect(await publish(program, 'second', 1)).not.toContain(after[0])
})

test('when the beginning of the journal is lost, that is said, and the rest is delivered', async () => {
  await using program = await Program.start({ settings: { OUTRIGGER_JOURNAL_SEGMENT_BYTES: '2240KiB' } })
  using outage = EmbeddedOutage.begin(program.brokerFile)
  const ids = await publish(program, 'first', 120, 'x'.repeat(50_000))
  await program.kill()
  const segments = await segmentsOf(program)
  expect(segments.length).toBeGreaterThan(2)
  await rm(segments[0] as string)
  outage.end()
  await program.start()
  expect(await program.log()).toContain('the beginning of the journal is missing')
  await program.drained()
  const delivered = deliveredIds(program, 'first')
  expect(delivered.length).toBeGreaterThan(30)
  expect(delivered).toEqual(ids.slice(-delivered.length))
})

async function publish(program: Program, topic: string, count: number, body = 'hello'): Promise<string[]> {
  const publisher = new Publisher(program.tcp)
  const ids: string[] = []
  for (let i = 0; i < count; i++) {
    const answer = await publisher.publish({ topic, headers: { 'Outrigger-Key': 'one' }, body: Buffer.from(body) })
    expect(answer.status).toBe(202)
    ids.push((JSON.parse(answer.body) as { id: string }).id)
  }
  publisher.close()
  return ids
}

async function segmentsOf(program: Program): Promise<string[]> {
  const directory = join(program.dataDirectory, 'journal')
  const names = (await readdir(directory)).filter((name) => name.endsWith('.segment'))
  return names.toSorted().map((name) => join(directory, name))
}

function deliveredIds(program: Program, topic: string): string[] {
  const records: ConsumedRecord[] = []
  readEmbedded(program.brokerFile, (record) => {
    if (record.topic === topic) records.push(record)
  })
  return records.map(({ headers }) => headers.find(([name]) => name === 'outrigger-id')?.[1].toString() ?? '')
}
