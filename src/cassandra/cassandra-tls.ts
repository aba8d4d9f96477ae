import { checkServerIdentity } from 'node:tls'
import type { ConnectionOptions, PeerCertificate } from 'node:tls'
import type { CassandraOptions } from './cassandra-options.ts'

/**
 * What a TLS connection to a node needs. Chain and name are always verified; the driver by itself verifies neither.
 *
 * The driver connects to addresses: names of contact points are resolved first, and other nodes are known by address
 * alone. So, unless `serverName` says which name all nodes have, a node's certificate must be for its address, or for the name
 * of one of the contact points: each is a name that the operator has written down as the cluster's.
 */
export function tlsOptionsOf(
  tls: NonNullable<CassandraOptions['tls']>,
  contactPoints: readonly string[],
): ConnectionOptions {
  const { ca, cert, key, serverName } = tls
  const names = serverName === undefined ? contactPoints.map((contactPoint) => hostAndPort(contactPoint).host) : []
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key: key.reveal() }),
    ...(serverName === undefined ? {} : { servername: serverName }),
    minVersion: 'TLSv1.2',
    rejectUnauthorized: true,
    checkServerIdentity: (hostname: string, certificate: PeerCertificate) => {
      const failure = checkServerIdentity(serverName ?? hostname, certificate)
      const isKnown = names.some((name) => checkServerIdentity(name, certificate) === undefined)
      return isKnown ? undefined : failure
    },
  }
}

/** The parts of `HOST:PORT` or `[IPV6]:PORT`. */
export function hostAndPort(contactPoint: string): { readonly host: string; readonly port: number } {
  const match = /^(?:\[(.+)\]|([^:]+))(?::(\d+))?$/.exec(contactPoint)
  if (!match) throw new RangeError(`${contactPoint} is no HOST:PORT`)
  return { host: match[1] ?? match[2] ?? '', port: Number(match[3] ?? 9042) }
}
