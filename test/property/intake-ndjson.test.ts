import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isBlank, LineReader } from '../../src/intake/line-reader.ts'
import { memberText } from '../../src/intake/json-member.ts'
import { readNdjsonMessage } from '../../src/intake/ndjson-message.ts'
import type { Message } from '../../src/message/message.ts'

const shared = { topic: 'a', partition: null, producer: null, traceparent: null, tracestate: null }
const limits = { bodyBytesMax: 1000, headersMax: 8, headerBytesMax: 1000 }
const lineBytesMax = 120

/** Whitespace that JSON allows on a line. */
const space = fc.stringMatching(/^[ \t\r]{0,3}$/)

const numberText = fc.stringMatching(/^-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?$/)
const stringText = fc.oneof(
  fc.string({ unit: 'grapheme' }).map((text) => JSON.stringify(text)),
  fc.stringMatching(/^"([ !#-[\]-~]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4}){0,12}"$/),
)

/** JSON as someone may write it: any numbers, any escapes, any spacing. */
const { json } = fc.letrec<{ json: string; array: string; object: string }>((tie) => ({
  json: fc.oneof({ maxDepth: 4 }, numberText, stringText, fc.constantFrom('null', 'true', 'false'), tie('array'), tie('object')),
  array: fc.array(fc.tuple(space, tie('json'), space).map((parts) => parts.join('')), { maxLength: 4 }).map((items) => `[${items.join(',')}]`),
  object: fc
    .array(fc.tuple(space, stringText, space, tie('json'), space), { maxLength: 4 })
    .map((members) => `{${members.map(([a, name, b, value, c]) => `${a}${name}${b}:${value}${c}`).join(',')}}`),
})) // prettier-ignore

describe('the text of a member', () => {
  test('is what was written, byte for byte, wherever it stands', () => {
    const other = fc.tuple(fc.constantFrom('"v"', '"valu\\u0065s"', '"a\\"value"', '"Value"', '""'), json)
    fc.assert(
      fc.property(json, fc.array(other, { maxLength: 4 }), fc.nat(4), fc.array(space, { minLength: 4, maxLength: 4 }), fc.constantFrom('"value"', '"v\\u0061lue"'), (value, others, at, spaces, name) => {
        const [a, b, c, d] = spaces
        const members = others.map(([otherName, otherValue]) => `${otherName}:${otherValue}`)
        members.splice(at, 0, `${a}${name}${b}:${c}${value}${d}`)
        const text = `${d}{${members.join(',')}}${a}`
        JSON.parse(text)
        expect(memberText(text, 'value')).toBe(value)
      }),
    ) // prettier-ignore
  })

  test('reaches the message, unless it is a string or null', () => {
    fc.assert(
      fc.property(json, space, (value, gap) => {
        const parsed: unknown = JSON.parse(value)
        fc.pre(typeof parsed !== 'string' || parsed.isWellFormed())
        const message = readNdjsonMessage(`{"key":${gap}${value}${gap},"value":${gap}${value}}`, shared, 1, {
          ...limits,
          bodyBytesMax: 1e6,
          headerBytesMax: 1e6,
        })
        const expected = typeof parsed === 'string' || parsed === null ? parsed : value
        expect([message.key, message.value]).toEqual([expected, expected])
      }),
    )
  })
})

/** Lines of all sorts: good, bad, blank, too long, not UTF-8. */
const line = fc.oneof(
  json.map((value) => Buffer.from(`{"value":${value}}`)),
  fc.string({ unit: 'grapheme' }).map((text) => Buffer.from(`{"key":"ü","value":${JSON.stringify(text)}}`)),
  fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes.filter((byte) => byte !== 0x0a))),
  fc.constantFrom('', ' ', '\t\r', '\r', '\ufeff', '{}', '[]').map((text) => Buffer.from(text)),
  fc.nat(200).map((length) => Buffer.from(`{"value":"${'é'.repeat(length)}"}`)),
)

const body = fc
  .tuple(fc.array(line, { maxLength: 12 }), fc.boolean())
  .map(([lines, lastEnds]) =>
    Buffer.from(lines.map((bytes) => bytes.toString('latin1')).join('\n') + (lastEnds ? '\n' : ''), 'latin1'),
  )

interface Result {
  readonly lineNumber: number
  readonly fault: string | null
  readonly line: string
  readonly message: Message | string | null
}

function resultsOf(reader: LineReader): { results: Result[]; bytes: number } {
  const results: Result[] = []
  let bytes = 0
  while (reader.next()) {
    bytes += reader.lineBytes
    const { fault, lineNumber, line: text } = reader
    results.push({ fault, lineNumber, line: text, message: fault !== null || isBlank(text) ? null : read(text) })
  }
  bytes += reader.takeForgotten()
  expect(reader.hasMore).toBe(false)
  return { results, bytes }
}

function read(text: string): Message | string {
  try {
    return readNdjsonMessage(text, shared, 1, limits)
  } catch (error) {
    return String(error)
  }
}

/** What the reader must come to, in the plainest way. */
function plainResults(bytes: Buffer): Omit<Result, 'message'>[] {
  const texts = bytes.toString('latin1').split('\n')
  if (texts.at(-1) === '') texts.pop()
  return texts.map((latin1, i) => {
    const raw = Buffer.from(latin1, 'latin1')
    const lineNumber = i + 1
    const utf8 = raw.toString('utf8')
    const isUtf8 = Buffer.from(utf8).equals(raw)
    if (raw.length > lineBytesMax) return { lineNumber, fault: 'too_long', line: '' }
    if (!isUtf8) return { lineNumber, fault: 'not_utf8', line: '' }
    return { lineNumber, fault: null, line: i === 0 ? utf8.replace(/^\ufeff/, '') : utf8 }
  })
}

describe('the lines of a body', () => {
  test('are the same however it is cut into chunks, and whenever it is read', () => {
    fc.assert(
      fc.property(body, fc.array(fc.tuple(fc.nat(60), fc.boolean()), { maxLength: 30 }), (bytes, cuts) => {
        const whole = new LineReader({ lineBytesMax })
        whole.push(bytes)
        whole.end()
        const expected = resultsOf(whole)

        const reader = new LineReader({ lineBytesMax })
        const results: Result[] = []
        let done = 0
        let at = 0
        const take = (): void => {
          const some = resultsOf(reader)
          results.push(...some.results)
          done += some.bytes
        }
        for (const [length, takeNow] of cuts) {
          reader.push(bytes.subarray(at, at + length))
          at = Math.min(bytes.length, at + length)
          if (takeNow) take()
        }
        reader.push(bytes.subarray(at))
        take()
        reader.end()
        take()
        expect(results).toEqual(expected.results)
        expect([done, expected.bytes]).toEqual([bytes.length, bytes.length])
      }),
      { numRuns: 500 },
    )
  })

  test('are those that a plain reading finds', () => {
    fc.assert(
      fc.property(body, (bytes) => {
        const reader = new LineReader({ lineBytesMax })
        reader.push(bytes)
        reader.end()
        const found = resultsOf(reader).results.map(({ lineNumber, fault, line: text }) => ({
          lineNumber,
          fault,
          line: text,
        }))
        const plain = plainResults(bytes)
        // Of a line that is both too long and not UTF-8 either may be said.
        expect(found.map((result) => ({ ...result, fault: result.fault !== null }))).toEqual(
          plain.map((result) => ({ ...result, fault: result.fault !== null })),
        )
      }),
      { numRuns: 500 },
    )
  })
})
