import { describeWithServer } from '../../stack/describe-with-server.ts'
import { spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { once } from 'node:events'
import type { AddressInfo, Socket } from 'node:net'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../../src/base/clock.ts'
import { silentLog } from '../../../src/base/log.ts'
import { Secret } from '../../../src/base/secret.ts'
import { CassandraMessageLog } from '../../../src/cassandra/cassandra-message-log.ts'
import type { CassandraOptions } from '../../../src/cassandra/cassandra-options.ts'
import type { LogEntry } from '../../../src/recorder/message-log.ts'
import { StoreError } from '../../../src/recorder/store-error.ts'
import { storeFailureOf } from '../../recorder/ledger-schema-contract.ts'
import { logEntry } from '../../recorder/message-log-contract.ts'
import { startCassandra, type CassandraAccess } from '../../stack/cassandra/cassandra.ts'
import { sharedCassandra } from '../../stack/shared-cassandra.ts'
import type { SingleServer } from '../../stack/single-server.ts'
import { logOptions, migratedLog, never, openLog } from './cassandra-test-log.ts'

// Where the shared one can't be had, one of our own can't either.
const { access } = await sharedCassandra()

describeWithServer(access !== null, 'connections to real Cassandra', () => {
  let server: SingleServer<CassandraAccess> | undefined
  let options: CassandraOptions
  let tls: NonNullable<CassandraOptions['tls']>

  beforeAll(async () => {
    server = await startCassandra({ passwords: true })
    options = logOptions(server.access)
    const files = server.access.tls
    if (files === null) throw new Error('unreachable: a server of our own has TLS')
    const [ca, cert, key] = await Promise.all(
      [files.caFile, files.clientCertFile, files.clientKeyFile].map((file) => readFile(file, 'utf8')),
    )
    tls = { ca, cert, key: new Secret(key ?? '') }
    // Its first user is made a moment after it answers.
    for (let tries = 0; ; tries++) {
      try {
        await openLogs(options).schema.migrate(never, () => {})
        return
      } catch (error) {
        if (tries === 100) throw error
        await systemClock.sleep(300)
      }
    }
  })
  const opened: { close(): Promise<void> }[] = []
  const openLogs = (own: CassandraOptions): ReturnType<typeof openLog> => {
    const log = openLog(own)
    opened.push(log)
    return log
  }
  afterAll(async () => {
    for (const log of opened) await log.close()
    await server?.stop()
  })

  const readOnce = async (own: Partial<CassandraOptions>): Promise<unknown> =>
    openLogs({ ...options, ...own }).read('nothing', 0, 0, never)

  test('are TLS with a client certificate, by address or by name', async () => {
    expect(await readOnce({ tls })).toBeNull()
    const port = options.contactPoints[0]?.split(':')[1]
    expect(await readOnce({ tls, contactPoints: [`localhost:${port}`] })).toBeNull()
    expect(await readOnce({ tls: { ...tls, serverName: 'localhost' } })).toBeNull()
  })

  test('to a node whose certificate has another name are refused', async () => {
    const failure = await storeFailureOf(readOnce({ tls: { ...tls, serverName: 'cassandra.example.com' } }))
    expect(failure).toMatchObject({
      failure: 'fatal',
      reason: 'ERR_TLS_CERT_ALTNAME_INVALID',
      hint: expect.stringContaining('cassandra.tls'),
    })
  })

  test('to a node whose certificate an unknown authority signed are refused', async () => {
    // Without `ca` the system's roots count.
    const failure = await storeFailureOf(readOnce({ tls: { cert: tls.cert, key: tls.key } }))
    expect(failure).toMatchObject({ failure: 'fatal', hint: expect.stringContaining('cassandra.tls') })
    expect(failure.reason).toMatch(/SELF_SIGNED|UNABLE_TO/)
  })

  test('with a wrong password fail for good, until the password is the right one', async () => {
    let password = new Secret('wrong')
    const log = openLogs({ ...options, password: () => Promise.resolve(password) })
    expect(await storeFailureOf(log.read('t', 0, 0, never))).toMatchObject({
      failure: 'fatal',
      reason: 'BAD_CREDENTIALS',
      hint: expect.stringContaining('cassandra.password'),
    })
    password = new Secret('cassandra')
    expect(await log.read('t', 0, 0, never)).toBeNull()
  })

  test('without a name, or without a password that can be read, fail for good', async () => {
    expect(await storeFailureOf(readOnce({ username: undefined }))).toMatchObject({ failure: 'fatal' })
    const password = () => Promise.reject(new Error('ENOENT: no such file'))
    expect(await storeFailureOf(readOnce({ password }))).toMatchObject({
      failure: 'fatal',
      reason: 'PASSWORD_UNREADABLE',
      message: expect.stringContaining('no such file'),
    })
  })

  test('without the right to write are told from a cluster that is away', async () => {
    const admin = openLogs(options)
    await admin.schema.inspect(never)
    const { Client } = await import('cassandra-driver')
    const { contactPoints, localDataCenter } = options
    const credentials = { username: 'cassandra', password: 'cassandra' }
    const client = new Client({ contactPoints: [...contactPoints], localDataCenter, credentials })
    await client.execute("CREATE ROLE guest WITH PASSWORD = 'guest' AND LOGIN = true")
    await client.shutdown()
    const guest = openLogs({ ...options, username: 'guest', password: () => Promise.resolve(new Secret('guest')) })
    expect(await storeFailureOf(guest.write([logEntry()], Date.now(), never))).toMatchObject({
      failure: 'fatal',
      reason: 'UNAUTHORIZED',
      hint: expect.stringContaining('Grant'),
    })
  })

  test(
    'to a port where nobody listens, or where nobody answers, are transient and end in time',
    { timeout: 30_000 },
    async () => {
      const sockets: Socket[] = []
      const silent = createServer((socket) => sockets.push(socket))
      onTestFinished(() => {
        for (const socket of sockets) socket.destroy()
        silent.close()
      })
      silent.listen(0, '127.0.0.1')
      await once(silent, 'listening')
      const { port } = silent.address() as AddressInfo
      const quick = { connectTimeout: 500, requestTimeout: 500 }
      const hanging = await storeFailureOf(readOnce({ ...quick, contactPoints: [`127.0.0.1:${port}`] }))
      expect(hanging).toMatchObject({ failure: 'transient', reason: 'OPERATION_TIMED_OUT' })
      const refused = await storeFailureOf(readOnce({ ...quick, contactPoints: ['127.0.0.1:1', '[::1]:1'] }))
      expect(refused).toMatchObject({ failure: 'transient', reason: 'ECONNREFUSED' })
      const unknown = await storeFailureOf(readOnce({ contactPoints: ['no-such-host.invalid:9042'] }))
      expect(unknown).toMatchObject({ failure: 'transient', hint: expect.stringContaining('host names') })
      const closing = openLogs({ ...options, contactPoints: [`127.0.0.1:${port}`] })
      const reason = new Error('no more time')
      const waiting = closing.read('t', 0, 0, AbortSignal.any([AbortSignal.timeout(200)]))
      await expect(waiting).rejects.toMatchObject({ name: 'TimeoutError' })
      await expect(closing.read('t', 0, 0, AbortSignal.abort(reason))).rejects.toBe(reason)
    },
  )

  test('to a node that has stopped to answer let the process end soon after they are closed', async () => {
    const [host = '', port = ''] = (options.contactPoints[0] ?? '').split(':')
    let mute = false
    const sockets: Socket[] = []
    const proxy = createServer({ allowHalfOpen: true }, (near) => {
      const far = connect(Number(port), host)
      sockets.push(near, far)
      near.on('error', () => {}).on('data', (bytes) => mute || far.write(bytes))
      far.on('error', () => {}).on('data', (bytes) => mute || near.write(bytes))
    })
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy()
      proxy.close()
    })
    proxy.listen(0, '127.0.0.1')
    await once(proxy, 'listening')
    const contactPoints = [`127.0.0.1:${(proxy.address() as AddressInfo).port}`]
    const url = (path: string) => JSON.stringify(new URL(`../../../src/${path}`, import.meta.url).href)
    const { password: _, ...plain } = options
    const program = `
      import { CassandraSession } from ${url('cassandra/cassandra-session.ts')}
      import { systemClock } from ${url('base/clock.ts')}
      import { silentLog } from ${url('base/log.ts')}
      import { Secret } from ${url('base/secret.ts')}
      const options = ${JSON.stringify({ ...plain, contactPoints })}
      const session = new CassandraSession(systemClock, silentLog, { ...options, password: async () => new Secret('cassandra') })
      const ask = (signal) => session.execute('SELECT key FROM system.local', [], { what: 'asking' }, signal)
      await ask(AbortSignal.timeout(20_000))
      console.log('connected')
      process.stdin.once('data', async () => {
        process.stdin.destroy()
        await ask(AbortSignal.timeout(300)).catch((error) => console.log(error.name))
        await session.close()
        console.log('closed')
      })`
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
    await expect.poll(() => output, { timeout: 20_000 }).toBe('connected\n')
    mute = true
    const started = performance.now()
    child.stdin.end('go on')
    expect(await once(child, 'close')).toEqual([0, null])
    expect(output).toBe('connected\nTimeoutError\nclosed\n')
    // `close` waits for 5 s for what is under way.
    expect(performance.now() - started).toBeLessThan(9000)
  })

  test(
    'come back by themselves after the node was killed, and nothing acknowledged is lost',
    { timeout: 170_000 },
    async () => {
      if (server === undefined) throw new Error('unreachable: it was started')
      const log = await migratedLog(options)
      opened.push(log)
      const failures: string[] = []
      const acknowledged: number[] = []
      const enough = new AbortController()
      const insist = async (entries: LogEntry[]): Promise<void> => {
        for (;;) {
          try {
            return await log.write(entries, Date.now(), AbortSignal.timeout(20_000))
          } catch (error) {
            failures.push(error instanceof StoreError ? `${error.failure} ${error.reason}` : String(error))
            await systemClock.sleep(200)
          }
        }
      }
      const write = async (): Promise<void> => {
        for (let offset = 0; !enough.signal.aborted; offset += 100) {
          const entries = Array.from({ length: 100 }, (_, i) => logEntry({ topic: 'killed', offset: offset + i, deliveredAt: Date.now() })) // prettier-ignore
          await insist(entries)
          acknowledged.push(...entries.map((entry) => entry.offset))
          await systemClock.sleep(20)
        }
      }
      // Another one, whose clock says that the nodes are away for long.
      let time = 0
      const connects: string[] = []
      const debug = (_: object, text: string): void =>
        void (text.includes('Connecting to cluster') && connects.push(text))
      const patient = new CassandraMessageLog(
        { ...systemClock, monotonic: () => time },
        { ...silentLog, debug },
        options,
      )
      opened.push(patient)
      await patient.read('t', 0, 0, never)
      const written = write()
      for (let kills = 0; kills < 2; kills++) {
        await systemClock.sleep(1000)
        await server.kill()
        await expect.poll(() => failures.length, { timeout: 20_000 }).toBeGreaterThan(kills)
        const away = await storeFailureOf(patient.read('t', 0, 0, never))
        expect(away).toMatchObject({ failure: 'transient', hint: expect.stringContaining('contactPoints') })
        if (kills === 1) {
          time += 31_000
          await storeFailureOf(patient.read('t', 0, 0, never))
          await storeFailureOf(patient.read('t', 0, 0, never))
        }
        await server.start()
        const before = acknowledged.length
        await expect.poll(() => acknowledged.length, { timeout: 20_000 }).toBeGreaterThan(before)
        await expect.poll(() => patient.read('t', 0, 0, never).catch(String), { timeout: 20_000 }).toBeNull()
        // The driver reconnects by itself; only after long it is made anew.
        expect(connects.length > 1).toBe(kills === 1)
      }
      enough.abort()
      await written
      expect(failures.filter((failure) => !failure.startsWith('transient'))).toEqual([])
      const listed = await log.list('killed', 0, 0, acknowledged.length + 1, never)
      expect(listed.map(({ offset }) => offset)).toEqual(acknowledged)
    },
  )
})
