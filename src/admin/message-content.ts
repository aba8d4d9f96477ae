import type { LogEntry } from '../recorder/message-log.ts'
import { formatMessageId } from '../message/message-id.ts'
import type { Reply } from './reply.ts'

/** Together, the headers that hold a message's key and headers have at most so many bytes; many clients take 16 KiB in all. */
const ownHeaderBytesMax = 12 * 1024
/** What a header's name (RFC 9110, 5.6.2) and value (5.5, whose ends are not blank) may hold; a character is a byte. */
const tokenPattern = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
const valuePattern = /^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?$/

/**
 * A message from the log as an HTTP answer, in the form that publishers send one: the value is the body, under its own
 * content type; key, headers and where it stands are headers, their bytes as they are. A key that no header can hold is in
 * `Outrigger-Key-Base64`. `Outrigger-Left-Out` counts what does not fit at all. A tombstone is 204.
 */
export function contentReply(entry: LogEntry): Reply {
  const { topic, partition, offset, journalId, seq, value } = entry
  const headers = [
    'Outrigger-Id',
    formatMessageId(journalId, seq),
    'Outrigger-Topic',
    topic,
    'Outrigger-Partition',
    String(partition),
    'Outrigger-Offset',
    String(offset),
    'Outrigger-Timestamp',
    timeText(entry.timestamp),
    'Outrigger-Accepted-At',
    timeText(entry.acceptedAt),
    'Outrigger-Delivered-At',
    timeText(entry.deliveredAt),
    ...ownHeaders(entry),
    // It is whatever a publisher sent: a browser must neither guess what it is, nor run it as a page of this origin.
    'X-Content-Type-Options',
    'nosniff',
    'Content-Security-Policy',
    "default-src 'none'; sandbox",
  ]
  if (value === null) return { status: 204, type: null, body: '', headers }
  const type = entry.contentType !== null && isHeaderValue(entry.contentType) ? entry.contentType : null
  return { status: 200, type: type ?? 'application/octet-stream', body: Buffer.from(value), headers }
}

function ownHeaders({ key, headers }: LogEntry): string[] {
  const own: string[] = []
  let bytesLeft = ownHeaderBytesMax
  let leftOut = 0
  const add = (name: string, value: string): void => {
    const bytes = name.length + value.length
    if (bytes > bytesLeft || !tokenPattern.test(name)) {
      leftOut++
      return
    }
    bytesLeft -= bytes
    own.push(name, value)
  }
  if (key !== null) {
    const text = latin1Of(key)
    if (isHeaderValue(text)) add('Outrigger-Key', text)
    else add('Outrigger-Key-Base64', Buffer.from(key).toString('base64'))
  }
  for (const [name, value] of headers) {
    const text = latin1Of(value)
    if (isHeaderValue(text)) add(`Outrigger-Header-${name}`, text)
    else leftOut++
  }
  if (leftOut > 0) own.push('Outrigger-Left-Out', String(leftOut))
  return own
}

function isHeaderValue(text: string): boolean {
  return valuePattern.test(text)
}

/** Node writes each character of a header as a byte. */
function latin1Of(bytes: Uint8Array | string): string {
  return Buffer.from(bytes as Uint8Array).toString('latin1')
}

function timeText(millis: number): string {
  return new Date(millis).toISOString()
}
