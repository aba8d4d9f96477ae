import type { Writable } from 'node:stream'
import type { Clock } from '../base/clock.ts'
import { formatMessageId } from '../message/message-id.ts'
import type { LogEntry, MessageLog } from '../recorder/message-log.ts'
import { StoreError } from '../recorder/store-error.ts'
import { writeLines } from './line-output.ts'
import { LogPartition } from './log-partition.ts'
import type { PointInTime } from './point-in-time.ts'
import { humanLine, jsonLine } from './record-lines.ts'

export interface LogOptions {
  readonly topic: string
  /** Only what was delivered since; undefined: all that the log has. */
  readonly since?: PointInTime | undefined
  readonly key?: string | undefined
  /** Go on with what comes. */
  readonly follow: boolean
  /** End after so many entries. */
  readonly count?: number | undefined
  /** One JSON object a line, for programs; else one line for people. */
  readonly json: boolean
}

const pollMs = 500
/** With each so manieth poll, partitions that are new are looked for. */
const pollsPerLook = 4
/** So often in a row the store may fail, for reasons that pass, before following it ends. */
const failedPollsMax = 20

/**
 * Writes a topic's entries of the message log to `output`, one line each, until there are no more (or, when it follows,
 * the signal aborts), `count` is reached, or nobody reads any more. Each partition is in order; partitions are merged by
 * the time of delivery. Throws a `StoreError` when the store fails.
 */
export async function printLog(
  log: MessageLog,
  clock: Clock,
  options: LogOptions,
  output: Writable,
  signal: AbortSignal,
): Promise<void> {
  await writeLines(output, signal, (ends) => lines(log, clock, options, ends))
}

async function* lines(log: MessageLog, clock: Clock, options: LogOptions, signal: AbortSignal): AsyncGenerator<string> {
  let left = options.count ?? Infinity
  if (left <= 0) return
  for await (const entry of new LogReading(log, clock, options, signal).entries()) {
    yield options.json ? entryJson(entry) : humanLine(printed(entry), entry.deliveredAt)
    if (--left <= 0) return
  }
}

/** The lines of `tail --json`, and what only the log knows: `contentType`, `acceptedAt`, `deliveredAt` (milliseconds since the epoch). */
function entryJson(entry: LogEntry): string {
  const { contentType, acceptedAt, deliveredAt } = entry
  return jsonLine(printed(entry), { contentType, acceptedAt, deliveredAt })
}

function printed(entry: LogEntry) {
  return {
    ...entry,
    id: formatMessageId(entry.journalId, entry.seq),
    headers: entry.headers.map(([name, value]) => [name, Buffer.from(value as Buffer)] as const),
  }
}

class LogReading {
  readonly #log: MessageLog
  readonly #clock: Clock
  readonly #options: LogOptions
  readonly #signal: AbortSignal
  readonly #since: number
  readonly #key: Buffer | null
  readonly #partitions = new Map<number, LogPartition>()

  constructor(log: MessageLog, clock: Clock, options: LogOptions, signal: AbortSignal) {
    const { since = { at: 0 }, key } = options
    this.#log = log
    this.#clock = clock
    this.#options = options
    this.#signal = signal
    this.#since = 'at' in since ? since.at : clock.now() - since.agoMs
    this.#key = key === undefined ? null : Buffer.from(key)
  }

  async *entries(): AsyncGenerator<LogEntry> {
    await this.#lookForPartitions()
    yield* this.#present()
    let failed = 0
    for (let poll = 1; this.#options.follow; poll++) {
      await this.#clock.sleep(pollMs, this.#signal)
      try {
        if (this.#partitions.size === 0 || poll % pollsPerLook === 0) await this.#lookForPartitions()
        yield* this.#present()
        failed = 0
      } catch (error) {
        const passes = error instanceof StoreError && error.failure === 'transient'
        if (!passes || ++failed > failedPollsMax) throw error
      }
    }
  }

  async #lookForPartitions(): Promise<void> {
    const positions = await this.#log.positions(this.#options.topic, this.#since, this.#signal)
    for (const { partition, offset } of positions) {
      if (this.#partitions.has(partition)) continue
      const wanted = (entry: LogEntry): boolean => this.#wants(entry)
      const follow = this.#options.follow ? this.#clock : null
      this.#partitions.set(partition, new LogPartition(this.#log, this.#options.topic, partition, offset, wanted, follow)) // prettier-ignore
    }
  }

  #wants({ deliveredAt, key }: LogEntry): boolean {
    return deliveredAt >= this.#since && (this.#key === null || (key !== null && this.#key.equals(key)))
  }

  /** What is there now, of all partitions, by the time of delivery. */
  async *#present(): AsyncGenerator<LogEntry> {
    const partitions = [...this.#partitions.values()]
    for (const partition of partitions) partition.lookAgain()
    for (;;) {
      // What is at hand is not looked up again, so this waits only when a page is used up.
      const heads = await Promise.all(partitions.map((each) => each.head(partitions.length, this.#signal)))
      let first = -1
      for (const [index, head] of heads.entries())
        if (head && (first < 0 || head.deliveredAt < (heads[first] as LogEntry).deliveredAt)) first = index
      if (first < 0) return
      partitions[first]?.shift()
      yield heads[first] as LogEntry
    }
  }
}
