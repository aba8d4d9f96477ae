import { join } from 'node:path'
import { createCertificates, type Certificates } from '../certificates.ts'
import { findCommand } from '../command.ts'
import { installDebianPackages } from '../debian-packages.ts'
import { StackUnavailableError } from '../errors.ts'
import { reservePorts } from '../ports.ts'
import { ServerHome } from '../server-home.ts'
import { prepareData, ProcessRunner, ServerNode, type ServerRunner } from '../server-node.ts'
import { SingleServer, type SingleServerOptions } from '../single-server.ts'
import { commonOptions, greets, sqlAccess, writeInitFile, writeOptionFile, type SqlAccess } from './sql-server.ts'

/**
 * Starts a MariaDB server of our own, in a container where a Docker engine runs, else from packages.
 * @throws StackUnavailableError when this machine can't have it
 * @throws ServerFailedError when it doesn't start, with the end of its log
 */
export async function startMariadb(options: SingleServerOptions = {}): Promise<SingleServer<SqlAccess>> {
  const ports = await reservePorts(1)
  const port = options.port ?? ports.ports[0] ?? 0
  const { directory } = options
  return SingleServer.start(
    ports,
    () => ServerHome.open({ directory, composeVariables: { MARIADB_PORT: port } }),
    async (home) => {
      const certificates = await createCertificates(await home.folder('certificates'))
      const runner = await runnerOf(home, certificates, port)
      return {
        node: new ServerNode('mariadb', port, runner, () => greets(port)),
        access: sqlAccess(port, certificates),
      }
    },
  )
}

async function runnerOf(home: ServerHome, certificates: Certificates, port: number): Promise<ServerRunner> {
  const directory = await home.folder('mariadb')
  const initFile = await writeInitFile(home.directory)
  if (home.inDocker) return home.containerRunner('mariadb')

  const { server, installer } = await mariadbPrograms()
  const optionFile = await writeOptionFile(directory, 'mariadbd', [
    ...commonOptions({ directory, port }),
    // As strict as MySQL 8 is by itself.
    'sql-mode=STRICT_ALL_TABLES,ONLY_FULL_GROUP_BY,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION',
    'aria-pagecache-buffer-size=1M',
    'key-buffer-size=1M',
    `ssl-ca=${certificates.caFile}`,
    `ssl-cert=${certificates.serverCertFile}`,
    `ssl-key=${certificates.serverKeyFile}`,
  ])
  await prepareData('initialising mariadb', join(directory, 'data'), home.processes, {
    command: installer,
    args: [`--defaults-file=${optionFile}`, '--auth-root-authentication-method=socket', '--skip-test-db'],
    directory,
    logFile: join(directory, 'initialize.log'),
  })
  return new ProcessRunner(home.processes, {
    command: server,
    args: [`--defaults-file=${optionFile}`, `--init-file=${initFile}`],
    directory,
    logFile: join(directory, 'server.log'),
  })
}

async function mariadbPrograms(): Promise<{ server: string; installer: string }> {
  const find = async (): Promise<{ server: string; installer: string } | null> => {
    const [server, installer] = await Promise.all([findCommand('mariadbd'), findCommand('mariadb-install-db')])
    return server === null || installer === null ? null : { server, installer }
  }
  const found = await find()
  if (found !== null) return found
  // The core packages install programs only: no service that starts, no system user.
  await installDebianPackages('MariaDB', ['mariadb-server-core', 'mariadb-client-core'])
  const installed = await find()
  if (installed !== null) return installed
  throw new StackUnavailableError('MariaDB was installed, and mariadbd and mariadb-install-db are not found')
}
