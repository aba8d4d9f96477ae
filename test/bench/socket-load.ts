/**
 * A load generator on plain sockets, for Unix sockets and where `wrk` is missing. It knows just enough of HTTP/1.1 to
 * find the end of an answer that has a Content-Length. Started as `node socket-load.ts FILE`, where the file holds a
 * `SocketLoad`; prints a `LoadResult`.
 */
import { readFile } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import type { LoadResult, SocketLoad } from './load.ts'

const load = JSON.parse(await readFile(process.argv[2] ?? '', 'utf8')) as SocketLoad
const requests = load.requests.map(({ headers, body }) => {
  const fields = { Host: 'localhost', ...headers, 'Content-Length': String(Buffer.byteLength(body)) }
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`)
  return Buffer.from(`POST ${load.path} HTTP/1.1\r\n${lines.join('')}\r\n${body}`)
})
const times: number[] = []
let turn = 0
let over = false

const intervalMs = load.perSecond === undefined ? 0 : (load.connections / load.perSecond) * 1000

function run(socket: Socket, index: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let sentAt = 0
    let dueAt = begunAt + (index / load.connections) * intervalMs
    let answer: Buffer = Buffer.alloc(0)
    let missing = -1
    const send = (measuredFrom: number): void => {
      turn = (turn + 1) % requests.length
      sentAt = measuredFrom
      socket.write(requests[turn] as Buffer)
    }
    const sendNext = (): void => {
      if (over) {
        socket.destroy()
        return
      }
      const now = performance.now()
      if (intervalMs === 0) send(now)
      else if (now >= dueAt) send(dueAt)
      else setTimeout(() => send(performance.now()), dueAt - now)
      dueAt += intervalMs
    }
    socket.on('error', reject)
    socket.on('close', () => (over ? resolve() : reject(new Error('a connection was closed'))))
    socket.on('data', (chunk: Buffer) => {
      // Only the head is gathered; of the body, its length is enough.
      if (missing < 0) {
        answer = answer.length === 0 ? chunk : Buffer.concat([answer, chunk])
        const end = answer.indexOf('\r\n\r\n')
        if (end < 0) return
        const head = answer.toString('latin1', 0, end)
        if (!head.startsWith('HTTP/1.1 2')) {
          reject(new Error(`a request was refused: ${head.split('\r\n', 1)[0]}`))
          return
        }
        const length = /\r\ncontent-length: (\d+)/i.exec(head)
        if (!length) throw new Error(`an answer without a Content-Length: ${head}`)
        missing = Number(length[1]) - (answer.length - end - 4)
        answer = Buffer.alloc(0)
      } else {
        missing -= chunk.length
      }
      if (missing > 0) return
      missing = -1
      times.push(performance.now() - sentAt)
      sendNext()
    })
    sendNext()
  })
}

function open(): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const { port, socketPath } = load.target
    const socket = load.via === 'unix' ? connect(socketPath) : connect({ port, host: '127.0.0.1', noDelay: true })
    socket.once('error', reject)
    socket.once('connect', () => {
      socket.off('error', reject)
      resolve(socket)
    })
  })
}

const sockets = await Promise.all(Array.from({ length: load.connections }, open))
const begunAt = performance.now()
setTimeout(() => {
  over = true
}, load.seconds * 1000)
await Promise.all(sockets.map((socket, index) => run(socket, index)))
const seconds = (performance.now() - begunAt) / 1000
const sorted = Float64Array.from(times).toSorted()
const percentile = (share: number): number => Math.round((sorted[Math.floor(sorted.length * share)] ?? 0) * 1000) / 1000
const meanMs = Math.round((times.reduce((sum, time) => sum + time, 0) / times.length) * 1000) / 1000
const result: LoadResult = { requests: times.length, seconds, p50Ms: percentile(0.5), p99Ms: percentile(0.99), meanMs }
console.log(JSON.stringify(result))
