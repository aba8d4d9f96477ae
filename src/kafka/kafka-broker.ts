import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { Broker, Delivered, OutgoingMessage } from '../forwarder/broker.ts'
import { BrokerError } from '../forwarder/broker.ts'
import { KafkaCluster } from './kafka-cluster.ts'
import type { KafkaNode } from './kafka-node.ts'
import type { KafkaBrokerOptions } from './kafka-options.ts'
import { ProduceQueue } from './produce-queue.ts'
import { RecordEncoder } from './record-batch.ts'
import { TopicWriter } from './topic-writer.ts'
import type { WriterSurroundings } from './topic-writer.ts'

/** How long `close` waits for sends that are under way; whoever sends has had their own time before. */
const closeTimeoutMs = 500

/**
 * The port `Broker` on a Kafka cluster. Topics are independent of each other: each has its own view of the cluster, its
 * own sequence numbers, and fails alone; what they share are the connections.
 *
 * With `acks: all`, a batch that is sent again after its outcome was unknown is not written twice, as long as it is the
 * same batch; nor is what was written of a batch that failed in part, when the same message objects come again. That
 * holds as long as the process lives, and Kafka knows the producer: it forgets one a day after the *timestamp* of its last
 * message (`producer.id.expiration.ms`), so that a very old message may be written twice around a crash of its leader.
 */
export class KafkaBroker implements Broker {
  readonly #clock: Clock
  readonly #options: KafkaBrokerOptions
  readonly #cluster: KafkaCluster
  readonly #surroundings: WriterSurroundings
  readonly #queues = new WeakMap<KafkaNode, ProduceQueue>()
  readonly #writers = new Map<string, TopicWriter>()
  readonly #sending = new Set<Promise<unknown>>()
  #closing: Promise<void> | undefined

  constructor(clock: Clock, log: Log, options: KafkaBrokerOptions) {
    this.#clock = clock
    this.#options = options
    this.#cluster = new KafkaCluster(clock, log, options)
    this.#surroundings = {
      clock,
      cluster: this.#cluster,
      encoder: new RecordEncoder(),
      random: Math.random,
      queueOf: (node) => this.#queueOf(node),
    }
  }

  async send(topic: string, messages: readonly OutgoingMessage[], signal: AbortSignal): Promise<Delivered> {
    signal.throwIfAborted()
    if (this.#closing) throw new BrokerError('transient', 'CLOSED', 'the connection to Kafka is closed')
    if (messages.length === 0) return { partitions: [], offsets: [] }
    const sending = this.#writerOf(topic).write(messages, signal)
    this.#sending.add(sending)
    try {
      return await sending
    } finally {
      this.#sending.delete(sending)
    }
  }

  prepare(topic: string, messages: readonly OutgoingMessage[]): void {
    this.#writers.get(topic)?.prepare(messages)
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close())
  }

  async #close(): Promise<void> {
    if (this.#sending.size > 0) {
      const enough = new AbortController()
      await Promise.race([
        Promise.allSettled(this.#sending),
        this.#clock.sleep(closeTimeoutMs, enough.signal).catch(() => {}),
      ])
      enough.abort()
    }
    this.#cluster.close()
  }

  #writerOf(topic: string): TopicWriter {
    let writer = this.#writers.get(topic)
    if (!writer) {
      const { acks, compression, createTopics } = this.#options
      writer = new TopicWriter(topic, this.#surroundings, { idempotent: acks === 'all', compression, createTopics })
      this.#writers.set(topic, writer)
    }
    return writer
  }

  #queueOf(node: KafkaNode): ProduceQueue {
    let queue = this.#queues.get(node)
    if (!queue) {
      const { acks, requestTimeout } = this.#options
      // The leader gives up before we do, so that its answer says why.
      queue = new ProduceQueue(node, { acks, timeoutMs: Math.ceil(requestTimeout * 0.9) })
      this.#queues.set(node, queue)
    }
    return queue
  }
}
