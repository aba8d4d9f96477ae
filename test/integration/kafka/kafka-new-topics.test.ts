import { describeWithServer } from '../../stack/describe-with-server.ts'
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest'
import { systemClock } from '../../../src/base/clock.ts'
import { silentLog } from '../../../src/base/log.ts'
import { apiKeys } from '../../../src/kafka/api-keys.ts'
import { KafkaBroker } from '../../../src/kafka/kafka-broker.ts'
import { failureOf, outgoing } from '../../forwarder/broker-contract.ts'
import { startKafka, type KafkaCluster } from '../../stack/kafka/kafka.ts'
import { kafkaPorts, PORTS_PER_NODE } from '../../stack/kafka/server-properties.ts'
import { reservePorts, type ReservedPorts } from '../../stack/ports.ts'
import { insist } from './insist.ts'
import { brokerOptions } from './kafka-options.ts'
import { RequestProxy } from './request-proxy.ts'

const never = new AbortController().signal
const createTopics = { partitions: 1, replicationFactor: 1 }

describeWithServer(inject('kafka').access !== null, 'while topics are new,', () => {
  let ports: ReservedPorts
  let proxy: RequestProxy
  let kafka: KafkaCluster
  let brokers: string[]
  let existing: string
  beforeAll(async () => {
    ports = await reservePorts(PORTS_PER_NODE + 1)
    const [basePort = 0] = ports.ports
    const proxyPort = basePort + PORTS_PER_NODE
    const { plain, mutualTls, sasl, internal } = kafkaPorts(basePort)
    proxy = await RequestProxy.listen(proxyPort, plain)
    brokers = [`127.0.0.1:${proxyPort}`]
    // So that whoever follows the cluster's metadata comes through the proxy, too.
    const listeners = { PLAINTEXT: proxyPort, SSL: mutualTls, SASL_SSL: sasl, INTERNAL: internal }
    const advertised = Object.entries(listeners).map(([name, port]) => `${name}://127.0.0.1:${port}`)
    const extraProperties = { 'advertised.listeners': advertised.join(',') }
    kafka = await startKafka({ basePort, autoCreateTopics: false, extraProperties })
  })
  afterAll(async () => {
    await kafka.stop()
    await proxy[Symbol.asyncDispose]()
    await ports.release()
  })
  beforeEach(async () => {
    existing = `existing-${randomUUID()}`
    const creator = new KafkaBroker(systemClock, silentLog, brokerOptions(brokers, { createTopics }))
    await creator.send(existing, [outgoing()], never)
    await creator.close()
    proxy.reset()
  })

  /** Sends to a topic that exists, one batch after another, until `during` is over; returns what went wrong with that. */
  const sendingMeanwhile = async (broker: KafkaBroker, during: () => Promise<void>): Promise<string[]> => {
    const failures: string[] = []
    const stop = new AbortController()
    const topic = `ex-${randomUUID()}`
    await broker.send(topic, [outgoing()], never)
    const lane = (async () => {
      for (; !stop.signal.aborted; await systemClock.sleep(20)) await insist(broker, topic, [outgoing()], failures)
    })()
    try {
      await during()
    } finally {
      proxy.release()
      stop.abort()
      await lane
    }
    return failures
  }
  const newTopics = (count: number): string[] => Array.from({ length: count }, () => `new-${randomUUID()}`)

  test('hundreds of them are created with a few requests, one at a time, and no other topic notices', async () => {
    const broker = new KafkaBroker(systemClock, silentLog, brokerOptions(brokers, { createTopics }))
    const failuresOfNew: string[] = []
    const failures = await sendingMeanwhile(broker, async () => {
      const sent = await Promise.all(newTopics(200).map((topic) => insist(broker, topic, [outgoing()], failuresOfNew)))
      expect(sent.flatMap(({ offsets }) => offsets)).toEqual(Array.from({ length: 200 }, () => 0))
    })
    await broker.close()
    expect(failures).toEqual([])
    expect(failuresOfNew.filter((failure) => !failure.startsWith('blocked'))).toEqual([])
    expect(proxy.counts.get(apiKeys.createTopics)).toBeLessThanOrEqual(10)
    expect(proxy.counts.get(apiKeys.initProducerId)).toBe(1)
    for (const apiKey of [apiKeys.createTopics, apiKeys.metadata]) expect(proxy.inFlightMax.get(apiKey)).toBe(1)
    // None was lost: one for batches, one for creating, one for all else.
    expect(proxy.connections).toBe(3)
  })

  test('a cluster that can not create any holds up just these; others get on, also such as are seen for the first time', async () => {
    const options = brokerOptions(brokers, { createTopics, requestTimeout: 3000 })
    const broker = new KafkaBroker(systemClock, silentLog, options)
    const topics = newTopics(20)
    const failures = await sendingMeanwhile(broker, async () => {
      proxy.hold(apiKeys.createTopics)
      const refused = topics.map((topic) => failureOf(broker.send(topic, [outgoing()], never)))
      await expect.poll(() => proxy.counts.get(apiKeys.createTopics)).toBe(2)
      expect((await broker.send(existing, [outgoing()], never)).offsets).toEqual([1])
      for (const failure of await Promise.all(refused)) {
        expect(failure).toMatchObject({ failure: 'blocked', reason: 'REQUEST_TIMEOUT' })
      }
      proxy.release()
      await Promise.all(topics.map((topic) => insist(broker, topic, [outgoing()], [])))
    })
    await broker.close()
    expect(failures).toEqual([])
  })

  test('a cluster that does not tell where topics are, but takes batches, holds up just what asks', async () => {
    const options = brokerOptions(brokers, { createTopics, requestTimeout: 3000 })
    const broker = new KafkaBroker(systemClock, silentLog, options)
    const topics = [...newTopics(20), existing]
    const failures = await sendingMeanwhile(broker, async () => {
      proxy.hold(apiKeys.metadata)
      const refused = topics.map((topic) => failureOf(broker.send(topic, [outgoing()], never)))
      for (const failure of await Promise.all(refused)) {
        expect(failure).toMatchObject({ failure: 'blocked', reason: 'REQUEST_TIMEOUT' })
      }
    })
    await broker.close()
    expect(failures).toEqual([])
  })

  test('a cluster that answers to nothing is away, and not just blocked', async () => {
    const options = brokerOptions(brokers, { createTopics, requestTimeout: 1000 })
    const broker = new KafkaBroker(systemClock, silentLog, options)
    await broker.send(existing, [outgoing()], never)
    proxy.hold(apiKeys.metadata, apiKeys.produce)
    const refused = [existing, ...newTopics(3)].map((topic) => failureOf(broker.send(topic, [outgoing()], never)))
    for (const failure of await Promise.all(refused)) {
      expect(failure).toMatchObject({ failure: 'transient', reason: 'REQUEST_TIMEOUT' })
    }
    proxy.release()
    await broker.close()
  })
})
