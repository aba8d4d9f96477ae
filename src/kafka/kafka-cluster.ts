import { requests } from 'kafkajs/src/protocol/requests/index.js'
import type { MetadataAnswer, RequestDefinition } from 'kafkajs/src/protocol/requests/index.js'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { BrokerError } from '../forwarder/broker.ts'
import { apiKeys } from './api-keys.ts'
import { blockingOnly, kafkaAnswerError, kafkaCreationError, kafkaErrorName } from './kafka-errors.ts'
import { formatAddress, KafkaNode, parseAddress } from './kafka-node.ts'
import type { KafkaConnectionOptions } from './kafka-options.ts'
import type { AnswerOf } from './shared-requests.ts'
import { SharedRequests } from './shared-requests.ts'
import { unchecked } from './unchecked-request.ts'

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

interface NewTopic extends TopicShape {
  readonly topic: string
}

/** How many topics one request asks about. */
const layoutsMax = 500
/** How many partitions are created with one request: as many as take a broker well under a second. */
const newPartitionsMax = 50
/** How often it is looked whether they are there; what is not then is left to itself. */
const appearancePollMs = 50
const appearancePollsMax = 60
/** How many topics one request may make the brokers create, with as many partitions as they think fit. */
const autoCreationsMax = 10
/** How often, and how patiently, a cluster that is starting is asked for a producer. */
const enlistAttemptsMax = 5
const enlistPauseMs = 100

/** A cluster as it shows itself through its metadata: its nodes, and which of them leads which partition. */
export class KafkaCluster {
  readonly #clock: Clock
  readonly #log: Log
  readonly #options: KafkaConnectionOptions
  /** By address, the bootstrap brokers first. */
  readonly #nodes = new Map<string, KafkaNode>()
  #addresses = new Map<number, string>()
  #controllerId = -1
  #id: string | undefined
  /** For everything that asks for one and has not used it yet. */
  #producer: ProducerIdentity | undefined
  #enlisting: Promise<void> | undefined
  readonly #layouts: SharedRequests<string, TopicLayout | undefined>
  /** The same, of topics that the brokers create when they are asked about them. */
  readonly #createdLayouts: SharedRequests<string, TopicLayout | undefined>
  readonly #creations: SharedRequests<NewTopic, void>
  readonly #closing = new AbortController()

  constructor(clock: Clock, log: Log, options: KafkaConnectionOptions) {
    this.#clock = clock
    this.#log = log
    this.#options = options
    for (const broker of options.brokers) this.#nodeAt(broker)
    const one = (): number => 1
    const asking = { weightOf: one, weightMax: layoutsMax }
    this.#layouts = new SharedRequests((topics) => this.#askForLayouts(topics, false), asking)
    const autoCreating = { weightOf: one, weightMax: autoCreationsMax }
    this.#createdLayouts = new SharedRequests((topics) => this.#askForLayouts(topics, true), autoCreating)
    const creating = { weightOf: (topic: NewTopic) => topic.partitions, weightMax: newPartitionsMax }
    this.#creations = new SharedRequests((topics) => this.#askToCreate(topics), creating)
  }

  /** The node that a partition's leader is; undefined when the metadata does not know it (any more). */
  node(id: number): KafkaNode | undefined {
    const address = this.#addresses.get(id)
    return address === undefined ? undefined : this.#nodeAt(address)
  }

  /**
   * The layout of a topic, or undefined when there is no such topic. With `mayCreate`, asking for it makes the brokers
   * create it, where they are set up so; then it exists a moment later. Only what is known to be missing should be asked
   * for so: few share such a request.
   */
  layout(topic: string, mayCreate: boolean): Promise<TopicLayout | undefined> {
    return (mayCreate ? this.#createdLayouts : this.#layouts).ask(topic, topic)
  }

  /** The names of all topics that the user may see, but internal ones (`__consumer_offsets` and the like). */
  async topics(): Promise<readonly string[]> {
    const args = { topics: [], allowAutoTopicCreation: false }
    const { topicMetadata } = await this.#askAny(apiKeys.metadata, unchecked(requests.Metadata), args)
    return topicMetadata
      .map(({ topic }) => topic)
      .filter((topic) => !topic.startsWith('__'))
      .toSorted()
  }

  /** A producer, shared by all who ask; but another, younger one than the one that was `used`. */
  async producer(used: ProducerIdentity | undefined): Promise<ProducerIdentity> {
    for (;;) {
      const current = this.#producer
      if (current && current.producerId !== used?.producerId) return current
      // Again, when another cluster in the place of the old one happens to give the number that was used there.
      await (this.#enlisting ??= this.#enlist().finally(() => {
        this.#enlisting = undefined
      }))
    }
  }

  /**
   * Creates a topic; that it exists meanwhile is as good. What keeps it from being created is never `transient`: the
   * topics that are there get on without.
   */
  async createTopic(topic: string, shape: TopicShape): Promise<void> {
    const creating = this.#creations.ask(topic, { topic, ...shape })
    const enough = new AbortController()
    // Later than a request that is not answered ends, which tells more.
    const limitMs = Math.ceil(this.#options.requestTimeout * 1.2)
    const tooLong = this.#clock.sleep(limitMs, enough.signal).then(() => throwPending(topic))
    try {
      await Promise.race([creating, tooLong])
    } catch (error) {
      throw blockingOnly(error)
    } finally {
      enough.abort()
    }
  }

  close(): void {
    this.#closing.abort(closedError())
    for (const node of this.#nodes.values()) node.disconnect()
  }

  async #askForLayouts(
    topics: readonly string[],
    allowAutoTopicCreation: boolean,
  ): Promise<AnswerOf<TopicLayout | undefined>> {
    const args = { topics: [...topics], allowAutoTopicCreation }
    const metadata = await this.#askAny(apiKeys.metadata, unchecked(requests.Metadata), args)
    this.#learn(metadata)
    const byTopic = new Map(metadata.topicMetadata.map((described) => [described.topic, described]))
    return (topic) => layoutOf(topic, byTopic.get(topic))
  }

  async #askToCreate(topics: readonly NewTopic[]): Promise<AnswerOf<void>> {
    const args = {
      topics: topics.map(({ topic, partitions, replicationFactor }) => ({
        topic,
        numPartitions: partitions,
        replicationFactor,
      })),
      // The controller gives up before we do, so that its answer says why.
      timeout: Math.ceil(this.#options.requestTimeout * 0.9),
    }
    const { topicErrors } = await this.#askController(apiKeys.createTopics, unchecked(requests.CreateTopics), args)
    const answers = new Map(topicErrors.map((answer) => [answer.topic, answer]))
    await this.#appeared(topicErrors.filter(({ errorCode }) => errorCode === 0).map(({ topic }) => topic))
    const shapes = new Map(topics.map((topic) => [topic.topic, topic]))
    return (topic) => {
      const answer = answers.get(topic)
      const name = kafkaErrorName(answer?.errorCode ?? 0)
      if (answer?.errorCode === 0) {
        const { partitions, replicationFactor } = shapes.get(topic) as NewTopic
        this.#log.info({ topic, partitions, replicationFactor }, 'created a missing topic')
      } else if (name !== 'TOPIC_ALREADY_EXISTS') {
        throw kafkaCreationError(topic, name, answer?.errorMessage ?? null)
      }
    }
  }

  /**
   * Waits for what was created to be seen by the brokers. They make its partitions after the controller has answered,
   * one after another: a controller that is asked for more meanwhile gets far ahead of them, and then they are late to
   * learn of everything, also of the moves of other topics' partitions.
   */
  async #appeared(topics: readonly string[]): Promise<void> {
    for (let poll = 0; poll < appearancePollsMax; poll++) {
      const layouts = await Promise.allSettled(topics.map((topic) => this.layout(topic, false)))
      const isMissing = ({ leaders }: TopicLayout): boolean => leaders.length === 0 || leaders.includes(-1)
      // What can't be asked for can't be waited for.
      const awaited = layouts.some((asked) => asked.status === 'fulfilled' && (!asked.value || isMissing(asked.value)))
      if (!awaited) return
      await this.#clock.sleep(appearancePollMs, this.#closing.signal)
    }
  }

  async #askController<Arguments, Answer>(
    apiKey: number,
    definition: RequestDefinition<Arguments, Answer>,
    args: Arguments,
  ): Promise<Answer> {
    if (this.#closing.signal.aborted) throw closedError()
    const controller = this.node(this.#controllerId)
    if (!controller) return this.#askAny(apiKey, definition, args)
    try {
      return await controller.ask(apiKey, definition, args)
    } catch (error) {
      // That it is slow says nothing of what others wait for.
      throw error instanceof BrokerError && error.reason === 'REQUEST_TIMEOUT' ? blockingOnly(error) : error
    }
  }

  async #enlist(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        const args = { transactionTimeout: 60_000 }
        const { producerId, producerEpoch } = await this.#askAny(apiKeys.initProducerId, requests.InitProducerId, args)
        this.#log.debug({ producerId, producerEpoch }, 'a new Kafka producer')
        this.#producer = { producerId: BigInt(producerId), epoch: producerEpoch }
        return
      } catch (error) {
        // A cluster that has just started answers so for a moment.
        const isStarting = error instanceof BrokerError && /COORDINATOR|LOAD_IN_PROGRESS/.test(error.reason)
        if (!isStarting) throw error
        // Who has a producer gets on without.
        if (attempt >= enlistAttemptsMax) throw blockingOnly(error)
        await this.#clock.sleep(enlistPauseMs * attempt, this.#closing.signal)
      }
    }
  }

  /** Asks the nodes in turn until one answers: those that are connected first, those that failed of late last. */
  async #askAny<Arguments, Answer>(
    apiKey: number,
    definition: RequestDefinition<Arguments, Answer>,
    args: Arguments,
  ): Promise<Answer> {
    const rank = (node: KafkaNode): number => (node.isConnected ? -1 : (node.failedAt ?? 0))
    const nodes = [...this.#nodes.values()].toSorted((a, b) => rank(a) - rank(b))
    const since = performance.now()
    let worst: BrokerError | undefined
    for (const node of nodes) {
      if (this.#closing.signal.aborted) break
      try {
        return await node.ask(apiKey, definition, args)
      } catch (error) {
        // That one refuses us says more than that another is away.
        if (!(error instanceof BrokerError)) throw error
        if (worst === undefined || worst.failure === 'transient') worst = error
      }
    }
    throw worst ? this.#narrowed(worst, since) : closedError()
  }

  /** While batches get through, the cluster is not away: what could not be asked holds up only those who asked. */
  #narrowed(error: BrokerError, since: number): BrokerError {
    const getsThrough = [...this.#nodes.values()].some(({ producedAt = -1 }) => producedAt >= since)
    return getsThrough ? blockingOnly(error) : error
  }

  #learn({ brokers, controllerId, clusterId }: MetadataAnswer): void {
    // Another cluster in the place of the old one may have given our producer's number to somebody else.
    if (this.#id !== undefined && clusterId && clusterId !== this.#id) this.#producer = undefined
    this.#id = clusterId ?? this.#id
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

type DescribedTopic = MetadataAnswer['topicMetadata'][number]

/** Undefined when there is no such topic. */
function layoutOf(topic: string, described: DescribedTopic | undefined): TopicLayout | undefined {
  const name = kafkaErrorName(described?.topicErrorCode ?? 3)
  if (!described || described.topicErrorCode === 3 || described.topicErrorCode === 5) return undefined
  if (described.topicErrorCode !== 0) throw kafkaAnswerError(name, `topic ${topic}`)
  const leaders = described.partitionMetadata.map(() => -1)
  for (const { partitionId, leader } of described.partitionMetadata) leaders[partitionId] = leader
  return { leaders }
}

function throwPending(topic: string): never {
  throw new BrokerError('blocked', 'CREATION_PENDING', `topic ${topic} waits to be created, behind others`, {
    hint: 'Kafka creates topics one after another; this one keeps its place.',
  })
}

function closedError(): BrokerError {
  return new BrokerError('transient', 'CLOSED', 'the connection to Kafka is closed')
}
