import { copyFile, readFile, readdir, rm, truncate, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { blocksOf } from '../journal/forger.ts'
import { EmbeddedOutage, readEmbedded } from './embedded-records.ts'
import { Program, get } from './program.ts'
import { Publisher } from './publisher.ts'

/** What somebody, or a disk, puts back to an older state: what is told of it, and what becomes of the messages. */

const settings = { OUTRIGGER_LEDGER_METADATA: 'none', OUTRIGGER_LEDGER_LOG: 'none' }
/** Longer than between two checkpoints. */
const aWhile = 2500

test('newest messages that are cut off are noticed, named as lost, and their ids are not given again', async () => {
  await using program = await Program.start({ settings })
  using outage = EmbeddedOutage.begin(program.brokerFile)
  const ids = await publish(program, 30)
  await sleep(aWhile)
  await program.kill()
  const newest = (await segmentsIn(program, 'journal')).at(-1) as string
  const blocks = blocksOf(await readFile(newest))
  await truncate(newest, blocks.at(-5)?.end)
  outage.end()
  await program.start()
  expect(await program.log()).toContain('the end of the journal is missing')
  const after = await publish(program, 5)
  expect(new Set([...ids, ...after]).size).toBe(35)
  await program.drained()
  const delivered = deliveredIds(program)
  const lost = ids.filter((id) => !delivered.includes(id))
  expect(lost).toEqual(ids.slice(-lost.length))
  expect(lost.length).toBeGreaterThanOrEqual(4)
  for (const id of lost) expect(JSON.parse(await get(program.tcp, `/messages/${id}`))).toMatchObject({ state: 'lost' })
  expect(delivered).toEqual([...ids.filter((id) => !lost.includes(id)), ...after])
})

test('receipts that have lost their end are noticed, and what they told of is delivered again, but nothing is lost', async () => {
  await using program = await Program.start({ settings })
  const ids = await publish(program, 20)
  await program.drained()
  await sleep(aWhile)
  // Receipts behind those of the first checkpoint, and a cursor that stands behind them.
  ids.push(...(await publish(program, 10)))
  await program.drained()
  await sleep(aWhile)
  await program.kill()
  const newest = (await segmentsIn(program, 'receipts')).at(-1) as string
  await truncate(newest, blocksOf(await readFile(newest))[0]?.end)
  await program.start()
  expect(await program.log()).toContain('the end of the receipts is missing')
  const after = await publish(program, 5)
  await program.drained()
  expect(new Set(deliveredIds(program))).toEqual(new Set([...ids, ...after]))
  await program.stop()
  await program.start()
  expect((await program.log()).split('the end of the receipts is missing')).toHaveLength(2)
})

test('receipts of another sidecar are not believed: no message is taken for delivered because of them', async () => {
  await using other = await Program.start({ settings })
  await publish(other, 200)
  await other.drained()
  await other.stop()
  await using program = await Program.start({ settings })
  using outage = EmbeddedOutage.begin(program.brokerFile)
  const ids = await publish(program, 30)
  await sleep(aWhile)
  await program.kill()
  for (const path of await segmentsIn(program, 'receipts')) await unlink(path)
  for (const path of await segmentsIn(other, 'receipts'))
    await copyFile(path, join(program.dataDirectory, 'receipts', path.slice(-24)))
  outage.end()
  await program.start()
  expect(await program.log()).toContain('the receipts are others')
  await program.drained()
  expect(deliveredIds(program)).toEqual(ids)
  await program.stop()
  await program.start()
  expect((await program.log()).split('the receipts are others')).toHaveLength(2)
})

test('a cursor that is put back to an older one, damaged in part, or taken away, is noticed, and nothing is lost', async () => {
  await using program = await Program.start({ settings })
  const cursor = join(program.dataDirectory, 'forwarder.cursor')
  const ids = await publish(program, 10)
  await program.drained()
  await sleep(aWhile)
  const older = await readFile(cursor)
  for (let i = 0; i < 3; i++) {
    ids.push(...(await publish(program, 10)))
    await sleep(aWhile)
  }
  await program.stop()
  await writeFile(cursor, older)
  await program.start()
  expect(await program.log()).toContain('cursor is older than the receipts')
  await program.drained()
  // Receipts say more than the cursor, so that none is even delivered twice.
  expect(deliveredIds(program)).toEqual(ids)
  await program.stop()

  const bytes = await readFile(cursor)
  bytes[4096 + 60] = (bytes[4096 + 60] as number) ^ 1
  await writeFile(cursor, bytes)
  await program.start()
  expect(await program.log()).toContain('one of the two slots of a cursor is not whole')
  await program.drained()
  await program.stop()

  await rm(cursor)
  await program.start()
  expect(await program.log()).toContain('cursor is missing')
  await program.drained()
  expect(new Set(deliveredIds(program))).toEqual(new Set(ids))
})

async function publish(program: Program, count: number): Promise<string[]> {
  const publisher = new Publisher(program.tcp)
  const ids: string[] = []
  for (let i = 0; i < count; i++) {
    const answer = await publisher.publish({ topic: 'orders', headers: { 'Outrigger-Key': 'one' }, body: `message ${i}` }) // prettier-ignore
    expect(answer.status).toBe(202)
    ids.push((JSON.parse(answer.body) as { id: string }).id)
  }
  publisher.close()
  return ids
}

async function segmentsIn(program: Program, folder: string): Promise<string[]> {
  const directory = join(program.dataDirectory, folder)
  const names = (await readdir(directory)).filter((name) => name.endsWith('.segment'))
  return names.toSorted().map((name) => join(directory, name))
}

/** In the order in which the broker got them. */
function deliveredIds(program: Program): string[] {
  const ids: string[] = []
  readEmbedded(program.brokerFile, ({ headers }) => ids.push(String(headers.find(([name]) => name === 'outrigger-id')?.[1]))) // prettier-ignore
  return ids
}
