import { requests } from 'kafkajs/src/protocol/requests/index.js'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { BrokerError } from '../forwarder/broker.ts'
import type { ConsumedRecord, Consumer, PartitionOffset, RecordStream } from '../subscriptions/consumer.ts'
import { apiKeys } from './api-keys.ts'
import type { FetchedPartition } from './fetch-request.ts'
import { fetchRequest, readCommitted } from './fetch-request.ts'
import { KafkaCluster } from './kafka-cluster.ts'
import { kafkaAnswerError, kafkaErrorName, kafkaFailureOf } from './kafka-errors.ts'
import type { KafkaConnectionOptions } from './kafka-options.ts'
import { decodeRecordBatches } from './record-batch.ts'

const earliest = -2
const latest = -1

const fetchWaitMs = 500
const fetchBytesMax = 4 * 1024 * 1024
const partitionBytesMax = 1024 * 1024
/** How often the layout is looked at for new partitions, and for a topic that does not exist yet. */
const layoutAgeMaxMs = 10_000
const topicPollMs = 300
/** How long failures in a row are put up with. */
const patienceMs = 10_000
const retryMs = 300

/**
 * The port `Consumer` on a Kafka cluster. It fetches from the partitions' leaders directly, as Java's `assign()` does:
 * no group is joined, so none is left behind on the cluster, and the user needs no rights to any.
 */
export class KafkaConsumer implements Consumer {
  readonly #clock: Clock
  readonly #log: Log
  readonly #cluster: KafkaCluster
  readonly #closing = new AbortController()

  constructor(clock: Clock, log: Log, options: KafkaConnectionOptions) {
    this.#clock = clock
    this.#log = log
    this.#cluster = new KafkaCluster(clock, log, options)
  }

  read(topic: string, from: 'beginning' | 'latest', signal: AbortSignal): RecordStream {
    const ends = AbortSignal.any([signal, this.#closing.signal])
    const reader = new TopicReader(topic, this.#clock, this.#log, this.#cluster)
    const ready = untilAborted(reader.start(from, ends), ends).then(() => {})
    // Whoever iterates learns of it; `ready` is only for those who ask.
    ready.catch(() => {})
    return { ready, [Symbol.asyncIterator]: () => this.#records(reader, ready, ends) }
  }

  async offsetsAt(
    topic: string,
    time: number | 'beginning' | 'end',
    signal: AbortSignal,
  ): Promise<readonly PartitionOffset[]> {
    const ends = AbortSignal.any([signal, this.#closing.signal])
    const reader = new TopicReader(topic, this.#clock, this.#log, this.#cluster)
    const timestamp = time === 'beginning' ? earliest : time === 'end' ? latest : time
    const offsets = await untilAborted(reader.offsetsAt(timestamp, ends), ends)
    ends.throwIfAborted()
    return offsets ?? []
  }

  async *readRange(
    topic: string,
    partition: number,
    fromOffset: number,
    toOffset: number,
    signal: AbortSignal,
  ): AsyncGenerator<ConsumedRecord> {
    const ends = AbortSignal.any([signal, this.#closing.signal])
    const reader = new TopicReader(topic, this.#clock, this.#log, this.#cluster, { partition, fromOffset })
    while (!ends.aborted && reader.position(partition) < toOffset) {
      const records = await untilAborted(reader.next(ends), ends)
      for (const record of records ?? []) {
        if (ends.aborted || record.offset >= toOffset) return
        yield record
      }
    }
  }

  async topics(signal: AbortSignal): Promise<readonly string[]> {
    const ends = AbortSignal.any([signal, this.#closing.signal])
    const topics = await untilAborted(this.#cluster.topics(), ends)
    ends.throwIfAborted()
    return topics ?? []
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error('the consumer is closed'))
    this.#cluster.close()
    await Promise.resolve()
  }

  async *#records(reader: TopicReader, ready: Promise<void>, signal: AbortSignal): AsyncGenerator<ConsumedRecord> {
    await ready
    while (!signal.aborted) {
      const records = await untilAborted(reader.next(signal), signal)
      for (const record of records ?? []) {
        if (signal.aborted) return
        yield record
      }
    }
  }
}

/** What one leader's fetch ended with. */
type Fetch = { readonly nodeId: number } & (
  | {
      readonly kind: 'fetched'
      readonly partitions: readonly FetchedPartition[]
      /** From which offset each of them was asked for. */
      readonly offsets: ReadonlyMap<number, number>
    }
  | { readonly kind: 'failed'; readonly error: unknown }
)

/** A position in one topic. */
class TopicReader {
  readonly #topic: string
  readonly #clock: Clock
  readonly #log: Log
  readonly #cluster: KafkaCluster
  #leaders: readonly number[] = []
  #leadersExpireAt = 0
  /** By partition: the offset to be fetched next, once it is known. */
  readonly #positions = new Map<number, number>()
  /** By leader. One that is slow delays none of the others. */
  readonly #fetches = new Map<number, Promise<Fetch>>()
  readonly #only: number | undefined
  #failingSince: number | undefined

  /** With `part`, it reads from one partition only, and from there on. */
  constructor(
    topic: string,
    clock: Clock,
    log: Log,
    cluster: KafkaCluster,
    part?: { readonly partition: number; readonly fromOffset: number },
  ) {
    this.#topic = topic
    this.#clock = clock
    this.#log = log
    this.#cluster = cluster
    this.#only = part?.partition
    if (part) this.#positions.set(part.partition, part.fromOffset)
  }

  /** The offset that is read next. */
  position(partition: number): number {
    return this.#positions.get(partition) ?? 0
  }

  /** For each partition, where its first record with this timestamp or a later one stands, or its end. */
  async offsetsAt(timestamp: number, signal: AbortSignal): Promise<PartitionOffset[] | undefined> {
    return this.#patiently(signal, async () => {
      await this.#refresh()
      this.#positions.clear()
      await this.#findPositions(timestamp)
      // There is none: whatever comes next will be the first.
      for (const [partition, offset] of this.#positions) if (offset < 0) this.#positions.delete(partition)
      await this.#findPositions(latest)
      return [...this.#positions].map(([partition, offset]) => ({ partition, offset })).toSorted((a, b) => a.partition - b.partition) // prettier-ignore
    })
  }

  /** Fixes the position of every partition. */
  async start(from: 'beginning' | 'latest', signal: AbortSignal): Promise<void> {
    await this.#patiently(signal, async () => {
      await this.#refresh()
      await this.#findPositions(from === 'latest' ? latest : earliest)
    })
    if (this.#leaders.length === 0)
      this.#log.warn({ topic: this.#topic }, 'the topic does not exist yet; waiting for it')
  }

  /** Some records, as soon as there are any; sometimes none. */
  async next(signal: AbortSignal): Promise<ConsumedRecord[]> {
    const records = await this.#patiently(signal, async () => {
      if (this.#clock.monotonic() >= this.#leadersExpireAt) {
        await this.#refresh()
        // What appears after the start is read from its beginning: nothing of it was there before.
        await this.#findPositions(earliest)
        if (this.#only !== undefined && this.#leaders[this.#only] === undefined)
          throw kafkaAnswerError('UNKNOWN_TOPIC_OR_PARTITION', `to read topic ${this.#topic}, partition ${this.#only}`)
      }
      this.#startFetches()
      if (this.#fetches.size === 0) {
        await this.#clock.sleep(topicPollMs, signal)
        this.#leadersExpireAt = 0
        return []
      }
      const fetch = await Promise.race(this.#fetches.values())
      this.#fetches.delete(fetch.nodeId)
      if (fetch.kind === 'failed') throw fetch.error
      return this.#take(fetch.partitions, fetch.offsets)
    })
    return records ?? []
  }

  #startFetches(): void {
    const byLeader = Map.groupBy(this.#positions.keys(), (partition) => this.#leaders[partition] ?? -1)
    for (const [nodeId, partitions] of byLeader) {
      const node = this.#cluster.node(nodeId)
      if (!node || this.#fetches.has(nodeId)) continue
      const wanted = partitions.map((partition) => ({ partition, fetchOffset: this.#positions.get(partition) ?? 0 }))
      const offsets = new Map(wanted.map(({ partition, fetchOffset }) => [partition, fetchOffset]))
      const args = {
        topic: this.#topic,
        // In turn, so that one partition with much in it does not keep the others waiting.
        partitions: rotated(wanted, this.#clock.monotonic()),
        maxWaitMs: fetchWaitMs,
        maxBytes: fetchBytesMax,
        partitionMaxBytes: partitionBytesMax,
      }
      const fetching = node.ask(apiKeys.fetch, fetchRequest, args).then(
        (fetched): Fetch => ({ nodeId, kind: 'fetched', partitions: fetched, offsets }),
        (error: unknown): Fetch => ({ nodeId, kind: 'failed', error }),
      )
      this.#fetches.set(nodeId, fetching)
    }
  }

  #take(fetched: readonly FetchedPartition[], offsets: ReadonlyMap<number, number>): ConsumedRecord[] {
    const taken: ConsumedRecord[] = []
    for (const { partition, errorCode, abortedTransactions, batches } of fetched) {
      const position = this.#positions.get(partition)
      // A former leader's answer may come when the new one's has been taken already.
      if (position === undefined || position !== offsets.get(partition)) continue
      const name = kafkaErrorName(errorCode)
      if (name === 'OFFSET_OUT_OF_RANGE') {
        // Retention was faster than we, or the topic was made anew: on with what there is.
        this.#positions.delete(partition)
        this.#leadersExpireAt = 0
      } else if (errorCode !== 0) {
        if (kafkaFailureOf(name).remedy !== 'refresh') {
          throw kafkaAnswerError(name, `to read topic ${this.#topic}, partition ${partition}`)
        }
        this.#leadersExpireAt = 0
      } else {
        const { records, nextOffset } = decodeRecordBatches(batches, position, abortedTransactions)
        this.#positions.set(partition, nextOffset)
        for (const record of records) taken.push({ topic: this.#topic, partition, ...record })
      }
    }
    return taken
  }

  async #refresh(): Promise<void> {
    const layout = await this.#cluster.layout(this.#topic, false)
    this.#leaders = layout?.leaders ?? []
    this.#leadersExpireAt = this.#clock.monotonic() + layoutAgeMaxMs
  }

  /** Asks for the positions of the partitions that have none yet. */
  async #findPositions(timestamp: number): Promise<void> {
    const missing = [...this.#leaders.keys()].filter(
      (partition) => !this.#positions.has(partition) && (this.#only ?? partition) === partition,
    )
    const byLeader = Map.groupBy(missing, (partition) => this.#leaders[partition] as number)
    for (const [nodeId, partitions] of byLeader) {
      const node = this.#cluster.node(nodeId)
      if (!node) throw kafkaAnswerError('LEADER_NOT_AVAILABLE', `to read topic ${this.#topic}`)
      const topics = [{ topic: this.#topic, partitions: partitions.map((partition) => ({ partition, timestamp })) }]
      const args = { isolationLevel: readCommitted, topics }
      const { responses } = await node.ask(apiKeys.listOffsets, requests.ListOffsets, args)
      for (const { partition, offset } of responses.flatMap((response) => response.partitions)) {
        this.#positions.set(partition, Number(offset))
      }
    }
  }

  /** Undefined when the attempt failed and is to be made again; throws when it has been failing for too long. */
  async #patiently<T>(signal: AbortSignal, attempt: () => Promise<T>): Promise<T | undefined> {
    for (;;) {
      try {
        const result = await attempt()
        this.#failingSince = undefined
        return result
      } catch (error) {
        if (signal.aborted) return undefined
        const now = this.#clock.monotonic()
        this.#failingSince ??= now
        const mayPass = error instanceof BrokerError && (error.failure === 'transient' || isLeaderless(error))
        if (!mayPass || now - this.#failingSince > patienceMs) throw error
        this.#log.debug({ topic: this.#topic, reason: error.reason }, 'reading failed; trying again')
        this.#leadersExpireAt = 0
        await this.#clock.sleep(retryMs, signal)
      }
    }
  }
}

function isLeaderless(error: BrokerError): boolean {
  return kafkaFailureOf(error.reason).remedy === 'refresh'
}

function rotated<T>(items: readonly T[], by: number): T[] {
  const start = Math.floor(by) % items.length
  return [...items.slice(start), ...items.slice(0, start)]
}

/** Undefined as soon as the signal is aborted; what was under way goes on unheeded. */
async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  if (signal.aborted) {
    work.catch(() => {})
    return undefined
  }
  const { promise, resolve } = Promise.withResolvers<undefined>()
  const onAbort = (): void => resolve(undefined)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([work, promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
