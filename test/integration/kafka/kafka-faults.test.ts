import { describeWithServer } from '../../stack/describe-with-server.ts'
import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { Kafka, logLevel } from 'kafkajs'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { systemClock } from '../../../src/base/clock.ts'
import { silentLog } from '../../../src/base/log.ts'
import { Secret } from '../../../src/base/secret.ts'
import type { Compression } from '../../../src/kafka/compression.ts'
import { KafkaBroker } from '../../../src/kafka/kafka-broker.ts'
import { KafkaConsumer } from '../../../src/kafka/kafka-consumer.ts'
import type { KafkaBrokerOptions } from '../../../src/kafka/kafka-options.ts'
import { failureOf, outgoing } from '../../forwarder/broker-contract.ts'
import { takeRecords } from '../../forwarder/broker-reading.ts'
import { startKafka, type KafkaCluster } from '../../stack/kafka/kafka.ts'
import { insist } from './insist.ts'
import { brokerOptions } from './kafka-options.ts'

const never = new AbortController().signal

/** Where the shared broker can't be had, a broker of one's own can't either. */
describeWithServer(inject('kafka').access !== null, 'a Kafka that creates no topics, and is killed at times,', () => {
  let kafka: KafkaCluster
  beforeAll(async () => {
    const extraProperties = {
      'message.max.bytes': 100_000,
      // Who comes without a name may do all; who has one, nothing.
      'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      'super.users': 'User:ANONYMOUS',
    }
    kafka = await startKafka({ autoCreateTopics: false, extraProperties })
  })
  afterAll(() => kafka.stop())

  const withBroker = async (more: Partial<KafkaBrokerOptions>, use: (broker: KafkaBroker) => Promise<void>) => {
    const broker = new KafkaBroker(systemClock, silentLog, brokerOptions(kafka.brokers, more))
    try {
      await use(broker)
    } finally {
      await broker.close()
    }
  }
  const readAll = async (topic: string, count: number) => {
    const consumer = new KafkaConsumer(systemClock, silentLog, brokerOptions(kafka.brokers))
    const records = await takeRecords(consumer, topic, count)
    await consumer.close()
    return records
  }
  const createTopics = { partitions: 3, replicationFactor: 1 }
  const create = { createTopics }

  test('a missing topic blocks its lane within a few seconds, says what to do, and delays no other', async () => {
    await withBroker(create, (creator) => creator.send('there', [outgoing()], never).then(() => {}))
    await withBroker({}, async (broker) => {
      const started = performance.now()
      const missing = failureOf(broker.send(`missing-${randomUUID()}`, [outgoing()], never))
      await broker.send('there', [outgoing()], never)
      expect(performance.now() - started).toBeLessThan(800)
      const failure = await missing
      expect(performance.now() - started).toBeLessThan(4000)
      expect(failure).toMatchObject({ failure: 'blocked', reason: 'UNKNOWN_TOPIC_OR_PARTITION' })
      expect(failure.hint).toContain('kafka.createTopics')
    })
  })

  test('a topic that we may not write to blocks its lane, and says so', async () => {
    await withBroker(create, (creator) => creator.send('forbidden', [outgoing()], never).then(() => {}))
    const { saslBrokers, username, password, caFile } = kafka.secure
    const sasl = { mechanism: 'scram-sha-512', username, password: new Secret(password) } as const
    const tls = { ca: await readFile(caFile, 'utf8') }
    await withBroker({ brokers: saslBrokers, sasl, tls }, async (broker) => {
      const failure = await failureOf(broker.send('forbidden', [outgoing()], never))
      expect(failure).toMatchObject({ failure: 'blocked', reason: 'TOPIC_AUTHORIZATION_FAILED' })
      expect(failure.hint).toContain('ACL')
    })
  })

  test('a topic that appears while its lane is blocked takes messages at once', async () => {
    const topic = `late-${randomUUID()}`
    await withBroker({}, async (broker) => {
      await failureOf(broker.send(topic, [outgoing()], never))
      await withBroker(create, (creator) => creator.send(topic, [outgoing()], never).then(() => {}))
      expect((await broker.send(topic, [outgoing()], never)).offsets).toHaveLength(1)
    })
  })

  test('createTopics creates what is missing, also when several race for it', async () => {
    const topic = `created-${randomUUID()}`
    await withBroker({ createTopics: { partitions: 5, replicationFactor: 1 } }, (one) =>
      withBroker({ createTopics: { partitions: 5, replicationFactor: 1 } }, async (other) => {
        const messages = [outgoing({ partition: 4 })]
        const sent = await Promise.all([one.send(topic, messages, never), other.send(topic, messages, never)])
        expect(sent.flatMap(({ offsets }) => offsets).toSorted((a, b) => a - b)).toEqual([0, 1])
      }),
    )
  })

  test('more replicas than there are brokers block, and say so', async () => {
    await withBroker({ createTopics: { partitions: 1, replicationFactor: 3 } }, async (broker) => {
      const failure = await failureOf(broker.send(`replicas-${randomUUID()}`, [outgoing()], never))
      expect(failure).toMatchObject({ failure: 'blocked', reason: 'INVALID_REPLICATION_FACTOR' })
      expect(failure.hint).toContain('replicationFactor')
    })
  })

  test('a batch that is too large is refused for good, and what of it got through is not written again', async () => {
    const topic = `large-${randomUUID()}`
    await withBroker(create, async (broker) => {
      const good = outgoing({ partition: 0, value: Buffer.from('good') })
      const large = outgoing({ partition: 1, value: Buffer.alloc(200_000, 'x') })
      const failure = await failureOf(broker.send(topic, [good, large], never))
      expect(failure).toMatchObject({ failure: 'permanent', reason: 'MESSAGE_TOO_LARGE' })
      // As the forwarder does: in halves.
      const { offsets } = await broker.send(topic, [good], never)
      await failureOf(broker.send(topic, [large], never))
      await broker.send(topic, [outgoing({ partition: 0, value: Buffer.from('next') })], never)
      expect(offsets).toEqual([0])
      expect((await readAll(topic, 2)).map(({ value }) => String(value))).toEqual(['good', 'next'])
    })
  })

  test('a partition that was added is seen when it is asked for', async () => {
    const topic = `grown-${randomUUID()}`
    await withBroker(create, async (broker) => {
      await broker.send(topic, [outgoing()], never)
      const admin = new Kafka({ brokers: [...kafka.brokers], logLevel: logLevel.NOTHING }).admin()
      await admin.createPartitions({ topicPartitions: [{ topic, count: 4 }] })
      await admin.disconnect()
      expect((await broker.send(topic, [outgoing({ partition: 3 })], never)).offsets).toEqual([0])
    })
  })

  test.each(['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const)(
    '%s is read back by other clients',
    async (compression) => {
      const topic = `compressed-${compression}-${randomUUID()}`
      const values = Array.from({ length: 300 }, (_, i) => `${i} ${'abc'.repeat(i)}`)
      await withBroker({ ...create, compression }, async (broker) => {
        const messages = values.map((value) => outgoing({ partition: 0, value: Buffer.from(value) }))
        for (let i = 0; i < 300; i += 100) await broker.send(topic, messages.slice(i, i + 100), never)
      })
      expect((await readAll(topic, 300)).map(({ value }) => String(value))).toEqual(values)
      for (const [client, read] of await readByOthers(kafka.brokers, topic, compression, 300)) {
        expect({ client, read }).toEqual({ client, read: values })
      }
    },
  )

  test('sends that are aborted on the way and made again are written once, in order', async () => {
    const topic = `aborted-${randomUUID()}`
    const written: string[] = []
    let aborted = 0
    await withBroker(create, async (broker) => {
      await broker.send(topic, [outgoing({ partition: 0, value: Buffer.from('first') })], never)
      for (let i = 0; i < 60; i++) {
        const messages = Array.from({ length: 20 }, (_, j) =>
          outgoing({ partition: 0, value: Buffer.from(`${i}/${j}`) }),
        )
        written.push(...messages.map(({ value }) => String(value)))
        const abort = new AbortController()
        const sending = broker.send(topic, messages, abort.signal).then(
          () => true,
          () => false,
        )
        await spin(Math.random() * 3)
        abort.abort(new Error('too slow'))
        if (await sending) continue
        aborted++
        await broker.send(topic, messages, never)
      }
    })
    expect(aborted).toBeGreaterThan(5)
    const records = await readAll(topic, written.length + 1)
    expect(records.slice(1).map(({ value }) => String(value))).toEqual(written)
  })

  test('SIGKILL in the middle of sends: everything acknowledged is there, once, in order; later sends succeed', async () => {
    const topics = ['a', 'b', 'c', 'd'].map((name) => `killed-${name}-${randomUUID()}`)
    const failures: string[] = []
    await withBroker(create, async (broker) => {
      let killed = 0
      const stop = new AbortController()
      const lanes = topics.map(async (topic) => {
        let count = 0
        while (!stop.signal.aborted) {
          const messages = Array.from({ length: 50 }, (_, i) =>
            outgoing({
              key: Buffer.from(`key-${i % 7}`),
              value: Buffer.from(String(count + i)),
              // Kafka forgets a producer a day after its last message's *timestamp*, at the latest when it starts anew.
              timestamp: Date.now(),
            }),
          )
          await insist(broker, topic, messages, failures)
          count += messages.length
        }
        return count
      })
      while (killed < 3) {
        await systemClock.sleep(500 + Math.random() * 500)
        await kafka.kill()
        await systemClock.sleep(500)
        await kafka.start()
        killed++
      }
      await systemClock.sleep(1000)
      stop.abort()
      const counts = await Promise.all(lanes)
      for (const [i, topic] of topics.entries()) {
        const count = counts[i] as number
        const records = await readAll(topic, count)
        expect(count).toBeGreaterThan(100)
        expect(records.map(({ value }) => Number(value)).toSorted((a, b) => a - b)).toEqual(
          Array.from({ length: count }, (_, n) => n),
        )
        for (let key = 0; key < 7; key++) {
          const values = records.filter((r) => String(r.key) === `key-${key}`).map(({ value }) => Number(value))
          expect(values).toEqual(values.toSorted((a, b) => a - b))
        }
      }
    })
    expect(failures.filter((failure) => !failure.startsWith('transient') && !failure.startsWith('blocked'))).toEqual([])
    expect(failures.length).toBeGreaterThan(0)
  }, 150_000)

  test('closing lets what is under way end, and leaves nothing that keeps the process', async () => {
    const topic = `closed-${randomUUID()}`
    await expect.poll(sockets).toBe(0)
    const broker = new KafkaBroker(systemClock, silentLog, brokerOptions(kafka.brokers, create))
    await broker.send(topic, [outgoing()], never)
    const sending = broker.send(topic, [outgoing(), outgoing()], never)
    await broker.close()
    expect((await sending).offsets).toHaveLength(2)
    await expect.poll(sockets).toBe(0)
  })
})

/** How many connections of this process are open. */
function sockets(): number {
  return process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length
}

async function spin(ms: number): Promise<void> {
  const until = performance.now() + ms
  while (performance.now() < until) await new Promise((resolve) => setImmediate(resolve))
}

const execute = promisify(execFile)

/** What other clients read, as far as they are here and know the compression; Kafka itself has checked it already. */
async function readByOthers(
  brokers: readonly string[],
  topic: string,
  compression: Compression,
  count: number,
): Promise<[client: string, values: string[]][]> {
  const readings: [string, string[]][] = []
  if (await hasKcat()) readings.push(['kcat', await kcatRead(brokers[0] as string, topic)])
  // kafkajs needs packages of their own for the others.
  const isKnown = compression === 'none' || compression === 'gzip'
  if (isKnown) readings.push(['kafkajs', await kafkajsRead(brokers, topic, count)])
  return readings
}

async function hasKcat(): Promise<boolean> {
  return execute('kcat', ['-V']).then(
    () => true,
    () => false,
  )
}

async function kcatRead(broker: string, topic: string): Promise<string[]> {
  const { stdout } = await execute('kcat', ['-C', '-q', '-b', broker, '-t', topic, '-o', 'beginning', '-e'], {
    maxBuffer: 2 ** 24,
  })
  return stdout.trimEnd().split('\n')
}

async function kafkajsRead(brokers: readonly string[], topic: string, count: number): Promise<string[]> {
  const consumer = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING }).consumer({ groupId: topic })
  const values: string[] = []
  const enough = Promise.withResolvers<void>()
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({
    eachMessage: async ({ message }) => {
      if (values.push(String(message.value)) === count) enough.resolve()
    },
  })
  await enough.promise
  await consumer.disconnect()
  return values
}
