import { messageOf } from '../base/errors.ts'
import { decodeMessage, messageCodec } from '../message/message-codec.ts'
import type { Bytes, Message, MessageHeader } from '../message/message.ts'
import { isReservedHeader, isTopicName } from '../message/message.ts'

/**
 * The message in a line that `export` has written: of a journal of messages, with fields or raw; or of dead letters, whose
 * `message` it takes. In a line that was written by hand, all but `topic` may be missing. In words what is wrong with it,
 * when something is.
 */
export function messageOfLine(line: string, now: number): Message | string {
  let parsed: unknown
  try {
    parsed = JSON.parse(line)
  } catch (error) {
    return messageOf(error)
  }
  try {
    return messageIn(objectOf(parsed, 'the line'), now)
  } catch (error) {
    if (error instanceof LineError) return error.message
    throw error
  }
}

/** Never leaves this file. */
class LineError extends Error {
  override readonly name = 'LineError'
}

type Fields = Readonly<Record<string, unknown>>

function messageIn(line: Fields, now: number): Message {
  if ('raw' in line) return rawMessage(line)
  if ('message' in line) return messageIn(objectOf(line['message'], 'message'), now)
  const topic = line['topic']
  if (typeof topic !== 'string' || !isTopicName(topic)) throw new LineError('topic is not the name of a topic')
  return {
    topic,
    partition: integerIn(line, 'partition'),
    timestamp: numberIn(line, 'timestamp'),
    acceptedAt: numberIn(line, 'acceptedAt') ?? now,
    producer: textIn(line, 'producer'),
    contentType: textIn(line, 'contentType'),
    traceparent: textIn(line, 'traceparent'),
    tracestate: textIn(line, 'tracestate'),
    idempotencyKey: textIn(line, 'idempotencyKey'),
    key: bytesIn(line, 'key'),
    value: bytesIn(line, 'value'),
    headers: headersIn(line),
  }
}

function rawMessage(line: Fields): Message {
  const { kind, raw } = line
  if (kind !== 'messages') throw new LineError('it is a raw record of another kind than messages')
  const bytes = base64(raw, 'raw')
  let message: Message
  try {
    message = decodeMessage(bytes, 0, 0)
  } catch (error) {
    throw new LineError(`raw is no message: ${messageOf(error)}`)
  }
  // Decoding does not check everything: bytes that mean nothing must not get into the journal.
  const again = Buffer.alloc(messageCodec.sizeMax(message))
  const isWhole = again.subarray(0, messageCodec.encode(message, again, 0)).equals(bytes)
  if (!isWhole || !isTopicName(message.topic)) throw new LineError('raw is no message')
  return message
}

function headersIn(line: Fields): MessageHeader[] {
  const given = line['headers'] ?? {}
  const headers = Object.entries(objectOf(given, 'headers')).flatMap(([name, values]) => {
    checkLength(name, 'the name of a header')
    if (isReservedHeader(name)) throw new LineError(`the header ${name} is set by Outrigger alone`)
    if (!Array.isArray(values)) throw new LineError(`the header ${name} has no array of values`)
    return values.map((value: unknown): MessageHeader => {
      if (typeof value === 'string') return [name, value]
      return [name, base64(objectOf(value, `the header ${name}`)['base64'], `the header ${name}`)]
    })
  })
  if (headers.length > countMax) throw new LineError(`there are more than ${countMax} headers`)
  return headers
}

function bytesIn(line: Fields, name: 'key' | 'value'): Bytes | null {
  const encoded = line[`${name}Base64`]
  if (encoded !== undefined) return base64(encoded, `${name}Base64`)
  const text = line[name] ?? null
  if (text !== null && typeof text !== 'string') throw new LineError(`${name} is neither a text nor null`)
  return text
}

/** What the journal's format has two bytes for. */
const countMax = 0xffff

function checkLength(text: string, name: string): void {
  if (Buffer.byteLength(text) > countMax) throw new LineError(`${name} is longer than ${countMax} bytes`)
}

function textIn(line: Fields, name: string): string | null {
  const text = line[name] ?? null
  if (text === null) return null
  if (typeof text !== 'string') throw new LineError(`${name} is neither a text nor null`)
  checkLength(text, name)
  return text
}

function numberIn(line: Fields, name: string): number | null {
  const value = line[name] ?? null
  if (value !== null && (typeof value !== 'number' || !Number.isFinite(value)))
    throw new LineError(`${name} is neither a number nor null`)
  return value
}

function integerIn(line: Fields, name: string): number | null {
  const value = numberIn(line, name)
  if (value !== null && (!Number.isInteger(value) || value < 0 || value > 0x7fff_ffff))
    throw new LineError(`${name} is not the number of a partition`)
  return value
}

function base64(text: unknown, name: string): Buffer {
  const bytes = typeof text === 'string' ? Buffer.from(text, 'base64') : null
  if (bytes === null || bytes.toString('base64') !== text) throw new LineError(`${name} is not Base64`)
  return bytes
}

function objectOf(value: unknown, name: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new LineError(`${name} is not a JSON object`)
  return value as Fields
}
