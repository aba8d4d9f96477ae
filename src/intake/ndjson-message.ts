import { messageOf } from '../base/errors.ts'
import type { Bytes, Message, MessageHeader } from '../message/message.ts'
import { isReservedHeader } from '../message/message.ts'
import { memberText } from './json-member.ts'
import { checkPartition } from './partition.ts'
import { Refusal } from './refusal.ts'
import { checkTimestamp, readTimestamp } from './timestamp.ts'

/** What all messages of a request have in common. */
export interface SharedFields {
  readonly topic: string
  readonly partition: number | null
  readonly producer: string | null
  readonly traceparent: string | null
  readonly tracestate: string | null
}

export interface MessageLimits {
  readonly bodyBytesMax: number
  readonly headersMax: number
  readonly headerBytesMax: number
}

const noHeaders: readonly MessageHeader[] = []

/**
 * Reads a line of NDJSON as a message: `{key, value, headers, partition, timestamp}`, of which only the value must be there.
 * A string stands for its text, null for none (as value: a tombstone), and anything else for its JSON text exactly as it is
 * written. `keyBase64` and `valueBase64` hold bytes. `headers` is an object: to each name a string, `{"base64": …}`, or an
 * array of those. Throws a `Refusal`.
 */
export function readNdjsonMessage(
  line: string,
  shared: SharedFields,
  acceptedAt: number,
  limits: MessageLimits,
): Message {
  const members = parseObject(line)
  let key: Bytes | null | undefined
  let value: Bytes | null | undefined
  let contentType: string | null = null
  let headers = noHeaders
  let partition = shared.partition
  let timestamp: number | null = null
  for (const name in members) {
    const member = members[name]
    switch (name) {
      case 'key':
        if (key !== undefined) throw twice('key', 'keyBase64')
        key = bytesOf(line, name, member)
        break
      case 'value':
        if (value !== undefined) throw twice('value', 'valueBase64')
        value = bytesOf(line, name, member)
        if (typeof member !== 'string' && member !== null) contentType = 'application/json'
        break
      case 'keyBase64':
        if (key !== undefined) throw twice('key', 'keyBase64')
        key = base64Of(name, member)
        break
      case 'valueBase64':
        if (value !== undefined) throw twice('value', 'valueBase64')
        value = base64Of(name, member)
        break
      case 'headers':
        headers = readHeaders(member, limits.headersMax)
        break
      case 'partition':
        partition = readPartition(member, shared.partition)
        break
      case 'timestamp':
        timestamp = readTime(member)
        break
      default:
        throw new Refusal(
          'member_unknown',
          `“${name}” is not known. There are key, value, headers, partition, timestamp, keyBase64 and valueBase64.`,
        )
    }
  }
  if (value === undefined) throw invalid('The line has no value. A tombstone is "value": null.')
  key ??= null
  // What is written is never shorter than what it stands for, so most lines need no measuring.
  if (line.length * 3 > limits.bodyBytesMax) checkSize('value', bytesIn(value), limits.bodyBytesMax)
  if (line.length * 3 > limits.headerBytesMax)
    checkSize('key and headers', headBytes(key, headers), limits.headerBytesMax)
  return {
    topic: shared.topic,
    partition,
    key,
    value,
    headers,
    timestamp,
    acceptedAt,
    producer: shared.producer,
    contentType,
    traceparent: shared.traceparent,
    tracestate: shared.tracestate,
    idempotencyKey: null,
  }
}

function parseObject(line: string): Readonly<Record<string, unknown>> {
  let parsed: unknown
  try {
    parsed = JSON.parse(line)
  } catch (error) {
    throw new Refusal('line_invalid', `The line is not JSON: ${messageOf(error)}.`)
  }
  if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) return parsed as Record<string, unknown>
  throw new Refusal('line_invalid', 'The line is JSON, but not an object. A message is {"value": …}.')
}

function bytesOf(line: string, name: string, member: unknown): Bytes | null {
  if (typeof member === 'string') return wellFormed(name, member)
  return member === null ? null : memberText(line, name)
}

/** JSON can spell half a character (`"\ud800"`), which has no bytes; UTF-8 would put U+FFFD in its place. */
function wellFormed(name: string, text: string): string {
  if (text.isWellFormed()) return text
  throw invalid(`“${name}” has half of a surrogate pair, which no text can have. Send bytes as ${name}Base64.`)
}

const base64 = /^[A-Za-z0-9+/]*={0,2}$/

function base64Of(name: string, member: unknown): Buffer {
  if (typeof member === 'string' && member.length % 4 === 0 && base64.test(member)) return Buffer.from(member, 'base64')
  throw invalid(`“${name}” is not a string of Base64 (RFC 4648, with padding).`)
}

function readHeaders(member: unknown, headersMax: number): readonly MessageHeader[] {
  if (member === null) return noHeaders
  if (typeof member !== 'object' || Array.isArray(member)) throw invalid('“headers” is not an object.')
  const headers: MessageHeader[] = []
  for (const [name, values] of Object.entries(member) as [string, unknown][]) {
    if (name === '' || !name.isWellFormed()) throw invalid('The name of a header is empty, or not well-formed.')
    if (isReservedHeader(name)) throw invalid(`The header “${name}” is set by Outrigger alone.`)
    if (Array.isArray(values)) for (const value of values as unknown[]) headers.push([name, headerValue(name, value)])
    else headers.push([name, headerValue(name, values)])
  }
  if (headers.length > headersMax) throw new Refusal('too_many_headers', `A message has at most ${headersMax} headers.`)
  return headers
}

function headerValue(name: string, value: unknown): Bytes {
  if (typeof value === 'string' && value.isWellFormed()) return value
  if (typeof value === 'object' && value !== null && Object.keys(value).join() === 'base64')
    return base64Of(`headers.${name}.base64`, (value as { base64: unknown }).base64)
  throw invalid(`The header “${name}” is neither a string, nor {"base64": …}, nor an array of those.`)
}

function readPartition(member: unknown, shared: number | null): number | null {
  if (member === null) return shared
  const partition = checkPartition(typeof member === 'number' ? member : NaN, JSON.stringify(member))
  if (shared !== null && partition !== shared)
    throw new Refusal('parameter_conflict', `The request says partition ${shared}, and the line ${partition}.`)
  return partition
}

function readTime(member: unknown): number | null {
  if (member === null) return null
  if (typeof member === 'string') return readTimestamp(member)
  return checkTimestamp(typeof member === 'number' ? member : NaN, JSON.stringify(member))
}

function headBytes(key: Bytes | null, headers: readonly MessageHeader[]): number {
  return headers.reduce((sum, [name, value]) => sum + bytesIn(name) + bytesIn(value) + 2, bytesIn(key))
}

function bytesIn(bytes: Bytes | null): number {
  if (bytes === null) return 0
  return typeof bytes === 'string' ? Buffer.byteLength(bytes) : bytes.length
}

function checkSize(what: string, bytes: number, bytesMax: number): void {
  if (bytes > bytesMax)
    throw new Refusal('message_too_large', `The ${what} has ${bytes} bytes, and may have ${bytesMax}.`)
}

function twice(name: string, other: string): Refusal {
  return invalid(`“${name}” and “${other}” are both there; only one can be.`)
}

function invalid(detail: string): Refusal {
  return new Refusal('member_invalid', detail)
}
