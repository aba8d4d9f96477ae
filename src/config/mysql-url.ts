import { isIPv6 } from 'node:net'
import { isServerName } from './listen-address.ts'
import type { Reading } from './quantities.ts'

const defaultPort = 3306
/** Of the name of a database, in characters. */
const databaseLengthMax = 64

/**
 * Reads `mysql://user@host:port/database`, and adds the port when it is missing. User and database may be
 * percent-encoded. A password is refused. Hints show nothing of the text, for it may hold one.
 */
export function readMysqlUrl(input: unknown): Reading<string> {
  if (typeof input !== 'string') return { ok: false }
  const scheme = 'mysql://'
  if (!input.startsWith(scheme)) return { ok: false, hint: `it begins with ${scheme}` }
  // Taken apart by hand: the URL parser forgives what it is better to refuse, and would hide an empty password.
  const match = /^(?:(.*)@)?([^@/?#]*)(?:\/([^/?#]*))?([/?#].*)?$/s.exec(input.slice(scheme.length))
  if (!match) return { ok: false }
  const [, user, authority = '', database = '', rest] = match
  if (user?.includes(':')) return { ok: false, hint: 'the password goes into mysql.passwordFile, or mysql.password' }
  if (rest !== undefined) return { ok: false, hint: 'it ends with the database; everything else has a setting' }
  if (!user) return { ok: false, hint: 'it lacks the user' }
  if (/[@/?#]/.test(user)) return { ok: false, hint: 'in the user, @ / ? # are written %40 %2F %3F %23' }
  if (database === '') return { ok: false, hint: 'it lacks the database' }
  const name = decoded(database)
  if (decoded(user) === undefined || name === undefined) return { ok: false, hint: 'a % must be written as %25' }
  if (name.length > databaseLengthMax || name.includes('/')) return { ok: false, hint: 'that is no name of a database' }

  const place = /^(?:\[([^\]]*)\]|([^:]*))(?::([0-9]{1,5}))?$/.exec(authority)
  const host = place?.[1] ?? place?.[2] ?? ''
  const valid = place?.[1] === undefined ? isServerName(host) : isIPv6(host)
  if (!place || !valid) return { ok: false, hint: 'that is no HOST:PORT or [IPV6]:PORT' }
  const port = Number(place[3] ?? defaultPort)
  if (port < 1 || port > 65535) return { ok: false, hint: 'a port is a number from 1 to 65535' }
  const at = place[1] === undefined ? host : `[${host}]`
  return { ok: true, value: `${scheme}${user}@${at}:${port}/${database}` }
}

/** The host of a URL that `readMysqlUrl` gave, an IPv6 address without its brackets. */
export function hostOfMysqlUrl(url: string): string {
  return (URL.parse(url)?.hostname ?? '').replace(/^\[(.*)\]$/, '$1')
}

/** Without percent-encoding; undefined when that is malformed, or hides characters that no name has. */
function decoded(text: string): string | undefined {
  try {
    const plain = decodeURIComponent(text)
    // oxlint-disable-next-line no-control-regex
    return /[\u0000-\u001f\u007f]/.test(plain) ? undefined : plain
  } catch {
    return undefined
  }
}
