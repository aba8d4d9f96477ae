import type { Secret } from '../base/secret.ts'

/** Where a database is, and as whom: what the URL in the configuration says. */
export interface MysqlAddress {
  readonly host: string
  readonly port: number
  readonly user: string
  readonly database: string
}

/** The configuration `mysql`, resolved, and `ledger.retention`. Durations are milliseconds. */
export interface MysqlOptions extends MysqlAddress {
  /** Asked at each new connection, so that a password that was changed in its file is taken up. */
  readonly password: () => Promise<Secret | undefined>
  /** Present, if only as `{}`: TLS. The server's certificate and its name are always verified. PEM texts. */
  readonly tls?:
    | {
        readonly ca?: string | undefined
        readonly cert?: string | undefined
        readonly key?: Secret | undefined
        /** The name in the certificate, when it is not `host`. */
        readonly serverName?: string | undefined
      }
    | undefined
  readonly connectionsMax: number
  /** Until a connection stands, is authenticated and set up. */
  readonly connectTimeout: number
  /** Until a statement is answered; 20 s by default. */
  readonly queryTimeout?: number | undefined
  /** Rows go this long after their messages were accepted, by whole days. */
  readonly retention: number
  /** How fast `write` may be, on average over a few seconds. */
  readonly rowsPerSecondMax?: number | undefined
}

const defaultPort = 3306
const form = 'mysql://USER@HOST:PORT/DATABASE'

/**
 * The parts of `mysql://user@host:3306/database`; user and database may be percent-encoded, the port may be left out.
 * @throws Error when it is something else. What it says never holds a password.
 */
export function parseMysqlUrl(text: string): MysqlAddress {
  const url = URL.parse(text)
  if (url === null || url.protocol !== 'mysql:') throw new Error(`expected ${form}`)
  if (url.password !== '') {
    throw new Error('a password does not belong in the URL: set mysql.passwordFile, or mysql.password')
  }
  if (url.search !== '' || url.hash !== '') throw new Error(`the URL ends with the database: ${form}`)
  if (url.hostname === '') throw new Error(`the URL names no host: ${form}`)
  if (url.username === '') throw new Error(`the URL names no user: ${form}`)
  const [database = '', ...more] = url.pathname.slice(1).split('/')
  if (database === '') throw new Error(`the URL names no database: ${form}`)
  if (more.length > 0) throw new Error(`a database's name has no slash: ${form}`)
  return {
    // An IPv6 address stands in brackets, to tell it from the port.
    host: decode(url.hostname.replace(/^\[(.*)\]$/, '$1')),
    port: url.port === '' ? defaultPort : Number(url.port),
    user: decode(url.username),
    database: decode(database),
  }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch (error) {
    throw new Error(`the URL has a % that begins no percent-encoding; write %25 for it`, { cause: error })
  }
}
