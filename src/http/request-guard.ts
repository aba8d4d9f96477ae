import type { HostCheck } from './host-check.ts'
import type { HttpConnection } from './http-connection.ts'
import type { HttpRequest } from './http-request.ts'
import type { Problem } from './problem.ts'

/** RFC 9112, 3 asks for at least 8000 octets. */
const targetBytesMax = 8 * 1024

/** Looks at each request before its handler does: what the client is, not what it wants. */
export class RequestGuard {
  readonly #hosts: HostCheck | null
  readonly #headersMax: number

  /** Without a `HostCheck` any host and any origin will do, as on a Unix socket, where file permissions decide. */
  constructor(hosts: HostCheck | null, options: { readonly headersMax: number }) {
    this.#hosts = hosts
    this.#headersMax = options.headersMax
  }

  /** Why the request must not reach its handler, or null. A target in absolute form becomes one in origin form. */
  check(request: HttpRequest, connection: HttpConnection): Problem | null {
    const raw = request.rawHeaders
    if (raw.length > this.#headersMax * 2)
      return { code: 'too_many_headers', detail: `A request has at most ${this.#headersMax} headers.` }
    const url = request.url ?? ''
    if (url.length > targetBytesMax)
      return { code: 'target_too_long', detail: `A target has at most ${targetBytesMax} bytes.` }

    let host: string | null = null
    let origin: string | null = null
    let crossSite = false
    for (let i = 0; i < raw.length; i += 2) {
      const name = raw[i] as string
      const { length } = name
      if (length === 4 && isNamed(name, 'host')) {
        if (host !== null) return { code: 'malformed_http', detail: 'The request has more than one Host header.' }
        host = raw[i + 1] as string
      } else if (length === 6 && isNamed(name, 'origin')) {
        // More than one is no browser's doing, and matches nothing.
        origin = origin === null ? (raw[i + 1] as string) : `${origin}, ${raw[i + 1]}`
      } else if (length === 14 && isNamed(name, 'sec-fetch-site')) {
        crossSite ||= raw[i + 1] === 'cross-site'
      }
    }
    if (host === null && request.httpVersionMinor >= 1)
      return { code: 'host_missing', detail: 'HTTP/1.1 asks for a Host header in every request.' }
    // Clients say the same host in all requests of a connection, and a plain POST says nothing else.
    if (host === connection.trustedHost && origin === null && !crossSite && url.startsWith('/')) return null

    const problem = this.#checkSource(url, host, origin, crossSite)
    if (problem) return problem
    connection.trustedHost = host
    if (!url.startsWith('/')) request.url = originForm(url)
    return null
  }

  #checkSource(url: string, host: string | null, origin: string | null, crossSite: boolean): Problem | null {
    if (this.#hosts === null) return null
    const target = absoluteForm.exec(url)?.[1] ?? null
    for (const name of [host, target])
      if (name !== null && !this.#hosts.allowsHost(name))
        return {
          code: 'host_not_allowed',
          detail: `“${name}” is not a host that this listener serves. Allow it in the configuration (publish.allowedHosts).`,
        }
    if (crossSite)
      return { code: 'origin_not_allowed', detail: 'The browser says that a page of another site sent the request.' }
    if (origin !== null && !this.#hosts.allowsOrigin(origin, host ?? ''))
      return { code: 'origin_not_allowed', detail: `Pages of “${origin}” may not send requests here.` }
    return null
  }
}

const absoluteForm = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i

/** What a server must make of `http://host/path` (RFC 9112, 3.2.2). */
function originForm(url: string): string {
  const match = absoluteForm.exec(url)
  if (match === null) return url
  const rest = url.slice(match[0].length)
  return rest.startsWith('/') ? rest : `/${rest}`
}

/** Whether a header has this name, which is given in lower case and has the same length. */
function isNamed(name: string, lowerCase: string): boolean {
  return name === lowerCase || name.toLowerCase() === lowerCase
}
