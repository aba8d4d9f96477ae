import { readFile, readdir, writeFile } from 'node:fs/promises'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { ConsumedRecord } from '../../src/subscriptions/consumer.ts'
import { reservePorts } from '../stack/ports.ts'
import { requireKafka } from '../stack/require-kafka.ts'
import { runCommand } from './command.ts'
import { kafkaClient, readKafka } from './kafka-records.ts'
import { Program, get } from './program.ts'
import { Publisher } from './publisher.ts'

/** What nobody may find on the disk. Nothing else contains them. */
const secrets = {
  key: 'KeyOfAzanianOkapi',
  value: 'ValueOfAzanianOkapi',
  header: 'HeaderOfAzanianOkapi',
  topic: 'topic-of-azanian-okapi',
}
/** Operators are told which topic has trouble; of messages nothing is told. */
const secretsForLogs = [secrets.key, secrets.value, secrets.header]

const keyLine = (id: string, fill: number): string => `${id}:${Buffer.alloc(32, fill).toString('base64')}\n`

function settingsFor(brokers: readonly string[]): Record<string, string> {
  return {
    OUTRIGGER_BROKER: 'kafka',
    OUTRIGGER_KAFKA_BROKERS: brokers.join(','),
    OUTRIGGER_LEDGER_METADATA: 'none',
    OUTRIGGER_LEDGER_LOG: 'none',
    OUTRIGGER_JOURNAL_SEGMENT_BYTES: '2240KiB',
    OUTRIGGER_DRAIN_DEADLINE: '1s',
    OUTRIGGER_LOG_LEVEL: 'trace',
  }
}

/** A program with a file of keys; not started yet. */
async function prepare(settings: Readonly<Record<string, string>>): Promise<{ program: Program; keysFile: string }> {
  const program = await Program.prepare({ settings })
  const keysFile = await program.file('keys', keyLine('mine', 7))
  return { program, keysFile }
}

/** Publishes messages that are secret all over; returns their ids. */
async function publish(
  program: Program,
  count: number,
  topic = secrets.topic,
  filler = 'x'.repeat(40_000),
): Promise<string[]> {
  // prettier-ignore
  const publisher = new Publisher(program.tcp)
  const answers = Array.from({ length: count }, (_, i) =>
    publisher.publish({
      topic,
      headers: { 'Outrigger-Key': `${secrets.key}-${i}`, [`Outrigger-Header-${secrets.header}`]: secrets.header },
      body: `${secrets.value} ${i} ${filler}`,
    }),
  )
  const ids: string[] = []
  for (const answer of answers) {
    const { status, body } = await answer
    expect(status).toBe(202)
    ids.push((JSON.parse(body) as { id: string }).id)
  }
  publisher.close()
  return ids
}

async function filesIn(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name))
}

/** Which of the secrets stand in which files, in whatever case. */
async function found(directory: string, texts: readonly string[]): Promise<string[]> {
  const hits: string[] = []
  for (const path of await filesIn(directory)) {
    const bytes = (await readFile(path)).toString('latin1').toLowerCase()
    for (const text of texts) if (bytes.includes(text.toLowerCase())) hits.push(`${text} in ${path}`)
  }
  return hits
}

async function expectNoTrace(program: Program): Promise<void> {
  expect((await filesIn(program.dataDirectory)).length).toBeGreaterThan(3)
  expect(await found(program.dataDirectory, Object.values(secrets))).toEqual([])
  expect(await found(join(program.directory, 'logs'), secretsForLogs)).toEqual([])
}

async function contents(directory: string): Promise<Map<string, string>> {
  const files = (await filesIn(directory)).toSorted()
  const digests = await Promise.all(files.map(async (path) => createHash('sha256').update(await readFile(path)).digest('hex'))) // prettier-ignore
  return new Map(files.map((path, i) => [path, digests[i] ?? '']))
}

/** The end that it comes to instead of being ready. */
async function failedStart(program: Program, keysFile: string): Promise<string> {
  try {
    await program.start({ OUTRIGGER_ENCRYPTION_KEYS_FILE: keysFile })
  } catch (error) {
    return String(error)
  }
  throw new Error('it has started')
}

test('while the broker is away, nothing of a message stands on disk: after SIGKILL, after SIGTERM, in a backup', async () => {
  const port = await reservePorts(1)
  const { program, keysFile } = await prepare(settingsFor([`127.0.0.1:${port.ports[0]}`]))
  await using _ = program
  await program.start({ OUTRIGGER_ENCRYPTION_KEYS_FILE: keysFile })
  const ids = await publish(program, 100)
  await expectNoTrace(program)
  await program.kill()
  await expectNoTrace(program)

  // Without the key: it is named, the exit code is 1, and nothing is touched.
  const before = await contents(program.dataDirectory)
  const others = await program.file('others', keyLine('other', 9))
  const impostor = await program.file('impostor', keyLine('mine', 9))
  for (const file of [others, impostor]) {
    const end = await failedStart(program, file)
    expect(end).toContain('exit code 1')
    expect(end).toMatch(/is encrypted under the key mine\/[0-9a-f]{16}/)
    expect(end).toContain('journal_key_missing')
    expect(await contents(program.dataDirectory)).toEqual(before)
  }
  const listed = await runCommand(['keys', 'list', '--json'], { settings: program.environment })
  expect(listed.code).toBe(1)
  expect(JSON.parse(listed.stdout)).toMatchObject({ keys: [{ id: 'mine', state: 'active', files: 0 }, { id: 'mine', state: 'missing' }] }) // prettier-ignore

  await program.start({ OUTRIGGER_ENCRYPTION_KEYS_FILE: keysFile })
  expect((await program.status()).delivery.backlogMessages).toBe(100)
  const backup = join(program.directory, 'backup')
  expect(await runCommand(['backup', backup], { settings: program.environment })).toMatchObject({ code: 0 })
  expect(await found(backup, Object.values(secrets))).toEqual([])
  expect(await program.stop()).toMatchObject({ code: 0 })
  await expectNoTrace(program)

  const restored = { ...program.environment, OUTRIGGER_JOURNAL_DIRECTORY: join(program.directory, 'restored') }
  const wrong = { ...restored, OUTRIGGER_ENCRYPTION_KEYS_FILE: others }
  const refused = await runCommand(['restore', backup], { settings: wrong })
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('under the key mine/') as string })
  expect(await runCommand(['restore', backup], { settings: restored })).toMatchObject({ code: 0 })
  await program.start({ OUTRIGGER_JOURNAL_DIRECTORY: restored.OUTRIGGER_JOURNAL_DIRECTORY })
  const fate = JSON.parse(await askFor(program, ids[0] as string)) as object
  expect(fate).toMatchObject({ state: 'accepted' })
  await program.kill()
  expect(await found(restored.OUTRIGGER_JOURNAL_DIRECTORY, Object.values(secrets))).toEqual([])
  await port.release()
})

test('delivered messages, dead letters and receipts: all arrives as without encryption, and none of it stands on disk', async (context) => {
  const { brokers } = requireKafka(context)
  const small = `${secrets.topic}-small`
  const admin = kafkaClient(brokers).admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic: small, numPartitions: 1, configEntries: [{ name: 'max.message.bytes', value: '2000' }] }] }) // prettier-ignore
  await admin.disconnect()

  const { program, keysFile } = await prepare(settingsFor(brokers))
  await using _ = program
  await program.start({ OUTRIGGER_ENCRYPTION_KEYS_FILE: keysFile })
  const ids = await publish(program, 50)
  const [dead = ''] = await publish(program, 1, small)
  await program.drained()
  expect(JSON.parse(await askFor(program, ids[49] as string))).toMatchObject({ state: 'delivered' })
  expect(JSON.parse(await askFor(program, dead))).toMatchObject({ state: 'dead', reason: 'MESSAGE_TOO_LARGE' })
  await program.kill()
  await expectNoTrace(program)

  // A rotation: the new key is in use at once, and the old one is there for what it is needed for.
  const rotated = await runCommand(['keys', 'rotate', keysFile, '--id', 'newer'])
  expect(rotated).toMatchObject({ code: 0, stdout: expect.stringContaining('newer') as string })
  expect(await readFile(keysFile, 'utf8')).not.toContain(rotated.stdout)
  await program.start()
  ids.push(...(await publish(program, 50)))
  await program.drained()
  expect(JSON.parse(await askFor(program, ids[0] as string))).toMatchObject({ state: 'delivered' })
  expect(JSON.parse(await program.ask('/dead-letters'))).toMatchObject({ deadLetters: [{ id: dead, topic: small }] })
  await program.stop()
  await expectNoTrace(program)
  const listed = await runCommand(['keys', 'list', '--json'], { settings: program.environment })
  expect(listed.code).toBe(0)
  const { keys } = JSON.parse(listed.stdout) as { keys: { id: string; state: string; files: number }[] }
  expect(keys.map(({ id, state }) => [id, state])).toEqual([['newer', 'active'], ['mine', 'kept']]) // prettier-ignore
  for (const { files } of keys) expect(files).toBeGreaterThan(0)
  // The dead letter is still under it.
  await writeFile(keysFile, (await readFile(keysFile, 'utf8')).split('\n')[0] ?? '')
  expect(await failedStart(program, keysFile)).toContain('under the key mine/')

  const records: ConsumedRecord[] = []
  await readKafka(brokers, [secrets.topic], (record) => records.push(record))
  const idsOf = records.map(({ headers }) => String(headers.find(([name]) => name === 'outrigger-id')?.[1]))
  expect(new Set(idsOf)).toEqual(new Set(ids))
  for (const { key, value, headers } of records) {
    expect(String(key)).toContain(secrets.key)
    expect(String(value)).toContain(secrets.value)
    expect(headers.map(([, text]) => String(text))).toContain(secrets.header)
  }
})

test('a crash leaves no core dump; and where that can not be turned off, one without memory, and a warning', async () => {
  const port = await reservePorts(1)
  const { program, keysFile } = await prepare(settingsFor([`127.0.0.1:${port.ports[0]}`]))
  await using _ = program
  const withDumps = ['/bin/bash', '-c', 'ulimit -c unlimited; exec "$@"', 'bash']
  const dumps = async (): Promise<string[]> =>
    (await readdir(program.directory)).filter((name) => name.startsWith('core'))
  const warning = 'core dumps are not turned off'
  const pattern = (await readFile('/proc/sys/kernel/core_pattern', 'utf8')).trim()

  await program.start({ OUTRIGGER_ENCRYPTION_KEYS_FILE: keysFile }, withDumps)
  await publish(program, 20)
  expect(await readFile(`/proc/${program.pid}/limits`, 'utf8')).toMatch(/^Max core file size +1 +1 /m)
  program.signal('SIGABRT')
  expect(await program.ended()).toMatchObject({ signal: 'SIGABRT' })
  expect(await dumps()).toEqual([])
  expect(await program.log()).not.toContain(warning)

  // As in an image with Node and nothing else.
  await program.start({ PATH: '/nonexistent' }, withDumps)
  expect(await program.log()).toContain(warning)
  await publish(program, 20)
  expect(await readFile(`/proc/${program.pid}/coredump_filter`, 'utf8')).toBe('00000000\n')
  program.signal('SIGABRT')
  expect(await program.ended()).toMatchObject({ signal: 'SIGABRT' })
  // Where the system has a pattern of its own, it goes to a program or a folder that is not ours to look into.
  const left = await dumps()
  expect(left).toHaveLength(pattern === 'core' ? 1 : left.length)
  for (const name of left) {
    const bytes = await readFile(join(program.directory, name))
    expect(bytes.length).toBeGreaterThan(1000)
    // Each value has 40,000 of these; all registers of a thread together have 2 KiB.
    expect(bytes.includes('x'.repeat(2100))).toBe(false)
  }
  await expectNoTrace(program)
  await port.release()
})

/** What became of a message, as its publisher may ask. */
function askFor(program: Program, id: string): Promise<string> {
  return get(program.tcp, `/messages/${id}`)
}
