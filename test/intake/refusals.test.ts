import { afterEach, describe, expect, test } from 'vitest'
import { UnavailableError } from '../../src/base/errors.ts'
import { problemCodes, type ProblemCode } from '../../src/http/problem-codes.ts'
import type { IntakeOptions } from '../../src/intake/ports.ts'
import { chunked, chunkedEnd, type RawAnswer } from '../http/raw-http.ts'
import { codeOf, head, IntakeHarness, journalId, ndjson, ndjsonStream, post, resultsOf } from './intake-harness.ts'

interface Case {
  readonly name: string
  readonly code: ProblemCode
  readonly bytes: string | Buffer
  readonly options?: Partial<IntakeOptions>
  readonly failure?: Error
  /** What is said before the body is asked for. */
  readonly refusal?: UnavailableError
  /** The problem stands in a result line of an answer with this status. */
  readonly inLine?: { readonly status: number; readonly line: number }
  readonly headers?: Readonly<Record<string, string>>
  readonly detail?: RegExp
}

const topic = '/topics/orders'
const key65 = 'k'.repeat(65)
const unavailable = (code: UnavailableError['code']): UnavailableError =>
  new UnavailableError(code, 'no room for more', { retryAfterSeconds: 7 })
const line = (text: string | Buffer): Buffer => post(topic, text, ndjson)

const cases: Case[] = [
  { name: 'something that is not HTTP', code: 'malformed_http', bytes: 'hello\r\n\r\n' },
  { name: 'a TLS hello', code: 'malformed_http', bytes: Buffer.from('16030100a5010000a1030300', 'hex') },
  { name: 'two hosts', code: 'malformed_http', bytes: 'POST /topics/a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n' },
  {
    name: 'both lengths of a body',
    code: 'malformed_http',
    bytes: head('POST', topic, { 'Content-Length': '3', 'Transfer-Encoding': 'chunked' }),
  },
  {
    name: 'a chunk without a size',
    code: 'malformed_http',
    bytes: Buffer.concat([head('POST', topic, { 'Transfer-Encoding': 'chunked' }), Buffer.from('zz\r\n')]),
  },
  { name: 'no host', code: 'host_missing', bytes: 'POST /topics/a HTTP/1.1\r\nContent-Length: 0\r\n\r\n' },
  { name: 'a foreign host', code: 'host_not_allowed', bytes: post(topic, 'x', { Host: 'evil.test:4110' }) },
  { name: 'a host that only begins like ours', code: 'host_not_allowed', bytes: post(topic, 'x', { Host: '127.0.0.1.evil.test' }) }, // prettier-ignore
  {
    name: 'a foreign host in the target',
    code: 'host_not_allowed',
    bytes: post('http://evil.test/topics/orders', 'x'),
  },
  { name: 'a foreign origin', code: 'origin_not_allowed', bytes: post(topic, 'x', { Origin: 'https://evil.test' }) },
  { name: 'an opaque origin', code: 'origin_not_allowed', bytes: post(topic, 'x', { Origin: 'null' }) },
  { name: 'what a browser calls cross-site', code: 'origin_not_allowed', bytes: post(topic, 'x', { 'Sec-Fetch-Site': 'cross-site' }) }, // prettier-ignore
  { name: 'the root', code: 'not_found', bytes: head('GET', '/') },
  { name: 'a topic without a name', code: 'not_found', bytes: post('/topics/', 'x') },
  { name: 'a slash too many', code: 'not_found', bytes: post('/topics/orders/', 'x') },
  { name: 'a partition without a number', code: 'not_found', bytes: post('/topics/orders/partitions/', 'x') },
  { name: 'a path that goes on', code: 'not_found', bytes: post('/topics/orders/partitions/1/x', 'x') },
  { name: 'an id that is none', code: 'message_not_found', bytes: head('GET', '/messages/nope') },
  { name: 'an id of another journal', code: 'message_not_found', bytes: head('GET', '/messages/zzzzzzzzzzzzz-1') },
  { name: 'an id that was never given', code: 'message_not_found', bytes: head('GET', `/messages/${journalId}-99`) },
  { name: 'a GET of a topic', code: 'method_not_allowed', bytes: head('GET', topic), headers: { allow: 'POST' } },
  { name: 'OPTIONS', code: 'method_not_allowed', bytes: head('OPTIONS', topic), headers: { allow: 'POST' } },
  { name: 'a DELETE of a message', code: 'method_not_allowed', bytes: head('DELETE', `/messages/${journalId}-1`), headers: { allow: 'GET, HEAD' } }, // prettier-ignore
  { name: 'CONNECT', code: 'method_not_allowed', bytes: 'CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n' },
  { name: 'a topic of wrong characters', code: 'topic_invalid', bytes: post('/topics/or%20ders', 'x') },
  { name: 'a topic of two dots', code: 'topic_invalid', bytes: post('/topics/..', 'x') },
  { name: 'a topic that is too long', code: 'topic_invalid', bytes: post(`/topics/${'t'.repeat(250)}`, 'x') },
  { name: 'a topic of broken percent-encoding', code: 'topic_invalid', bytes: post('/topics/%zz', 'x') },
  { name: 'a partition that is no number', code: 'partition_invalid', bytes: post('/topics/a/partitions/one', 'x') },
  { name: 'a negative partition', code: 'partition_invalid', bytes: post(`${topic}?partition=-1`, 'x') },
  { name: 'a partition beyond int32', code: 'partition_invalid', bytes: post(`${topic}?partition=2147483648`, 'x') },
  { name: 'a timestamp that is none', code: 'timestamp_invalid', bytes: post(`${topic}?timestamp=yesterday`, 'x') },
  { name: 'the thirtieth of February', code: 'timestamp_invalid', bytes: post(topic, 'x', { 'Outrigger-Timestamp': '2026-02-30T00:00:00Z' }) }, // prettier-ignore
  { name: 'a time without a zone', code: 'timestamp_invalid', bytes: post(topic, 'x', { 'Outrigger-Timestamp': '2026-02-03T00:00:00' }) }, // prettier-ignore
  { name: 'a key that is not UTF-8', code: 'key_invalid', bytes: post(`${topic}?key=%ff`, 'x') },
  { name: 'a header that is ours', code: 'header_invalid', bytes: post(topic, 'x', { 'Outrigger-Header-Outrigger-Id': 'fake' }) }, // prettier-ignore
  { name: 'a header that is ours, in a line', code: 'member_invalid', bytes: line('{"value":1,"headers":{"outrigger-accepted-at":"1"}}'), inLine: { status: 400, line: 1 } }, // prettier-ignore
  { name: 'an Outrigger header with a slip', code: 'header_invalid', bytes: post(topic, 'x', { 'Outrigger-Kye': 'a' }), detail: /outrigger-kye/ }, // prettier-ignore
  { name: 'a message header without a name', code: 'header_invalid', bytes: post(topic, 'x', { 'Outrigger-Header-': 'a' }) }, // prettier-ignore
  { name: 'a producer that is not UTF-8', code: 'header_invalid', bytes: post(topic, 'x', { 'Outrigger-Producer': '\xff' }) }, // prettier-ignore
  { name: 'one key for many lines', code: 'header_invalid', bytes: post(`${topic}?key=a`, '{"value":1}', ndjson) },
  { name: 'an unknown parameter', code: 'parameter_unknown', bytes: post(`${topic}?kye=a`, 'x'), detail: /“kye”/ },
  { name: 'a parameter of a message', code: 'parameter_unknown', bytes: head('GET', `/messages/${journalId}-1?wait=1`) }, // prettier-ignore
  { name: 'two keys', code: 'parameter_conflict', bytes: post(`${topic}?key=a`, 'x', { 'Outrigger-Key': 'b' }) },
  { name: 'two partitions', code: 'parameter_conflict', bytes: post('/topics/a/partitions/1?partition=2', 'x') },
  { name: 'two timestamps', code: 'parameter_conflict', bytes: post(`${topic}?timestamp=1&timestamp=2`, 'x') },
  { name: 'two producers', code: 'parameter_conflict', bytes: post(topic, 'x', { 'Outrigger-Producer': 'a', 'outrigger-producer': 'b' }) }, // prettier-ignore
  { name: 'no word of the body', code: 'length_required', bytes: head('POST', topic) },
  { name: 'a body that says it is too large', code: 'body_too_large', bytes: head('POST', topic, { 'Content-Length': '65537' }) }, // prettier-ignore
  {
    name: 'a body that becomes too large',
    code: 'body_too_large',
    bytes: Buffer.concat([head('POST', topic, { 'Transfer-Encoding': 'chunked' }), chunked('x'.repeat(65_537))]),
  },
  { name: 'a target that is too long', code: 'target_too_long', bytes: post(`${topic}?key=${'k'.repeat(9000)}`, 'x') },
  { name: 'a compressed body', code: 'content_encoding_unsupported', bytes: post(topic, 'x', { 'Content-Encoding': 'gzip' }) }, // prettier-ignore
  { name: 'a compressed transfer', code: 'content_encoding_unsupported', bytes: head('POST', topic, { 'Transfer-Encoding': 'gzip, chunked' }) }, // prettier-ignore
  { name: 'a REST Proxy envelope', code: 'media_type_unsupported', bytes: post(topic, '{"records":[]}', { 'Content-Type': 'application/vnd.kafka.json.v2+json' }) }, // prettier-ignore
  { name: 'a CloudEvent', code: 'media_type_unsupported', bytes: post(topic, '{}', { 'Content-Type': 'application/CloudEvents+json; charset=utf-8' }) }, // prettier-ignore
  { name: 'a CloudEvent in headers', code: 'media_type_unsupported', bytes: post(topic, 'x', { 'ce-specversion': '1.0' }) }, // prettier-ignore
  { name: 'NDJSON that is not UTF-8', code: 'media_type_unsupported', bytes: post(topic, '{"value":1}', { 'Content-Type': 'application/x-ndjson; charset="iso-8859-1"' }) }, // prettier-ignore
  { name: 'another expectation', code: 'expectation_failed', bytes: post(topic, 'x', { Expect: 'the-inquisition' }) },
  { name: 'a head that is too large', code: 'head_too_large', bytes: post(topic, 'x', { 'X-Large': 'x'.repeat(17_000) }) }, // prettier-ignore
  { name: 'too many headers', code: 'too_many_headers', bytes: post(topic, 'x', Object.fromEntries(Array.from({ length: 80 }, (_, i) => [`X-${i}`, 'x']))) }, // prettier-ignore
  { name: 'too many headers of a message', code: 'too_many_headers', bytes: post(topic, 'x', Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`Outrigger-Header-${i}`, 'x']))) }, // prettier-ignore
  { name: 'a head that takes too long', code: 'request_timeout', bytes: 'POST /topics/a HTTP/1.1\r\nHost: lo', options: { headersTimeout: 60, requestTimeout: 60 } }, // prettier-ignore
  { name: 'a body that takes too long', code: 'request_timeout', bytes: Buffer.concat([head('POST', topic, { 'Content-Length': '9' }), Buffer.from('x')]), options: { requestTimeout: 60 } }, // prettier-ignore
  { name: 'lines that take too long', code: 'request_timeout', bytes: Buffer.concat([head('POST', topic, { ...ndjson, 'Content-Length': '99' }), Buffer.from('{"value":1}\n')]), options: { requestTimeout: 60 } }, // prettier-ignore
  { name: 'an NDJSON body without a line', code: 'body_empty', bytes: line('') },
  { name: 'an NDJSON body of blank lines', code: 'body_empty', bytes: line('\n \r\n\t\n') },
  { name: 'a full journal', code: 'journal_full', bytes: post(topic, 'x'), failure: unavailable('journal_full'), headers: { 'retry-after': '7' }, detail: /^No room for more\.$/ }, // prettier-ignore
  { name: 'a full journal, for all lines', code: 'journal_full', bytes: line('{"value":1}\n{"value":2}'), failure: unavailable('journal_full'), headers: { 'retry-after': '7' } }, // prettier-ignore
  { name: 'a journal that is nearly full', code: 'journal_nearly_full', bytes: post(topic, 'x'), refusal: unavailable('journal_nearly_full'), headers: { 'retry-after': '7' } }, // prettier-ignore
  { name: 'a topic beyond its share', code: 'topic_share_full', bytes: post(topic, 'x'), refusal: unavailable('topic_share_full'), headers: { 'retry-after': '7' } }, // prettier-ignore
  { name: 'a topic beyond its share, for lines', code: 'topic_share_full', bytes: line('{"value":1}'), refusal: unavailable('topic_share_full') }, // prettier-ignore
  { name: 'a topic beyond its share, for a stream', code: 'topic_share_full', bytes: head('POST', topic, ndjsonStream), refusal: unavailable('topic_share_full') }, // prettier-ignore
  { name: 'a full disk', code: 'disk_full', bytes: post(topic, 'x'), failure: unavailable('disk_full'), headers: { 'retry-after': '7' } }, // prettier-ignore
  { name: 'a backlog that is too old', code: 'backlog_too_old', bytes: post(topic, 'x'), failure: unavailable('backlog_too_old') }, // prettier-ignore
  { name: 'a priority that is none', code: 'header_invalid', bytes: post(topic, 'x', { 'Outrigger-Priority': 'high' }), detail: /low.*normal/ }, // prettier-ignore
  { name: 'two priorities', code: 'parameter_conflict', bytes: post(topic, 'x', { 'Outrigger-Priority': 'low', 'outrigger-priority': 'normal' }) }, // prettier-ignore
  { name: 'a ledger that is away', code: 'ledger_unavailable', bytes: head('GET', `/messages/${journalId}-1`), failure: unavailable('ledger_unavailable') }, // prettier-ignore
  { name: 'a failed journal', code: 'journal_failed', bytes: post(topic, 'x'), failure: unavailable('journal_failed') },
  { name: 'a closed journal', code: 'draining', bytes: post(topic, 'x'), failure: unavailable('draining') },
  { name: 'a journal that holds too much', code: 'overloaded', bytes: post(topic, 'x'), failure: unavailable('overloaded') }, // prettier-ignore
  { name: 'an error that nobody expects', code: 'internal', bytes: post(topic, 'x'), failure: new Error('a bug') },
  { name: 'a line that is not JSON', code: 'line_invalid', bytes: line('{"value":1}\n{"value":'), inLine: { status: 207, line: 2 } }, // prettier-ignore
  { name: 'a line that is not an object', code: 'line_invalid', bytes: line('[1]'), inLine: { status: 400, line: 1 } },
  { name: 'a line that is not UTF-8', code: 'line_invalid', bytes: line(Buffer.from('{"value":"\xff"}', 'latin1')), inLine: { status: 400, line: 1 } }, // prettier-ignore
  { name: 'an unknown member', code: 'member_unknown', bytes: line('\n{"value":1,"kye":2}'), inLine: { status: 400, line: 2 }, detail: /“kye”/ }, // prettier-ignore
  { name: 'a member called __proto__', code: 'member_unknown', bytes: line('{"value":1,"__proto__":{}}'), inLine: { status: 400, line: 1 } }, // prettier-ignore
  { name: 'no value', code: 'member_invalid', bytes: line('{"key":"a"}'), inLine: { status: 400, line: 1 } },
  { name: 'two values', code: 'member_invalid', bytes: line('{"value":"a","valueBase64":""}'), inLine: { status: 400, line: 1 } }, // prettier-ignore
  { name: 'two keys on a line', code: 'member_invalid', bytes: line('{"keyBase64":"","key":null,"value":1}'), inLine: { status: 400, line: 1 } }, // prettier-ignore
  { name: 'Base64 that is none', code: 'member_invalid', bytes: line('{"valueBase64":"a-b_"}'), inLine: { status: 400, line: 1 } }, // prettier-ignore
  { name: 'half a surrogate pair', code: 'member_invalid', bytes: line('{"value":"\\ud800"}'), inLine: { status: 400, line: 1 } }, // prettier-ignore
  { name: 'a header that is a number', code: 'member_invalid', bytes: line('{"value":1,"headers":{"a":1}}'), inLine: { status: 400, line: 1 } }, // prettier-ignore
  { name: 'headers that are a list', code: 'member_invalid', bytes: line('{"value":1,"headers":[]}'), inLine: { status: 400, line: 1 } }, // prettier-ignore
  { name: 'too many headers on a line', code: 'too_many_headers', bytes: line(`{"value":1,"headers":{"a":${JSON.stringify(Array(9).fill('x'))}}}`), inLine: { status: 400, line: 1 } }, // prettier-ignore
  { name: 'half a partition', code: 'partition_invalid', bytes: line('{"value":1,"partition":1.5}'), inLine: { status: 400, line: 1 } }, // prettier-ignore
  { name: 'a partition in quotes', code: 'partition_invalid', bytes: line('{"value":1,"partition":"1"}'), inLine: { status: 400, line: 1 } }, // prettier-ignore
  { name: 'another partition than the path’s', code: 'parameter_conflict', bytes: post('/topics/a/partitions/1', '{"value":1,"partition":2}', ndjson), inLine: { status: 400, line: 1 } }, // prettier-ignore
  { name: 'a time before 1970', code: 'timestamp_invalid', bytes: line('{"value":1,"timestamp":-1}'), inLine: { status: 400, line: 1 } }, // prettier-ignore
  { name: 'a value that is too large', code: 'message_too_large', bytes: line(`{"value":"${'x'.repeat(65_537)}"}`), inLine: { status: 400, line: 1 } }, // prettier-ignore
  { name: 'a key that is too large', code: 'message_too_large', bytes: line(`{"value":1,"key":"${key65.repeat(260)}"}`), inLine: { status: 400, line: 1 } }, // prettier-ignore
  { name: 'a line that is too long', code: 'line_too_long', bytes: line(`{"value":1}\n{"value":"${'x'.repeat(140_000)}"}\n{"value":3}`), inLine: { status: 207, line: 2 } }, // prettier-ignore
  { name: 'too many messages', code: 'too_many_messages', bytes: line('{"value":1}\n'.repeat(1001)), inLine: { status: 207, line: 1001 } }, // prettier-ignore
  {
    name: 'a stream that falls silent',
    code: 'stream_idle',
    bytes: Buffer.concat([head('POST', topic, ndjsonStream), chunked('{"value":1}\n')]),
    options: { streamIdleTimeout: 60 },
    inLine: { status: 200, line: 2 },
  },
  {
    name: 'a full journal, in a stream',
    code: 'journal_full',
    bytes: Buffer.concat([head('POST', topic, ndjsonStream), chunked('{"value":1}\n'), Buffer.from(chunkedEnd)]),
    failure: unavailable('journal_full'),
    inLine: { status: 200, line: 1 },
  },
]

describe('intake refuses', () => {
  let harness: IntakeHarness | undefined
  afterEach(async () => {
    await harness?.stop()
    harness = undefined
  })

  test.each(cases)('$name: $code', async ({ code, bytes, options, failure, refusal, inLine, headers, detail }) => {
    harness = await IntakeHarness.start(options)
    harness.sink.failure = failure ?? null
    harness.sink.refusals = () => refusal ?? null
    harness.fates.failure = failure ?? null
    const answer = await harness.send(bytes)

    const problem = inLine === undefined ? wholeProblem(answer, code) : problemInLine(answer, code, inLine)
    expect(problem).toMatchObject({
      type: `urn:outrigger:error:${code}`,
      title: problemCodes[code].title,
      status: problemCodes[code].status,
      retry: problemCodes[code].retry,
    })
    expect(problem['detail']).toMatch(detail ?? /.{10}/)
    for (const [name, value] of Object.entries(headers ?? {})) expect(answer.headers.get(name)).toBe(value)
    expect(harness.observer.codes).toContain(code)
    expect(harness.sink.messages.length).toBeLessThanOrEqual(inLine === undefined ? 0 : 1000)
    expect(harness.intake.pendingBytes).toBe(0)
  })

  test('with every code that there is', () => {
    // Those of the operator's listener.
    const others: ProblemCode[] = ['parameter_invalid']
    const refused = new Set(cases.map(({ code }) => code))
    const missing = (Object.keys(problemCodes) as ProblemCode[]).filter((code) => !refused.has(code))
    expect(missing).toEqual(others)
  })

  test('and tells of failures that nobody expects', async () => {
    harness = await IntakeHarness.start()
    harness.sink.failure = new Error('a bug')
    harness.fates.failure = new Error('another')
    await harness.send(post(topic, 'x'))
    await harness.send(line('{"value":1}'))
    expect(codeOf(await harness.send(head('GET', `/messages/${journalId}-1`)))).toBe('internal')
    expect(harness.observer.errors).toEqual([harness.sink.failure, harness.sink.failure, harness.fates.failure])
  })
})

function wholeProblem(answer: RawAnswer, code: ProblemCode): Record<string, unknown> {
  expect([answer.status, codeOf(answer)]).toEqual([problemCodes[code].status, code])
  expect(answer.headers.get('content-type')).toBe('application/problem+json')
  return JSON.parse(answer.body) as Record<string, unknown>
}

function problemInLine(
  answer: RawAnswer,
  code: ProblemCode,
  inLine: { status: number; line: number },
): Record<string, unknown> {
  expect(answer.status).toBe(inLine.status)
  expect(answer.headers.get('content-type')).toBe('application/x-ndjson')
  const result = resultsOf(answer.body).find(({ error }) => error?.line === inLine.line)
  expect(result?.error?.code).toBe(code)
  return result?.error as Record<string, unknown>
}
