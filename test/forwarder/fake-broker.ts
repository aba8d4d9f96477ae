import type { Broker, Delivered, OutgoingMessage } from '../../src/forwarder/broker.ts'
import { BrokerError } from '../../src/forwarder/broker.ts'
import { partitionOfKey } from '../../src/message/partitioner.ts'
import type { ConsumedRecord } from '../../src/subscriptions/consumer.ts'

/** One call of `send`, and how it ended. */
export interface Attempt {
  readonly topic: string
  /** The array that was given to `send`; its messages are no more once they are delivered. */
  readonly given: readonly OutgoingMessage[]
  /** A copy of it. */
  readonly messages: readonly OutgoingMessage[]
  outcome: 'pending' | 'delivered' | 'failed' | 'aborted'
}

/**
 * What a rule makes of a send:
 * - an error: nothing is kept, and the send fails with it;
 * - `lost-answer`: the batch is kept, and the send fails as if the connection had broken before the answer came;
 * - `hang`: nothing happens until `release()` (then it is delivered) or the signal's abort;
 * - undefined: the next rule decides; without any, the batch is delivered.
 */
export type Verdict = BrokerError | 'lost-answer' | 'hang' | undefined
export type Rule = (topic: string, messages: readonly OutgoingMessage[]) => Verdict

/** A broker in memory that does what it is told, and keeps what it got. */
export class FakeBroker implements Broker {
  /** Every call of `send`, in order. */
  readonly attempts: Attempt[] = []
  /** Every call of `prepare`, in order: the arrays themselves. */
  readonly prepared: (readonly OutgoingMessage[])[] = []
  readonly partitions: number
  closed = false
  /** How many sends are under way now, and how many were at most, by topic. */
  readonly inFlight = new Map<string, number>()
  readonly inFlightMax = new Map<string, number>()
  readonly #records = new Map<string, ConsumedRecord[][]>()
  #rules: Rule[] = []
  #held: (() => void)[] = []
  #turn = 0

  constructor(partitions = 3) {
    this.partitions = partitions
  }

  /** Adds a rule that holds until the returned function is called. */
  rule(rule: Rule): () => void {
    this.#rules.push(rule)
    return () => {
      this.#rules = this.#rules.filter((other) => other !== rule)
    }
  }

  /** The next `count` sends, of this topic or of any, end so. */
  next(count: number, verdict: Exclude<Verdict, undefined>, topic?: string): void {
    let left = count
    const lift = this.rule((sent) => {
      if (topic !== undefined && sent !== topic) return undefined
      if (--left <= 0) lift()
      return verdict
    })
  }

  /** Every send fails so, of this topic or of any, until the returned function is called. */
  fail(error: BrokerError, topic?: string): () => void {
    return this.rule((sent) => (topic === undefined || sent === topic ? error : undefined))
  }

  /** A batch with such a message in it is refused for good. */
  refuse(isPoison: (message: OutgoingMessage) => boolean, reason = 'MESSAGE_TOO_LARGE'): () => void {
    return this.rule((_, messages) =>
      messages.some(isPoison) ? new BrokerError('permanent', reason, `refused: ${reason}`) : undefined,
    )
  }

  /** Lets the sends that hang be delivered. */
  release(): void {
    const held = this.#held
    this.#held = []
    for (const go of held) go()
  }

  /** What stands in a topic, partition by partition, each in order. */
  records(topic: string): ConsumedRecord[] {
    return (this.#records.get(topic) ?? []).flat()
  }

  async send(topic: string, given: readonly OutgoingMessage[], signal: AbortSignal): Promise<Delivered> {
    signal.throwIfAborted()
    const messages = given.map(copyOf)
    if (this.closed) throw new BrokerError('transient', 'CLOSED', 'the broker is closed')
    const attempt: Attempt = { topic, given, messages, outcome: 'pending' }
    this.attempts.push(attempt)
    this.#count(topic, 1)
    try {
      const delivered = await this.#decide(topic, messages, signal)
      attempt.outcome = 'delivered'
      return delivered
    } catch (error) {
      attempt.outcome = signal.aborted ? 'aborted' : 'failed'
      throw error
    } finally {
      this.#count(topic, -1)
    }
  }

  prepare(_topic: string, messages: readonly OutgoingMessage[]): void {
    this.prepared.push(messages)
  }

  async close(): Promise<void> {
    this.closed = true
    await Promise.resolve()
  }

  async #decide(topic: string, messages: readonly OutgoingMessage[], signal: AbortSignal): Promise<Delivered> {
    // Not before the next turn, as with any real broker.
    await new Promise<void>((resolve) => {
      setImmediate(resolve)
    })
    signal.throwIfAborted()
    const verdict = this.#verdict(topic, messages)
    if (verdict instanceof BrokerError) throw verdict
    if (verdict === 'hang') await this.#hang(signal)
    const delivered = this.#keep(topic, messages)
    if (verdict === 'lost-answer') throw new BrokerError('transient', 'ECONNRESET', 'the answer was lost')
    return delivered
  }

  #verdict(topic: string, messages: readonly OutgoingMessage[]): Verdict {
    for (const rule of this.#rules) {
      const verdict = rule(topic, messages)
      if (verdict !== undefined) return verdict
    }
    return undefined
  }

  #hang(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
      this.#held.push(resolve)
    })
  }

  #keep(topic: string, messages: readonly OutgoingMessage[]): Delivered {
    const places = messages.map(({ partition, key }) => {
      if (partition === null) return key === null ? this.#turn % this.partitions : partitionOfKey(key, this.partitions)
      if (partition >= 0 && partition < this.partitions) return partition
      throw new BrokerError('permanent', 'UNKNOWN_PARTITION', `topic ${topic} has no partition ${partition}`, {
        hint: `It has ${this.partitions}.`,
      })
    })
    this.#turn++
    const logs = this.#logsOf(topic)
    const offsets = messages.map((message, i) => {
      const partition = places[i] as number
      const log = logs[partition] as ConsumedRecord[]
      const headers = message.headers.map(([name, value]) => [name, Buffer.from(value as Buffer)] as const)
      const { key, value, timestamp } = message
      log.push({ topic, partition, offset: log.length, timestamp, key, value, headers })
      return log.length - 1
    })
    return { partitions: places, offsets }
  }

  #logsOf(topic: string): ConsumedRecord[][] {
    let logs = this.#records.get(topic)
    if (!logs) {
      logs = Array.from({ length: this.partitions }, () => [])
      this.#records.set(topic, logs)
    }
    return logs
  }

  #count(topic: string, by: number): void {
    const now = (this.inFlight.get(topic) ?? 0) + by
    this.inFlight.set(topic, now)
    this.inFlightMax.set(topic, Math.max(now, this.inFlightMax.get(topic) ?? 0))
  }
}

/** The bytes of a message are its sender's, and gone once it is delivered. */
function copyOf({ key, value, headers, ...rest }: OutgoingMessage): OutgoingMessage {
  return {
    ...rest,
    key: key && Buffer.from(key),
    value: value && Buffer.from(value),
    headers: headers.map(
      ([name, content]) => [name, typeof content === 'string' ? content : Buffer.from(content)] as const,
    ),
  }
}
