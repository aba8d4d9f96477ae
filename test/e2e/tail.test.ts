import { randomUUID } from 'node:crypto'
import { describe, expect, test, type TestContext } from 'vitest'
import { requireKafka } from '../stack/require-kafka.ts'
import { RunningCommand, runCommand } from './command.ts'
import { Program } from './program.ts'
import { Publisher } from './publisher.ts'

type Settings = Readonly<Record<string, string>>

const brokers: readonly [string, (context: TestContext) => Settings][] = [
  ['the embedded broker', () => ({ OUTRIGGER_BROKER: 'embedded' })],
  [
    'Kafka',
    (context) => ({ OUTRIGGER_BROKER: 'kafka', OUTRIGGER_KAFKA_BROKERS: requireKafka(context).brokers.join(',') }),
  ],
]

describe.each(brokers)('tail with %s', (_, settingsOf) => {
  test('shows what is in a topic, as JSON, while Outrigger runs', async (context) => {
    const topic = `tail-${randomUUID()}`
    await using program = await Program.start({ settings: settingsOf(context) })
    const publisher = new Publisher(program.unix)
    const body = Buffer.from([
      ...Buffer.from('{"key":"a","value":"text ü","headers":{"colour":"red"}}\n'),
      ...Buffer.from('{"keyBase64":"/w==","valueBase64":"/wA="}\n'),
      ...Buffer.from('{"key":"a","value":null}\n'),
    ])
    const answer = await publisher.publish({ topic, headers: { 'Content-Type': 'application/x-ndjson' }, body })
    publisher.close()
    expect(answer.status).toBe(202)
    const ids = answer.body.split('\n', 3).map((line) => (JSON.parse(line) as { id: string }).id)

    const args = ['tail', topic, '--from', 'beginning', '--count', '3', '--json']
    const { code, stdout, stderr } = await runCommand(args, { settings: program.environment })
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const records = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { id: string })
    const byId = ids.map((id) => records.find((record) => record.id === id))
    expect(byId).toMatchObject([
      { topic, key: 'a', value: 'text ü', headers: { colour: ['red'] } },
      { topic, keyBase64: '/w==', valueBase64: '/wA=' },
      { topic, key: 'a', value: null },
    ])
    for (const record of byId)
      expect(record).toMatchObject({
        partition: expect.any(Number),
        offset: expect.any(Number),
        timestamp: expect.any(Number),
      })
  })

  test('shows what comes while it looks, and ends with 0 at SIGINT or when nobody reads on', async (context) => {
    const topic = `tail-${randomUUID()}`
    await using program = await Program.start({ settings: settingsOf(context) })
    const publisher = new Publisher(program.tcp)
    const say = async (text: string): Promise<void> => {
      const { status } = await publisher.publish({ topic, headers: {}, body: Buffer.from(text) })
      expect(status).toBe(202)
    }
    await say('the first')
    const args = ['tail', topic, '--from', 'beginning']
    await using interrupted = new RunningCommand(args, { settings: program.environment })
    await using unread = new RunningCommand(args, { settings: program.environment })
    const patience = { timeout: 20_000, interval: 50 }
    await expect.poll(() => interrupted.stdout, patience).toContain('the first')
    await expect.poll(() => unread.stdout, patience).toContain('the first')
    unread.closeOutput()
    await say('the second')
    await expect.poll(() => interrupted.stdout, patience).toContain('the second')
    interrupted.signal('SIGINT')
    expect(await interrupted.ended()).toMatchObject({ code: 0, stderr: '' })
    expect(await unread.ended()).toMatchObject({ code: 0, stderr: '' })
    publisher.close()
  })
})

test('tail of a Kafka that is not there says so, and ends with 1', async () => {
  const settings = {
    OUTRIGGER_BROKER: 'kafka',
    OUTRIGGER_KAFKA_BROKERS: '127.0.0.1:9',
    OUTRIGGER_KAFKA_CONNECT_TIMEOUT: '1s',
  }
  const { code, stdout, stderr } = await runCommand(['tail', 'greetings', '--count', '1'], { settings })
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  expect(stderr).toContain('127.0.0.1:9')
  expect(stderr).not.toContain('    at ')
})
