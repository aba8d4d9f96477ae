import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { runCommand } from './command.ts'
import { readEmbedded } from './embedded-records.ts'
import { Program } from './program.ts'
import { Publisher } from './publisher.ts'

/** As small as they may be, so that files are used again many times a second. */
const smallSegments = {
  OUTRIGGER_PUBLISH_BODY_BYTES_MAX: '2KiB',
  OUTRIGGER_PUBLISH_LINE_BYTES_MAX: '4KiB',
  OUTRIGGER_PUBLISH_HEADER_BYTES_MAX: '4KiB',
  OUTRIGGER_JOURNAL_SEGMENT_BYTES: '144KiB',
  OUTRIGGER_JOURNAL_BYTES_MAX: '64MiB',
  OUTRIGGER_FORWARDER_CHECKPOINT_INTERVAL: '50ms',
}

const filler = 'x'.repeat(1500)

/** Publishes without a pause until it is told to end; remembers what was answered, in order. */
class Load {
  readonly answered: string[] = []
  readonly #publisher: Publisher
  readonly #loops: Promise<void>[]
  #isEnding = false
  #sent = 0

  constructor(program: Program, publishers: number) {
    this.#publisher = new Publisher(program.unix)
    this.#loops = Array.from({ length: publishers }, () => this.#loop())
  }

  async end(): Promise<void> {
    this.#isEnding = true
    await Promise.all(this.#loops)
    this.#publisher.close()
  }

  async #loop(): Promise<void> {
    while (!this.#isEnding) {
      const name = `m-${this.#sent++}`
      const headers = { 'Outrigger-Key': `k-${this.#sent % 100}` }
      // The program is killed in the end; then there is no answer.
      const answer = await this.#publisher
        .publish({ topic: `topic-${this.#sent % 3}`, headers, body: `${name} ${filler}` })
        .catch(() => null)
      if (answer?.status === 202) this.answered.push(name)
      else if (answer === null) return
    }
  }
}

function namesIn(file: string): Set<string> {
  const names = new Set<string>()
  readEmbedded(file, ({ value }) => names.add(String(value).split(' ')[0] ?? ''))
  return names
}

test('whichever backup is restored after the disk is lost, no message that was answered before it began is lost', async () => {
  await using program = await Program.start({ settings: smallSegments, name: 'outrigger-backup' })
  const { environment: settings, dataDirectory } = program
  const load = new Load(program, 16)
  const backups: { directory: string; answered: number }[] = []
  for (let i = 0; i < 8; i++) {
    const directory = join(program.directory, `backup-${i}`)
    const answered = load.answered.length
    const { code, stderr } = await runCommand(['backup', directory], { settings })
    expect([code, stderr]).toEqual([0, ''])
    backups.push({ directory, answered })
  }
  await program.kill()
  await load.end()
  expect(backups.at(-1)?.answered).toBeGreaterThan(500)
  for (const { directory, answered } of backups) {
    await rm(dataDirectory, { recursive: true })
    const restored = await runCommand(['restore', directory], { settings })
    expect([restored.code, restored.stderr]).toEqual([0, ''])
    expect(restored.stdout).toContain('delivered again')
    await program.start()
    const publisher = new Publisher(program.unix)
    const later = await publisher.publish({ topic: 'topic-0', headers: {}, body: 'later ' })
    publisher.close()
    expect(later.status).toBe(202)
    // An id that nobody had before.
    expect(Number(/-(\d+)"/.exec(later.body)?.[1])).toBeGreaterThan(1e11)
    await program.drained()
    const { code, signal } = await program.stop()
    expect([code, signal]).toEqual([0, null])
    const names = namesIn(program.brokerFile)
    expect(load.answered.slice(0, answered).filter((name) => !names.has(name))).toEqual([])
    expect(names).toContain('later')
    // The broker's file is copied last: what it got after the journal was copied has no receipt any more.
    const filled = await runCommand(['ledger', 'backfill', '--to', '0s'], { settings })
    expect([filled.code, filled.stderr]).toEqual([0, ''])
    const verified = await runCommand(['ledger', 'verify', '--to', '0s'], { settings })
    expect(verified.stdout).toContain('No difference')
    expect(verified.code).toBe(0)
  }
})

test('messages that wait for a broker that is away are in the backup', async () => {
  await using program = await Program.start({
    settings: { ...smallSegments, OUTRIGGER_BROKER: 'kafka', OUTRIGGER_KAFKA_BROKERS: '127.0.0.1:1', OUTRIGGER_DRAIN_DEADLINE: '0' }, // prettier-ignore
  })
  const load = new Load(program, 8)
  while (load.answered.length < 300) await new Promise((resolve) => setTimeout(resolve, 20))
  const answered = load.answered.length
  const { environment: settings, dataDirectory } = program
  const directory = join(program.directory, 'backup')
  await runCommand(['backup', directory], { settings })
  await program.kill()
  await load.end()
  await rm(dataDirectory, { recursive: true })
  expect((await runCommand(['restore', directory], { settings })).code).toBe(0)
  await program.start()
  const { delivery } = await program.status()
  expect(delivery.backlogMessages).toBeGreaterThanOrEqual(answered)
})

test('a stopped one is backed up too; a running one is not overwritten', async () => {
  await using program = await Program.start({ settings: smallSegments })
  const { environment: settings } = program
  const publisher = new Publisher(program.unix)
  await publisher.publish({ topic: 'topic-0', headers: {}, body: 'one ' })
  publisher.close()
  const directory = join(program.directory, 'backup')
  await program.stop()
  expect((await runCommand(['backup', directory], { settings })).code).toBe(0)
  await mkdir(join(program.directory, 'elsewhere'))
  const elsewhere = { ...settings, OUTRIGGER_JOURNAL_DIRECTORY: join(program.directory, 'elsewhere') }
  expect((await runCommand(['restore', directory], { settings: elsewhere })).code).toBe(0)
  const again = await runCommand(['restore', directory], { settings: elsewhere })
  expect([again.code, again.stderr]).toEqual([1, expect.stringContaining('is in use')])
  await program.start()
  const running = await runCommand(['restore', directory], { settings })
  expect([running.code, running.stderr]).toEqual([1, expect.stringContaining("can't be locked")])
  const second = await runCommand(['backup', directory], { settings })
  expect([second.code, second.stderr]).toEqual([1, expect.stringContaining('is not empty')])
})
