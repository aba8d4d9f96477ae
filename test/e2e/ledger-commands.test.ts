import { randomUUID } from 'node:crypto'
import { request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { CommandResult } from './command.ts'
import { RunningCommand, runCommand, scratchFolder } from './command.ts'
import { Program } from './program.ts'
import { Publisher } from './publisher.ts'

const patience = { timeout: 20_000, interval: 50 }

/** `outrigger ARGS…` on the configuration of a program. */
function outrigger(program: Program, ...args: readonly string[]): Promise<CommandResult> {
  return runCommand(args, { settings: program.environment })
}

async function publish(program: Program, topic: string, ...lines: readonly object[]): Promise<string[]> {
  const publisher = new Publisher(program.unix)
  const body = Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
  const answer = await publisher.publish({ topic, headers: { 'Content-Type': 'application/x-ndjson' }, body })
  publisher.close()
  expect(answer.status).toBe(202)
  return answer.body.split('\n', lines.length).map((line) => (JSON.parse(line) as { id: string }).id)
}

interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: Buffer
}

function ask(program: Program, path: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asking = request({ host: '127.0.0.1', port: program.adminPort, path, agent: false }, (response) => {
      response.toArray().then((chunks: Buffer[]) => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) })
      }, reject)
    })
    asking.on('error', reject)
    asking.end()
  })
}

async function askJson(program: Program, path: string): Promise<{ status: number; json: Record<string, unknown> }> {
  const { status, body } = await ask(program, path)
  return { status, json: JSON.parse(body.toString()) as Record<string, unknown> }
}

/** Resolves when the ledger has all of them, metadata and message. */
async function recorded(program: Program, ids: readonly string[]): Promise<void> {
  const isThere = async (id: string): Promise<boolean> =>
    (await ask(program, `/ledger/messages/${id}/content`)).status < 300
  const deadline = performance.now() + patience.timeout
  for (const id of ids)
    while (!(await isThere(id))) {
      if (performance.now() > deadline) throw new Error(`${id} is not in the ledger\n${await program.log()}`)
      await sleep(patience.interval)
    }
}

const jsonLines = ({ stdout }: CommandResult): Record<string, unknown>[] =>
  stdout
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Record<string, unknown>)

describe('the embedded ledger of a running Outrigger', () => {
  const topic = `ledger-${randomUUID()}`
  let program: Program
  let ids: string[]

  beforeAll(async () => {
    program = await Program.start()
    ids = await publish(
      program,
      topic,
      { key: 'a', value: 'the first', headers: { colour: 'red' } },
      { keyBase64: '/w==', valueBase64: '/wA=' },
      { key: 'a', value: null },
    )
    await recorded(program, ids)
  })
  afterAll(() => program.dispose())

  test('is listed over HTTP, in pages, newest first', async () => {
    const seen: unknown[] = []
    let path: string | null = `/ledger/messages?topic=${topic}&limit=2`
    while (path !== null) {
      const { status, json } = await askJson(program, path)
      expect(status).toBe(200)
      seen.push(...(json['messages'] as unknown[]))
      path = json['next'] as string | null
    }
    expect(seen).toHaveLength(3)
    expect(seen.map((message) => (message as { id: string }).id).toSorted()).toEqual(ids.toSorted())
    const { json } = await askJson(program, `/ledger/messages?topic=${topic}&keyBase64=${encodeURIComponent('/w==')}`)
    expect(json).toMatchObject({ messages: [{ id: ids[1], status: 'delivered', keyBase64: '/w==', valueBytes: 2 }] })
    expect(await askJson(program, `/ledger/messages/${ids[0]}`)).toMatchObject({
      status: 200,
      json: { id: ids[0], topic, key: 'a', headers: [{ name: 'colour', value: 'red' }], attempts: 1 },
    })
  })

  test('gives back each message whole', async () => {
    const [first, second, third] = await Promise.all(ids.map((id) => ask(program, `/ledger/messages/${id}/content`)))
    expect(first).toMatchObject({ status: 200, headers: { 'outrigger-key': 'a', 'outrigger-header-colour': 'red' } })
    expect(first?.body.toString()).toBe('the first')
    expect(second?.body).toEqual(Buffer.from([0xff, 0]))
    expect(second?.headers['outrigger-key']).toBe('\u00ff')
    expect(third).toMatchObject({ status: 204, headers: { 'outrigger-topic': topic } })
    expect(await askJson(program, `/ledger/messages/0123456789abc-1/content`)).toMatchObject({
      status: 404,
      json: { code: 'message_not_found' },
    })
  })

  test('lacks nothing', async () => {
    for (const store of ['metadata', 'log'])
      expect(await askJson(program, `/ledger/exceptions?store=${store}`)).toEqual({
        status: 200,
        json: { exceptions: [], next: null },
      })
  })

  test('is printed by “log”, while Outrigger runs', async () => {
    const all = await outrigger(program, 'log', topic, '--json')
    expect(all).toMatchObject({ code: 0, stderr: '' })
    const byId = ids.map((id) => jsonLines(all).find((line) => line['id'] === id))
    expect(byId).toMatchObject([
      { topic, key: 'a', value: 'the first', headers: { colour: ['red'] } },
      { topic, keyBase64: '/w==', valueBase64: '/wA=' },
      { topic, key: 'a', value: null },
    ])
    for (const line of byId)
      expect(line).toMatchObject({ acceptedAt: expect.any(Number), deliveredAt: expect.any(Number) })
    expect(jsonLines(await outrigger(program, 'log', topic, '--key', 'a', '--since', '1h', '--json'))).toHaveLength(2)
    expect(jsonLines(await outrigger(program, 'log', topic, '--count', '1', '--json'))).toHaveLength(1)
    expect((await outrigger(program, 'log', topic, '--since', '0')).stdout).toBe('')
    const { code, stdout } = await outrigger(program, 'log', topic)
    expect(code).toBe(0)
    expect(stdout).toContain('a:  the first\n')
  })

  test('is followed by “log --follow” until SIGINT', async () => {
    const followed = `ledger-${randomUUID()}`
    await using following = new RunningCommand(['log', followed, '--follow'], { settings: program.environment })
    await publish(program, followed, { value: 'one' })
    await expect.poll(() => following.stdout, patience).toContain('one')
    await publish(program, followed, { value: 'two' })
    await expect.poll(() => following.stdout, patience).toContain('two')
    following.signal('SIGINT')
    expect(await following.ended()).toMatchObject({ code: 0, stderr: '' })
  })

  test('is asked by “show”, beside the running sidecar', async () => {
    const { code, stdout, stderr } = await outrigger(program, 'show', ids[0] as string, '--content')
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    for (const line of [/^state +delivered$/m, /^recorded +20/m, /^sidecar +knows it$/m, /^metadata +knows it$/m])
      expect(stdout).toMatch(line)
    expect(stdout.endsWith('\nthe first\n')).toBe(true)
    const json = JSON.parse(
      (await outrigger(program, 'show', ids[1] as string, '--json', '--content')).stdout,
    ) as object
    expect(json).toMatchObject({ id: ids[1], topic, keyBase64: '/w==', valueBase64: '/wA=', valueBytes: 2 })
    const unknown = await outrigger(program, 'show', '0123456789abc-1')
    expect(unknown).toMatchObject({ code: 1, stdout: '' })
    expect(unknown.stderr).toContain('nothing is known of it')
  })

  test('needs no migration, because “run” has done it', async () => {
    const { code, stdout } = await outrigger(program, 'migrate')
    expect(code).toBe(0)
    expect(stdout.match(/there is nothing to do/g)).toHaveLength(2)
  })

  test('says what it can’t do', async () => {
    for (const [args, named] of [
      [['show', 'nonsense'], 'nonsense'],
      [['log'], 'TOPIC'],
      [['log', topic, '--since', 'yesterday'], 'yesterday'],
      [['ledger', 'verify', '--from', '1h', '--to', '2h'], '--from must be before --to'],
      [['ledger', 'verify', '--topic', ''], 'not the name of a topic'],
    ] as const) {
      const { code, stdout, stderr } = await outrigger(program, ...args)
      expect({ code, stdout }).toEqual({ code: 64, stdout: '' })
      expect(stderr).toContain(named)
    }
  })

  test('says in words that its output can’t be written', async () => {
    const { code, stderr } = await runCommand(['log', topic], { settings: program.environment, output: '/dev/full' })
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: 'Nothing more can be written to the standard output: ENOSPC: no space left on device, write\n',
    })
  })
})

test('“show” and “log” work on the embedded ledger of an Outrigger that does not run', async () => {
  await using program = await Program.start()
  const [id = ''] = await publish(program, 'left', { value: 'behind' })
  await recorded(program, [id])
  await program.stop()
  const { code, stdout } = await outrigger(program, 'show', id)
  expect(code).toBe(0)
  expect(stdout).toMatch(/^state +delivered$/m)
  expect(stdout).toMatch(/^sidecar +could not be asked: .*ECONNREFUSED/m)
  expect((await outrigger(program, 'log', 'left')).stdout).toContain('behind')
})

test('without a ledger the routes and commands say which setting turns it on', async () => {
  await using program = await Program.start({
    settings: { OUTRIGGER_LEDGER_METADATA: 'none', OUTRIGGER_LEDGER_LOG: 'none' },
  })
  const [id = ''] = await publish(program, 'plain', { value: 'x' })
  await program.drained()
  for (const path of ['/ledger/messages', `/ledger/messages/${id}`, '/ledger/exceptions?store=metadata'])
    expect(await askJson(program, path)).toMatchObject({
      status: 404,
      json: { code: 'not_found', detail: expect.stringContaining('ledger.metadata') },
    })
  const log = await outrigger(program, 'log', 'plain')
  expect(log).toMatchObject({ code: 1, stdout: '' })
  expect(log.stderr).toContain('ledger.log')
  const shown = await outrigger(program, 'show', id)
  expect(shown.code).toBe(0)
  expect(shown.stdout).toMatch(/^metadata +could not be asked: .*ledger.metadata/m)
  expect(await outrigger(program, 'migrate')).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('nothing to do'),
  })
})

test('“migrate” makes the embedded ledger, after a dry run that makes nothing', async () => {
  await using folder = await scratchFolder()
  const settings = { OUTRIGGER_JOURNAL_DIRECTORY: `${folder.path}/data` }
  const dry = await runCommand(['migrate', '--dry-run'], { settings })
  expect(dry).toMatchObject({ code: 0, stderr: '' })
  expect(dry.stdout).toContain('to do: 1,')
  const log = await runCommand(['log', 'orders'], { settings })
  expect(log).toMatchObject({ code: 1, stdout: '' })
  const { code, stdout } = await runCommand(['migrate', '--json'], { settings })
  expect(code).toBe(0)
  expect(JSON.parse(stdout)).toMatchObject({
    dryRun: false,
    stores: [
      {
        store: 'metadata',
        kind: 'embedded',
        found: 0,
        error: null,
        taken: [{ version: 1 }, { version: 2 }, { version: 3 }],
      },
      { store: 'log', kind: 'embedded', pending: [], error: null },
    ],
  })
  expect(await runCommand(['log', 'orders'], { settings })).toMatchObject({ code: 0, stdout: '', stderr: '' })
})

test('“migrate” of a database that is not there says so, and ends with 1', async () => {
  const settings = { OUTRIGGER_LEDGER_METADATA: 'mysql', OUTRIGGER_LEDGER_LOG: 'none', OUTRIGGER_MYSQL_URL: 'mysql://u@127.0.0.1:9/d' } // prettier-ignore
  for (const args of [['migrate'], ['migrate', '--dry-run']]) {
    const { code, stdout, stderr } = await runCommand(args, { settings })
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toContain('127.0.0.1:9')
    expect(stderr).not.toContain('    at ')
  }
})
