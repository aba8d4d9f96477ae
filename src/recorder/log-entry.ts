import type { StoredMessage } from '../message/message.ts'
import type { FinishedMessage } from './finished-message.ts'
import type { LogEntry } from './message-log.ts'

/** The entry of a delivered message, or null for a dead one: it is kept whole among the dead letters. Nothing in it is a view. */
export function logEntry(journalId: string, finished: FinishedMessage, message: StoredMessage): LogEntry | null {
  const { partition, offset } = finished
  if (partition === null || offset === null) return null
  return {
    topic: finished.topic,
    partition,
    offset,
    journalId,
    seq: finished.seq,
    key: message.key && Buffer.from(message.key),
    value: message.value && Buffer.from(message.value),
    headers: message.headers.map(([name, value]) => [name, Buffer.from(value)] as const),
    contentType: message.contentType,
    timestamp: message.timestamp ?? message.acceptedAt,
    acceptedAt: message.acceptedAt,
    deliveredAt: finished.finishedAt,
  }
}

/** What an entry takes, in bytes, roughly. */
export function logEntryBytes({ topic, key, value, headers }: LogEntry): number {
  let bytes = 200 + topic.length + (key?.length ?? 0) + (value?.length ?? 0)
  for (const [name, content] of headers) bytes += 8 + name.length + content.length
  return bytes
}
