import { isUtf8 } from 'node:buffer'
import type { Bytes, MessageHeader } from '../message/message.ts'
import { isReservedHeader } from '../message/message.ts'
import { cloudEventRefusal } from './media-type.ts'
import { readPartition } from './partition.ts'
import { Refusal } from './refusal.ts'
import { readTimestamp } from './timestamp.ts'
import { isTraceparent, isTracestate } from './trace-context.ts'

const noHeaders: MessageHeader[] = []
const producerLengthMax = 255
const headerPrefix = 'outrigger-header-'

/**
 * What the head of a publish request says: of its body, and of the message or messages in it. Filled from the path, the
 * query and the headers; what is given twice must be the same. Its methods throw a `Refusal`.
 */
export class PublishHead {
  contentType: string | null = null
  /** null when the request does not say. */
  contentLength: number | null = null
  isChunked = false
  key: Bytes | null = null
  headers: MessageHeader[] = noHeaders
  partition: number | null = null
  timestamp: number | null = null
  producer: string | null = null
  traceparent: string | null = null
  tracestate: string | null = null
  idempotencyKey: string | null = null
  isLowPriority = false
  #priority: string | null = null

  /** `raw` are names and values in turn, as Node gives them: each character stands for a byte. */
  readHeaders(raw: readonly string[]): void {
    for (let i = 0; i < raw.length; i += 2) {
      const name = raw[i] as string
      // The first letter rules most headers out without making anything.
      switch (name.charCodeAt(0) | 0x20) {
        case 0x63 /* c */:
          this.#readContentHeader(name.toLowerCase(), raw[i + 1] as string)
          break
        case 0x74 /* t */:
          this.#readTraceHeader(name.toLowerCase(), raw[i + 1] as string)
          break
        case 0x6f /* o */:
          this.#readOwnHeader(name.toLowerCase(), raw[i + 1] as string)
          break
        case 0x69 /* i */:
          if (name.toLowerCase() === 'idempotency-key') this.idempotencyKey = raw[i + 1] as string
          break
        default:
      }
    }
    if (this.traceparent === null || !isTraceparent(this.traceparent)) {
      this.traceparent = null
      this.tracestate = null
    } else if (this.tracestate !== null && !isTracestate(this.tracestate)) {
      this.tracestate = null
    }
  }

  #readContentHeader(name: string, value: string): void {
    switch (name) {
      case 'content-type':
        this.contentType = value
        break
      case 'content-length':
        this.contentLength = Number(value)
        break
      case 'content-encoding':
        if (value !== '' && value.toLowerCase() !== 'identity') throw encodingRefusal(value)
        break
      case 'ce-specversion':
        throw cloudEventRefusal()
      default:
    }
  }

  #readTraceHeader(name: string, value: string): void {
    switch (name) {
      case 'traceparent':
        // Two of them: nobody can tell which one is meant, and `isTraceparent` says no to both together.
        this.traceparent = this.traceparent === null ? value : `${this.traceparent},${value}`
        break
      case 'tracestate':
        this.tracestate = this.tracestate === null ? value : `${this.tracestate},${value}`
        break
      case 'transfer-encoding':
        if (value.toLowerCase() !== 'chunked') throw encodingRefusal(value)
        this.isChunked = true
        break
      default:
    }
  }

  #readOwnHeader(name: string, value: string): void {
    switch (name) {
      case 'outrigger-key':
        this.setKey(bytesOf(value))
        return
      case 'outrigger-timestamp':
        this.setTimestamp(readTimestamp(value))
        return
      case 'outrigger-producer':
        this.#setProducer(value)
        return
      case 'outrigger-priority':
        this.#setPriority(value.toLowerCase())
        return
      default:
    }
    if (name.startsWith(headerPrefix)) this.#addHeader(name.slice(headerPrefix.length), value)
    else if (name.startsWith('outrigger-'))
      throw new Refusal(
        'header_invalid',
        `“${name}” is not known. There are Outrigger-Key, -Timestamp, -Producer, -Priority and -Header-NAME.`,
      )
  }

  #addHeader(name: string, value: string): void {
    if (name === '') throw new Refusal('header_invalid', 'Outrigger-Header- lacks the name of the header.')
    if (isReservedHeader(name)) throw new Refusal('header_invalid', `“${name}” is set by Outrigger alone.`)
    if (this.headers === noHeaders) this.headers = []
    this.headers.push([name, bytesOf(value)])
  }

  #setProducer(value: string): void {
    const bytes = Buffer.from(value, 'latin1')
    if (bytes.length > producerLengthMax || !isUtf8(bytes))
      throw new Refusal('header_invalid', `Outrigger-Producer is UTF-8, and has at most ${producerLengthMax} bytes.`)
    const producer = bytes.toString('utf8')
    if (this.producer !== null && this.producer !== producer) throw conflict('producer')
    this.producer = producer
  }

  #setPriority(value: string): void {
    if (value !== 'low' && value !== 'normal')
      throw new Refusal('header_invalid', 'Outrigger-Priority is “low” or “normal”.')
    if (this.#priority !== null && this.#priority !== value) throw conflict('priority')
    this.#priority = value
    this.isLowPriority = value === 'low'
  }

  setKey(key: Bytes): void {
    if (this.key !== null && !Buffer.from(this.key).equals(Buffer.from(key))) throw conflict('key')
    this.key = key
  }

  setPartition(partition: number): void {
    if (this.partition !== null && this.partition !== partition) throw conflict('partition')
    this.partition = partition
  }

  setTimestamp(timestamp: number): void {
    if (this.timestamp !== null && this.timestamp !== timestamp) throw conflict('timestamp')
    this.timestamp = timestamp
  }

  /** `query` comes without its question mark. A plus sign is a plus sign. */
  readQuery(query: string): void {
    for (const parameter of query.split('&')) {
      if (parameter === '') continue
      const end = parameter.indexOf('=')
      const name = end < 0 ? parameter : parameter.slice(0, end)
      const value = end < 0 ? '' : parameter.slice(end + 1)
      switch (name) {
        case 'key':
          this.setKey(percentDecoded(value, 'key_invalid'))
          break
        case 'partition':
          this.setPartition(readPartition(value))
          break
        case 'timestamp':
          this.setTimestamp(readTimestamp(percentDecoded(value, 'timestamp_invalid')))
          break
        default:
          throw unknownParameter(name, 'There are key, partition and timestamp.')
      }
    }
  }
}

export function unknownParameter(name: string, known: string): Refusal {
  return new Refusal('parameter_unknown', `“${name}” is not known. ${known}`)
}

/** The text of a percent-encoded part of a target. */
export function percentDecoded(text: string, code: 'key_invalid' | 'timestamp_invalid' | 'topic_invalid'): string {
  try {
    return text.includes('%') || !isAscii(text) ? decodeURIComponent(utf8Of(text)) : text
  } catch {
    throw new Refusal(code, `“${text}” is not percent-encoded UTF-8.`)
  }
}

/** The bytes that came in, when each character of `text` stands for one. */
function bytesOf(text: string): Bytes {
  return isAscii(text) ? text : Buffer.from(text, 'latin1')
}

/** A target should have only ASCII in it; clients that send UTF-8 as it is mean just that. */
function utf8Of(text: string): string {
  const bytes = Buffer.from(text, 'latin1')
  if (!isUtf8(bytes)) throw new URIError('not UTF-8')
  return bytes.toString('utf8')
}

function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return false
  return true
}

function conflict(what: string): Refusal {
  return new Refusal('parameter_conflict', `The ${what} is given twice, with different values.`)
}

function encodingRefusal(encoding: string): Refusal {
  return new Refusal('content_encoding_unsupported', `“${encoding}” is not read. Send the body as it is.`)
}
