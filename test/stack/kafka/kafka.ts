import { randomUUID } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Kafka, logLevel } from 'kafkajs'
import { createCertificates, type Certificates } from '../certificates.ts'
import { mavenLibraries, requireJava, type Java } from '../java.ts'
import { reservePorts, type ReservedPorts } from '../ports.ts'
import { ServerHome } from '../server-home.ts'
import { prepareData, ProcessRunner, ServerNode, type ServerRunner } from '../server-node.ts'
import {
  kafkaPorts,
  PORTS_PER_NODE,
  SASL_USER,
  SCRAM_MECHANISMS,
  serverProperties,
  type KafkaNode,
  type KafkaPorts,
} from './server-properties.ts'

/** How to reach a Kafka cluster; plain data, so that it can be handed to test workers. */
export interface KafkaAccess {
  /** `host:port`, without TLS. */
  readonly brokers: readonly string[]
  /** The other ways in; null for a cluster that was given by an environment variable. */
  readonly secure: SecureKafkaAccess | null
}

export interface SecureKafkaAccess {
  /** TLS; a client certificate is required. */
  readonly mutualTlsBrokers: readonly string[]
  /** TLS without a client certificate, and SASL PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 with the user below. */
  readonly saslBrokers: readonly string[]
  readonly username: string
  readonly password: string
  readonly caFile: string
  readonly clientCertFile: string
  readonly clientKeyFile: string
}

export interface KafkaOptions {
  /** Three replicate everything and want two in sync. Default: 1. */
  readonly nodes?: 1 | 3
  /** Where data, certificates and logs stay; default: a temporary directory that goes at `stop`. */
  readonly directory?: string
  /** The first node's plaintext port; each node takes five, the next one begins ten higher. Default: free ports. */
  readonly basePort?: number
  /** Default: true. */
  readonly autoCreateTopics?: boolean
  /** Further lines for server.properties; they win over ours. */
  readonly extraProperties?: Readonly<Record<string, string | number | boolean>>
  /** Heap of each node. Default: 256. */
  readonly heapMiB?: number
}

/** A running Kafka cluster of our own. It ends with this process at the latest, however that ends. */
export class KafkaCluster implements KafkaAccess, AsyncDisposable {
  readonly brokers: readonly string[]
  readonly secure: SecureKafkaAccess
  /** Of our own CA; for tests that need the server's side too. */
  readonly certificates: Certificates
  readonly #nodes: readonly ServerNode[]
  readonly #home: ServerHome
  readonly #ports: ReservedPorts | null

  constructor(
    nodes: readonly ServerNode[],
    layout: readonly KafkaNode[],
    certificates: Certificates,
    home: ServerHome,
    ports: ReservedPorts | null,
  ) {
    const addresses = (port: 'plain' | 'mutualTls' | 'sasl'): string[] =>
      layout.map((node) => `127.0.0.1:${node.ports[port]}`)
    const { caFile, clientCertFile, clientKeyFile } = certificates
    this.brokers = addresses('plain')
    this.secure = {
      mutualTlsBrokers: addresses('mutualTls'),
      saslBrokers: addresses('sasl'),
      ...SASL_USER,
      caFile,
      clientCertFile,
      clientKeyFile,
    }
    this.certificates = certificates
    this.#nodes = nodes
    this.#home = home
    this.#ports = ports
  }

  /** What of this can be handed to another process. */
  get access(): KafkaAccess {
    return { brokers: this.brokers, secure: this.secure }
  }

  /** SIGKILL of node 1, 2, 3, or of all; resolves when their ports refuse connections. Dead ones stay dead. */
  async kill(node?: number): Promise<void> {
    await Promise.all(this.#some(node).map((each) => each.kill()))
  }

  /** Starts node 1, 2, 3, or all, again on the same ports and data; resolves when they answer. Running ones run on. */
  async start(node?: number): Promise<void> {
    await Promise.all(this.#some(node).map((each) => each.start()))
  }

  /** Ends it for good, and removes the directory if it was a temporary one. Idempotent. */
  async stop(): Promise<void> {
    await this.#home.close()
    await this.#ports?.release()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  #some(node: number | undefined): readonly ServerNode[] {
    if (node === undefined) return this.#nodes
    const one = this.#nodes[node - 1]
    if (one === undefined) throw new RangeError(`there is no node ${node}, only 1 to ${this.#nodes.length}`)
    return [one]
  }
}

/**
 * Starts a Kafka cluster (KRaft) of our own, in containers where a Docker engine runs, else from packages.
 * @throws StackUnavailableError when this machine can't have it
 * @throws ServerFailedError when it doesn't start, with the end of its log
 */
export async function startKafka(options: KafkaOptions = {}): Promise<KafkaCluster> {
  const count = options.nodes ?? 1
  const reserved = options.basePort === undefined ? await reservePorts(count * PORTS_PER_NODE) : null
  const firstPort = reserved?.ports[0] ?? options.basePort ?? 0
  // Reserved ports stand in a row; with a base port a person should find the nodes at round numbers.
  const distance = reserved === null ? 10 : PORTS_PER_NODE
  const ports = Array.from({ length: count }, (_, index) => kafkaPorts(firstPort + index * distance))
  const clusterId = randomUUID()
  const heap = `${options.heapMiB ?? 256}m`
  let home: ServerHome | null = null
  try {
    home = await ServerHome.open({
      directory: options.directory,
      composeVariables: composeVariables(ports, clusterId, heap),
    })
    const layout = ports.map((each, index): KafkaNode => {
      const internalHost = home?.inDocker ? `kafka-${index + 1}` : '127.0.0.1'
      return { id: index + 1, ports: each, internalHost }
    })
    const certificates = await createCertificates(await home.folder('certificates'))
    const launch = home.inDocker ? null : await launchOf(heap, clusterId)
    const nodes = await startable({ home, layout, certificates, launch, options })
    const cluster = new KafkaCluster(nodes, layout, certificates, home, reserved)
    await cluster.start()
    return cluster
  } catch (error) {
    await home?.close()
    await reserved?.release()
    throw error
  }
}

/** How Kafka's programs are run from its jars. */
interface Launch {
  readonly java: Java
  readonly classPath: string
  readonly heap: string
  readonly clusterId: string
}

interface Plan {
  readonly home: ServerHome
  readonly layout: readonly KafkaNode[]
  readonly certificates: Certificates
  /** null in Docker. */
  readonly launch: Launch | null
  readonly options: KafkaOptions
}

async function launchOf(heap: string, clusterId: string): Promise<Launch> {
  // Kafka needs 17, and was seen to run on 25.
  const java = await requireJava({ from: 17, to: 25 })
  const libraries = await mavenLibraries('kafka', fileURLToPath(new URL('pom.xml', import.meta.url)))
  return { java, classPath: join(libraries, '*'), heap, clusterId }
}

async function startable(plan: Plan): Promise<readonly ServerNode[]> {
  const nodes: ServerNode[] = []
  const runningIds = (): number[] => plan.layout.filter((_, index) => nodes[index]?.running).map(({ id }) => id)
  const runners = await Promise.all(plan.layout.map((node) => runnerOf(node, plan)))
  for (const [index, runner] of runners.entries()) {
    const node = plan.layout[index]
    if (node === undefined) throw new Error('unreachable: a runner without a node')
    const answer = (): Promise<void> => knows(`127.0.0.1:${node.ports.plain}`, runningIds())
    nodes.push(new ServerNode(`kafka-${node.id}`, node.ports.plain, runner, answer))
  }
  return nodes
}

async function runnerOf(node: KafkaNode, plan: Plan): Promise<ServerRunner> {
  const { home, layout, certificates, launch, options } = plan
  const name = `kafka-${node.id}`
  const directory = await home.folder(name)
  const config = join(directory, 'server.properties')
  // Containers keep the data to themselves, so that it needs no rights on this machine.
  const dataDirectory = home.inDocker ? '/var/lib/kafka/data' : join(directory, 'data')
  const properties = serverProperties(node, layout, {
    bindHost: home.inDocker ? '0.0.0.0' : '127.0.0.1',
    dataDirectory,
    certificates: {
      caFile: home.seenByServer(certificates.caFile),
      serverKeystoreFile: home.seenByServer(certificates.serverKeystoreFile),
    },
    autoCreateTopics: options.autoCreateTopics ?? true,
    extraProperties: options.extraProperties ?? {},
  })
  await writeFile(config, properties)
  if (launch === null) return home.containerRunner(name)

  const { command } = launch.java
  const { username, password } = SASL_USER
  const users = SCRAM_MECHANISMS.flatMap((each) => ['-S', `${each}=[name=${username},password=${password}]`])
  // The compiler's first tier is enough for a program this short.
  const quick = ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-Dorg.slf4j.simpleLogger.defaultLogLevel=error']
  const format = ['kafka.tools.StorageTool', 'format', '-t', launch.clusterId, '-c', config, ...users]
  await prepareData(`formatting ${name}`, dataDirectory, home.processes, {
    command,
    args: [...quick, '-cp', launch.classPath, ...format],
    directory,
    logFile: join(directory, 'format.log'),
  })
  const java = [`-Xms${launch.heap}`, `-Xmx${launch.heap}`, '-XX:+UseSerialGC', '-XX:+ExitOnOutOfMemoryError']
  const args = [
    ...java,
    '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
    '-cp',
    launch.classPath,
    'kafka.Kafka',
    config,
  ]
  return new ProcessRunner(home.processes, { command, args, directory, logFile: join(directory, 'server.log') })
}

/** Resolves when the broker answers a client and sees all the given nodes in its cluster. */
async function knows(broker: string, ids: readonly number[]): Promise<void> {
  const kafka = new Kafka({
    brokers: [broker],
    connectionTimeout: 2_000,
    requestTimeout: 5_000,
    retry: { retries: 0 },
    logLevel: logLevel.NOTHING,
  })
  const admin = kafka.admin()
  try {
    await admin.connect()
    const { brokers } = await admin.describeCluster()
    const seen = new Set(brokers.map(({ nodeId }) => nodeId))
    const unseen = ids.filter((id) => !seen.has(id))
    if (unseen.length > 0) throw new Error(`${broker} does not see node ${unseen.join(', ')} yet`)
  } finally {
    await admin.disconnect()
  }
}

function composeVariables(
  ports: readonly KafkaPorts[],
  clusterId: string,
  heap: string,
): Record<string, string | number> {
  const variables: Record<string, string | number> = { KAFKA_CLUSTER_ID: clusterId, KAFKA_HEAP: heap }
  for (const [index, { plain, mutualTls, sasl }] of ports.entries()) {
    variables[`KAFKA_${index + 1}_PLAIN`] = plain
    variables[`KAFKA_${index + 1}_MUTUAL_TLS`] = mutualTls
    variables[`KAFKA_${index + 1}_SASL`] = sasl
  }
  return variables
}
