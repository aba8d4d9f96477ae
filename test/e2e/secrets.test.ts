import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { requireKafka } from '../stack/require-kafka.ts'
import { runCommand, scratchFolder, type CommandResult } from './command.ts'
import { Program } from './program.ts'
import { Publisher } from './publisher.ts'

/** Nothing else contains it. */
const password = 'Tr0ub4dor-and-3-staples'

/** How it could show: as it is, in part, in Base64 at any position, in hex, or escaped. */
const traces = [
  'Tr0ub4dor',
  '3-staples',
  ...[0, 1, 2].map((shift) =>
    Buffer.from(' '.repeat(shift) + password)
      .toString('base64')
      .slice(4, 24),
  ),
  Buffer.from(password).toString('hex').slice(0, 16),
  encodeURIComponent(password).slice(0, 12),
]

function expectNoTrace(printed: string): void {
  expect(printed).not.toBe('')
  for (const trace of traces) expect(printed.toLowerCase()).not.toContain(trace.toLowerCase())
}

test('a password that Kafka refuses shows nowhere', async (context) => {
  const { secure } = requireKafka(context)
  if (secure === null) return context.skip('the broker given by OUTRIGGER_TEST_KAFKA has no TLS')
  const settings = {
    OUTRIGGER_BROKER: 'kafka',
    OUTRIGGER_KAFKA_BROKERS: secure.saslBrokers.join(','),
    OUTRIGGER_KAFKA_TLS_CA_FILE: secure.caFile,
    OUTRIGGER_KAFKA_SASL_USERNAME: secure.username,
    OUTRIGGER_KAFKA_SASL_PASSWORD: password,
    OUTRIGGER_KAFKA_SASL_MECHANISM: 'plain',
    OUTRIGGER_LOG_LEVEL: 'trace',
    OUTRIGGER_DRAIN_DEADLINE: '1s',
  }
  await using program = await Program.start({ settings })
  const publisher = new Publisher(program.tcp)
  const { status } = await publisher.publish({ topic: 'secrets', headers: {}, body: Buffer.from('hello') })
  publisher.close()
  expect(status).toBe(202)
  const patience = { timeout: 20_000, interval: 100 }
  await expect.poll(async () => (await program.status()).delivery.lanes[0]?.failure?.message, patience).toMatch(/auth/i)

  for (const path of ['/status', '/metrics', '/dead-letters']) expectNoTrace(await program.ask(path))
  expect(await program.ask('/status')).toContain('[secret]')
  const checked = await runCommand(['config', 'check'], { settings: program.environment })
  expectNoTrace(textOf(checked))
  const tailed = await runCommand(['tail', 'secrets', '--count', '1'], { settings: program.environment })
  expect(tailed.code).toBe(1)
  expectNoTrace(textOf(tailed))
  await program.stop()
  const log = await program.log()
  expect(log).toMatch(/auth/i)
  expectNoTrace(log)
})

test('a password that is in the wrong place is not shown with the fault', async () => {
  await using folder = await scratchFolder()
  const file = join(folder.path, 'outrigger.yaml')
  const faulty: readonly [yaml: string, settings: Record<string, string>][] = [
    ['', { OUTRIGGER_KAFKA_SASL_PASSWRD: password }],
    ['', { OUTRIGGER_KAFKA_SASL: password }],
    [`kafka: { sasl: { mechanism: ${password}x, username: a, password: ${password} } }`, {}],
    [`kafka: { sasl: { mechanism: plain, username: a, password: { is: ${password} } } }`, {}],
    [`kafka: { sasl: { mechanism: plain, username: a, password: [${password}] } }`, {}],
    [`kafka: { sasl: { mechanism: plain, username: a, password: ${password}, passwordFile: also } }`, {}],
    [`kafka: { sasl: { mechanism: plain, username: a, password: "${password} } }`, {}],
    [`kafka: { tls: { key: ${password}, cert: ${password} } }`, {}],
  ]
  for (const [index, [yaml, settings]] of faulty.entries()) {
    await writeFile(file, `${yaml}\n`)
    // They all read it in the same way; for the sake of time only the first faults are shown to each of them.
    const commands = [
      ['config', 'check', file],
      ['run', '--config', file],
      ['tail', 'topic', '--config', file],
    ].slice(0, index < 2 ? 3 : 1)
    for (const args of commands) {
      const result = await runCommand(args, { settings })
      expect({ yaml, settings, code: result.code }).toEqual({ yaml, settings, code: 64 })
      // What stands where a public setting belongs is shown: it is how one finds the fault.
      if (!yaml.includes(`${password}x`)) expectNoTrace(textOf(result))
    }
  }
})

test('a password from a file shows no more than any other', async () => {
  await using folder = await scratchFolder()
  const passwordFile = join(folder.path, 'password')
  await writeFile(passwordFile, `${password}\n`)
  const settings = {
    OUTRIGGER_BROKER: 'kafka',
    OUTRIGGER_KAFKA_BROKERS: '127.0.0.1:9',
    OUTRIGGER_KAFKA_TLS: 'true',
    OUTRIGGER_KAFKA_SASL_MECHANISM: 'scram-sha-512',
    OUTRIGGER_KAFKA_SASL_USERNAME: 'alice',
    OUTRIGGER_KAFKA_SASL_PASSWORD_FILE: passwordFile,
    OUTRIGGER_LOG_LEVEL: 'trace',
  }
  await using program = await Program.start({ settings })
  const status = await program.ask('/status')
  expect(status).toContain('"passwordFile"')
  expectNoTrace(status)
  await program.stop()
  expectNoTrace(await program.log())
})

function textOf({ stdout, stderr }: CommandResult): string {
  return stdout + stderr
}
