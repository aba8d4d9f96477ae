import { readdir, rm, stat } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { formatMessageId, parseMessageId } from '../../src/message/message-id.ts'
import { EmbeddedOutage, readEmbedded } from './embedded-records.ts'
import { embeddedLedgerRecords } from './ledger-records.ts'
import { Program, type PublishTarget } from './program.ts'
import { Publisher } from './publisher.ts'

const KiB = 1024
const segmentBytes = 144 * KiB

/** As small as they may be, so that the journal lets go of files soon. */
const smallSegments = {
  OUTRIGGER_PUBLISH_BODY_BYTES_MAX: '2KiB',
  OUTRIGGER_PUBLISH_LINE_BYTES_MAX: '4KiB',
  OUTRIGGER_PUBLISH_HEADER_BYTES_MAX: '4KiB',
  OUTRIGGER_JOURNAL_SEGMENT_BYTES: String(segmentBytes),
  OUTRIGGER_JOURNAL_BYTES_MAX: '64MiB',
  OUTRIGGER_FORWARDER_CHECKPOINT_INTERVAL: '50ms',
  OUTRIGGER_LEDGER_RETRY_DELAY_MAX: '200ms',
}

const patience = { timeout: 30_000, interval: 50 }
const stores = ['metadata', 'log'] as const
type Store = (typeof stores)[number]

test('a store that is away for too long costs a gap that names exactly what is missing, and nothing else', async () => {
  const backlogBytesMax = 512 * KiB
  const settings = { ...smallSegments, OUTRIGGER_LEDGER_BACKLOG_BYTES_MAX: String(backlogBytesMax) }
  await using program = await Program.start({ settings, name: 'outrigger-ledger' })
  await publish(program, 100)
  await program.drained()
  await program.recorded()

  using outage = EmbeddedOutage.begin(program.ledgerFile)
  await publish(program, 3000)
  await program.drained()
  // Some are given up, all are delivered, and the disk holds what it may.
  for (const store of stores) await expect.poll(() => exceptionCount(program, store), patience).toBeGreaterThan(0)
  const bytesMax = backlogBytesMax + 4 * segmentBytes
  await expect.poll(() => bytesIn(join(program.dataDirectory, 'journal')), patience).toBeLessThan(bytesMax)
  expect((await program.status()).journal.heldForLedgerBytes).toBeLessThan(bytesMax)

  outage.end()
  await publish(program, 100)
  await program.drained()
  await program.recorded()
  const gaps = await gapsOf(program)
  await program.stop()
  const delivered = deliveredPlaces(program)
  expect(delivered.size).toBe(3200)
  const recorded = await recordedPlaces(program)
  for (const store of stores) {
    const { missing, messages, causes } = gaps[store]
    expect(causes).toEqual(new Set(['backlog']))
    expect(missing.size).toBe(messages)
    expect(missing.size).toBeGreaterThan(500)
    expect(recorded[store].size).toBeGreaterThanOrEqual(200)
    expect([...recorded[store]].filter((place) => missing.has(place))).toEqual([])
    expect(new Set([...recorded[store], ...missing])).toEqual(delivered)
  }
})

test('publishers are refused in the end when nothing may be given up, and nothing is lost', async () => {
  const settings = { ...smallSegments, OUTRIGGER_LEDGER_WHEN_FULL: 'refuse', OUTRIGGER_JOURNAL_BYTES_MAX: '1MiB' }
  await using program = await Program.start({ settings, name: 'outrigger-ledger' })
  await publish(program, 10)
  await program.recorded()

  using outage = EmbeddedOutage.begin(program.ledgerFile)
  let accepted = 10
  let refusal = await tryToPublish(program, 50)
  for (; refusal.status === 202 && accepted < 5000; refusal = await tryToPublish(program, 50)) accepted += 50
  expect(refusal.status).toBe(503)
  expect(refusal.body).toContain('journal_full')
  await program.drained()
  expect((await tryToPublish(program, 50)).status).toBe(503)

  outage.end()
  await program.recorded()
  // The files go right after the ledger has what is in them.
  await expect.poll(async () => (await tryToPublish(program, 1)).status, patience).toBe(202)
  await program.drained()
  await program.recorded()
  for (const store of stores) expect(await exceptionCount(program, store)).toBe(0)
  await program.stop()
  const delivered = deliveredPlaces(program)
  // A batch that was refused may have been kept in part.
  expect(delivered.size).toBeGreaterThan(accepted)
  const recorded = await recordedPlaces(program)
  for (const store of stores) expect(recorded[store]).toEqual(delivered)
})

test('what is published while the ledger is off is noted as missing when it is on again', async () => {
  await using program = await Program.start({ settings: smallSegments, name: 'outrigger-ledger' })
  const before = await publish(program, 100)
  await program.drained()
  await program.recorded()
  await program.stop()
  await program.start({ OUTRIGGER_LEDGER_METADATA: 'none', OUTRIGGER_LEDGER_LOG: 'none' })
  await publish(program, 1000)
  await program.drained()
  await program.stop()
  await program.start({ OUTRIGGER_LEDGER_METADATA: 'embedded', OUTRIGGER_LEDGER_LOG: 'embedded' })
  const after = await publish(program, 100)
  await program.drained()
  await program.recorded()
  const gaps = await gapsOf(program)
  await program.stop()
  const delivered = deliveredPlaces(program)
  expect(delivered.size).toBe(1200)
  const recorded = await recordedPlaces(program)
  for (const store of stores) {
    const { missing } = gaps[store]
    expect(missing.size).toBeGreaterThan(0)
    expect([...recorded[store]].filter((place) => missing.has(place))).toEqual([])
    expect(new Set([...recorded[store], ...missing])).toEqual(delivered)
    for (const id of [...before, ...after]) expect(recorded[`${store}Ids`]).toContain(id)
  }
})

test('what became of a message is told by the ledger when nothing else knows it, or that the ledger is away', async () => {
  await using program = await Program.start({ name: 'outrigger-ledger' })
  const [id = ''] = await publish(program, 1)
  await program.drained()
  await program.recorded()
  await program.stop()
  // All but the stores themselves.
  for (const name of ['journal', 'receipts', 'dead-letters', 'ledger', 'forwarder.cursor'])
    await rm(join(program.dataDirectory, name), { recursive: true, force: true })
  await program.start()
  const [ours = ''] = await publish(program, 1)
  expect(parseMessageId(ours)?.journalId).not.toBe(parseMessageId(id)?.journalId)
  await program.drained()
  const [record] = [...deliveredPlaces(program)]
  const found = await ask(program.tcp, `/messages/${id}`)
  expect(found).toMatchObject({ status: 200, json: { id, state: 'delivered', attempts: 1 } })
  expect(`${found.json['topic']}/${found.json['partition']}/${found.json['offset']}`).toBe(record)
  const unknown = await ask(program.tcp, `/messages/${formatMessageId('0123456789abc', 1)}`)
  expect(unknown).toMatchObject({ status: 404, json: { code: 'message_not_found' } })

  await program.kill()
  await program.start({ OUTRIGGER_LEDGER_METADATA: 'mysql', OUTRIGGER_MYSQL_URL: 'mysql://nobody@127.0.0.1:1/nothing' })
  const away = await ask(program.tcp, `/messages/${id}`)
  expect(away).toMatchObject({ status: 503, json: { code: 'ledger_unavailable' } })
  expect(away.retryAfter).toMatch(/^[0-9]+$/)
  // What is known here needs no ledger.
  expect(await ask(program.tcp, `/messages/${ours}`)).toMatchObject({ status: 200, json: { state: 'delivered' } })
})

test('rows and entries that are older than the retention go, and nothing younger does', async () => {
  const settings = { OUTRIGGER_LEDGER_RETENTION: '10m' }
  await using program = await Program.start({ settings, name: 'outrigger-ledger' })
  const ids = await publish(program, 60)
  await program.drained()
  await program.recorded()
  await program.stop()
  // Every third is made just too old, every other third nearly so.
  {
    using database = new DatabaseSync(program.ledgerFile)
    for (const [rest, minutes] of [
      [0, 11],
      [1, 5],
    ]) {
      const ms = Number(minutes) * 60_000
      database.exec(`UPDATE message_metadata SET accepted_at = accepted_at - ${ms} WHERE seq % 3 = ${rest}`)
      database.exec(`UPDATE message_log SET delivered_at = delivered_at - ${ms} WHERE seq % 3 = ${rest}`)
    }
  }
  await program.start()
  const young = new Set(ids.filter((id) => (parseMessageId(id)?.seq ?? 0) % 3 !== 0))
  for (const store of ['metadataIds', 'logIds'] as const)
    await expect.poll(async () => (await recordedPlaces(program))[store], patience).toEqual(young)
  expect(young.size).toBe(40)
})

const filler = 'x'.repeat(1400)
let published = 0

/** Publishes so many messages in some topics, and gives their ids. */
async function publish(program: Program, count: number): Promise<string[]> {
  const ids: string[] = []
  while (ids.length < count) {
    const batch = Math.min(50, count - ids.length)
    const { status, body } = await tryToPublish(program, batch)
    expect(status).toBe(202)
    const lines = body.split('\n', batch)
    ids.push(...lines.map((line) => (JSON.parse(line) as { id: string }).id))
  }
  return ids
}

async function tryToPublish(program: Program, count: number): Promise<{ status: number; body: string }> {
  const publisher = new Publisher(program.unix)
  const lines = Array.from({ length: count }, () => {
    const number = ++published
    return `${JSON.stringify({ key: `key ${number % 10}`, value: `${number} ${filler}` })}\n`
  })
  const headers = { 'Content-Type': 'application/x-ndjson' }
  const answer = await publisher.publish({ topic: `topic-${published % 3}`, headers, body: lines.join('') })
  publisher.close()
  return answer
}

/** `topic/partition/offset` of all that is in the broker. */
function deliveredPlaces({ brokerFile }: Program): Set<string> {
  const places = new Set<string>()
  readEmbedded(brokerFile, ({ topic, partition, offset }) => places.add(`${topic}/${partition}/${offset}`))
  return places
}

/** The same of what each store has, and the ids; there must be no id twice. */
async function recordedPlaces({
  ledgerFile,
}: Program): Promise<Record<Store, Set<string>> & Record<`${Store}Ids`, Set<string>>> {
  const found = { metadata: [] as string[], log: [] as string[], metadataIds: [] as string[], logIds: [] as string[] }
  const add = (store: Store, row: { journalId: string; seq: number; topic: string } & Place): void => {
    found[store].push(`${row.topic}/${row.partition}/${row.offset}`)
    found[`${store}Ids`].push(formatMessageId(row.journalId, row.seq))
  }
  const ledger = embeddedLedgerRecords(ledgerFile)
  await ledger.readMetadata((row) => add('metadata', row))
  await ledger.readLog((entry) => add('log', entry))
  const sets = Object.entries(found).map(([name, all]) => {
    const set = new Set(all)
    expect(set.size).toBe(all.length)
    return [name, set] as const
  })
  return Object.fromEntries(sets) as Record<Store | `${Store}Ids`, Set<string>>
}

interface Place {
  readonly partition: number | null
  readonly offset: number | null
}

/** What `GET /ledger/exceptions` gives of a gap. */
interface Gap {
  readonly kind: 'gap'
  readonly cause: string
  readonly messages: number
  readonly ranges: readonly { topic: string; partition: number; fromOffset: number; toOffset: number }[]
}

interface Gaps {
  /** As in `deliveredPlaces`. */
  readonly missing: Set<string>
  readonly messages: number
  readonly causes: Set<string>
}

async function gapsOf(program: Program): Promise<Record<Store, Gaps>> {
  const [metadata, log] = await Promise.all([gapsOfStore(program, 'metadata'), gapsOfStore(program, 'log')])
  return { metadata, log }
}

async function gapsOfStore(program: Program, store: Store): Promise<Gaps> {
  const gaps: Gap[] = []
  let path: string | null = `/ledger/exceptions?store=${store}&limit=2`
  while (path !== null) {
    const page = JSON.parse(await program.ask(path)) as { exceptions: Gap[]; next: string | null }
    gaps.push(...page.exceptions)
    path = page.next
  }
  const missing = gaps.flatMap(({ ranges }) =>
    ranges.flatMap(({ topic, partition, fromOffset, toOffset }) =>
      Array.from({ length: toOffset - fromOffset }, (_, i) => `${topic}/${partition}/${fromOffset + i}`),
    ),
  )
  // None is named twice.
  expect(new Set(missing).size).toBe(missing.length)
  return {
    missing: new Set(missing),
    messages: gaps.reduce((sum, { messages }) => sum + messages, 0),
    causes: new Set(gaps.map(({ cause }) => cause)),
  }
}

async function exceptionCount(program: Program, store: Store): Promise<number> {
  const { ledger } = await program.status()
  return ledger?.recorders.find((recorder) => recorder.store === store)?.exceptions ?? Number.NaN
}

async function bytesIn(directory: string): Promise<number> {
  const sizes = (await readdir(directory)).map(async (name) => {
    // Files go at any time.
    const found = await stat(join(directory, name)).catch(() => null)
    return found?.size ?? 0
  })
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)
}

interface Told {
  readonly status: number
  readonly retryAfter: string | undefined
  readonly json: Readonly<Record<string, unknown>>
}

function ask(target: PublishTarget, path: string): Promise<Told> {
  return new Promise((resolve, reject) => {
    const asking = request({ ...target, path, agent: false }, (response) => {
      response.toArray().then((chunks: Buffer[]) => {
        const json = JSON.parse(Buffer.concat(chunks).toString()) as Told['json']
        resolve({ status: response.statusCode ?? 0, retryAfter: response.headers['retry-after'], json })
      }, reject)
    })
    asking.on('error', reject)
    asking.end()
  })
}
