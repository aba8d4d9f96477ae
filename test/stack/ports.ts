import { createServer, connect, type Server } from 'node:net'
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { codeOf } from '../../src/base/errors.ts'

/** Ports that no other run of these tests takes as long as this process lives and `release` was not called. */
export interface ReservedPorts {
  readonly ports: readonly number[]
  release(): Promise<void>
}

/** Most ports that one reservation can hold. */
const PORTS_MAX = 19
/** A block's first port is the guard: while somebody listens on it, the ports behind it are theirs. */
const BLOCK_SIZE = PORTS_MAX + 1
const FIRST_PORT = 20_000

/**
 * Reserves free ports on 127.0.0.1 for servers that are killed and started again on them. They lie below the range
 * from which the kernel takes ports for outgoing connections: otherwise any client could sit on a killed server's port
 * and keep it from coming back, or even connect to itself there. The reservation ends with the process, however
 * it ends, since the kernel then closes the guard.
 */
export async function reservePorts(count: number): Promise<ReservedPorts> {
  if (count < 1 || count > PORTS_MAX) throw new RangeError(`can reserve 1 to ${PORTS_MAX} ports, not ${count}`)
  const blocks = Math.floor((Math.min(await firstEphemeralPort(), 65_536) - FIRST_PORT) / BLOCK_SIZE)
  // Starting anywhere keeps runs that begin at the same moment from racing through the same blocks.
  const start = Math.floor(Math.random() * blocks)
  for (let tried = 0; tried < blocks; tried++) {
    const first = FIRST_PORT + ((start + tried) % blocks) * BLOCK_SIZE
    const guard = await tryListen(first, '127.0.0.1')
    if (guard === null) continue
    const ports = Array.from({ length: count }, (_, index) => first + 1 + index)
    if (await areFree(ports)) {
      guard.unref()
      return { ports, release: () => closeServer(guard) }
    }
    await closeServer(guard)
  }
  throw new Error(`no ${count} free ports in a row between ${FIRST_PORT} and ${FIRST_PORT + blocks * BLOCK_SIZE}`)
}

/** Whether nobody listens on any of the ports. */
export async function areFree(ports: readonly number[]): Promise<boolean> {
  for (const port of ports) {
    for (const host of ['127.0.0.1', '0.0.0.0']) {
      const server = await tryListen(port, host)
      if (server === null) return false
      await closeServer(server)
    }
  }
  return true
}

/** Resolves once connections to the port are refused; a server just killed may answer a moment longer. */
export async function waitUntilRefused(port: number, timeoutMs = 30_000): Promise<void> {
  const deadline = Date.now() + timeoutMs
  while (await answers(port)) {
    if (Date.now() > deadline) throw new Error(`port ${port} still answers after ${timeoutMs} ms`)
    await sleep(25)
  }
}

/** Whether something accepts connections on the port. */
export function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', timeout: 2_000 })
    const settle = (answered: boolean): void => {
      socket.destroy()
      resolve(answered)
    }
    socket.once('connect', () => settle(true))
    socket.once('error', () => settle(false))
    socket.once('timeout', () => settle(false))
  })
}

async function firstEphemeralPort(): Promise<number> {
  try {
    const first = Number.parseInt(await readFile('/proc/sys/net/ipv4/ip_local_port_range', 'utf8'), 10)
    // A machine whose range begins even lower than ours has no better place to offer.
    return first > FIRST_PORT + 100 * BLOCK_SIZE ? first : 32_768
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return 32_768
    throw error
  }
}

function tryListen(port: number, host: string): Promise<Server | null> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy())
    server.once('error', (error) => {
      if (codeOf(error) === 'EADDRINUSE' || codeOf(error) === 'EACCES') resolve(null)
      else reject(error)
    })
    server.listen({ port, host, exclusive: true }, () => resolve(server))
  })
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
  })
}
