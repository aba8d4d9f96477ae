import { createRequire } from 'node:module'
import ConnectionPool from 'kafkajs/src/network/connectionPool.js'
import type { Logger } from 'kafkajs/src/network/connectionPool.js'
import Broker from 'kafkajs/src/broker/index.js'
import { requests } from 'kafkajs/src/protocol/requests/index.js'
import { connect } from 'node:net'
import { expect, test } from 'vitest'

const logger: Logger = { namespace: () => logger, debug() {}, info() {}, warn() {}, error() {} }

test('kafkajs is the version whose inside is known', () => {
  const require = createRequire(import.meta.url)
  expect((require('kafkajs/package.json') as { version: string }).version).toBe('2.2.4')
})

test('its inside is as kafkajs-internals.d.ts says', () => {
  const pool = new ConnectionPool({
    host: '127.0.0.1',
    port: 9,
    rack: null,
    ssl: null,
    sasl: null,
    clientId: 'c',
    socketFactory: ({ host, port, onConnect }) => connect({ host, port }, onConnect),
    connectionTimeout: 1000,
    requestTimeout: 1000,
    enforceRequestTimeout: true,
    maxInFlightRequests: null,
    instrumentationEmitter: null,
    reauthenticationThreshold: 10_000,
    logger,
  })
  const broker = new Broker({ connectionPool: pool, logger })
  expect(pool.pool).toHaveLength(2)
  for (const connection of pool.pool) {
    expect(connection.isConnected()).toBe(false)
    expect(connection.requestQueue.pending).toEqual([])
    expect(connection.requestQueue.scheduleCheckPendingRequests).toBeTypeOf('function')
    expect(connection.requestQueue.destroy).toBeTypeOf('function')
    expect(connection.requestQueue.push).toBeTypeOf('function')
    expect(connection.requestQueue.maybeThrottle).toBeTypeOf('function')
    expect(connection.clientId).toBe('c')
    expect(connection.nextCorrelationId()).toBeTypeOf('number')
    expect(connection.isAuthenticated()).toBe(false)
    expect(connection.authenticate).toBeTypeOf('function')
    expect(connection.send).toBeTypeOf('function')
  }
  expect(broker.connectionPool).toBe(pool)
  expect(broker.connect).toBeTypeOf('function')
  expect(() => broker.lookupRequest(0, requests.Metadata)).toThrow('not connected')
  for (const name of ['Metadata', 'InitProducerId', 'CreateTopics', 'ListOffsets', 'Fetch'] as const) {
    const { versions, protocol } = requests[name]
    expect(versions.length).toBeGreaterThan(1)
    expect(protocol({ version: Number(versions.at(-1)) })).toBeTypeOf('function')
  }
  const metadata = requests.Metadata.protocol({ version: 6 })({ topics: ['t'], allowAutoTopicCreation: false })
  expect(metadata.request).toMatchObject({ apiKey: 3, apiVersion: 6 })
  expect(metadata.response.decode).toBeTypeOf('function')
})
