import { isUtf8 } from 'node:buffer'
import type { StoredMessage } from '../message/message.ts'
import type { FinishedMessage } from './finished-message.ts'
import type { MetadataRow } from './metadata-store.ts'
import { headersBytesMax, keyBytesMax, textMax } from './metadata-store.ts'

/** The row of a message; nothing in it is a view of what the message was read from. */
export function metadataRow(
  journalId: string,
  finished: FinishedMessage,
  message: StoredMessage,
  recordedAt: number,
): MetadataRow {
  return {
    journalId,
    seq: finished.seq,
    status: finished.status,
    topic: finished.topic,
    partition: finished.partition,
    offset: finished.offset,
    key: message.key && boundedKey(message.key),
    producer: message.producer && message.producer.slice(0, textMax),
    contentType: message.contentType && message.contentType.slice(0, textMax),
    valueBytes: message.value?.length ?? null,
    headers: headersText(message.headers),
    traceId: traceIdOf(message.traceparent),
    acceptedAt: message.acceptedAt,
    finishedAt: finished.finishedAt,
    recordedAt,
    attempts: finished.attempts,
    reason: finished.reason && finished.reason.slice(0, textMax),
  }
}

/** A key as rows hold it: look-ups by key cut theirs in the same way. */
export function boundedKey(key: Uint8Array): Buffer {
  return Buffer.from(key.subarray(0, keyBytesMax))
}

/** What a row takes, in bytes, roughly. */
export function metadataRowBytes({ topic, key, producer, contentType, headers, reason }: MetadataRow): number {
  const texts = [topic, producer, contentType, headers, reason]
  return 160 + (key?.length ?? 0) + texts.reduce((sum, text) => sum + (text?.length ?? 0), 0)
}

function headersText(headers: StoredMessage['headers']): string | null {
  if (headers.length === 0) return null
  const kept: string[] = []
  let bytes = 2
  for (const [name, value] of headers) {
    // Not to build text that would not fit anyway.
    if (value.length > headersBytesMax) break
    const text = JSON.stringify(
      isUtf8(value) ? { name, value: value.toString() } : { name, valueBase64: value.toString('base64') },
    )
    bytes += Buffer.byteLength(text) + 1
    if (bytes > headersBytesMax) break
    kept.push(text)
  }
  return `[${kept.join(',')}]`
}

const traceparentPattern = /^[0-9a-f]{2}-([0-9a-f]{32})-/

function traceIdOf(traceparent: string | null): string | null {
  return (traceparent && traceparentPattern.exec(traceparent)?.[1]) ?? null
}
