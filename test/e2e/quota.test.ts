import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { EmbeddedOutage, readEmbedded } from './embedded-records.ts'
import { Program } from './program.ts'
import { Publisher, type Answer } from './publisher.ts'

const KiB = 1024
const MiB = 1024 * KiB
const patience = { timeout: 30_000, interval: 50 }

/** Small files, and no ledger, which would hold the journal as well. */
const small = {
  OUTRIGGER_PUBLISH_BODY_BYTES_MAX: '8KiB',
  OUTRIGGER_PUBLISH_LINE_BYTES_MAX: '12KiB',
  OUTRIGGER_JOURNAL_SEGMENT_BYTES: String(144 * KiB),
  OUTRIGGER_FORWARDER_CHECKPOINT_INTERVAL: '50ms',
  OUTRIGGER_FORWARDER_RETRY_DELAY_MAX: '200ms',
  OUTRIGGER_FORWARDER_BREAKER_DELAY_MAX: '200ms',
  OUTRIGGER_LEDGER_METADATA: 'none',
  OUTRIGGER_LEDGER_LOG: 'none',
}

test('on a full disk publishers are told so, what was answered is delivered, and service comes back by itself', async () => {
  await using elsewhere = await folder()
  const brokerFile = join(elsewhere.path, 'broker.sqlite')
  await using program = await Program.prepare({ settings: small, name: 'outrigger-quota', fileSystemBytes: 24 * MiB })
  // The disk that is full is the journal's, and not the broker's.
  await symlink(brokerFile, program.brokerFile)
  await program.start()
  await using load = new Load(program)
  await load.publish(10)
  await program.drained()

  using outage = EmbeddedOutage.begin(brokerFile)
  await load.publishUntil('disk_full')
  // Somebody else takes what is left, up to the last byte.
  const stranger = join(program.dataDirectory, 'stranger')
  await fill(stranger)
  expect(await load.codes(20)).toEqual(new Set(['disk_full']))
  expect(await load.answer('refused')).toMatchObject({ status: 503, headers: { 'retry-after': '5' } })
  expect(await program.metric('outrigger_journal_level')).toBe(3)

  outage.end()
  await program.drained()
  // Receipts, cursor and deleting went on out of the reserve, and what was answered is there.
  expect(load.missingIn(brokerFile)).toEqual([])
  await rm(stranger)
  await expect.poll(() => load.publishOne(), patience).toBe(202)
  await expect.poll(() => program.metric('outrigger_disk_reserve_spent'), patience).toBe(0)
  await load.publish(20)
  await program.drained()
  expect(load.missingIn(brokerFile)).toEqual([])
  expect(load.unknown).toBe(0)
})

test('messages of low priority are refused first, and it does not flap', async () => {
  await using program = await start({ OUTRIGGER_JOURNAL_BYTES_MAX: '2MiB', OUTRIGGER_JOURNAL_TOPIC_SHARE_MAX: '100%' })
  await using load = new Load(program)
  using outage = EmbeddedOutage.begin(program.brokerFile)
  const low = { 'Outrigger-Priority': 'low' }
  let acceptedAfter = 0
  while ((await load.publishOne('orders', low)) === 202) await load.publish(5)
  expect(await load.code('orders', low)).toBe('journal_nearly_full')
  for (; (await load.publishOne()) === 202; acceptedAfter++) await load.publishOne()
  // Some 15 % of the journal was for those that matter.
  expect(acceptedAfter).toBeGreaterThan(10)
  expect(await load.codes(30)).toEqual(new Set(['journal_full']))
  expect(await load.code('orders', low)).toBe('journal_nearly_full')
  outage.end()
  await program.drained()
  await expect.poll(() => load.publishOne('orders', low), patience).toBe(202)
  await program.drained()
  expect(load.missingIn(program.brokerFile)).toEqual([])
  const levels = (await program.log()).split('\n').flatMap((line) => /"journalLevel":"([a-z-]+)"/.exec(line)?.[1] ?? [])
  expect(levels.slice(0, 3)).toEqual(['warn', 'refuse-low', 'refuse-all'])
  expect(levels.filter((level) => level === 'refuse-all')).toHaveLength(1)
})

test('with block, publishers wait for room, those who go away are let go, and in the end it is 503', async () => {
  await using program = await start({
    OUTRIGGER_JOURNAL_BYTES_MAX: '1MiB',
    OUTRIGGER_JOURNAL_WHEN_FULL: 'block',
    OUTRIGGER_JOURNAL_BLOCK_DEADLINE: '4s',
    OUTRIGGER_PUBLISH_PENDING_BYTES_MAX: '256KiB',
  })
  await using load = new Load(program)
  using outage = EmbeddedOutage.begin(program.brokerFile)
  for (let answer = await load.send('orders', {}); answer.status === 202; answer = await load.send('orders', {}))
    if (answer.ms > 3000) throw new Error('an answer took longer than expected')
  const refused = await load.send('orders', {})
  expect(refused).toMatchObject({ status: 503 })
  expect(JSON.parse(refused.body)).toMatchObject({ code: 'journal_full' })
  expect(refused.ms).toBeGreaterThan(3900)
  expect(refused.ms).toBeLessThan(8000)

  // What waits is bounded: who comes beyond it is told at once.
  const crowd = await Promise.all(Array.from({ length: 80 }, () => load.send('orders', {})))
  const codes = crowd.map(({ body }) => (JSON.parse(body) as { code: string }).code)
  expect(new Set(codes)).toEqual(new Set(['journal_full', 'overloaded']))
  // Those who go away make room for others.
  const gone = Array.from({ length: 80 }, () => load.sendAndLeave(200))
  await Promise.all(gone)
  await sleep(200)
  const waiting = load.send('orders', {})
  await sleep(300)
  outage.end()
  expect(await waiting).toMatchObject({ status: 202 })
  await program.drained()
  expect(load.missingIn(program.brokerFile)).toEqual([])
})

test.each(['none', 'embedded'])(
  'with drop-oldest (ledger: %s), new messages are taken, and of the oldest it is told which are dropped',
  async (ledger) => {
    await using program = await start({
      OUTRIGGER_LEDGER_METADATA: ledger,
      OUTRIGGER_LEDGER_LOG: ledger,
      OUTRIGGER_JOURNAL_BYTES_MAX: '1MiB',
      OUTRIGGER_JOURNAL_WHEN_FULL: 'drop-oldest',
    })
    await using load = new Load(program)
    using outage = EmbeddedOutage.begin(program.brokerFile)
    // Some three times what the journal may hold.
    await load.publish(800)
    expect(load.accepted.size).toBe(800)
    outage.end()
    await program.drained()
    const dropped = await program.metric('outrigger_messages_lost_total{reason="dropped"}')
    const missing = load.missingIn(program.brokerFile)
    expect(missing.length).toBe(dropped)
    expect(dropped).toBeGreaterThan(200)
    // The newest are there, and of each that is not, anybody can ask.
    const seqs = missing.map(seqOf)
    expect(Math.max(...seqs)).toBeLessThan(Math.max(...[...load.accepted].map(seqOf)) - 50)
    const fate = await load.fate(missing[0] as string)
    expect(fate).toMatchObject({ state: 'lost', reason: 'dropped' })
  },
)

test('with drop-oldest and a disk smaller than the journal may be, new messages are taken as well', async () => {
  await using elsewhere = await folder()
  const brokerFile = join(elsewhere.path, 'broker.sqlite')
  const settings = {
    ...small,
    OUTRIGGER_JOURNAL_WHEN_FULL: 'drop-oldest',
    OUTRIGGER_JOURNAL_BLOCK_DEADLINE: '20s',
    OUTRIGGER_JOURNAL_DISK_FREE_MIN: '4MiB',
    OUTRIGGER_JOURNAL_RESERVE_BYTES: '256KiB',
  }
  await using program = await Program.prepare({ settings, name: 'outrigger-quota', fileSystemBytes: 12 * MiB })
  await symlink(brokerFile, program.brokerFile)
  await program.start()
  await using load = new Load(program)
  using outage = EmbeddedOutage.begin(brokerFile)
  await load.publish(3000)
  expect(load.accepted.size).toBe(3000)
  outage.end()
  await program.drained()
  const missing = load.missingIn(brokerFile)
  expect(missing.length).toBe(await program.metric('outrigger_messages_lost_total{reason="dropped"}'))
  expect(missing.length).toBeGreaterThan(200)
  expect(await program.log()).toContain('the disk will be full first')
})

test('a topic that has used up its share is refused, and no other is; also after a restart', async () => {
  await using program = await start({
    OUTRIGGER_JOURNAL_BYTES_MAX: '2MiB',
    OUTRIGGER_JOURNAL_TOPIC_SHARES: 'flood=30%',
  })
  await using load = new Load(program)
  using outage = EmbeddedOutage.begin(program.brokerFile)
  await load.publishUntil('topic_share_full', 'flood')
  expect(load.accepted.size).toBeGreaterThan(100)
  expect(await load.codes(20, 'flood')).toEqual(new Set(['topic_share_full']))
  expect(await load.codes(20, 'orders')).toEqual(new Set([null]))
  await program.kill()
  await program.start()
  // What was there before the restart counts as soon as it is measured.
  await expect.poll(() => load.code('flood'), patience).toBe('topic_share_full')
  expect(await load.codes(20, 'orders')).toEqual(new Set([null]))
  outage.end()
  await program.drained()
  await expect.poll(() => load.publishOne('flood'), patience).toBe(202)
  await program.drained()
  expect(load.missingIn(program.brokerFile)).toEqual([])
})

test('a topic whose messages are delivered may send as much as it likes', async () => {
  await using program = await start({ OUTRIGGER_JOURNAL_BYTES_MAX: '2MiB', OUTRIGGER_JOURNAL_TOPIC_SHARE_MAX: '10%' })
  await using load = new Load(program)
  for (let i = 0; i < 10; i++) {
    await load.publish(100)
    await program.drained()
  }
  expect(load.accepted.size).toBe(1000)
  expect(load.missingIn(program.brokerFile)).toEqual([])
})

function start(settings: Readonly<Record<string, string>>): Promise<Program> {
  return startWith({ ...small, ...settings })
}

async function startWith(settings: Readonly<Record<string, string>>): Promise<Program> {
  const program = await Program.start({ settings, name: 'outrigger-quota' })
  try {
    // So that the broker's file has its tables.
    await using load = new Load(program)
    await load.publish(1, 'first')
    await program.drained()
    return program
  } catch (error) {
    await program.dispose()
    throw error
  }
}

/** Publishes messages of 4 KB, and remembers what was answered. */
class Load implements AsyncDisposable {
  readonly accepted = new Set<string>()
  /** Requests of which it is not known what became of them. */
  unknown = 0
  readonly #program: Program
  readonly #publisher: Publisher

  constructor(program: Program) {
    this.#program = program
    this.#publisher = new Publisher(program.tcp)
  }

  async send(topic: string, headers: Readonly<Record<string, string>>): Promise<Answer> {
    try {
      const answer = await this.#publisher.publish({ topic, headers, body: Buffer.alloc(4000, 'x') })
      if (answer.status === 202) this.accepted.add((JSON.parse(answer.body) as { id: string }).id)
      return answer
    } catch (error) {
      this.unknown++
      throw error
    }
  }

  async publishOne(topic = 'orders', headers: Readonly<Record<string, string>> = {}): Promise<number> {
    return (await this.send(topic, headers)).status
  }

  async publish(count: number, topic = 'orders'): Promise<void> {
    for (let i = 0; i < count; i++) await this.send(topic, {})
  }

  /** The code of a refusal; null when it was accepted. */
  async code(topic = 'orders', headers: Readonly<Record<string, string>> = {}): Promise<string | null> {
    const { status, body } = await this.send(topic, headers)
    return status === 202 ? null : (JSON.parse(body) as { code: string }).code
  }

  async codes(count: number, topic = 'orders'): Promise<Set<string | null>> {
    const codes = new Set<string | null>()
    for (let i = 0; i < count; i++) {
      codes.add(await this.code(topic))
      await sleep(20)
    }
    return codes
  }

  /** Until it is refused by this code, ten times in a row. */
  async publishUntil(code: string, topic = 'orders'): Promise<void> {
    for (let refused = 0, tries = 0; refused < 10; tries++) {
      const found = await this.code(topic)
      refused = found === code ? refused + 1 : 0
      if (tries > 50_000) throw new Error(`never refused by ${code}, but ${found}`)
      // A disk that fails is looked at once a second.
      if (found !== null) await sleep(20)
    }
  }

  /** One answer with its headers. */
  answer(key: string): Promise<{ status: number; headers: Readonly<Record<string, unknown>> }> {
    return new Promise((resolve, reject) => {
      const headers = { 'Outrigger-Key': key, 'Content-Length': '1' }
      const sending = request(
        { ...this.#program.tcp, agent: false, method: 'POST', path: '/topics/orders', headers },
        (response) => {
          response.resume()
          response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers }))
        },
      )
      sending.on('error', reject)
      sending.end('x')
    })
  }

  /** Sends a request, and goes away before it is answered. */
  async sendAndLeave(afterMs: number): Promise<void> {
    const headers = { 'Content-Length': '4000' }
    const sending = request({ ...this.#program.tcp, agent: false, method: 'POST', path: '/topics/orders', headers })
    sending.on('error', () => {}) // it is this side that goes away
    sending.end(Buffer.alloc(4000, 'y'))
    await sleep(afterMs)
    sending.destroy()
  }

  async fate(id: string): Promise<unknown> {
    const response = await fetch(`http://127.0.0.1:${(this.#program.tcp as { port: number }).port}/messages/${id}`)
    return response.json()
  }

  deliveredIn(brokerFile: string): Set<string> {
    const ids = new Set<string>()
    readEmbedded(brokerFile, ({ headers }) => {
      for (const [name, value] of headers) if (name === 'outrigger-id') ids.add(value.toString())
    })
    return ids
  }

  /** What was answered and is not delivered. */
  missingIn(brokerFile: string): string[] {
    const delivered = this.deliveredIn(brokerFile)
    return [...this.accepted].filter((id) => !delivered.has(id))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#publisher.close()
  }
}

function seqOf(id: string): number {
  return Number.parseInt(id.slice(id.lastIndexOf('-') + 1), 10)
}

async function folder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'outrigger-quota-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}

/** Writes until nothing more fits. */
async function fill(path: string): Promise<void> {
  for (const size of [MiB, 64 * KiB, 4 * KiB])
    for (;;)
      try {
        await writeFile(path, Buffer.alloc(size, 'z'), { flag: 'a' })
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
        break
      }
}
