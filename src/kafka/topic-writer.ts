import type { Clock } from '../base/clock.ts'
import type { Delivered, OutgoingMessage } from '../forwarder/broker.ts'
import { BrokerError } from '../forwarder/broker.ts'
import { partitionOfKey } from '../message/partitioner.ts'
import { Aborting } from './aborting.ts'
import { kafkaAnswerError, kafkaErrorName, kafkaFailureOf } from './kafka-errors.ts'
import type { KafkaCluster, ProducerIdentity, TopicLayout, TopicShape } from './kafka-cluster.ts'
import type { KafkaNode } from './kafka-node.ts'
import type { Compression } from './compression.ts'
import { PartitionSequence } from './partition-sequence.ts'
import type { ProduceQueue } from './produce-queue.ts'
import type { ProducerStamp, RecordBatch, RecordEncoder } from './record-batch.ts'
import { noProducer } from './record-batch.ts'

export interface TopicWriterOptions {
  /** Numbers its batches, so that none is written twice. */
  readonly idempotent: boolean
  readonly compression: Compression
  readonly createTopics: TopicShape | undefined
}

/** What the writers of all topics share. */
export interface WriterSurroundings {
  readonly clock: Clock
  readonly cluster: Pick<KafkaCluster, 'node' | 'layout' | 'createTopic' | 'producer'>
  readonly encoder: RecordEncoder
  /** From 0 to below 1. */
  readonly random: () => number
  queueOf(node: KafkaNode): Pick<ProduceQueue, 'add'>
}

/** After so long a layout is asked for again, to learn of new partitions. */
const layoutAgeMaxMs = 5 * 60_000
/** How often, and after which pauses, one `write` looks again before it gives up on a partition. */
const pausesMs = [50, 250]
/** The same for a topic that was just created: its leader is known before it is ready. */
const newTopicPausesMs = [...pausesMs, 500, 1000]
/** How long a topic that was just created, by us or by the brokers, may take to appear. */
const appearPausesMs = [50, 100, 200, 300, 400]

/** The messages of a batch that go to one partition. */
interface Share {
  readonly partition: number
  /** Where they stand in the batch. */
  readonly indexes: readonly number[]
  readonly batch: RecordBatch
  /** Once they are written. */
  baseOffset: number | undefined
}

/** A batch, placed and encoded. */
interface Prepared {
  readonly messages: readonly OutgoingMessage[]
  readonly layout: TopicLayout
  readonly partitions: readonly number[]
  /** The partition of its messages without a key. */
  readonly sticky: number | undefined
  readonly shares: Promise<Share[]>
}

/**
 * Writes one topic's batches, one after another. Keeps what must outlive a single `write`: the topic's layout, the
 * sequence number of each partition, and what was written of a batch that failed as a whole.
 */
export class TopicWriter {
  readonly #topic: string
  readonly #surroundings: WriterSurroundings
  readonly #options: TopicWriterOptions
  readonly #sequences: PartitionSequence[] = []
  #layout: TopicLayout | undefined
  #layoutExpiresAt = 0
  /** Until something is written, when it was not there at first. */
  #isNew = false
  #isRenewingLayout = false
  /** The partition for messages without a key; another one after each batch that got through. */
  #sticky: number | undefined
  /** Messages that were written although their batch failed; they will come again, and must not be written twice. */
  #written: WeakMap<OutgoingMessage, { partition: number; offset: number }> | undefined
  #prepared: Prepared | undefined
  #last: Promise<unknown> = Promise.resolve()

  constructor(topic: string, surroundings: WriterSurroundings, options: TopicWriterOptions) {
    this.#topic = topic
    this.#surroundings = surroundings
    this.#options = options
  }

  /** As `Broker.send`. Waits for the write before it, which ends promptly when it is aborted. */
  async write(messages: readonly OutgoingMessage[], signal: AbortSignal): Promise<Delivered> {
    const before = this.#last
    const abort = new Aborting(signal)
    const writing = abort.orDone(before).then(() => this.#write(messages, abort))
    this.#last = Promise.allSettled([before, writing]).then(() => undefined)
    try {
      return await writing
    } finally {
      abort.dispose()
    }
  }

  /** Places and encodes what the next `write` will probably be given, while another one is under way. */
  prepare(messages: readonly OutgoingMessage[]): void {
    const layout = this.#layout
    if (layout === undefined || highestPartition(messages) >= layout.leaders.length) return
    const prepared = this.#prepare(messages, layout, undefined)
    prepared.shares.catch(() => {}) // whoever writes it will see
    this.#prepared = prepared
  }

  #prepare(messages: readonly OutgoingMessage[], layout: TopicLayout, sticky: number | undefined): Prepared {
    const placed = this.#place(messages, layout, sticky)
    return { messages, layout, ...placed, shares: this.#shares(messages, placed.partitions) }
  }

  async #write(messages: readonly OutgoingMessage[], abort: Aborting): Promise<Delivered> {
    let layout = await this.#currentLayout(abort)
    if (highestPartition(messages) >= layout.leaders.length) layout = await this.#refresh(abort)
    const ahead = this.#prepared
    this.#prepared = undefined
    const isReady = ahead?.messages === messages && ahead.layout === layout
    const prepared = isReady ? ahead : this.#prepare(messages, layout, this.#sticky)
    const { partitions } = prepared
    // It stays with its partition until it got through.
    this.#sticky = prepared.sticky
    const offsets = messages.map((message) => this.#written?.get(message)?.offset ?? -1)
    const shares = await prepared.shares
    try {
      await this.#deliver(shares, layout, abort)
    } catch (error) {
      this.#remember(shares, messages)
      throw error
    }
    for (const { indexes, baseOffset = 0 } of shares) {
      for (const [i, index] of indexes.entries()) offsets[index] = baseOffset + i
    }
    this.#sticky = undefined
    this.#written = undefined
    this.#isNew = false
    return { partitions, offsets }
  }

  /** Throws when some share is not written at last; none is under way then, unless it was aborted. */
  async #deliver(shares: readonly Share[], firstLayout: TopicLayout, abort: Aborting): Promise<void> {
    let layout = firstLayout
    const enlist = (used: ProducerIdentity | undefined): Promise<ProducerIdentity> =>
      abort.orDone(this.#surroundings.cluster.producer(used))
    for (let attempt = 0; ; attempt++) {
      const missing = shares.filter((share) => share.baseOffset === undefined)
      const ends = await Promise.allSettled(missing.map((share) => this.#ship(share, layout, enlist, abort)))
      const problems = ends.map((end) => (end.status === 'fulfilled' ? end.value : problemOf(end.reason)))
      const worst = worstOf(problems)
      if (!worst) return
      const pauseMs = (this.#isNew ? newTopicPausesMs : pausesMs)[attempt]
      if (pauseMs === undefined || !problems.some((problem) => problem?.tryAgain)) throw worst.error
      await this.#surroundings.clock.sleep(pauseMs, abort.signal)
      // When the cluster itself can't be asked, that is the error: it concerns all topics.
      layout = await this.#refresh(abort)
    }
  }

  async #ship(
    share: Share,
    { leaders }: TopicLayout,
    enlist: (used: ProducerIdentity | undefined) => Promise<ProducerIdentity>,
    abort: Aborting,
  ): Promise<Problem | undefined> {
    const { partition, batch } = share
    const sequence = (this.#sequences[partition] ??= new PartitionSequence())
    share.baseOffset = sequence.offsetOf(batch)
    if (share.baseOffset !== undefined) return undefined
    const node = this.#surroundings.cluster.node(leaders[partition] ?? -1)
    if (!node) return this.#problem(partition, 'LEADER_NOT_AVAILABLE')
    const stamp = this.#options.idempotent ? await sequence.stampFor(batch, enlist) : noProducer
    abort.signal.throwIfAborted()
    const queue = this.#surroundings.queueOf(node)
    const parcel = queue.add({ topic: this.#topic, partition, bytes: batch.stampedWith(stamp) })
    const outcome = await abort.orDone(parcel.outcome).catch((reason: unknown) => {
      // It can't be taken back any more once it is on its way. It may arrive even behind the next write: then it is
      // a repetition of what that one has written, in the same order.
      if (!parcel.withdraw()) sequence.doubt(batch, stamp)
      throw reason
    })
    if (outcome.kind === 'unanswered') {
      if (outcome.wasSent) sequence.doubt(batch, stamp)
      return this.#unanswered(partition, node, outcome.error)
    }
    if (outcome.errorCode === 0) {
      sequence.acknowledge(batch, stamp)
      share.baseOffset = outcome.baseOffset
      return undefined
    }
    return this.#refused(share, sequence, stamp, kafkaErrorName(outcome.errorCode))
  }

  #refused({ batch, partition }: Share, sequence: PartitionSequence, stamp: ProducerStamp, name: string): Problem {
    const { remedy, maybeKept } = kafkaFailureOf(name)
    if (remedy === 'renew') sequence.renew()
    else if (maybeKept) sequence.doubt(batch, stamp)
    return this.#problem(partition, name)
  }

  #problem(partition: number, name: string): Problem {
    const error = kafkaAnswerError(name, `a batch for topic ${this.#topic}, partition ${partition}`)
    return { error, tryAgain: kafkaFailureOf(name).remedy !== 'none' }
  }

  /** A leader that can't be reached. If the cluster can, that is this topic's trouble and not the cluster's. */
  #unanswered(partition: number, node: KafkaNode, error: unknown): Problem {
    if (!(error instanceof BrokerError)) throw error
    if (error.failure !== 'transient') return { error, tryAgain: false }
    // It has taken long enough already.
    if (error.reason === 'REQUEST_TIMEOUT') return { error, tryAgain: false }
    const blocked = new BrokerError(
      'blocked',
      error.reason,
      `the leader of topic ${this.#topic}, partition ${partition}, can't be reached at ${node.address}, though the cluster can: ${error.message}`,
      { cause: error, hint: "Check whether this broker runs, and the brokers' advertised.listeners." },
    )
    return { error: blocked, tryAgain: true }
  }

  async #currentLayout(abort: Aborting): Promise<TopicLayout> {
    if (!this.#layout) return this.#refresh(abort)
    // An old layout is as good until it proves wrong: no batch waits for an answer that is needed for later ones only.
    if (this.#surroundings.clock.monotonic() >= this.#layoutExpiresAt) this.#renewLayout()
    return this.#layout
  }

  #renewLayout(): void {
    if (this.#isRenewingLayout) return
    this.#isRenewingLayout = true
    const old = this.#layout
    void this.#surroundings.cluster
      .layout(this.#topic, false)
      .then(
        // A topic that is gone is looked for, and perhaps made, by the next `write`.
        (layout) => {
          if (this.#layout === old) this.#learn(layout)
        },
        (error: unknown) => {
          // The old one stays, and what is wrong with it shows when it is used.
          if (!(error instanceof BrokerError)) throw error
        },
      )
      .finally(() => {
        this.#isRenewingLayout = false
      })
  }

  #learn(layout: TopicLayout | undefined): void {
    this.#layout = layout
    this.#layoutExpiresAt = this.#surroundings.clock.monotonic() + layoutAgeMaxMs
  }

  async #refresh(abort: Aborting): Promise<TopicLayout> {
    const layout = await abort.orDone(this.#lookUp(abort.signal))
    this.#learn(layout)
    if (!layout) throw kafkaAnswerError('UNKNOWN_TOPIC_OR_PARTITION', `topic ${this.#topic}, which does not exist`)
    return layout
  }

  async #lookUp(signal: AbortSignal): Promise<TopicLayout | undefined> {
    const { clock, cluster } = this.#surroundings
    const { createTopics } = this.#options
    const ask = (): Promise<TopicLayout | undefined> => cluster.layout(this.#topic, false)
    let layout = await ask()
    if (!layout) {
      this.#isNew = true
      // Where we create topics, the brokers are not asked to do it with settings of their own.
      if (createTopics) await cluster.createTopic(this.#topic, createTopics)
      layout = await (createTopics ? ask() : cluster.layout(this.#topic, true))
    }
    for (const pauseMs of appearPausesMs) {
      if (layout?.leaders.some((leader) => leader >= 0)) return layout
      await clock.sleep(pauseMs, signal)
      layout = await ask()
    }
    return layout
  }

  #place(
    messages: readonly OutgoingMessage[],
    { leaders }: TopicLayout,
    stickyBefore: number | undefined,
  ): { partitions: number[]; sticky: number | undefined } {
    const count = leaders.length
    let sticky = stickyBefore
    const partitions = messages.map((message) => {
      const { partition, key } = message
      const known = this.#written?.get(message)
      if (known) return known.partition
      if (partition !== null) {
        if (partition >= 0 && partition < count) return partition
        throw new BrokerError('permanent', 'UNKNOWN_PARTITION', `topic ${this.#topic} has no partition ${partition}`, {
          hint: `It has ${count}, from 0 to ${count - 1}.`,
        })
      }
      if (key !== null) return partitionOfKey(key, count)
      if (sticky === undefined || (leaders[sticky] ?? -1) < 0) sticky = this.#anyPartition(leaders)
      return sticky
    })
    return { partitions, sticky }
  }

  #anyPartition(leaders: readonly number[]): number {
    const led = [...leaders.keys()].filter((partition) => (leaders[partition] as number) >= 0)
    const candidates = led.length > 0 ? led : [...leaders.keys()]
    return candidates[Math.floor(this.#surroundings.random() * candidates.length)] as number
  }

  /** Groups and encodes what is not written yet. */
  async #shares(messages: readonly OutgoingMessage[], partitions: readonly number[]): Promise<Share[]> {
    const indexes = new Map<number, number[]>()
    for (let i = 0; i < messages.length; i++) {
      if (this.#written?.has(messages[i] as OutgoingMessage)) continue
      const ofPartition = indexes.get(partitions[i] as number)
      if (ofPartition) ofPartition.push(i)
      else indexes.set(partitions[i] as number, [i])
    }
    const { encoder } = this.#surroundings
    return Promise.all(
      [...indexes].map(async ([partition, ofPartition]) => {
        const own =
          indexes.size === 1 && ofPartition.length === messages.length ? messages : pick(messages, ofPartition)
        const batch = await encoder.encode(own).compressed(this.#options.compression)
        return { partition, indexes: ofPartition, batch, baseOffset: undefined }
      }),
    )
  }

  /** What of a failed batch is written: the same messages come again, as they are or in parts. */
  #remember(shares: readonly Share[], messages: readonly OutgoingMessage[]): void {
    for (const { partition, indexes, batch, baseOffset } of shares) {
      if (baseOffset === undefined) continue
      this.#written ??= new WeakMap()
      this.#sequences[partition]?.keep(batch, baseOffset)
      for (const [i, index] of indexes.entries()) {
        this.#written.set(messages[index] as OutgoingMessage, { partition, offset: baseOffset + i })
      }
    }
  }
}

/** Why a share was not written, and whether a look at the cluster's layout may help. */
interface Problem {
  readonly error: BrokerError
  readonly tryAgain: boolean
}

function highestPartition(messages: readonly OutgoingMessage[]): number {
  return messages.reduce((most, { partition }) => Math.max(most, partition ?? 0), 0)
}

const severity = { fatal: 3, transient: 2, blocked: 1, permanent: 0 } as const

/** Only when nothing else is in the way is it worth taking the batch apart. */
function worstOf(problems: readonly (Problem | undefined)[]): Problem | undefined {
  let worst: Problem | undefined
  for (const problem of problems) {
    if (problem && (!worst || severity[problem.error.failure] > severity[worst.error.failure])) worst = problem
  }
  return worst
}

function pick<T>(items: readonly T[], indexes: readonly number[]): T[] {
  return indexes.map((index) => items[index] as T)
}

/** What a share's way ended with, other than by an answer. Anything but a `BrokerError` is the abort, or a bug. */
function problemOf(reason: unknown): Problem {
  if (reason instanceof BrokerError) return { error: reason, tryAgain: false }
  throw reason
}
