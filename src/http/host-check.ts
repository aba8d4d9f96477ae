import { isIPv4 } from 'node:net'

/** Which `Host` and `Origin` a listener lets through. */
export interface HostCheck {
  /** `host` is what stands in the header, with or without a port. */
  allowsHost(host: string): boolean
  /** Whether a page of this origin may send requests to `host`. */
  allowsOrigin(origin: string, host: string): boolean
}

/**
 * For a listener on loopback. A web page may point its own name at 127.0.0.1 (DNS rebinding), and any page may post a form
 * to it; the `Host` and the `Origin` that a browser sends along give both away. Ports don't matter: who may run a server
 * on this machine may publish.
 */
export function loopbackHostCheck(ownHost: string, allowedHosts: readonly string[]): HostCheck {
  const names = new Set(['localhost', '[::1]', bracketed(ownHost), ...allowedHosts.map(bracketed)])
  const allowsHost = (host: string): boolean => {
    const name = hostName(host)
    return name !== null && (names.has(name) || (isIPv4(name) && name.startsWith('127.')))
  }
  return {
    allowsHost,
    allowsOrigin(origin) {
      const host = originHost(origin)
      return host !== null && allowsHost(host)
    },
  }
}

/** For a listener that others reach under names that can't be known here: only a page of that very host may send to it. */
export const anyHostCheck: HostCheck = {
  allowsHost: () => true,
  allowsOrigin(origin, host) {
    const from = originHost(origin)
    return from !== null && from.toLowerCase() === host.toLowerCase()
  },
}

/** Whether a listener bound to `host` can be reached from this machine alone. */
export function isLoopback(host: string): boolean {
  const name = host.toLowerCase()
  return name === 'localhost' || name === '::1' || (isIPv4(name) && name.startsWith('127.'))
}

const originPattern = /^https?:\/\/([^/?#@\\\s]+)$/i

function originHost(origin: string): string | null {
  return originPattern.exec(origin)?.[1] ?? null
}

const hostPattern = /^(\[[0-9a-f:.]+\]|[^:[\]]+)(?::[0-9]{0,5})?$/i

/** The name in `name:port`, in lower case; an IPv6 address keeps its brackets. */
function hostName(host: string): string | null {
  return hostPattern.exec(host)?.[1]?.toLowerCase() ?? null
}

function bracketed(host: string): string {
  const name = host.toLowerCase()
  return name.includes(':') && !name.startsWith('[') ? `[${name}]` : name
}
