import { Random } from './random.ts'
import type { SentMessage } from './verdict.ts'

/**
 * The torture's messages. Each is decided by the run's seed and its tag alone, so that what must stand in the broker is
 * made again instead of being remembered.
 */

export const tagHeader = 'torture-tag'
export const topics = ['torture-a', 'torture-b', 'torture-c', 'torture-d'] as const

/** How a message is sent: alone, in NDJSON whose length is known, or in NDJSON that is answered line by line. */
export const formats = { single: 's', counted: 'c', streamed: 'n' } as const
export type Format = (typeof formats)[keyof typeof formats]

export interface TortureMessage extends SentMessage {
  readonly tag: string
  /** What the value is, for its way in NDJSON. */
  readonly kind: 'text' | 'json' | 'bytes' | 'tombstone'
}

export function tagOf(publisher: number, count: number, format: Format): string {
  return `${publisher}-${count}-${format}`
}

const tagPattern = /^([0-9]+)-([0-9]+)-([scn])$/

/** The message of a tag, or null when there is none of that name. */
export function messageOf(seed: number, tag: string): TortureMessage | null {
  const match = tagPattern.exec(tag)
  if (match === null) return null
  const [, publisher, count, format] = match as unknown as [string, string, string, Format]
  const random = Random.of(seed, Number(publisher), Number(count))
  const kind = random.pick(format === formats.single ? singleKinds : lineKinds)
  const key = keyOf(random, publisher)
  const headers: (readonly [string, Buffer])[] = []
  if (format === formats.single) headers.push(['content-type', Buffer.from('application/octet-stream')])
  else if (kind === 'json') headers.push(['content-type', Buffer.from('application/json')])
  headers.push([tagHeader, Buffer.from(tag)])
  if (random.next() < 0.3) headers.push(['colour', Buffer.from(random.pick(['red', 'grün', '']))])
  return { tag, kind, topic: random.pick(topics), key, value: valueOf(kind, random, tag), headers }
}

const singleKinds = ['text', 'bytes'] as const
const lineKinds = ['text', 'text', 'json', 'bytes', 'tombstone'] as const

/** Most keys are one publisher's own; some are everybody's, and some messages have none. */
function keyOf(random: Random, publisher: string): Buffer | null {
  const kind = random.next()
  if (kind < 0.05) return null
  return Buffer.from(kind < 0.3 ? `everyone’s ${random.between(1, 16)}` : `${publisher}’s ${random.between(1, 8)}`)
}

const fill = new Random(7).bytes(1 << 16)

function valueOf(kind: TortureMessage['kind'], random: Random, tag: string): Buffer | null {
  const length = random.next() < 0.1 ? random.between(4000, 20_000) : random.between(0, 600)
  const start = random.between(0, fill.length - length)
  const filling = fill.subarray(start, start + length)
  switch (kind) {
    case 'tombstone':
      return null
    case 'bytes':
      return Buffer.concat([Buffer.from(tag), filling])
    case 'text':
      return Buffer.from(`${tag} “${filling.toString('base64')}”`)
    case 'json':
      // Not as JSON.stringify would write it: it must arrive as it was written.
      return Buffer.from(`{ "tag": "${tag}",  "number": 1.50, "filling": "${filling.toString('hex')}" }`)
    default:
      return kind satisfies never
  }
}

/** The message as a line of NDJSON. */
export function lineOf({ kind, key, value, headers }: TortureMessage): string {
  const members = [`"headers":${JSON.stringify(Object.fromEntries(ownHeaders(headers)))}`]
  if (key !== null) members.push(`"key":${JSON.stringify(key.toString())}`)
  switch (kind) {
    case 'tombstone':
      members.push('"value":null')
      break
    case 'bytes':
      members.push(`"valueBase64":"${value?.toString('base64')}"`)
      break
    case 'text':
      members.push(`"value":${JSON.stringify(value?.toString())}`)
      break
    case 'json':
      members.push(`"value":${value?.toString()}`)
      break
    default:
      kind satisfies never
  }
  return `{${members.join()}}\n`
}

/** Those that the publisher gives by name. */
export function ownHeaders(headers: SentMessage['headers']): [name: string, value: string][] {
  return headers.filter(([name]) => name !== 'content-type').map(([name, value]) => [name, value.toString()])
}
