import { isIPv4, isIPv6 } from 'node:net'
import type { ListenAddress } from '../base/listen-address.ts'
import type { Reading } from './quantities.ts'

/** `sun_path` has 108 bytes on Linux, the last of which is 0 (unix(7)). */
export const socketPathBytesMax = 107

const hostPattern = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,62})?(\.[a-z0-9]([a-z0-9-]{0,62})?)*$/i

/** Whether a text can be the name of a host: letters, digits, hyphens and dots, and not a malformed IPv4 address. */
export function isHostName(text: string): boolean {
  return hostPattern.test(text) && !/^[0-9.]+$/.test(text)
}

/** Reads `HOST:PORT`, `[IPV6]:PORT` or `unix:PATH`. Port 0 stands for any free one. */
export function readListenAddress(input: unknown): Reading<ListenAddress> {
  if (typeof input === 'number') return { ok: false, hint: `add the host: "127.0.0.1:${input}"` }
  if (typeof input !== 'string') return { ok: false }
  if (input.startsWith('unix:')) return readSocketPath(input.slice('unix:'.length))
  if (/^:?[0-9]+$/.test(input)) return { ok: false, hint: `add the host: "127.0.0.1:${input.replace(':', '')}"` }
  if (input.startsWith('/') || input.startsWith('./')) return { ok: false, hint: `did you mean "unix:${input}"?` }
  const scheme = /^https?:\/\/(.*?)\/?$/.exec(input)
  if (scheme) return { ok: false, hint: `leave the scheme out: "${scheme[1]}"` }

  const match = /^(?:\[([^\]]*)\]|([^:]*)):([0-9]{1,5})$/.exec(input)
  if (!match) {
    if (isIPv6(input)) return { ok: false, hint: `put an IPv6 address in brackets and add the port: "[${input}]:4110"` }
    return isIPv4(input) || isHostName(input) ? { ok: false, hint: `add the port: "${input}:4110"` } : { ok: false }
  }
  const port = Number(match[3])
  if (port > 65535) return { ok: false, hint: 'a port is at most 65535' }
  const host = match[1] ?? match[2] ?? ''
  if (host === '*') return { ok: false, hint: `every address is "0.0.0.0:${port}" or "[::]:${port}"` }
  const valid = match[1] !== undefined ? isIPv6(host) : isIPv4(host) || isHostName(host)
  if (!valid) return { ok: false }
  // One way to write loopback, so that whoever asks for it later need not know the others.
  const loopback = match[1] !== undefined && /^(0{0,4}:){2,7}0{0,3}1$/.test(host)
  return { ok: true, value: { kind: 'tcp', host: loopback ? '::1' : host, port } }
}

function readSocketPath(text: string): Reading<ListenAddress> {
  // unix:///run/x.sock, as URLs have it, means /run/x.sock.
  const path = text.replace(/^\/\/+/, '/')
  if (path === '' || path.endsWith('/') || path.includes('\0')) return { ok: false }
  const bytes = Buffer.byteLength(path)
  if (bytes > socketPathBytesMax) {
    const hint = `a socket's path has at most ${socketPathBytesMax} bytes, and this one ${bytes}`
    return { ok: false, hint }
  }
  return { ok: true, value: { kind: 'unix', path } }
}

/** What `readListenAddress` reads back as the same address. */
export function formatListenAddress(address: ListenAddress): string {
  if (address.kind === 'unix') return `unix:${address.path}`
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`
}

/** Whether only this machine can reach the address: a Unix socket, `localhost`, 127.0.0.0/8 or ::1. */
export function isLocal(address: ListenAddress): boolean {
  return address.kind === 'unix' || isLoopback(address.host)
}

/** Whether a host, an IPv6 address without its brackets, is this machine itself. */
export function isLoopback(host: string): boolean {
  if (isIPv4(host)) return host.startsWith('127.')
  return host.toLowerCase() === 'localhost' || host === '::1'
}

/** Like `readListenAddress`, but for addresses that only this machine can reach. */
export function readLocalListenAddress(input: unknown): Reading<ListenAddress> {
  const reading = readListenAddress(input)
  if (!reading.ok || isLocal(reading.value)) return reading
  const hint =
    'publishers on other machines would need TLS and authentication, which this version does not have; use 127.0.0.1, ::1, localhost or a Unix socket'
  return { ok: false, hint }
}

/** Reads a broker's `HOST:PORT` or `[IPV6]:PORT`. */
export function readBrokerAddress(input: unknown): Reading<string> {
  return readServerAddress(input, {
    port: 9092,
    item: 'broker',
    scheme: 'leave the scheme out; kafka.tls and kafka.sasl say how to connect',
  })
}

/** Reads the `HOST:PORT` or `[IPV6]:PORT` of a Cassandra node. */
export function readContactPoint(input: unknown): Reading<string> {
  return readServerAddress(input, {
    port: 9042,
    item: 'node',
    scheme: 'leave the scheme out; cassandra.tls and cassandra.username say how to connect',
  })
}

interface ServerWords {
  /** The usual port. */
  readonly port: number
  /** What one item of the list stands for. */
  readonly item: string
  /** The hint for an address with a scheme. */
  readonly scheme: string
}

function readServerAddress(input: unknown, words: ServerWords): Reading<string> {
  if (typeof input !== 'string') return { ok: false }
  if (/^[a-z0-9+_-]+:\/\//i.test(input)) return { ok: false, hint: words.scheme }
  if (input.includes(',')) return { ok: false, hint: `write one list item a ${words.item}` }
  if (isIPv6(input)) {
    return { ok: false, hint: `put the address in brackets and add the port: "[${input}]:${words.port}"` }
  }
  const match = /^(?:\[([^\]]*)\]|([^:]+)):([0-9]{1,5})$/.exec(input)
  if (!match) {
    const lacksPort = isIPv4(input) || isHostName(input)
    return lacksPort ? { ok: false, hint: `add the port: ${input}:${words.port}` } : { ok: false }
  }
  const port = Number(match[3])
  if (port < 1 || port > 65535) return { ok: false, hint: 'a port is a number from 1 to 65535' }
  const host = match[1] ?? match[2] ?? ''
  const valid = match[1] !== undefined ? isIPv6(host) : isServerName(host)
  return valid ? { ok: true, value: input } : { ok: false }
}

/** Whether a text can name a server: containers and Compose files use names with underscores. */
export function isServerName(text: string): boolean {
  return isIPv4(text) || isHostName(text.replaceAll('_', '-'))
}
