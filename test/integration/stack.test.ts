import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { randomUUID } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Kafka, logLevel, type KafkaConfig, type SASLOptions } from 'kafkajs'
import { describe, expect, test } from 'vitest'
import { exists } from '../stack/download-cache.ts'
import type { SecureKafkaAccess } from '../stack/kafka/kafka.ts'
import { answers, areFree, reservePorts } from '../stack/ports.ts'
import { requireKafka, requireOwnKafka } from '../stack/require-kafka.ts'

const MINUTES = 60_000
const POLL = { timeout: 20_000, interval: 50 }

describe('the shared Kafka broker', () => {
  test(
    'takes a message and gives it back',
    async (context) => {
      const { brokers } = requireKafka(context)
      const topic = `stack-${randomUUID()}`
      await produce({ brokers: [...brokers] }, topic, 'hello')
      expect(await consume({ brokers: [...brokers] }, topic, 1)).toEqual(['hello'])
    },
    MINUTES,
  )

  test(
    'lets in clients with a certificate or a password, and no others',
    async (context) => {
      const { secure } = requireKafka(context)
      if (secure === null) return context.skip('the broker given by OUTRIGGER_TEST_KAFKA has no TLS')
      const { username, password } = secure
      const ca = await readFile(secure.caFile)
      const cert = await readFile(secure.clientCertFile)
      const key = await readFile(secure.clientKeyFile)
      const topic = `stack-${randomUUID()}`
      await produce({ brokers: [...secure.mutualTlsBrokers], ssl: { ca, cert, key } }, topic, 'mutual TLS')
      for (const mechanism of ['plain', 'scram-sha-256', 'scram-sha-512'] as const) {
        await produce(saslConfig(secure, ca, { mechanism, username, password }), topic, mechanism)
      }
      const retry = { retries: 0 }
      const nameless = { brokers: [...secure.mutualTlsBrokers], ssl: { ca }, retry }
      await expect(produce(nameless, topic, 'no')).rejects.toThrow(/certificate|disconnected|closed|socket/i)
      const wrong = { ...saslConfig(secure, ca, { mechanism: 'scram-sha-512', username, password: 'wrong' }), retry }
      await expect(produce(wrong, topic, 'no')).rejects.toThrow(/authentication/i)
    },
    MINUTES,
  )
})

describe('a Kafka cluster of a test’s own', () => {
  test(
    'keeps its messages and its ports when it is killed and started again, and leaves nothing behind',
    async (context) => {
      const cluster = await requireOwnKafka(context)
      const [broker] = cluster.brokers
      const port = Number(broker?.split(':')[1])
      const topic = `stack-${randomUUID()}`
      const config = { brokers: [...cluster.brokers] }
      try {
        await produce(config, topic, 'before')
        await cluster.kill()
        expect(await answers(port)).toBe(false)
        await cluster.start()
        await produce(config, topic, 'after')
        expect((await consume(config, topic, 2)).toSorted()).toEqual(['after', 'before'])
      } finally {
        await cluster.stop()
      }
      expect(await answers(port)).toBe(false)
      expect(await exists(cluster.secure.caFile)).toBe(false)
    },
    4 * MINUTES,
  )
})

describe('servers', () => {
  test(
    'end, and their directory goes, when the run that started them is killed',
    async () => {
      const scratch = await mkdtemp(join(tmpdir(), 'outrigger-stack-test-'))
      const { ports, release } = await reservePorts(1)
      const port = ports[0] ?? 0
      const home = join(scratch, 'home')
      const program = join(scratch, 'run.ts')
      await writeFile(program, programThatOwnsAServer(home, port))
      const run = spawn(process.execPath, [program], {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { ...process.env, NODE_OPTIONS: '' },
      })
      try {
        await expect.poll(() => answers(port), POLL).toBe(true)
        run.kill('SIGKILL')
        await once(run, 'exit')
        await expect.poll(() => answers(port), POLL).toBe(false)
        await expect.poll(() => exists(home), POLL).toBe(false)
      } finally {
        run.kill('SIGKILL')
        await release()
        await rm(scratch, { recursive: true, force: true })
      }
    },
    MINUTES,
  )
})

describe('reserved ports', () => {
  test('are given to one reservation at a time', async () => {
    const reservations = await Promise.all(Array.from({ length: 8 }, () => reservePorts(15)))
    const ports = reservations.flatMap((reservation) => reservation.ports)
    expect(new Set(ports).size).toBe(8 * 15)
    expect(await areFree(ports)).toBe(true)
    await Promise.all(reservations.map((reservation) => reservation.release()))
  })
})

function programThatOwnsAServer(home: string, port: number): string {
  const processes = new URL('../stack/supervised-processes.ts', import.meta.url).href
  const server = `require('node:http').createServer().listen(${port}, '127.0.0.1')`
  return `
    import { mkdirSync } from 'node:fs'
    import { SupervisedProcesses } from ${JSON.stringify(processes)}
    const directory = ${JSON.stringify(home)}
    mkdirSync(directory)
    const processes = new SupervisedProcesses({ removeDirectory: directory, atEnd: [] })
    const args = ['-e', ${JSON.stringify(server)}]
    await processes.spawn({ command: process.execPath, args, directory, logFile: directory + '/log' })
    setInterval(() => {}, 60_000)
  `
}

function saslConfig(secure: SecureKafkaAccess, ca: Buffer, sasl: SASLOptions): KafkaConfig {
  return { brokers: [...secure.saslBrokers], ssl: { ca }, sasl }
}

function client(config: KafkaConfig): Kafka {
  return new Kafka({ retry: { initialRetryTime: 100, retries: 8 }, logLevel: logLevel.NOTHING, ...config })
}

async function produce(config: KafkaConfig, topic: string, value: string): Promise<void> {
  const producer = client(config).producer()
  await producer.connect()
  try {
    await producer.send({ topic, messages: [{ value }] })
  } finally {
    await producer.disconnect()
  }
}

async function consume(config: KafkaConfig, topic: string, count: number): Promise<string[]> {
  const consumer = client(config).consumer({ groupId: `stack-${randomUUID()}` })
  const values: string[] = []
  const enough = Promise.withResolvers<void>()
  await consumer.connect()
  try {
    await consumer.subscribe({ topic, fromBeginning: true })
    await consumer.run({
      eachMessage: async ({ message }) => {
        values.push(message.value?.toString() ?? '')
        if (values.length === count) enough.resolve()
      },
    })
    await enough.promise
  } finally {
    await consumer.disconnect()
  }
  return values
}
