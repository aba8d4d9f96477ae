import type { Writable } from 'node:stream'
import type { ConsumedRecord, Consumer } from '../subscriptions/consumer.ts'
import { writeLines } from './line-output.ts'
import { humanLine, jsonLine } from './record-lines.ts'

export interface TailOptions {
  readonly topic: string
  readonly from: 'beginning' | 'latest'
  /** End after so many records; undefined: go on until aborted. */
  readonly count?: number | undefined
  /** One JSON object a line, for programs; else one line for people. */
  readonly json: boolean
}

/**
 * Writes a topic's records to `output`, one line each, until `count` is reached, the signal aborts, or nobody reads any
 * more. Throws a `BrokerError` when the broker fails.
 */
export async function tail(
  consumer: Consumer,
  options: TailOptions,
  output: Writable,
  signal: AbortSignal,
): Promise<void> {
  await writeLines(output, signal, (ends) => lines(consumer, options, ends))
}

async function* lines(
  consumer: Consumer,
  { topic, from, count = Infinity, json }: TailOptions,
  signal: AbortSignal,
): AsyncGenerator<string> {
  let left = count
  if (left <= 0) return
  for await (const record of consumer.read(topic, from, signal)) {
    const printed = { ...record, id: idOf(record) }
    yield json ? jsonLine(printed) : humanLine(printed, record.timestamp)
    if (--left <= 0) return
  }
}

/** The header by which consumers tell duplicates. */
const idHeader = 'outrigger-id'

function idOf(record: ConsumedRecord): string | null {
  const header = record.headers.find(([name]) => name === idHeader)
  return header ? header[1].toString() : null
}
