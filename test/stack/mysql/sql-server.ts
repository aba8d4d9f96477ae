import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Certificates } from '../certificates.ts'
import { socketAnswer } from '../socket-answer.ts'

/** How to reach a MySQL or MariaDB server; plain data. */
export interface SqlAccess {
  /** `mysql://user:password@host:port/database`; the user may do everything. Plain, and with TLS when `caFile` is given. */
  readonly url: string
  /** null for a server that was given by an environment variable. */
  readonly caFile: string | null
}

const USER = { name: 'app', password: 'app-secret' } as const
const DATABASE = 'outrigger'

export function sqlAccess(port: number, certificates: Certificates): SqlAccess {
  return {
    url: `mysql://${USER.name}:${USER.password}@127.0.0.1:${port}/${DATABASE}`,
    caFile: certificates.caFile,
  }
}

/** Makes the user and the database; run at every start, and so harmless when they are there. */
export async function writeInitFile(directory: string): Promise<string> {
  const file = join(directory, 'init.sql')
  // The server reads it line by line.
  const statements = [
    `CREATE USER IF NOT EXISTS '${USER.name}'@'%' IDENTIFIED BY '${USER.password}';`,
    `GRANT ALL ON *.* TO '${USER.name}'@'%' WITH GRANT OPTION;`,
    `CREATE DATABASE IF NOT EXISTS ${DATABASE};`,
  ]
  await writeFile(file, `${statements.join('\n')}\n`)
  return file
}

/** What both flavours are told in their option file: small, strict about data, safe at a kill. */
export function commonOptions(given: { directory: string; port: number }): string[] {
  const { directory, port } = given
  return [
    // As root a server wants to be told that this is meant; anybody else can only be themselves.
    ...(process.getuid?.() === 0 ? ['user=root'] : []),
    `datadir=${join(directory, 'data')}`,
    `socket=${join(directory, 'server.sock')}`,
    `pid-file=${join(directory, 'server.pid')}`,
    `port=${port}`,
    'bind-address=127.0.0.1',
    'skip-name-resolve',
    'skip-log-bin',
    'character-set-server=utf8mb4',
    'collation-server=utf8mb4_bin',
    'default-time-zone=+00:00',
    'max-connections=100',
    // Our readiness checks hang up in the middle of the handshake.
    'max-connect-errors=1000000',
    'innodb-buffer-pool-size=64M',
    'innodb-log-file-size=32M',
    'innodb-flush-log-at-trx-commit=1',
    'performance-schema=OFF',
  ]
}

export async function writeOptionFile(directory: string, section: string, lines: readonly string[]): Promise<string> {
  const file = join(directory, 'my.cnf')
  await writeFile(file, `[${section}]\n${lines.join('\n')}\n`)
  return file
}

/** Resolves when the server greets, as the MySQL protocol (version 10) wants the server to at every connection. */
export async function greets(port: number): Promise<void> {
  const protocolVersion = 10
  const packet = await socketAnswer(port, Buffer.alloc(0), 5)
  if (packet[4] !== protocolVersion) {
    throw new Error(`port ${port} answers ${packet.toString('hex')}, which is no greeting of a MySQL server`)
  }
}
