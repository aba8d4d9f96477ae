import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { describe, expect, inject, test } from 'vitest'
import { systemClock } from '../../../src/base/clock.ts'
import { silentLog } from '../../../src/base/log.ts'
import { Secret } from '../../../src/base/secret.ts'
import { KafkaBroker } from '../../../src/kafka/kafka-broker.ts'
import { KafkaConsumer } from '../../../src/kafka/kafka-consumer.ts'
import type { KafkaBrokerOptions } from '../../../src/kafka/kafka-options.ts'
import { failureOf, outgoing } from '../../forwarder/broker-contract.ts'
import { takeRecords } from '../../forwarder/broker-reading.ts'
import { describeWithServer } from '../../stack/describe-with-server.ts'
import { brokerOptions } from './kafka-options.ts'

const secure = inject('kafka').access?.secure ?? null
const never = new AbortController().signal

describeWithServer(secure !== null, 'security of real Kafka', () => {
  const ca = () => readFile(secure?.caFile ?? '', 'utf8')

  const sendAndRead = async (options: KafkaBrokerOptions): Promise<string[]> => {
    const topic = `security-${randomUUID()}`
    const broker = new KafkaBroker(systemClock, silentLog, options)
    const consumer = new KafkaConsumer(systemClock, silentLog, options)
    try {
      await broker.send(topic, [outgoing({ value: Buffer.from('secret') })], never)
      const records = await takeRecords(consumer, topic, 1)
      return records.map(({ value }) => String(value))
    } finally {
      await consumer.close()
      await broker.close()
    }
  }

  const failsWith = async (options: KafkaBrokerOptions): Promise<unknown> => {
    const broker = new KafkaBroker(systemClock, silentLog, options)
    try {
      return await failureOf(broker.send(`security-${randomUUID()}`, [outgoing()], never))
    } finally {
      await broker.close()
    }
  }

  test('a client certificate opens a listener that wants one', async () => {
    const cert = await readFile(secure?.clientCertFile ?? '', 'utf8')
    const key = new Secret(await readFile(secure?.clientKeyFile ?? '', 'utf8'))
    expect(
      await sendAndRead(brokerOptions(secure?.mutualTlsBrokers ?? [], { tls: { ca: await ca(), cert, key } })),
    ).toEqual(['secret'])
  })

  test.each(['plain', 'scram-sha-256', 'scram-sha-512'] as const)('%s authenticates over TLS', async (mechanism) => {
    const sasl = { mechanism, username: secure?.username ?? '', password: new Secret(secure?.password ?? '') }
    expect(await sendAndRead(brokerOptions(secure?.saslBrokers ?? [], { tls: { ca: await ca() }, sasl }))).toEqual([
      'secret',
    ])
  })

  test.each(['plain', 'scram-sha-512'] as const)('a wrong password for %s is fatal', async (mechanism) => {
    const sasl = { mechanism, username: secure?.username ?? '', password: new Secret('wrong-one') }
    const failure = await failsWith(brokerOptions(secure?.saslBrokers ?? [], { tls: { ca: await ca() }, sasl }))
    expect(failure).toMatchObject({ failure: 'fatal', reason: 'SASL_AUTHENTICATION_FAILED' })
    expect(String(failure)).not.toContain('wrong-one')
  })

  test('a certificate that nothing trusted has signed is fatal', async () => {
    const failure = await failsWith(brokerOptions(secure?.saslBrokers ?? [], { tls: {} }))
    expect(failure).toMatchObject({ failure: 'fatal' })
    expect(failure).toMatchObject({ reason: expect.stringMatching(/CERT|SIGNATURE|ISSUER/) as string })
  })

  test('a certificate for another name is fatal', async () => {
    const failure = await failsWith(
      brokerOptions(secure?.saslBrokers ?? [], { tls: { ca: await ca(), serverName: 'kafka.example' } }),
    )
    expect(failure).toMatchObject({ failure: 'fatal', reason: 'ERR_TLS_CERT_ALTNAME_INVALID' })
  })

  test('no client certificate where one is wanted is fatal', async () => {
    const failure = await failsWith(brokerOptions(secure?.mutualTlsBrokers ?? [], { tls: { ca: await ca() } }))
    expect(failure).toMatchObject({ failure: 'fatal' })
  })

  test('TLS to a listener without it is fatal', async () => {
    const plain = inject('kafka').access?.brokers ?? []
    const failure = await failsWith(brokerOptions(plain, { tls: { ca: await ca() }, connectTimeout: 2000 }))
    expect(failure).toMatchObject({ hint: expect.stringMatching(/TLS|tls/) as string })
  })
})

describe('a broker that is not there', () => {
  test('is a transient failure, soon', async () => {
    const broker = new KafkaBroker(systemClock, silentLog, brokerOptions(['127.0.0.1:1', 'localhost:1']))
    const failure = await failureOf(broker.send('t', [outgoing()], never))
    expect(failure).toMatchObject({ failure: 'transient', reason: 'ECONNREFUSED' })
    expect(failure.hint).toContain('kafka.brokers')
    await broker.close()
  })

  test('has a name that does not resolve: transient, and says so', async () => {
    const broker = new KafkaBroker(systemClock, silentLog, brokerOptions(['kafka.invalid:9092']))
    const failure = await failureOf(broker.send('t', [outgoing()], never))
    expect(failure.failure).toBe('transient')
    expect(failure.reason).toMatch(/ENOTFOUND|EAI_/)
    await broker.close()
  })

  test('takes the connection and says nothing: transient after the connect timeout; the abort comes through at once', async () => {
    const mute = createServer(() => {})
    mute.listen(0, '127.0.0.1')
    await once(mute, 'listening')
    const { port } = mute.address() as { port: number }
    const broker = new KafkaBroker(
      systemClock,
      silentLog,
      brokerOptions([`127.0.0.1:${port}`], { connectTimeout: 400 }),
    )
    const failure = await failureOf(broker.send('t', [outgoing()], never))
    expect(failure).toMatchObject({ failure: 'transient', reason: 'ETIMEDOUT' })
    const abort = new AbortController()
    const started = performance.now()
    const sending = broker.send('t', [outgoing()], abort.signal)
    setTimeout(() => abort.abort(new Error('enough')), 50)
    await expect(sending).rejects.toThrow('enough')
    expect(performance.now() - started).toBeLessThan(300)
    await broker.close()
    mute.close()
  })
})
