import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { Secret } from '../../src/base/secret.ts'
import type { CassandraOptions } from '../../src/cassandra/cassandra-options.ts'
import { CassandraSession } from '../../src/cassandra/cassandra-session.ts'
import { storeFailureOf } from '../recorder/ledger-schema-contract.ts'

const never = new AbortController().signal
const call = { what: 'asking' }
const query = 'SELECT now() FROM system.local'

const optionsFor = (port: number): CassandraOptions => ({
  contactPoints: [`127.0.0.1:${port}`],
  localDataCenter: 'datacenter1',
  keyspace: 'k',
  replicationFactor: 1,
  password: async () => undefined,
  connectTimeout: 5000,
  requestTimeout: 12_000,
  valueChunkBytes: 262_144,
  retention: 3_600_000,
})

/** A server that takes connections and never says a word. */
async function muteServer(): Promise<number> {
  const sockets: Socket[] = []
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {})
    socket.resume()
    sockets.push(socket)
  })
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

test.each(['plain', 'tls'])(
  'a process ends soon after it has closed its connection to a server that says nothing (%s)',
  async (way) => {
    const url = (path: string) => JSON.stringify(new URL(`../../src/${path}`, import.meta.url).href)
    const { password: _, ...options } = optionsFor(await muteServer())
    const program = `
      import { CassandraSession } from ${url('cassandra/cassandra-session.ts')}
      import { systemClock } from ${url('base/clock.ts')}
      import { silentLog } from ${url('base/log.ts')}
      const options = ${JSON.stringify({ ...options, ...(way === 'tls' && { tls: {} }) })}
      const session = new CassandraSession(systemClock, silentLog, { ...options, password: async () => undefined })
      await session.execute('SELECT 1', [], { what: 'asking' }, AbortSignal.timeout(300)).catch((error) => console.log(error.name))
      await session.close()
      console.log('closed')`
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    let output = ''
    let closedAt = Number.POSITIVE_INFINITY
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text
      if (text.includes('closed')) closedAt = performance.now()
    })
    expect(await once(child, 'close')).toEqual([0, null])
    expect(output).toBe('TimeoutError\nclosed\n')
    expect(performance.now() - closedAt).toBeLessThan(2000)
  },
)

test('a call that waits for a server that says nothing ends when the connection is closed', async () => {
  const session = new CassandraSession(systemClock, silentLog, optionsFor(await muteServer()))
  const waiting = storeFailureOf(session.execute(query, [], call, never))
  await systemClock.sleep(100)
  const started = performance.now()
  await session.close()
  expect(await waiting).toMatchObject({ failure: 'transient', reason: 'CLOSED' })
  expect(performance.now() - started).toBeLessThan(2000)
})

test('options that could not be used once are tried again at the next call', async () => {
  let tries = 0
  const key = new Secret('key')
  key.reveal = () => {
    if (++tries === 1) throw new Error('no key yet')
    return 'key'
  }
  const { contactPoints, ...options } = optionsFor(1)
  const session = new CassandraSession(systemClock, silentLog, { ...options, contactPoints, tls: { key } })
  await expect(session.execute(query, [], call, never)).rejects.toThrow('no key yet')
  await expect(session.execute(query, [], call, never)).rejects.not.toThrow('no key yet')
  expect(tries).toBe(2)
  await session.close()
})
