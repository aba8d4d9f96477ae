import { chmod, link, lstat, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import type { ListenAddress } from '../../src/base/listen-address.ts'
import { answer } from '../../src/http/answer.ts'
import type { HttpRequest } from '../../src/http/http-request.ts'
import { HttpListener, type HttpHandler, type HttpListenerOptions } from '../../src/http/http-listener.ts'
import { RawConnection } from './raw-http.ts'
import { waitFor } from './wait-for.ts'

const loopback: ListenAddress = { kind: 'tcp', host: '127.0.0.1', port: 0 }
const hello: HttpHandler = (request, response) => answer(request, response, 200, ['Content-Length', '5'], 'hello')

let folder: string
const started: HttpListener[] = []

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'outrigger-http-'))
})
afterEach(async () => {
  await Promise.all(started.splice(0).map((made) => made.destroy()))
  await rm(folder, { recursive: true, force: true })
})

interface Setup {
  readonly address?: ListenAddress
  readonly handler?: HttpHandler
  readonly options?: Partial<HttpListenerOptions>
  readonly seen?: string[]
}

function listener({ address = loopback, handler = hello, options = {}, seen = [] }: Setup = {}): HttpListener {
  const observer = { refused: (code: string) => seen.push(code), dropped: () => seen.push('dropped') }
  const made = new HttpListener(address, handler, systemClock, observer, {
    socketMode: 0o660,
    allowedHosts: [],
    headersMax: 100,
    headerBytesMax: 16 * 1024,
    connectionsMax: 100,
    headersTimeout: 10_000,
    requestTimeout: 30_000,
    keepAliveTimeout: 75_000,
    ...options,
  })
  started.push(made)
  return made
}

async function running(setup?: Setup): Promise<HttpListener> {
  const made = listener(setup)
  await made.start()
  return made
}

const get = (headers = ''): string => `GET / HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n`
const unix = (name: string): ListenAddress & { kind: 'unix' } => ({ kind: 'unix', path: join(folder, name) })

describe('a listener', () => {
  test('tells the port that it really has', async () => {
    const { address } = await running()
    expect(address).toMatchObject({ kind: 'tcp', host: '127.0.0.1' })
    expect(address.kind === 'tcp' && address.port > 0).toBe(true)
    using connection = await RawConnection.open(address)
    connection.write(get())
    expect((await connection.answer()).body).toBe('hello')
  })

  test('says clearly that its port is taken', async () => {
    const { address } = await running()
    await expect(listener({ address }).start()).rejects.toMatchObject({
      name: 'ListenError',
      code: 'listen_failed',
      reason: 'EADDRINUSE',
      message: expect.stringContaining('127.0.0.1') as string,
      hint: expect.stringContaining('Another process') as string,
    })
  })

  test('takes no more connections than it may', async () => {
    const seen: string[] = []
    const { address } = await running({ options: { connectionsMax: 2 }, seen })
    using first = await RawConnection.open(address)
    using second = await RawConnection.open(address)
    for (const connection of [first, second]) {
      connection.write(get())
      await connection.answer()
    }
    using third = await RawConnection.open(address)
    await third.end()
    expect([third.text, seen]).toEqual(['', ['dropped']])
    first.write(get())
    expect((await first.answer(1)).status).toBe(200)
  })

  test('ends connections that are idle for too long, and not before', async () => {
    const { address } = await running({ options: { keepAliveTimeout: 150 } })
    using connection = await RawConnection.open(address)
    for (let i = 0; i < 4; i++) {
      connection.write(get())
      await connection.answer(i)
      await new Promise((resolve) => setTimeout(resolve, 75))
    }
    const since = performance.now()
    await connection.end()
    expect(performance.now() - since).toBeGreaterThan(40)
  })

  test('does not end a connection as idle on which a request is coming in', async () => {
    const { address } = await running({ options: { keepAliveTimeout: 200 } })
    using connection = await RawConnection.open(address)
    connection.write(get())
    await connection.answer()
    await new Promise((resolve) => setTimeout(resolve, 150))
    connection.write(get().slice(0, 10))
    await new Promise((resolve) => setTimeout(resolve, 150))
    connection.write(get().slice(10))
    expect((await connection.answer(1)).status).toBe(200)
  })

  test('lets go of a request that was answered, while its connection stays', async () => {
    const requests: HttpRequest[] = []
    const handler: HttpHandler = (request, response) => {
      requests.push(request)
      request.bodyTo({ onBodyChunk: () => true, onBodyEnd: () => hello(request, response), onBodyFailed() {} })
    }
    const { address } = await running({ handler })
    using connection = await RawConnection.open(address)
    connection.write(`${get('Content-Length: 1\r\n')}x`)
    await connection.answer()
    // Node would wait for the end of a stream that nobody reads, and keep the request for it.
    expect(requests.map((request) => [request.readableEnded, request.listenerCount('end')])).toEqual([[true, 0]])
  })

  test('ends connections on which nothing ever came', async () => {
    const { address } = await running({ options: { headersTimeout: 60, requestTimeout: 60 } })
    using connection = await RawConnection.open(address)
    await connection.end()
    expect(connection.answers.map(({ status }) => status)).toEqual([408])
  })

  test('does not let a client send its body for ever to a handler that does not want it', async () => {
    const { address } = await running({ options: { requestTimeout: 60 } })
    using connection = await RawConnection.open(address)
    connection.write(get('Content-Length: 10\r\n'))
    expect((await connection.answer()).status).toBe(200)
    await connection.end()
  })

  test('does not wait for ever for a client that takes nothing', async () => {
    const large = 'x'.repeat(50_000_000)
    const handler: HttpHandler = (request, response) =>
      answer(request, response, 200, ['Content-Length', String(large.length)], large)
    const made = await running({ handler, options: { requestTimeout: 100 } })
    using connection = await RawConnection.open(made.address)
    connection.socket.pause()
    connection.write(get())
    await waitFor(() => made.connectionCount === 1)
    await waitFor(() => made.connectionCount === 0)
    expect(connection.receivedBytes).toBeLessThan(large.length)
  })

  test('gives handlers that ask for it an ordinary stream', async () => {
    const handler: HttpHandler = (request, response) => {
      let body = ''
      request.setEncoding('utf8')
      request.on('data', (text: string) => (body += text))
      request.on('end', () => response.end(`${body}!`))
    }
    const { address } = await running({ handler })
    using connection = await RawConnection.open(address)
    connection.write(get('Content-Length: 5\r\n'))
    connection.write('hel')
    connection.write(`lo${get()}`)
    expect([(await connection.answer(0)).body, (await connection.answer(1)).body]).toEqual(['hello!', '!'])
  })

  test('on all addresses lets any host in, and only pages of that very host', async () => {
    const { address } = await running({ address: { kind: 'tcp', host: '0.0.0.0', port: 0 } })
    const target: ListenAddress = { ...loopback, port: (address as { port: number }).port }
    const statusFor = async (host: string, headers: string): Promise<number> => {
      using connection = await RawConnection.open(target)
      connection.write(`GET / HTTP/1.1\r\nHost: ${host}\r\n${headers}\r\n`)
      return (await connection.answer()).status
    }
    expect(await statusFor('10.1.2.3:4111', '')).toBe(200)
    expect(await statusFor('pod.test', 'Origin: http://pod.test\r\n')).toBe(200)
    expect(await statusFor('pod.test', 'Origin: http://evil.test\r\n')).toBe(403)
  })
})

describe('a listener that closes', () => {
  test('answers what is under way, says that it was the last, and ends idle connections after that', async () => {
    const waiting: (() => void)[] = []
    const handler: HttpHandler = (request, response) => {
      if (request.url === '/wait') waiting.push(() => hello(request, response))
      else hello(request, response)
    }
    const made = await running({ handler })
    using busy = await RawConnection.open(made.address)
    using idle = await RawConnection.open(made.address)
    using other = await RawConnection.open(made.address)
    for (const connection of [idle, other]) {
      connection.write(get())
      await connection.answer()
    }
    busy.write('GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n')
    await waitFor(() => waiting.length === 1)

    let closed = false
    const closing = made.close().then(() => (closed = true))
    await expect(RawConnection.open(made.address)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    // An idle connection has not been told, so what comes on it is served.
    idle.write(get())
    expect((await idle.answer(1)).headers.get('connection')).toBe('close')
    await idle.end()
    expect([closed, busy.ended, other.ended]).toEqual([false, false, false])

    for (const go of waiting) go()
    expect((await busy.answer()).headers.get('connection')).toBe('close')
    await busy.end()
    await other.end()
    await closing
    expect(made.connectionCount).toBe(0)
  })

  test('does not take up a request whose answer it could not give', async () => {
    let served = 0
    const waiting: (() => void)[] = []
    const handler: HttpHandler = (request, response) => {
      served++
      waiting.push(() => hello(request, response))
    }
    const made = await running({ handler })
    using connection = await RawConnection.open(made.address)
    connection.write(get())
    await waitFor(() => served === 1)
    const closing = made.close()
    connection.write(get())
    await new Promise((resolve) => setTimeout(resolve, 50))
    for (const go of waiting) go()
    await closing
    await connection.end()
    expect([served, connection.answers.length]).toEqual([1, 1])
  })

  test('may be destroyed while it waits', async () => {
    let served = 0
    const made = await running({ handler: () => served++ })
    using connection = await RawConnection.open(made.address)
    connection.write(get())
    await waitFor(() => served === 1)
    const closing = made.close()
    await made.destroy()
    await closing
    await connection.end()
    expect(connection.text).toBe('')
  })

  test('may close before it was started, and twice', async () => {
    const made = listener()
    await made.close()
    await made.close()
    await made.destroy()
    await expect(made.start()).rejects.toThrow('once')
  })
})

describe('a Unix socket', () => {
  test('is made with its folder and its permissions, and goes with the listener', async () => {
    const address = { kind: 'unix', path: join(folder, 'a', 'b', 'publish.sock') } as const
    const made = await running({ address, options: { socketMode: 0o600 } })
    const { mode } = await lstat(address.path)
    expect(mode & 0o777).toBe(0o600)
    expect(await readdir(join(folder, 'a', 'b'))).toEqual(['publish.sock'])
    using connection = await RawConnection.open(address)
    connection.write(get())
    expect((await connection.answer()).status).toBe(200)
    connection.destroy()
    await made.close()
    expect(await readdir(join(folder, 'a', 'b'))).toEqual([])
  })

  test('replaces the one that a process which is gone has left behind', async () => {
    const address = unix('stale.sock')
    const { code } = await leaveStaleSocket(address.path)
    expect(code).toBe('ECONNREFUSED')
    await running({ address })
    using connection = await RawConnection.open(address)
    connection.write(get())
    expect((await connection.answer()).status).toBe(200)
  })

  test('is not taken from a process that lives', async () => {
    const address = unix('live.sock')
    const first = await running({ address })
    await expect(listener({ address }).start()).rejects.toMatchObject({
      code: 'listen_failed',
      reason: 'EADDRINUSE',
      message: expect.stringContaining(address.path) as string,
    })
    using connection = await RawConnection.open(address)
    connection.write(get())
    expect((await connection.answer()).status).toBe(200)
    await first.destroy()
  })

  test('never replaces a file that is no socket', async () => {
    const address = unix('precious.txt')
    await writeFile(address.path, 'precious')
    await chmod(address.path, 0o600)
    await expect(listener({ address }).start()).rejects.toMatchObject({ code: 'listen_failed', reason: 'EEXIST' })
    expect((await lstat(address.path)).isFile()).toBe(true)
  })

  test('is left alone at the end when another process has put its own in its place', async () => {
    const address = unix('publish.sock')
    const first = await running({ address })
    await rm(address.path)
    await running({ address })
    await first.close()
    expect((await lstat(address.path)).isSocket()).toBe(true)
  })

  test('that can’t be made is an error that says why, and leaves nothing behind', async () => {
    const address = { kind: 'unix', path: join(folder, 'file', 'publish.sock') } as const
    await writeFile(join(folder, 'file'), '')
    await expect(listener({ address }).start()).rejects.toMatchObject({ code: 'listen_failed', reason: 'EEXIST' })
    expect(await readdir(folder)).toEqual(['file'])
  })
})

/** Leaves a socket file without anyone who listens, as a killed process does; resolves with what connecting says. */
async function leaveStaleSocket(path: string): Promise<{ code?: string }> {
  const server: Server = createServer()
  await new Promise<void>((resolve) => server.listen(`${path}.live`, resolve))
  await link(`${path}.live`, path)
  await new Promise((resolve) => server.close(resolve))
  return await RawConnection.open({ kind: 'unix', path }).then(
    () => ({}),
    (error: { code: string }) => error,
  )
}
