import { once } from 'node:events'
import type { Writable } from 'node:stream'
import { codeOf } from '../base/errors.ts'
import type { ConsumedRecord, Consumer } from '../subscriptions/consumer.ts'

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
 * more (`| head`: then it ends quietly). Waits for a slow reader. Throws a `BrokerError` when the broker fails.
 *
 * `output` is not ended.
 */
export async function tail(
  consumer: Consumer,
  options: TailOptions,
  output: Writable,
  signal: AbortSignal,
): Promise<void> {
  const stop = new AbortController()
  const ends = AbortSignal.any([signal, stop.signal])
  let failure: Error | undefined
  // Also while nothing is being written: whoever read may go at any time.
  const onError = (error: Error): void => {
    failure = error
    stop.abort()
  }
  const onClose = (): void => stop.abort()
  output.on('error', onError)
  output.on('close', onClose)
  const line = options.json ? jsonLine : humanLine
  let left = options.count ?? Infinity
  try {
    if (left <= 0) return
    for await (const record of consumer.read(options.topic, options.from, ends)) {
      if (!output.write(line(record))) await drained(output, ends)
      if (--left <= 0 || ends.aborted) break
    }
    await flushed(output, ends)
  } finally {
    output.off('error', onError)
    output.off('close', onClose)
  }
  if (failure !== undefined && codeOf(failure) !== 'EPIPE') throw failure
}

async function drained(output: Writable, signal: AbortSignal): Promise<void> {
  await once(output, 'drain', { signal }).catch((error: unknown) => {
    // Its own error, if there is one, is known to the one who listens for it.
    if (!signal.aborted && error !== output.errored) throw error
  })
}

/** Until all is handed over, so that a failure of the last line is noticed, too; not beyond the signal's abort. */
async function flushed(output: Writable, signal: AbortSignal): Promise<void> {
  if (signal.aborted || output.writableLength === 0) return
  const { promise, resolve } = Promise.withResolvers<void>()
  signal.addEventListener('abort', () => resolve(), { once: true })
  output.write('', () => resolve())
  await promise
}

/** The header by which consumers tell duplicates. */
const idHeader = 'outrigger-id'

/**
 * A record as one line of JSON: `topic`, `partition`, `offset`, `timestamp` (milliseconds since the epoch), `id` (of
 * the header `outrigger-id`, or null), `key`, `value`, `headers`. Text stands as text. What is not UTF-8 stands in
 * base64, as `keyBase64` or `valueBase64` in place of `key` or `value`; null is no key, or a tombstone.
 *
 * `headers` is an object of arrays, because a name may repeat: `{"name": ["value", …]}`, the values of a name in their
 * order. A value that is not UTF-8 is `{"base64": "…"}`.
 */
export function jsonLine(record: ConsumedRecord): string {
  const { topic, partition, offset, timestamp } = record
  // Without a prototype, for a header may be called `__proto__`.
  const headers = Object.create(null) as Record<string, (string | { base64: string })[]>
  for (const [name, value] of record.headers) {
    const text = textOf(value)
    const values = (headers[name] ??= [])
    values.push(text ?? { base64: value.toString('base64') })
  }
  const fields = {
    topic,
    partition,
    offset,
    timestamp,
    id: idOf(record),
    ...field('key', record.key),
    ...field('value', record.value),
    headers,
  }
  return JSON.stringify(fields) + '\n'
}

function field(name: 'key' | 'value', bytes: Buffer | null): Record<string, string | null> {
  if (bytes === null) return { [name]: null }
  const text = textOf(bytes)
  return text === undefined ? { [`${name}Base64`]: bytes.toString('base64') } : { [name]: text }
}

function idOf(record: ConsumedRecord): string | null {
  const header = record.headers.find(([name]) => name === idHeader)
  return header ? header[1].toString() : null
}

/** For people: when, where, which key, and as much of the value as goes on a line. */
export function humanLine(record: ConsumedRecord): string {
  const { partition, offset, timestamp, key, value } = record
  const parts = [timeOf(timestamp), `${partition}/${offset}`]
  if (key !== null) parts.push(`${shown(key, keyLengthMax)}:`)
  parts.push(value === null ? '(tombstone)' : shown(value, valueLengthMax))
  return parts.join('  ') + '\n'
}

const keyLengthMax = 60
const valueLengthMax = 400

function timeOf(timestamp: number): string {
  const time = new Date(timestamp)
  return Number.isNaN(time.getTime()) ? String(timestamp) : time.toISOString()
}

/** Text on one line, harmless to a terminal, and cut where it gets long; a description of what is no text. */
function shown(bytes: Buffer, lengthMax: number): string {
  const text = textOf(bytes)
  if (text === undefined) return `(${bytes.length} bytes, not UTF-8)`
  if (text === '') return '(empty)'
  const cut = text.length > lengthMax ? `${text.slice(0, lengthMax)}… (${bytes.length} bytes)` : text
  return cut.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, escapeControl)
}

function escapeControl(character: string): string {
  if (character === '\n') return '\\n'
  if (character === '\t') return '\\t'
  if (character === '\r') return '\\r'
  return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** The text that the bytes are in UTF-8, or undefined. */
function textOf(bytes: Buffer): string | undefined {
  try {
    return utf8.decode(bytes)
  } catch {
    return undefined
  }
}
