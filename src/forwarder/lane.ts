import type { Clock } from '../base/clock.ts'
import { UnavailableError } from '../base/errors.ts'
import type { Breaker } from '../base/resilience.ts'
import { Backoff, CircuitOpenError, TimeoutError, withTimeout } from '../base/resilience.ts'
import { decodeMessage, topicOf } from '../message/message-codec.ts'
import { formatMessageId } from '../message/message-id.ts'
import type { Broker, Delivered, OutgoingMessage } from './broker.ts'
import { BrokerError } from './broker.ts'
import type { LaneMemory, QueuedRecord, QueueLimits } from './lane-queue.ts'
import { LaneQueue } from './lane-queue.ts'
import { outgoingMessages } from './outgoing-messages.ts'
import type { ReadableJournal, RecordBlock } from '../base/record-reader.ts'
import type { DeadLetterBox } from './ports.ts'
import type { ReaderPool } from './reader-pool.ts'
import type { DeadReceipt, DeliveredReceipt, LostReceipt } from '../message/receipt.ts'
import { rangesOfSeqs } from './seq-ranges.ts'

export interface LaneOptions {
  readonly batchBytesMax: number
  readonly batchMessagesMax: number
  readonly laneBytesMax: number
  /** What all lanes together hold in memory, in bytes. */
  readonly memoryBytesMax: number
  /** A lane begins its sends at least so far apart, unless a full batch waits; so batches grow with the load. */
  readonly linger: number
  readonly sendTimeout: number
  readonly retryDelay: number
  readonly retryDelayMax: number
}

/** What all lanes share. */
export interface LaneContext {
  readonly journal: ReadableJournal
  readonly broker: Broker
  readonly breaker: Breaker
  readonly deadLetters: DeadLetterBox
  readonly clock: Clock
  readonly options: LaneOptions
  /** What all lanes hold in memory together. */
  readonly memory: LaneMemory
  readonly readers: ReaderPool
  /** Aborts when forwarding ends: nothing new is begun. */
  readonly signal: AbortSignal
  /** Aborts what is being sent, some time later. */
  readonly sendSignal: AbortSignal
  /** One past the last seq that has been handed to the lanes. */
  headSeq(): number
  /** Takes a receipt; waits while too many are not durable yet. */
  record(receipt: DeliveredReceipt | DeadReceipt | LostReceipt): Promise<void>
  /** As `record`, but resolves when the receipt is durable. */
  recordDurably(receipt: LostReceipt): Promise<void>
  /** What is below this seq, and not finished, is not delivered any more. */
  giveUpSeq(): number
  /** Resolves when it is noted which messages of a gap are lost. */
  lose(gap: RecordBlock): Promise<void>
  /** Something changed that others may wait for. */
  changed(): void
  sent(lane: Lane, messages: number, acceptedAt: number): void
  retrying(lane: Lane, error: BrokerError, attempts: number, delayMs: number): void
  died(lane: Lane, id: string, error: BrokerError): void
}

/** Kafka's own bytes for a record and the headers that Outrigger adds, roughly. */
const messageOverheadBytes = 160

/**
 * The ordered queue of one topic. One batch is under way at a time, and always the oldest records; so nothing overtakes.
 *
 * A lane is *attached* while every record of its topic is handed to it as it is read. When it holds too much it is
 * *detached* (`behindFrom`): what comes is skipped, and later read again from the journal, until it has caught up.
 */
export class Lane {
  readonly topic: string
  readonly #context: LaneContext
  readonly #queue: LaneQueue
  readonly #backoff: Backoff
  #behindFrom: number | null = null
  /** Of the oldest message, when it was forgotten and not read again yet. */
  #forgottenAcceptedAt: number | null = null
  #attempts = 0
  #failure: { readonly since: number; readonly error: BrokerError } | null = null
  #sendingSince: number | null = null
  /** Between two attempts: no batch is in hand. Aborting it ends the rest. */
  #resting: AbortController | null = null
  /** While a batch that failed is sent again, whole or bisected: how many records to send at once, and the last one under suspicion. */
  #suspicion: { readonly countMax: number; readonly seqMax: number } | null = null
  /**
   * How many records to send at once while trust is regained after a death: where one was refused there are often more,
   * and each would cost a bisection of its own. Doubles with each success.
   */
  #trusted = Number.POSITIVE_INFINITY
  /** The batch behind the one that is under way, made ready meanwhile. */
  #ahead: { readonly batch: QueuedRecord[]; readonly messages: readonly OutgoingMessage[] } | null = null
  #running = false

  constructor(topic: string, context: LaneContext) {
    this.topic = topic
    this.#context = context
    this.#queue = new LaneQueue(context.memory)
    this.#backoff = new Backoff({ initialMs: context.options.retryDelay, maxMs: context.options.retryDelayMax })
  }

  /** The lowest seq of this lane that is not finished, or null when all are. */
  get firstUnfinished(): number | null {
    return this.#queue.first?.seq ?? this.#behindFrom
  }

  get queuedBytes(): number {
    return this.#queue.bytes
  }

  get queuedMessages(): number {
    return this.#queue.length
  }

  /** Calls `visit` for the seq of every message in memory, ascending. */
  forEachQueued(visit: (seq: number) => void): void {
    this.#queue.forEachSeq(visit)
  }

  get isRunning(): boolean {
    return this.#running
  }

  get isFull(): boolean {
    return this.#behindFrom === null && this.#queue.bytes > this.#context.options.laneBytesMax
  }

  /** What keeps it from delivering, or null. */
  get failure(): { readonly since: number; readonly error: BrokerError; readonly attempts: number } | null {
    return this.#failure && { ...this.#failure, attempts: this.#attempts }
  }

  /** When the oldest message that it knows was accepted (milliseconds since the epoch), or null. */
  get oldestAcceptedAt(): number | null {
    const first = this.#queue.first
    return first === undefined
      ? this.#forgottenAcceptedAt
      : decodeMessage(first.bytes, first.start, first.seq).acceptedAt
  }

  /** Since when (monotonic milliseconds) it has been failing or waiting for an answer; null when it does neither. */
  get troubledSince(): number | null {
    return this.#failure?.since ?? this.#sendingSince
  }

  /** Whether this lane should not be waited for: it has trouble, and the cluster seems to work nevertheless. */
  isStuck(clusterWorks: boolean): boolean {
    if (this.#failure?.error.failure === 'blocked') return true
    const since = this.troubledSince
    return since !== null && clusterWorks && this.#context.clock.monotonic() - since > stuckAfterMs
  }

  /** Takes a record as it is read from the journal; it is skipped while the lane is detached. */
  offer(seq: number, bytes: Buffer, start: number, end: number): void {
    if (this.#behindFrom === null) this.#queue.push(seq, bytes, start, end)
  }

  /** From now on records are skipped, to be read again later. With `forget`, those in memory too, unless they are in hand. */
  detach(forget: boolean): void {
    this.#behindFrom ??= this.#context.headSeq()
    if (!forget || this.#resting === null) return
    this.#forgottenAcceptedAt = this.oldestAcceptedAt
    this.#behindFrom = this.#queue.first?.seq ?? this.#behindFrom
    this.#queue.clear()
  }

  /** What is below `giveUpSeq` goes at once, but for a batch that is in hand: that may still be delivered, and goes when it is not. */
  giveUp(): void {
    if (this.#hasToGiveUp) this.#resting?.abort()
  }

  get #hasToGiveUp(): boolean {
    // Its memory may have been taken away while it rests.
    return (this.firstUnfinished ?? Number.POSITIVE_INFINITY) < this.#context.giveUpSeq()
  }

  /** Makes sure that the lane works as long as it has something to do. Rejects on bugs and on a corrupt journal only. */
  async run(): Promise<void> {
    this.#running = true
    try {
      while (!this.#context.signal.aborted && this.firstUnfinished !== null) {
        if (this.#queue.length === 0) await this.#catchUp()
        else if (this.#hasToGiveUp) await this.#drop()
        else await this.#sendOldest()
      }
    } catch (error) {
      if (!this.#context.signal.aborted) throw error
    } finally {
      await this.#context.readers.drop(this)
      this.#running = false
    }
  }

  async #sendOldest(): Promise<void> {
    const { breaker, clock, signal } = this.#context
    let batch: QueuedRecord[] = []
    let delivered: Delivered
    try {
      // Nothing is made ready for a breaker that is open.
      delivered = await breaker.execute(() => {
        signal.throwIfAborted()
        batch = this.#nextBatch()
        return this.#send(batch)
      })
    } catch (error) {
      this.#sendingSince = null
      signal.throwIfAborted()
      if (error instanceof CircuitOpenError) await this.#rest((rest) => breaker.untilNextTry(rest))
      else if (error instanceof BrokerError) await this.#failed(error, batch)
      else throw error
      return
    }
    const sentAt = this.#sendingSince ?? clock.monotonic()
    this.#sendingSince = null
    if (delivered.partitions.length !== batch.length || delivered.offsets.length !== batch.length)
      throw new Error(`the broker gave ${delivered.offsets.length} places for ${batch.length} messages`)
    await this.#delivered(batch, delivered)
    await this.#linger(sentAt)
  }

  async #linger(sentAt: number): Promise<void> {
    const { clock, options } = this.#context
    if (this.#queue.bytes >= options.batchBytesMax || this.#queue.length >= options.batchMessagesMax) return
    const restMs = Math.ceil(sentAt + options.linger - clock.monotonic())
    if (restMs > 0) await this.#rest((rest) => clock.sleep(restMs, rest))
  }

  #nextBatch(): QueuedRecord[] {
    const { options } = this.#context
    const ahead = this.#ahead
    // Nothing leaves a queue but from its beginning: while the first record is the oldest, so are all.
    if (ahead !== null && this.#isTrusting && ahead.batch[0] === this.#queue.first) return ahead.batch
    return this.#queue.peek({
      ...batchLimits(options),
      countMax: Math.min(this.#suspicion?.countMax ?? options.batchMessagesMax, this.#trusted),
      seqMax: this.#suspicion?.seqMax ?? Number.MAX_SAFE_INTEGER,
    })
  }

  /** Whether nothing keeps batches smaller than they may be. */
  get #isTrusting(): boolean {
    return this.#suspicion === null && this.#trusted >= this.#context.options.batchMessagesMax
  }

  async #send(batch: QueuedRecord[]): Promise<Delivered> {
    const { broker, clock, journal, options, sendSignal } = this.#context
    this.#attempts++
    this.#sendingSince = clock.monotonic()
    const messages = this.#ahead?.batch === batch ? this.#ahead.messages : outgoingMessages(batch, journal.id)
    this.#ahead = null
    // Not before this one is on its way.
    if (broker.prepare) setImmediate(() => this.#prepareBehind(batch))
    try {
      return await withTimeout(options.sendTimeout, sendSignal, (signal) => broker.send(this.topic, messages, signal))
    } catch (error) {
      if (!(error instanceof TimeoutError)) throw error
      const text = `the broker did not answer within ${options.sendTimeout} ms`
      throw new BrokerError('transient', 'SEND_TIMEOUT', text, { cause: error })
    }
  }

  /** So that the broker need not wait for the next batch to be made. Only a full one: another may still grow. */
  #prepareBehind(batch: readonly QueuedRecord[]): void {
    const { broker, journal, options } = this.#context
    if (this.#sendingSince === null || !this.#isTrusting || this.#queue.first !== batch[0]) return
    const next = this.#queue.peek({ ...batchLimits(options), skip: batch.length })
    if (next.length === 0 || this.#queue.length === batch.length + next.length) return
    this.#ahead = { batch: next, messages: outgoingMessages(next, journal.id) }
    broker.prepare?.(this.topic, this.#ahead.messages)
  }

  async #delivered(batch: QueuedRecord[], { partitions, offsets }: Delivered): Promise<void> {
    const attempts = this.#attempts
    const last = batch.at(-1) as QueuedRecord
    const first = batch[0] as QueuedRecord
    const acceptedAt = decodeMessage(first.bytes, first.start, first.seq).acceptedAt
    this.#succeed(batch.length)
    if (this.#suspicion !== null && last.seq >= this.#suspicion.seqMax) this.#suspicion = null
    this.#trusted *= 2
    this.#context.sent(this, batch.length, acceptedAt)
    await this.#context.record({
      kind: 'delivered',
      topic: this.topic,
      deliveredAt: this.#context.clock.now(),
      attempts,
      seqs: batch.map((record) => record.seq),
      partitions,
      offsets,
    })
  }

  async #failed(error: BrokerError, batch: QueuedRecord[]): Promise<void> {
    const seqMax = (batch.at(-1) as QueuedRecord).seq
    this.#ahead = null
    if (error.failure !== 'permanent') {
      // Sent again as it was, not grown: what a part of the broker has kept of it is recognised by its being the same.
      this.#suspicion ??= { countMax: batch.length, seqMax }
      if (!this.#hasToGiveUp) await this.#wait(error)
    } else if (batch.length > 1) {
      this.#suspicion = { countMax: Math.ceil(batch.length / 2), seqMax }
    } else {
      const obstacle = await this.#die(batch[0] as QueuedRecord, error)
      if (obstacle !== null) await this.#wait(obstacle)
    }
  }

  async #wait(error: BrokerError): Promise<void> {
    const { breaker, clock } = this.#context
    this.#failure = { since: this.#failure?.since ?? clock.monotonic(), error }
    const delayMs = this.#backoff.nextDelayMs()
    this.#context.retrying(this, error, this.#attempts, delayMs)
    if (error.failure === 'blocked') await this.#rest((rest) => clock.sleep(delayMs, rest))
    // Once the cluster takes messages again there is nothing to wait for.
    else await this.#rest((rest) => breaker.untilClosed(rest, delayMs))
  }

  /** Waits, but not when there is something to give up, and only until there is. */
  async #rest(wait: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { signal } = this.#context
    if (this.#hasToGiveUp) return
    const rest = new AbortController()
    this.#resting = rest
    this.#context.changed()
    try {
      await wait(AbortSignal.any([signal, rest.signal]))
    } catch (error) {
      if (!rest.signal.aborted || signal.aborted) throw error
    } finally {
      this.#resting = null
    }
  }

  /** The oldest messages go, in their order, as if they were delivered; the receipt names each of them. */
  async #drop(): Promise<void> {
    const { clock } = this.#context
    const limits = { countMax: dropMessagesMax, bytesMax: Number.MAX_SAFE_INTEGER, overheadBytes: 0, skip: 0 }
    const dropped = this.#queue.peek({ ...limits, seqMax: this.#context.giveUpSeq() - 1 })
    const seqs = dropped.map(({ seq }) => seq)
    if (this.#suspicion !== null && (seqs.at(-1) as number) >= this.#suspicion.seqMax) this.#suspicion = null
    this.#ahead = null
    this.#attempts = 0
    this.#queue.drop(dropped.length)
    this.#context.changed()
    // Nothing behind them is sent before: they must not come back, after a crash, and go out behind it.
    await this.#context.recordDurably({
      kind: 'lost',
      topic: this.topic,
      lostAt: clock.now(),
      reason: 'dropped',
      ranges: rangesOfSeqs(seqs),
    })
  }

  /** The dead letter is on disk before the receipt that lets the message go. Returns what keeps it from dying, or null. */
  async #die(record: QueuedRecord, error: BrokerError): Promise<BrokerError | null> {
    const { clock, deadLetters, journal } = this.#context
    const attempts = this.#attempts
    const diedAt = clock.now()
    const id = formatMessageId(journal.id, record.seq)
    const message = decodeMessage(record.bytes, record.start, record.seq)
    try {
      await deadLetters.add({ id, message, reason: error.reason, detail: error.message, diedAt, attempts })
    } catch (obstacle) {
      if (!(obstacle instanceof UnavailableError)) throw obstacle
      const text = `${this.topic} waits: a message that the broker refuses (${error.reason}) can't be put among the dead letters: ${obstacle.message}`
      return new BrokerError('blocked', 'DEAD_LETTERS_UNAVAILABLE', text, { cause: obstacle, hint: obstacle.hint })
    }
    this.#succeed(1)
    // What else was under suspicion is cleared.
    this.#suspicion = null
    this.#trusted = 1
    this.#context.died(this, id, error)
    await this.#context.record({
      kind: 'dead',
      topic: this.topic,
      diedAt,
      attempts,
      seq: record.seq,
      reason: error.reason,
    })
    return null
  }

  #succeed(count: number): void {
    this.#queue.drop(count)
    this.#attempts = 0
    this.#failure = null
    this.#backoff.reset()
    this.#context.changed()
  }

  /** Reads on where the lane was detached, until it holds enough, or has caught up and is attached again. */
  async #catchUp(): Promise<void> {
    const { clock, options, readers, signal } = this.#context
    const reader = await readers.take(this, this.#behindFrom as number)
    try {
      const startedAt = clock.monotonic()
      while (this.#queue.bytes < options.laneBytesMax / 2 && !signal.aborted) {
        // Never beyond it, for the head has read the same blocks.
        if (reader.nextSeq >= this.#context.headSeq()) {
          this.#behindFrom = null
          this.#forgottenAcceptedAt = null
          return
        }
        const block = await reader.next()
        if (block === null) throw new Error('the journal ends before what was read from it')
        if (block.lost !== null) await this.#context.lose(block)
        const leftOut = this.#take(block)
        this.#behindFrom = leftOut ?? reader.nextSeq
        if (leftOut !== null || (readers.isContended && clock.monotonic() - startedAt > readTurnMs)) return
      }
    } finally {
      this.#context.changed()
      await readers.give(this, reader)
    }
  }

  /**
   * Queues the lane's records of a block that was read back. Returns the seq of the first one that was left out: while the
   * lane fails it needs just something to try with (but what is given up goes as a whole), and while memory is used up it takes
   * one record at a time.
   */
  #take(block: RecordBlock): number | null {
    const { memory, options } = this.#context
    const from = this.#behindFrom as number
    let leftOut: number | null = null
    block.forEach((seq, bytes, start, end) => {
      if (leftOut !== null || seq < from || !isOfTopic(this.topic, bytes, start)) return
      const isEnough = this.#failure !== null && seq >= this.#context.giveUpSeq()
      if (this.#queue.length > 0 && (isEnough || memory.bytes >= options.memoryBytesMax)) {
        leftOut = seq
        return
      }
      this.#queue.push(seq, bytes, start, end)
      this.#forgottenAcceptedAt = null
    })
    return leftOut
  }
}

function isOfTopic(topic: string, record: Buffer, start: number): boolean {
  return record[start + 1] === topic.length && topicOf(record, start) === topic
}

function batchLimits(options: LaneOptions): QueueLimits {
  return {
    countMax: options.batchMessagesMax,
    bytesMax: options.batchBytesMax,
    overheadBytes: messageOverheadBytes,
    seqMax: Number.MAX_SAFE_INTEGER,
    skip: 0,
  }
}

const stuckAfterMs = 1000
/** How many messages one receipt says to be dropped, at most. */
const dropMessagesMax = 5000
/** How long a lane may read back while others wait for their turn. */
const readTurnMs = 50
