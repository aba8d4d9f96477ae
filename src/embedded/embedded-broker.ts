import type { DatabaseSync, StatementSync } from 'node:sqlite'
import type { Clock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { Broker, Delivered, OutgoingMessage } from '../forwarder/broker.ts'
import { BrokerError } from '../forwarder/broker.ts'
import { partitionOfKey } from '../message/partitioner.ts'
import { openForWriting, partitionIdMax, rowIdOf } from './embedded-schema.ts'
import { encodeHeaders } from './header-codec.ts'
import { Retention } from './retention.ts'
import { embeddedBrokerError, isBusy } from './sqlite-errors.ts'

export interface EmbeddedBrokerOptions {
  /** The SQLite file; created when missing, its directory is not. */
  readonly file: string
  /** How many partitions a topic gets when it is first used. */
  readonly partitions: number
  /** How long records are kept after they were appended, in milliseconds. */
  readonly retentionMs: number
}

/** A writer that is kept out answers within this time; whoever calls blocks for so long. */
const busyTimeoutMs = 50

interface Partition {
  readonly id: number
  nextOffset: number
}

/** An open file with its statements, and what is known of its topics. Thrown away after any failure but "busy". */
interface Connection {
  readonly database: DatabaseSync
  readonly insertRecord: StatementSync
  readonly updateOffset: StatementSync
  readonly begin: StatementSync
  readonly commit: StatementSync
  readonly topics: Map<string, Partition[]>
  readonly retention: Retention
}

/**
 * The port `Broker` on one SQLite file, for running without any server. It behaves like a one-node Kafka: topics come
 * into being when first used, keys go to partitions as Java's producers have it, offsets count from 0 without gaps.
 *
 * A send is one transaction, and is on stable storage when it resolves: `send` blocks its thread for so long, so this
 * belongs into a worker thread. Another process may read the file at any time; while one *locks* it, sends fail as
 * `transient`, also at the first open, and recover by themselves.
 */
export class EmbeddedBroker implements Broker {
  readonly #clock: Clock
  readonly #log: Log
  readonly #options: EmbeddedBrokerOptions
  readonly #closing = new AbortController()
  #connection: Connection | undefined
  #sweeping: Promise<void> | undefined
  /** Where the next batch's messages without a key go. */
  #turn = 0

  constructor(clock: Clock, log: Log, options: EmbeddedBrokerOptions) {
    this.#clock = clock
    this.#log = log
    this.#options = options
  }

  // Async, so that whatever is thrown becomes a rejection; there is nothing to wait for.
  async send(topic: string, messages: readonly OutgoingMessage[], signal: AbortSignal): Promise<Delivered> {
    signal.throwIfAborted()
    if (this.#closing.signal.aborted) {
      throw new BrokerError('transient', 'CLOSED', 'the embedded broker is closed')
    }
    try {
      this.#connection ??= this.#open()
      return this.#append(this.#connection, topic, messages)
    } catch (error) {
      if (this.#connection) this.#recover(this.#connection, error)
      throw embeddedBrokerError(error, this.#options.file)
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error('the embedded broker is closed'))
    await this.#sweeping
    this.#connection?.database.close()
    this.#connection = undefined
  }

  #append(connection: Connection, topic: string, messages: readonly OutgoingMessage[]): Delivered {
    connection.begin.run()
    const known = connection.topics.get(topic)
    const partitions = known ?? this.#createTopic(connection.database, topic)
    const placed = this.#place(topic, partitions.length, messages)
    const next = partitions.map((partition) => partition.nextOffset)
    const offsets: number[] = []
    const now = this.#clock.now()
    for (let i = 0; i < messages.length; i++) {
      const message = messages[i] as OutgoingMessage
      const partition = placed[i] as number
      const offset = (next[partition] as number)++
      const id = rowIdOf((partitions[partition] as Partition).id, offset)
      offsets.push(offset)
      const headers = encodeHeaders(message.headers)
      connection.insertRecord.run(id, message.timestamp, now, message.key, message.value, headers)
    }
    for (const [index, partition] of partitions.entries()) {
      const nextOffset = next[index] as number
      if (nextOffset !== partition.nextOffset) connection.updateOffset.run(nextOffset, partition.id)
    }
    connection.commit.run()
    // Only what is on disk may be remembered.
    for (const [index, partition] of partitions.entries()) partition.nextOffset = next[index] as number
    if (!known) connection.topics.set(topic, partitions)
    return { partitions: placed, offsets }
  }

  /** The partition of every message: the one asked for, else by key, else one and the same for all without a key. */
  #place(topic: string, count: number, messages: readonly OutgoingMessage[]): number[] {
    const keyless = this.#turn % count
    let turned = false
    const placed = messages.map(({ partition, key }) => {
      if (partition !== null) {
        if (partition >= 0 && partition < count) return partition
        throw new BrokerError('permanent', 'UNKNOWN_PARTITION', `topic ${topic} has no partition ${partition}`, {
          hint: `It has ${count}, from 0 to ${count - 1}.`,
        })
      }
      if (key !== null) return partitionOfKey(key, count)
      turned = true
      return keyless
    })
    if (turned) this.#turn++
    return placed
  }

  #createTopic(database: DatabaseSync, topic: string): Partition[] {
    const insert = database.prepare('INSERT INTO partitions (topic, partition, next_offset) VALUES (?, ?, 0)')
    return Array.from({ length: this.#options.partitions }, (_, partition) => {
      const id = Number(insert.run(topic, partition).lastInsertRowid)
      if (id > partitionIdMax) {
        throw new BrokerError('blocked', 'TOO_MANY_PARTITIONS', `topic ${topic} can't be created: there are too many`, {
          hint: `The embedded broker holds ${partitionIdMax} partitions in all.`,
        })
      }
      return { id, nextOffset: 0 }
    })
  }

  #open(): Connection {
    const database = openForWriting(this.#options.file, busyTimeoutMs)
    const topics = new Map<string, Partition[]>()
    const rows = database.prepare('SELECT id, topic, next_offset FROM partitions ORDER BY topic, partition').all()
    for (const { id, topic, next_offset: nextOffset } of rows as { id: number; topic: string; next_offset: number }[]) {
      const partitions = topics.get(topic)
      if (partitions) partitions.push({ id, nextOffset })
      else topics.set(topic, [{ id, nextOffset }])
    }
    this.#sweeping ??= this.#sweep()
    return {
      database,
      topics,
      insertRecord: database.prepare('INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)'),
      updateOffset: database.prepare('UPDATE partitions SET next_offset = ? WHERE id = ?'),
      begin: database.prepare('BEGIN IMMEDIATE'),
      commit: database.prepare('COMMIT'),
      retention: new Retention(database),
    }
  }

  /** Leaves no transaction open; and starts anew from the file, unless it merely was not free. */
  #recover(connection: Connection, error: unknown): void {
    if (isBusy(error) && !connection.database.isTransaction) return
    if (error instanceof BrokerError) {
      connection.database.exec('ROLLBACK')
      return
    }
    this.#connection = undefined
    // Closing rolls back.
    connection.database.close()
  }

  /** Removes what is too old, in small steps between sends, until the broker is closed. */
  async #sweep(): Promise<void> {
    const { retentionMs } = this.#options
    const { signal } = this.#closing
    const pauseMs = Math.min(60_000, Math.max(100, retentionMs / 10))
    let waitMs = pauseMs
    while (await this.#slept(waitMs, signal)) {
      const connection = this.#connection
      waitMs = pauseMs
      if (!connection) continue
      try {
        const more = connection.retention.step(this.#clock.now() - retentionMs)
        if (more) waitMs = 10
      } catch (error) {
        this.#log[isBusy(error) ? 'debug' : 'warn'](
          { reason: messageOf(error), file: this.#options.file },
          'old records could not be removed; trying again later',
        )
        this.#recover(connection, error)
      }
    }
  }

  /** False when the broker was closed meanwhile. */
  async #slept(ms: number, signal: AbortSignal): Promise<boolean> {
    return this.#clock.sleep(ms, signal).then(
      () => true,
      (error: unknown) => {
        if (signal.aborted) return false
        throw error
      },
    )
  }
}
