import { OutriggerError } from '../base/errors.ts'

/** A message on its way out; `headers` already hold what Outrigger adds. Its bytes are gone once it is delivered: who wants to keep them copies them. */
export interface OutgoingMessage {
  readonly key: Buffer | null
  /** null is a tombstone. */
  readonly value: Buffer | null
  /** In order; a name may repeat. */
  readonly headers: readonly (readonly [name: string, value: Buffer | string])[]
  /** The partition asked for, or null: by the key's murmur2 hash as Java clients do, or any one when there is no key. */
  readonly partition: number | null
  /** Milliseconds since the epoch. */
  readonly timestamp: number
}

/** Where a batch went: one entry a message, in the order in which they were given. */
export interface Delivered {
  readonly partitions: readonly number[]
  readonly offsets: readonly number[]
}

/**
 * The port to a message broker, as the forwarder needs it. Implementations connect lazily, so that Outrigger starts
 * while the broker is away.
 *
 * One `send` carries one lane's batch. Messages of the same key must reach the broker in the order given. When `send`
 * rejects, any part of the batch may or may not have been kept; the forwarder sends it again, whole or in halves, so an
 * adapter must never let a new batch be mistaken for the one that failed (KIP-98 sequence numbers).
 */
export interface Broker {
  /** Resolves when the broker has acknowledged every message; rejects with a `BrokerError`, or the signal's reason. */
  send(topic: string, messages: readonly OutgoingMessage[], signal: AbortSignal): Promise<Delivered>
  /**
   * This very array will probably be the topic's next `send`: what can be made ready for it may be made ready now, while
   * the `send` before is under way. Nothing of it goes out, and it may never be sent.
   */
  prepare?(topic: string, messages: readonly OutgoingMessage[]): void
  /** Lets what is under way end, then disconnects. Idempotent. */
  close(): Promise<void>
}

/**
 * What a failure means for what is tried next:
 * - `transient`: the cluster or the way to it has trouble; try again later. Counts for the cluster's breaker.
 * - `blocked`: this topic can't take messages now (missing, not authorised, no leader); its lane alone backs off.
 * - `permanent`: this very batch is refused for good (too large, corrupt, no such partition); bisect it.
 * - `fatal`: the cluster refuses us (authentication, protocol); trying soon again is useless, an operator is needed.
 */
export type BrokerFailure = 'transient' | 'blocked' | 'permanent' | 'fatal'

export class BrokerError extends OutriggerError {
  override readonly name = 'BrokerError'
  override readonly code = 'broker_failed'
  readonly failure: BrokerFailure
  /** The broker's or driver's own name of the error, such as `MESSAGE_TOO_LARGE` or `ECONNREFUSED`. */
  readonly reason: string

  constructor(failure: BrokerFailure, reason: string, message: string, options?: { cause?: unknown; hint?: string }) {
    super(message, options)
    this.failure = failure
    this.reason = reason
  }
}
