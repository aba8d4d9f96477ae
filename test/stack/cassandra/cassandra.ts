import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { createCertificates, type Certificates } from '../certificates.ts'
import { mavenLibraries, requireJava, type Java } from '../java.ts'
import { reservePorts } from '../ports.ts'
import { ServerHome } from '../server-home.ts'
import { ProcessRunner, ServerNode, type ServerRunner } from '../server-node.ts'
import { SingleServer, type SingleServerOptions } from '../single-server.ts'
import { socketAnswer } from '../socket-answer.ts'
import { cassandraYaml, type CommitLogSync } from './cassandra-yaml.ts'

/** How to reach a Cassandra node; plain data. */
export interface CassandraAccess {
  /** `host:port`; plain, and with TLS when `tls` is given. */
  readonly contactPoints: readonly string[]
  readonly localDataCenter: string
  /** null when nobody is asked who they are. */
  readonly credentials: { readonly username: string; readonly password: string } | null
  /** TLS wants the client certificate. null for a node that was given by an environment variable. */
  readonly tls: Pick<Certificates, 'caFile' | 'clientCertFile' | 'clientKeyFile'> | null
}

export interface CassandraOptions extends SingleServerOptions {
  /** Ask for a name and a password (`cassandra`, `cassandra`). Default: false. */
  readonly passwords?: boolean
  /**
   * Cassandra's own default, `periodic`, acknowledges writes that a kill then loses; with one node that is a loss for
   * good. Default: `batch`, which keeps what it acknowledged.
   */
  readonly commitLogSync?: CommitLogSync
  /** Default: 384. */
  readonly heapMiB?: number
}

/**
 * Starts one Cassandra node of our own, in a container where a Docker engine runs, else from packages.
 * @throws StackUnavailableError when this machine can't have it
 * @throws ServerFailedError when it doesn't start, with the end of its log
 */
export async function startCassandra(options: CassandraOptions = {}): Promise<SingleServer<CassandraAccess>> {
  const ports = await reservePorts(2)
  const [reserved = 0, storagePort = 0] = ports.ports
  const port = options.port ?? reserved
  const heap = `${options.heapMiB ?? 384}m`
  const { directory } = options
  const composeVariables = { CASSANDRA_PORT: port, CASSANDRA_HEAP: heap }
  return SingleServer.start(
    ports,
    () => ServerHome.open({ directory, composeVariables }),
    async (home) => {
      const certificates = await createCertificates(await home.folder('certificates'))
      const runner = await runnerOf({ home, certificates, port, storagePort, heap, options })
      const node = new ServerNode('cassandra', port, runner, () => speaksCql(port))
      const { caFile, clientCertFile, clientKeyFile } = certificates
      const access: CassandraAccess = {
        contactPoints: [`127.0.0.1:${port}`],
        localDataCenter: 'datacenter1',
        credentials: options.passwords ? { username: 'cassandra', password: 'cassandra' } : null,
        tls: { caFile, clientCertFile, clientKeyFile },
      }
      return { node, access }
    },
  )
}

async function runnerOf(given: {
  home: ServerHome
  certificates: Certificates
  port: number
  storagePort: number
  heap: string
  options: CassandraOptions
}): Promise<ServerRunner> {
  const { home, certificates, port, storagePort, heap, options } = given
  const directory = await home.folder('cassandra')
  const config = join(directory, 'cassandra.yaml')
  const yaml = cassandraYaml({
    port,
    storagePort,
    bindHost: home.inDocker ? '0.0.0.0' : '127.0.0.1',
    // The container keeps the data to itself, so that it needs no rights on this machine.
    dataDirectory: home.inDocker ? '/var/lib/cassandra' : directory,
    caFile: home.seenByServer(certificates.caFile),
    serverKeystoreFile: home.seenByServer(certificates.serverKeystoreFile),
    passwords: options.passwords ?? false,
    commitLogSync: options.commitLogSync ?? 'batch',
  })
  await writeFile(config, yaml)
  if (home.inDocker) return home.containerRunner('cassandra')

  // Cassandra 5 wants 17; up to 23 its security manager can still be allowed, beyond there is none.
  const java = await requireJava({ from: 17, to: 23 })
  const libraries = await mavenLibraries('cassandra', fileURLToPath(new URL('pom.xml', import.meta.url)))
  const triggers = await home.folder('cassandra/triggers')
  const logging = join(directory, 'logback.xml')
  await writeFile(logging, LOGBACK)
  return new ProcessRunner(home.processes, {
    command: java.command,
    args: [
      ...javaOptions(java),
      `-Xms${heap}`,
      `-Xmx${heap}`,
      '-XX:+UseSerialGC',
      '-XX:MaxDirectMemorySize=128m',
      '-XX:+ExitOnOutOfMemoryError',
      `-Dcassandra.config=${pathToFileURL(config).href}`,
      `-Dcassandra.storagedir=${directory}`,
      `-Dcassandra.triggers_dir=${triggers}`,
      `-Dlogback.configurationFile=${logging}`,
      '-Dcassandra-foreground=yes',
      // What a node of a real cluster waits for before it serves: there are no other nodes.
      '-Dcassandra.skip_wait_for_gossip_to_settle=0',
      '-Dcassandra.ring_delay_ms=0',
      '-Dcassandra.superuser_setup_delay_ms=0',
      '-cp',
      join(libraries, '*'),
      'org.apache.cassandra.service.CassandraDaemon',
    ],
    directory,
    logFile: join(directory, 'server.log'),
  })
}

/** Asks with an OPTIONS frame of the native protocol, version 4, which is answered before any authentication. */
async function speaksCql(port: number): Promise<void> {
  const version = 0x04
  const options = 0x05
  const supported = 0x06
  const response = 0x80
  const frame = Buffer.from([version, 0, 0, 0, options, 0, 0, 0, 0])
  const answer = await socketAnswer(port, frame, frame.length)
  if (answer[0] !== (response | version) || answer[4] !== supported) {
    throw new Error(`port ${port} answers ${answer.toString('hex')}, which is not Cassandra's native protocol`)
  }
}

/** The parts of the JDK that Cassandra reaches into, as its own start script opens them for Java 17. */
function javaOptions(java: Java): string[] {
  const exported = [
    'java.base/jdk.internal.misc',
    'java.base/java.lang.ref',
    'java.management.rmi/com.sun.jmx.remote.internal.rmi',
    'java.rmi/sun.rmi.registry',
    'java.rmi/sun.rmi.server',
    'java.sql/java.sql',
    'jdk.unsupported/sun.misc',
  ]
  const opened = [
    'java.base/java.io',
    'java.base/java.lang',
    'java.base/java.lang.module',
    'java.base/java.lang.reflect',
    'java.base/java.nio',
    'java.base/java.util',
    'java.base/java.util.concurrent',
    'java.base/java.util.concurrent.atomic',
    'java.base/jdk.internal.loader',
    'java.base/jdk.internal.math',
    'java.base/jdk.internal.module',
    'java.base/jdk.internal.ref',
    'java.base/jdk.internal.reflect',
    'java.base/jdk.internal.util.jar',
    'java.base/sun.nio.ch',
    'jdk.management/com.sun.management.internal',
  ]
  return [
    '-Djdk.attach.allowAttachSelf=true',
    ...(java.version > 17 ? ['-Djava.security.manager=allow'] : []),
    ...exported.flatMap((name) => ['--add-exports', `${name}=ALL-UNNAMED`]),
    ...opened.flatMap((name) => ['--add-opens', `${name}=ALL-UNNAMED`]),
  ]
}

const LOGBACK = `<configuration>
  <appender name="stdout" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{HH:mm:ss.SSS} %-5level %logger{20} - %msg%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="stdout"/></root>
</configuration>
`
