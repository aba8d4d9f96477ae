import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { UnavailableError } from '../../src/base/errors.ts'
import { chunked, chunkedEnd, type RawAnswer, type RawConnection } from '../http/raw-http.ts'
import { waitFor } from '../http/wait-for.ts'
import {
  codeOf,
  head,
  IntakeHarness,
  journalId,
  ndjson,
  ndjsonStream,
  post,
  resultsOf,
  textOf,
} from './intake-harness.ts'

const topic = '/topics/orders'
const full = new UnavailableError('journal_full', 'the journal is full', { retryAfterSeconds: 7 })

/** Results in short: the seq of an id, or the code of an error with its line. */
function shortResults(body: string): (number | string)[] {
  return resultsOf(body).map(({ id, error }) =>
    error === undefined ? Number(id?.split('-')[1]) : `${error.code}@${error.line}${error.rest ? '…' : ''}`,
  )
}

describe('NDJSON of known length', () => {
  let harness: IntakeHarness
  beforeEach(async () => {
    harness = await IntakeHarness.start()
  })
  afterEach(() => harness.stop())

  const send = (body: string, target = topic): Promise<RawAnswer> => harness.send(post(target, body, ndjson))

  test('is answered with 202 and an id for each line', async () => {
    const answer = await send('{"value":"a"}\n{"value":"b"}\r\n\n{"value":"c"}')
    expect([answer.status, answer.headers.get('content-type')]).toEqual([202, 'application/x-ndjson'])
    expect(answer.body).toBe([1, 2, 3].map((seq) => `{"id":"${journalId}-${seq}"}\n`).join(''))
    expect(harness.sink.values).toEqual(['a', 'b', 'c'])
    expect(harness.observer).toMatchObject({ acceptedCount: 3, acceptedBytes: 42, statuses: [202] })
  })

  test('is one append, when it is not large', async () => {
    await send('{"value":"a"}\n'.repeat(500))
    expect(harness.sink.calls).toEqual([500])
  })

  test('takes the good lines and tells of the bad ones', async () => {
    const answer = await send('{"value":"a"}\n{"value":}\n\n{"valeu":"c"}\n{"value":"d"}')
    expect(answer.status).toBe(207)
    expect(shortResults(answer.body)).toEqual([1, 'line_invalid@2', 'member_unknown@4', 2])
    expect(harness.sink.values).toEqual(['a', 'd'])
  })

  test('is answered with 400 when no line is good', async () => {
    const answer = await send('x\ny')
    expect([answer.status, ...shortResults(answer.body)]).toEqual([400, 'line_invalid@1', 'line_invalid@2'])
    expect(harness.sink.calls).toEqual([])
  })

  test('keeps JSON values exactly as they are written', async () => {
    const values = ['12345678901234567890', '1.0', '-0', '{"b" : 1.50,\t"a":"\\u00e9"}', '[ 1 ,[]]', 'true', '""', '{}']
    const answer = await send(values.map((value) => `{ "key":7 , "value"\t:  ${value} , "headers":{} }`).join('\n'))
    expect(answer.status).toBe(202)
    expect(harness.sink.values).toEqual(values.map((value) => (value === '""' ? '' : value)))
    expect(harness.sink.messages.map(({ key }) => key)).toEqual(values.map(() => '7'))
    const types = harness.sink.messages.map(({ contentType }) => contentType)
    expect(types).toEqual(values.map((value) => (value === '""' ? null : 'application/json')))
  })

  test('takes everything that a line can say', async () => {
    await send(
      [
        '{"key":"k","value":null,"partition":3,"timestamp":"2026-01-01T00:00:00Z"}',
        '{"keyBase64":"AP8=","valueBase64":"","timestamp":5,"key\\u0042ase64":"AP8="}',
        '{"value":"ü","headers":{"a":["1",{"base64":"/w=="}],"2":"b","__proto__":"c"},"partition":null}',
      ].join('\n'),
    )
    const [first, second, third] = harness.sink.messages
    expect(first).toMatchObject({ key: 'k', value: null, partition: 3, timestamp: Date.UTC(2026, 0, 1), headers: [] })
    expect(second).toMatchObject({ key: Buffer.from([0, 255]), value: Buffer.alloc(0), timestamp: 5 })
    expect(third).toMatchObject({ value: 'ü', key: null, partition: null })
    expect(new Map(third?.headers.map(([name, value]) => [`${name} ${typeof value}`, value]))).toEqual(
      new Map<string, unknown>([
        ['a string', '1'],
        ['a object', Buffer.from([255])],
        ['2 string', 'b'],
        ['__proto__ string', 'c'],
      ]),
    )
  })

  test('takes partition, producer and trace context from the request', async () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    await harness.send(
      post('/topics/orders/partitions/2', '{"value":1}\n{"value":2,"partition":2}', {
        ...ndjson,
        traceparent,
        'Outrigger-Producer': 'shop',
      }),
    )
    for (const message of harness.sink.messages)
      expect(message).toMatchObject({ partition: 2, producer: 'shop', traceparent })
  })

  test('may begin with a byte order mark', async () => {
    expect((await send('\ufeff{"value":1}')).status).toBe(202)
  })

  test('is read on, when it is larger than what may be held in one go', async () => {
    const lines = Array.from({ length: 900 }, (_, i) => `{"value":"${String(i).padEnd(3000, '.')}"}\n`)
    const answer = await send(lines.join(''))
    expect(answer.status).toBe(202)
    expect(shortResults(answer.body)).toEqual(lines.map((_, i) => i + 1))
    expect(harness.sink.calls.length).toBeGreaterThan(3)
    expect(harness.intake.pendingBytes).toBe(0)
  })

  test('has its lines after the allowed number refused, and hears so', async () => {
    const answer = await send('{"value":1}\n'.repeat(1003))
    expect(answer.status).toBe(207)
    expect(shortResults(answer.body).slice(998)).toEqual([999, 1000, 'too_many_messages@1001…'])
    expect(harness.sink.messages.length).toBe(1000)
  })

  test('has all lines refused one by one after the journal has failed on earlier ones', async () => {
    const lines = Array.from({ length: 600 }, (_, i) => `{"value":"${String(i).padEnd(3000, '.')}"}\n`)
    const { sink } = harness
    const append = sink.append.bind(sink)
    sink.append = (messages) => {
      if (sink.calls.length === 1) sink.failure = full
      else if (sink.calls.length === 2) sink.failure = null
      return append(messages)
    }
    const answer = await send(lines.join(''))
    const results = shortResults(answer.body)
    expect([answer.status, results.length]).toEqual([207, 600])
    const accepted = sink.messages.length
    expect(accepted).toBeGreaterThan(0)
    expect(results.slice(0, accepted)).toEqual(lines.slice(0, accepted).map((_, i) => i + 1))
    // Nothing is kept after a line that was refused, although the journal would have taken it.
    expect(results.slice(accepted)).toEqual(lines.slice(accepted).map((_, i) => `journal_full@${accepted + i + 1}`))
    expect(harness.intake.pendingBytes).toBe(0)
  })

  test('leaves nothing behind when its sender goes away', async () => {
    const connection = await harness.connect()
    connection.write(Buffer.concat([head('POST', topic, { ...ndjson, 'Content-Length': '900' })]))
    connection.write('{"value":1}\n{"val')
    await waitFor(() => harness.intake.pendingBytes > 0)
    connection.destroy()
    await waitFor(() => harness.intake.pendingBytes === 0 && harness.intake.connectionCount === 0)
    expect(harness.sink.messages).toEqual([])
  })
})

describe('streamed NDJSON', () => {
  let harness: IntakeHarness
  let connection: RawConnection
  beforeEach(async () => {
    harness = await IntakeHarness.start({ pendingBytesMax: 64 * 1024 * 1024 })
    connection = await harness.connect()
    connection.write(head('POST', topic, ndjsonStream))
  })
  afterEach(async () => {
    connection.destroy()
    await harness.stop()
  })

  /** The result lines that have come so far. */
  const results = (): (number | string)[] =>
    shortResults((connection.text.match(/\{"(id|error)".*\}(?=\n)/g) ?? []).join('\n'))

  test('has its status first, and each result as soon as there is one', async () => {
    await connection.until(() => connection.text.includes('\r\n\r\n'), 'the head')
    expect(connection.text).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
    connection.write(chunked('{"value":"a"}\n{"val'))
    await connection.until(() => results().length === 1, 'a result')
    connection.write(chunked('ue":"b"}\nx\n'))
    await connection.until(() => results().length === 3, 'more results')
    connection.write(chunked('{"value":"c"}'))
    connection.write(chunkedEnd)
    expect(shortResults((await connection.answer()).body)).toEqual([1, 2, 'line_invalid@3', 3])
    expect(harness.sink.values).toEqual(['a', 'b', 'c'])
    expect(harness.intake.pendingBytes).toBe(0)
  })

  test('leaves the connection open for the next request', async () => {
    connection.write(chunkedEnd)
    expect((await connection.answer()).body).toBe('')
    connection.write(post(topic, 'x'))
    expect((await connection.answer(1)).status).toBe(202)
    expect(harness.intake.streamCount).toBe(0)
  })

  test('is not read further than a bounded bit ahead of what is on disk', async () => {
    harness.sink.hold()
    const line = `{"value":"${'x'.repeat(10_000)}"}\n`
    for (let i = 0; i < 1000; i++) connection.write(chunked(line))
    await waitFor(() => harness.intake.pendingBytes > 300_000)
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(harness.intake.pendingBytes).toBeLessThan(1_500_000)
    harness.sink.letGo()
    await waitFor(() => harness.sink.messages.length === 1000)
    await connection.until(() => results().length === 1000, 'all results')
    expect(results()).toEqual(Array.from({ length: 1000 }, (_, i) => i + 1))
  })

  test('is not read when its results are not taken', async () => {
    connection.socket.pause()
    let sent = 0
    const flood = setInterval(() => {
      if (connection.socket.writableLength > 2_000_000) return
      connection.write(chunked('{"value":1}\n'.repeat(5000)))
      sent += 5000
    }, 1)
    try {
      // What the client writes stays with it, as nobody reads it.
      await waitFor(() => connection.socket.writableLength > 2_000_000, 15_000)
      await new Promise((resolve) => setTimeout(resolve, 100))
    } finally {
      clearInterval(flood)
    }
    expect(connection.socket.writableLength).toBeGreaterThan(1_000_000)
    expect(harness.intake.pendingBytes).toBeLessThan(1_500_000)
    expect(harness.sink.messages.length).toBeLessThan(sent)
    connection.socket.resume()
    const resultBytes = `{"id":"${journalId}-100000"}\n`.length * (sent - 100_000)
    await connection.until(() => connection.receivedBytes > resultBytes, 'all results', 15_000)
    await waitFor(() => harness.sink.messages.length === sent)
  })

  test('may go on with blank lines, and with lines that are too long, for ever', async () => {
    await using other = await IntakeHarness.start({ pendingBytesMax: 500_000 })
    using stream = await other.connect()
    stream.write(head('POST', topic, ndjsonStream))
    for (let i = 0; i < 20; i++) stream.write(chunked('\n'.repeat(60_000)))
    stream.write(chunked('{"value":"'))
    for (let i = 0; i < 20; i++) stream.write(chunked('x'.repeat(60_000)))
    stream.write(chunked('"}\n{"value":"a"}\n'))
    stream.write(chunkedEnd)
    expect(shortResults((await stream.answer()).body)).toEqual(['line_too_long@1200001', 1])
    expect(other.intake.pendingBytes).toBe(0)
  })

  test('ends at a line that can’t be kept, and what follows is not kept either', async () => {
    connection.write(chunked('{"value":"a"}\n'))
    await connection.until(() => results().length === 1, 'a result')
    harness.sink.failure = full
    connection.write(chunked('{"value":"b"}\nx\n{"value":"c"}\n{"val'))
    const answer = await connection.answer()
    expect(shortResults(answer.body)).toEqual([
      1,
      'journal_full@2',
      'line_invalid@3',
      'journal_full@4',
      'journal_full@5…',
    ])
    harness.sink.failure = null
    connection.write(chunked('ue":"d"}\n'))
    await connection.end()
    expect(harness.sink.values).toEqual(['a'])
  })

  test('ends when Outrigger shuts down, after what it has sent', async () => {
    connection.write(chunked('{"value":"a"}\n{"val'))
    await connection.until(() => results().length === 1, 'a result')
    harness.sink.hold()
    connection.write(chunked('ue":"b"}\n{"value"'))
    await waitFor(() => harness.sink.calls.length === 2)
    const closed = harness.intake.close()
    harness.sink.letGo()
    expect(shortResults((await connection.answer()).body)).toEqual([1, 2, 'draining@3…'])
    await closed
    await connection.end()
  })

  test('tells what was taken when what follows is not HTTP', async () => {
    connection.write(chunked('{"value":"a"}\n{"value":"b"'))
    connection.write('zz\r\n')
    expect(shortResults((await connection.answer()).body)).toEqual([1, 'malformed_http@2…'])
    await connection.end()
  })

  test('keeps what was appended when its sender goes away, and leaves nothing behind', async () => {
    harness.sink.hold()
    connection.write(chunked('{"value":"a"}\n{"value":"b"}\n{"va'))
    await waitFor(() => harness.sink.calls.length === 1)
    connection.write(chunked('lue":"c"}\n'))
    connection.destroy()
    harness.sink.letGo()
    await waitFor(() => harness.intake.connectionCount === 0)
    await waitFor(() => harness.intake.pendingBytes === 0 && harness.intake.streamCount === 0)
    expect(harness.sink.values.slice(0, 2)).toEqual(['a', 'b'])
  })

  test('that waits behind another answer leaves nothing behind either', async () => {
    harness.sink.hold()
    const other = await harness.connect()
    const stream = Buffer.concat([
      head('POST', topic, ndjsonStream),
      chunked('{"value":"a"}\n'),
      Buffer.from(chunkedEnd),
    ])
    other.write(Buffer.concat([post(topic, 'x'), stream, stream, head('POST', topic, ndjsonStream)]))
    await waitFor(() => harness.intake.streamCount === 4)
    other.socket.resetAndDestroy()
    await waitFor(() => harness.intake.streamCount === 1 && harness.intake.connectionCount === 1)
    harness.sink.letGo()
    await waitFor(() => harness.intake.pendingBytes === 0)
    // Nor does it keep a listener from closing.
    connection.write(chunkedEnd)
    await connection.answer()
    await harness.intake.close()
    expect(harness.intake.streamCount).toBe(0)
  })

  test('may be silent for as long as something is on its way to the disk', async () => {
    await using other = await IntakeHarness.start({ streamIdleTimeout: 60, requestTimeout: 60 })
    using stream = await other.connect()
    other.sink.hold()
    stream.write(Buffer.concat([head('POST', topic, ndjsonStream), chunked('{"value":"a"}\n')]))
    await new Promise((resolve) => setTimeout(resolve, 200))
    other.sink.letGo()
    const answer = await stream.answer()
    expect(shortResults(answer.body)).toEqual([1, 'stream_idle@2…'])
    await stream.end()
  })

  test('is refused when there is no room at all', async () => {
    await using other = await IntakeHarness.start({ pendingBytesMax: 1000 })
    other.sink.hold()
    using first = await other.connect()
    first.write(post(topic, 'x'))
    await waitFor(() => other.sink.calls.length === 1)
    expect(codeOf(await other.send(head('POST', topic, ndjsonStream)))).toBe('overloaded')
    expect(codeOf(await other.send(post(topic, '{"value":1}', ndjson)))).toBe('overloaded')
    other.sink.letGo()
    expect(textOf((await first.answer()).body)).toContain('id')
  })
})
