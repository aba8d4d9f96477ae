import { isUtf8 } from 'node:buffer'
import type { Problem } from '../http/problem.ts'
import type { MessagePosition } from '../message/message-id.ts'
import { formatMessageId, parseMessageId } from '../message/message-id.ts'
import type { NumberedException } from '../recorder/ledger-exceptions.ts'
import type { LogEntry } from '../recorder/message-log.ts'
import type { MetadataPosition, MetadataQuery, MetadataRow } from '../recorder/metadata-store.ts'
import { keyBytesMax } from '../recorder/metadata-store.ts'
import type { StoreName } from '../recorder/store-name.ts'
import { storeNames } from '../recorder/store-name.ts'
import { contentReply } from './message-content.ts'
import { Query } from './query.ts'
import type { Reply } from './reply.ts'
import { jsonReply } from './reply.ts'

/**
 * The ledger, as operators look into it. Whatever can't be asked now rejects with an `UnavailableError`. Bytes may come as
 * a plain `Uint8Array` where a `Buffer` is promised, because they come from another thread.
 */
export interface LedgerView {
  /** The stores that the configuration asks for. */
  readonly stores: readonly StoreName[]
  find(position: MessagePosition): Promise<MetadataRow | null>
  /** Newest first. */
  list(query: MetadataQuery): Promise<readonly MetadataRow[]>
  /** A message as the log has it; null when it has none, or when nothing says where it stands. */
  content(position: MessagePosition): Promise<LogEntry | null>
  /** What a store does not hold although it should, oldest first, from the first number above `after` on. */
  exceptions(store: StoreName, after: number, limit: number): Promise<readonly NumberedException[]>
}

/** The paths of the ledger, for people. */
export const ledgerPaths = [
  '/ledger/messages',
  '/ledger/messages/{id}',
  '/ledger/messages/{id}/content',
  '/ledger/exceptions',
] as const

type LedgerRoute = (query: string) => Promise<Reply | Problem>

const shown = 100
const shownMax = 1000
const messagePath = /^\/ledger\/messages\/([^/]+)(\/content)?$/

/** What answers at a path of the ledger; undefined for any other path. */
export function ledgerRoute(ledger: LedgerView, path: string): LedgerRoute | undefined {
  if (path === '/ledger/messages') return (query) => showMessages(ledger, query)
  if (path === '/ledger/exceptions') return (query) => showExceptions(ledger, query)
  const [, id, content] = messagePath.exec(path) ?? []
  if (id === undefined) return undefined
  return (query) => (content === undefined ? showMessage(ledger, id, query) : showContent(ledger, id, query))
}

const messageParameters = ['topic', 'partition', 'from', 'to', 'key', 'keyBase64', 'status', 'limit', 'cursor'] as const

async function showMessages(ledger: LedgerView, text: string): Promise<Reply | Problem> {
  if (!ledger.stores.includes('metadata')) return switchedOff('metadata')
  const query = new Query(text, messageParameters)
  const wanted = {
    topic: query.text('topic'),
    partition: query.wholeNumber('partition', 0, 2 ** 31 - 1),
    key: keyOf(query),
    status: query.oneOf('status', ['delivered', 'dead']),
    from: query.time('from'),
    to: query.time('to'),
    limit: query.wholeNumber('limit', 1, shownMax) ?? shown,
    after: cursorOf(query),
  }
  if (query.problem !== null) return query.problem
  const rows = await ledger.list(withoutUndefined(wanted))
  const last = rows.at(-1)
  const next = last && rows.length === wanted.limit ? nextPath(query, last) : null
  return jsonReply({ messages: rows.map(rowJson), next })
}

/** Rows hold a key's first bytes only. */
function keyOf(query: Query): Buffer | undefined {
  const text = query.text('key')
  const bytes = query.bytes('keyBase64')
  if (text !== undefined && bytes !== undefined) query.refuse('parameter_conflict', 'Give “key” or “keyBase64”.')
  const key = text === undefined ? bytes : Buffer.from(text)
  return key?.subarray(0, keyBytesMax)
}

async function showMessage(ledger: LedgerView, id: string, text: string): Promise<Reply | Problem> {
  if (!ledger.stores.includes('metadata')) return switchedOff('metadata')
  const { problem } = new Query(text, [])
  if (problem !== null) return problem
  const position = parseMessageId(id)
  const row = position && (await ledger.find(position))
  if (row !== null) return jsonReply(rowJson(row))
  const why = 'it is none, or not recorded yet, or older than “ledger.retention”'
  return { code: 'message_not_found', detail: `The ledger has no message of the id “${id}”: ${why}.` }
}

async function showContent(ledger: LedgerView, id: string, text: string): Promise<Reply | Problem> {
  // The one says where the message stands in the other.
  for (const store of storeNames) if (!ledger.stores.includes(store)) return switchedOff(store)
  const { problem } = new Query(text, [])
  if (problem !== null) return problem
  const position = parseMessageId(id)
  const entry = position && (await ledger.content(position))
  if (entry !== null) return contentReply(entry)
  const why = 'it is none, or not delivered, or not recorded yet, or older than “ledger.retention”'
  return { code: 'message_not_found', detail: `The message log has no message of the id “${id}”: ${why}.` }
}

async function showExceptions(ledger: LedgerView, text: string): Promise<Reply | Problem> {
  const query = new Query(text, ['store', 'after', 'limit'])
  const store = query.oneOf('store', storeNames)
  const after = query.wholeNumber('after', 0, Number.MAX_SAFE_INTEGER) ?? 0
  const limit = query.wholeNumber('limit', 1, shownMax) ?? shown
  if (store === undefined) query.refuse('parameter_invalid', `Say which store: “store” is ${storeNames.join(' or ')}.`)
  if (query.problem !== null || store === undefined) return query.problem as Problem
  if (!ledger.stores.includes(store)) return switchedOff(store)
  const exceptions = await ledger.exceptions(store, after, limit)
  const last = exceptions.at(-1)
  return jsonReply({
    exceptions: exceptions.map(({ number, at, ...rest }) => ({ number, at: timeText(at), ...rest })),
    // A page may be cut short because of its size: only an empty one is certain to be the last.
    next: last ? `/ledger/exceptions?store=${store}&after=${last.number}&limit=${limit}` : null,
  })
}

const kinds = { metadata: 'embedded or mysql', log: 'embedded or cassandra' } as const satisfies Record<StoreName, string> // prettier-ignore
const kept = { metadata: 'the metadata of messages', log: 'the messages themselves' } as const satisfies Record<StoreName, string> // prettier-ignore

/** Nothing is kept there, by the configuration. */
function switchedOff(store: StoreName): Problem {
  const detail = `“ledger.${store}” is none: ${kept[store]} are not kept. Set it to ${kinds[store]}.`
  return { code: 'not_found', detail }
}

function rowJson(row: MetadataRow): object {
  const key = row.key && Buffer.from(row.key)
  const isText = key !== null && isUtf8(key)
  const finishedAt = timeText(row.finishedAt)
  return {
    id: formatMessageId(row.journalId, row.seq),
    status: row.status,
    topic: row.topic,
    partition: row.partition,
    offset: row.offset,
    key: isText ? key.toString() : null,
    keyBase64: key !== null && !isText ? key.toString('base64') : null,
    producer: row.producer,
    contentType: row.contentType,
    valueBytes: row.valueBytes,
    headers: row.headers === null ? [] : (JSON.parse(row.headers) as unknown),
    traceId: row.traceId,
    acceptedAt: timeText(row.acceptedAt),
    ...(row.status === 'delivered' ? { deliveredAt: finishedAt } : { diedAt: finishedAt }),
    recordedAt: timeText(row.recordedAt),
    attempts: row.attempts,
    reason: row.reason,
  }
}

function timeText(millis: number): string {
  return new Date(millis).toISOString()
}

/** Where the list goes on behind a row: the same query, with another cursor. */
function nextPath(query: Query, { acceptedAt, journalId, seq }: MetadataPosition): string {
  const cursor = Buffer.from(`${acceptedAt}.${formatMessageId(journalId, seq)}`).toString('base64url')
  const parameters = messageParameters
    .filter((name) => name !== 'cursor')
    .flatMap((name) => {
      const value = query.text(name)
      return value === undefined ? [] : [`${name}=${encodeURIComponent(value)}`]
    })
  return `/ledger/messages?${[...parameters, `cursor=${cursor}`].join('&')}`
}

function cursorOf(query: Query): MetadataPosition | undefined {
  const text = query.text('cursor')
  if (text === undefined) return undefined
  const [, acceptedAt, id = ''] = /^([0-9]{1,15})\.(.*)$/.exec(Buffer.from(text, 'base64url').toString('latin1')) ?? []
  const position = parseMessageId(id)
  if (position !== null) return { acceptedAt: Number(acceptedAt), ...position }
  query.refuse('parameter_invalid', '“cursor” is not one: take it from the “next” of the page before.')
  return undefined
}

/** The members that are there: `exactOptionalPropertyTypes` tells an absent one from one that is undefined. */
function withoutUndefined<T extends object>(
  members: T,
): { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>
} {
  const present = Object.entries(members).filter(([, value]) => value !== undefined)
  return Object.fromEntries(present) as ReturnType<typeof withoutUndefined<T>>
}
