/** A record of the broker, or an entry of the message log, as it is printed. */
export interface PrintedRecord {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** Milliseconds since the epoch. */
  readonly timestamp: number
  readonly id: string | null
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly (readonly [name: string, value: Buffer])[]
}

/**
 * A record as one line of JSON: `topic`, `partition`, `offset`, `timestamp` (milliseconds since the epoch), `id` (or
 * null), then `more`, then `key`, `value`, `headers`. Text stands as text. What is not UTF-8 stands in base64, as
 * `keyBase64` or `valueBase64` in place of `key` or `value`; null is no key, or a tombstone.
 *
 * `headers` is an object of arrays, because a name may repeat: `{"name": ["value", …]}`, the values of a name in their
 * order. A value that is not UTF-8 is `{"base64": "…"}`.
 */
export function jsonLine(record: PrintedRecord, more: Readonly<Record<string, string | number | null>> = {}): string {
  const { topic, partition, offset, timestamp, id } = record
  const fields = {
    topic,
    partition,
    offset,
    timestamp,
    id,
    ...more,
    ...jsonField('key', record.key),
    ...jsonField('value', record.value),
    headers: jsonHeaders(record.headers),
  }
  return JSON.stringify(fields) + '\n'
}

/** Headers as `jsonLine` has them: an object of arrays, because a name may repeat. */
export function jsonHeaders(
  headers: readonly (readonly [name: string, value: Buffer])[],
): Record<string, (string | { base64: string })[]> {
  // Without a prototype, for a header may be called `__proto__`.
  const byName = Object.create(null) as Record<string, (string | { base64: string })[]>
  for (const [name, value] of headers) {
    const text = textOf(value)
    const values = (byName[name] ??= [])
    values.push(text ?? { base64: value.toString('base64') })
  }
  return byName
}

/** `name`, or `nameBase64` for what is not UTF-8. */
export function jsonField(name: 'key' | 'value', bytes: Buffer | null): Record<string, string | null> {
  if (bytes === null) return { [name]: null }
  const text = textOf(bytes)
  return text === undefined ? { [`${name}Base64`]: bytes.toString('base64') } : { [name]: text }
}

/** For people: when (`time`), where, which key, and as much of the value as goes on a line. */
export function humanLine({ partition, offset, key, value }: PrintedRecord, time: number): string {
  const parts = [timeText(time), `${partition}/${offset}`]
  if (key !== null) parts.push(`${shown(key, keyLengthMax)}:`)
  parts.push(value === null ? '(tombstone)' : shown(value, valueLengthMax))
  return parts.join('  ') + '\n'
}

const keyLengthMax = 60
const valueLengthMax = 400

export function timeText(timestamp: number): string {
  const time = new Date(timestamp)
  return Number.isNaN(time.getTime()) ? String(timestamp) : time.toISOString()
}

/** Text on one line, harmless to a terminal, and cut where it gets long; a description of what is no text. */
export function shown(bytes: Buffer, lengthMax: number): string {
  const text = textOf(bytes)
  if (text === undefined) return `(${bytes.length} bytes, not UTF-8)`
  if (text === '') return '(empty)'
  return harmless(text.length > lengthMax ? `${text.slice(0, lengthMax)}… (${bytes.length} bytes)` : text)
}

/** What is neither a letter nor any other mark is spelled out: it could do things to a terminal. */
export function harmless(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, escapeControl)
}

function escapeControl(character: string): string {
  if (character === '\n') return '\\n'
  if (character === '\t') return '\\t'
  if (character === '\r') return '\\r'
  return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** The text that the bytes are in UTF-8, or undefined. */
export function textOf(bytes: Buffer): string | undefined {
  try {
    return utf8.decode(bytes)
  } catch {
    return undefined
  }
}
