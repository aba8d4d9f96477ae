import { requests } from 'kafkajs/src/protocol/requests/index.js'
import type { Exchange, MetadataAnswer, RequestDefinition } from 'kafkajs/src/protocol/requests/index.js'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { BrokerError } from '../forwarder/broker.ts'
import { apiKeys } from './api-keys.ts'
import { kafkaAnswerError, kafkaErrorName } from './kafka-errors.ts'
import { formatAddress, KafkaNode, parseAddress } from './kafka-node.ts'
import type { KafkaConnectionOptions } from './kafka-options.ts'

/** What the cluster says about one topic: the leader's node id of each partition, or -1 while it has none. */
export interface TopicLayout {
  readonly leaders: readonly number[]
}

export interface ProducerIdentity {
  readonly producerId: bigint
  readonly epoch: number
}

export interface TopicShape {
  readonly partitions: number
  readonly replicationFactor: number
}

/** A cluster as it shows itself through its metadata: its nodes, and which of them leads which partition. */
export class KafkaCluster {
  readonly #clock: Clock
  readonly #log: Log
  readonly #options: KafkaConnectionOptions
  /** By address, the bootstrap brokers first. */
  readonly #nodes = new Map<string, KafkaNode>()
  #addresses = new Map<number, string>()
  #controllerId = -1
  #closed = false

  constructor(clock: Clock, log: Log, options: KafkaConnectionOptions) {
    this.#clock = clock
    this.#log = log
    this.#options = options
    for (const broker of options.brokers) this.#nodeAt(broker)
  }

  /** The node that a partition's leader is; undefined when the metadata does not know it (any more). */
  node(id: number): KafkaNode | undefined {
    const address = this.#addresses.get(id)
    return address === undefined ? undefined : this.#nodeAt(address)
  }

  /**
   * The layout of a topic, or undefined when there is no such topic. With `mayCreate`, asking for it makes the brokers
   * create it, where they are set up so; then it exists a moment later.
   */
  async layout(topic: string, mayCreate: boolean): Promise<TopicLayout | undefined> {
    const args = { topics: [topic], allowAutoTopicCreation: mayCreate }
    const metadata = await this.#askAny(apiKeys.metadata, unchecked(requests.Metadata), args)
    this.#learn(metadata)
    const described = metadata.topicMetadata.find((candidate) => candidate.topic === topic)
    const name = kafkaErrorName(described?.topicErrorCode ?? 3)
    if (!described || described.topicErrorCode === 3 || described.topicErrorCode === 5) return undefined
    if (described.topicErrorCode !== 0) throw kafkaAnswerError(name, `topic ${topic}`)
    const leaders = described.partitionMetadata.map(() => -1)
    for (const { partitionId, leader } of described.partitionMetadata) leaders[partitionId] = leader
    return { leaders }
  }

  /** A producer that never wrote anything. */
  async newProducer(signal: AbortSignal): Promise<ProducerIdentity> {
    for (let attempt = 1; ; attempt++) {
      try {
        const args = { transactionTimeout: 60_000 }
        const { producerId, producerEpoch } = await this.#askAny(apiKeys.initProducerId, requests.InitProducerId, args)
        this.#log.debug({ producerId, producerEpoch }, 'a new Kafka producer')
        return { producerId: BigInt(producerId), epoch: producerEpoch }
      } catch (error) {
        // A cluster that has just started answers so for a moment.
        const isStarting = error instanceof BrokerError && /COORDINATOR|LOAD_IN_PROGRESS/.test(error.reason)
        if (!isStarting || attempt >= 5) throw error
        await this.#clock.sleep(100 * attempt, signal)
      }
    }
  }

  /** Creates a topic; that it exists meanwhile is as good. */
  async createTopic(topic: string, { partitions, replicationFactor }: TopicShape): Promise<void> {
    const args = {
      topics: [{ topic, numPartitions: partitions, replicationFactor }],
      timeout: this.#options.requestTimeout,
    }
    const controller = this.node(this.#controllerId)
    const definition = unchecked(requests.CreateTopics)
    const { topicErrors } = controller
      ? await controller.ask(apiKeys.createTopics, definition, args)
      : await this.#askAny(apiKeys.createTopics, definition, args)
    const name = kafkaErrorName(topicErrors[0]?.errorCode ?? 0)
    if (topicErrors[0]?.errorCode === 0) {
      this.#log.info({ topic, partitions, replicationFactor }, 'created a missing topic')
    } else if (name === 'TOPIC_AUTHORIZATION_FAILED' || name === 'CLUSTER_AUTHORIZATION_FAILED') {
      throw new BrokerError('blocked', name, `Kafka refuses to create topic ${topic}: ${name}`, {
        hint: 'Allow the user to create topics (ACL operation Create on the cluster or topic), or create it by hand.',
      })
    } else if (name !== 'TOPIC_ALREADY_EXISTS') {
      throw kafkaAnswerError(name, `to create topic ${topic}`, topicErrors[0]?.errorMessage ?? null)
    }
  }

  close(): void {
    this.#closed = true
    for (const node of this.#nodes.values()) node.disconnect()
  }

  /** Asks the nodes in turn until one answers: those that are connected first, those that failed of late last. */
  async #askAny<Arguments, Answer>(
    apiKey: number,
    definition: RequestDefinition<Arguments, Answer>,
    args: Arguments,
  ): Promise<Answer> {
    const rank = (node: KafkaNode): number => (node.isConnected ? -1 : (node.failedAt ?? 0))
    const nodes = [...this.#nodes.values()].toSorted((a, b) => rank(a) - rank(b))
    let worst: BrokerError | undefined
    for (const node of nodes) {
      if (this.#closed) break
      try {
        return await node.ask(apiKey, definition, args)
      } catch (error) {
        // That one refuses us says more than that another is away.
        if (!(error instanceof BrokerError)) throw error
        if (worst === undefined || worst.failure === 'transient') worst = error
      }
    }
    throw worst ?? new BrokerError('transient', 'CLOSED', 'the connection to Kafka is closed')
  }

  #learn({ brokers, controllerId }: MetadataAnswer): void {
    this.#addresses = new Map(brokers.map(({ nodeId, host, port }) => [nodeId, formatAddress({ host, port })]))
    this.#controllerId = controllerId
    const known = new Set([...this.#options.brokers, ...this.#addresses.values()])
    for (const [address, node] of this.#nodes) {
      if (known.has(address)) continue
      // A broker that has left the cluster.
      node.disconnect()
      this.#nodes.delete(address)
    }
    for (const address of this.#addresses.values()) this.#nodeAt(address)
  }

  #nodeAt(address: string): KafkaNode {
    let node = this.#nodes.get(address)
    if (!node) {
      node = new KafkaNode(parseAddress(address), this.#options, this.#log)
      this.#nodes.set(address, node)
    }
    return node
  }
}

/**
 * The same request, with its answer as it came: kafkajs throws away the whole answer when one topic of it has an error,
 * so that a topic that was deleted would blind all the others.
 */
function unchecked<Arguments, Answer>(
  definition: RequestDefinition<Arguments, Answer>,
): RequestDefinition<Arguments, Answer> {
  return {
    versions: definition.versions,
    protocol(choice) {
      const create = definition.protocol(choice)
      return (args): Exchange<Answer> => {
        const exchange = create(args)
        const { response } = exchange
        return {
          ...exchange,
          response: { decode: (data) => response.decode(data), parse: async (decoded) => decoded as Answer },
        }
      }
    },
  }
}
