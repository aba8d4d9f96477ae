/* oxlint-disable no-underscore-dangle -- the names are the driver's */
import { Client } from 'cassandra-driver'
import { createRequire } from 'node:module'
import { describe, expect, test } from 'vitest'
import { controlConnectionOf, mendControlConnection } from '../../src/cassandra/control-connection.ts'
import type { ControlConnection } from '../../src/cassandra/control-connection.ts'
import { disposeClient } from '../../src/cassandra/dispose-client.ts'

function makeClient(): { client: Client; control: ControlConnection } {
  const client = new Client({ contactPoints: ['127.0.0.1:1'], localDataCenter: 'datacenter1' })
  const control = controlConnectionOf(client)
  if (control === undefined) throw new Error('the driver has changed')
  return { client, control }
}

const notLost = (error: unknown): never => expect.unreachable(String(error))

test('cassandra-driver is the version whose inside is known', () => {
  const require = createRequire(import.meta.url)
  expect((require('cassandra-driver/package.json') as { version: string }).version).toBe('4.10.0')
})

test('its inside is as control-connection.ts says', () => {
  const { control } = makeClient()
  for (const name of ['_refresh', '_refreshControlConnection', '_borrowAConnection', 'shutdown', 'on'] as const) {
    expect(control[name]).toBeTypeOf('function')
  }
  expect(control.connection).toBeNull()
  expect(control.hosts.values()).toEqual([])
})

describe('a mended control connection', () => {
  test('has one refresh under way, and a round that goes on is a part of it', async () => {
    const { client, control } = makeClient()
    const refreshed: unknown[] = []
    let finish = (): void => {}
    control._refresh = (nodes) => {
      refreshed.push(nodes)
      return nodes === undefined ? new Promise((resolve) => (finish = resolve)) : Promise.resolve()
    }
    mendControlConnection(client, notLost)
    const both = [control._refresh(), control._refresh()]
    const nodes = [][Symbol.iterator]()
    await control._refresh(nodes)
    expect(refreshed).toEqual([undefined, nodes])
    finish()
    await Promise.all(both)
    void control._refresh()
    expect(refreshed).toHaveLength(3)
  })

  test('tells of a refresh that failed, which nobody else hears of, and can refresh again', async () => {
    const { client, control } = makeClient()
    const failure = new TypeError("Cannot read properties of null (reading 'once')")
    const lost: unknown[] = []
    control._refresh = () => Promise.reject(failure)
    mendControlConnection(client, (error) => lost.push(error))
    await control._refresh()
    await control._refresh()
    expect(lost).toEqual([failure, failure])
  })

  test('borrows from the pools only, and opens none of its own', async () => {
    const { client, control } = makeClient()
    mendControlConnection(client, notLost)
    const connection = { close: () => {} }
    control._borrowAConnection = () => connection
    await control._refreshControlConnection([][Symbol.iterator]())
    expect(control.connection).toBe(connection)
    control._borrowAConnection = () => {
      throw new Error('no pool has one')
    }
    await expect(control._refreshControlConnection([][Symbol.iterator]())).rejects.toThrow('no pool has one')
  })
})

test('a client that never connected to the end is disposed of with the pools that it has made', async () => {
  const { client, control } = makeClient()
  const ended: boolean[] = []
  Object.assign(control.hosts, { values: () => [{ shutdown: async (wait: boolean) => void ended.push(wait) }] })
  await disposeClient(client)
  expect(ended).toEqual([false])
})
