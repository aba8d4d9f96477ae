import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { waitFor } from '../http/wait-for.ts'
import { chunked, chunkedEnd, RawConnection } from '../http/raw-http.ts'
import { codeOf, head, IntakeHarness, journalId, post, textOf } from './intake-harness.ts'

const topic = '/topics/orders'

describe('a POST to a topic', () => {
  let harness: IntakeHarness
  beforeEach(async () => {
    harness = await IntakeHarness.start()
  })
  afterEach(() => harness.stop())

  test('is answered with 202, the id, and where to ask for it', async () => {
    const answer = await harness.send(post(topic, 'hello'))
    expect(answer.status).toBe(202)
    expect(answer.headers.get('location')).toBe(`/messages/${journalId}-1`)
    expect(answer.headers.get('content-type')).toBe('application/json')
    expect(answer.body).toBe(`{"id":"${journalId}-1"}`)
    expect(harness.observer).toMatchObject({ acceptedCount: 1, acceptedBytes: 5, statuses: [202], codes: [] })
  })

  test('is a message with nothing but what was given', async () => {
    const before = Date.now()
    await harness.send(post(topic, 'hello'))
    const [message] = harness.sink.messages
    expect({ ...message, value: textOf(message?.value ?? null) }).toEqual({
      topic: 'orders',
      partition: null,
      key: null,
      value: 'hello',
      headers: [],
      timestamp: null,
      acceptedAt: expect.any(Number) as number,
      producer: null,
      contentType: null,
      traceparent: null,
      tracestate: null,
      idempotencyKey: null,
    })
    expect(message?.acceptedAt).toBeGreaterThanOrEqual(before)
  })

  test('keeps the bytes of a body as they are', async () => {
    const bytes = Buffer.from(Array.from({ length: 60_000 }, (_, i) => (i * 7) % 256))
    await harness.send(post(topic, bytes, { 'Content-Type': 'application/x-www-form-urlencoded' }))
    await harness.send(
      Buffer.concat([
        head('POST', topic, { 'Transfer-Encoding': 'chunked' }),
        chunked(bytes.subarray(0, 1), bytes.subarray(1, 30_000), bytes.subarray(30_000)),
        Buffer.from(chunkedEnd),
      ]),
    )
    expect(harness.sink.messages.map(({ value }) => bytes.equals(value as Buffer))).toEqual([true, true])
    expect(harness.sink.messages[0]?.contentType).toBe('application/x-www-form-urlencoded')
  })

  test('may be empty', async () => {
    await harness.send(post(topic, ''))
    await harness.send(
      Buffer.concat([head('POST', topic, { 'Transfer-Encoding': 'chunked' }), Buffer.from(chunkedEnd)]),
    )
    expect(harness.sink.values).toEqual(['', ''])
  })

  test('takes key, headers, timestamp, producer and trace from headers', async () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    await harness.send(
      post(topic, 'x', {
        'Outrigger-Key': Buffer.from('schlüssel').toString('latin1'),
        'Outrigger-Header-Kind': 'a',
        'OUTRIGGER-HEADER-other': '\xff',
        'outrigger-header-kind': 'b',
        'Outrigger-Timestamp': '2026-03-01T12:00:00.5+01:00',
        'Outrigger-Producer': Buffer.from('büro').toString('latin1'),
        'Content-Type': 'text/plain',
        'Idempotency-Key': '"abc"',
        traceparent,
        tracestate: 'congo=t61rcWkgMzE',
      }),
    )
    const [message] = harness.sink.messages
    expect(textOf(message?.key ?? null)).toBe('schlüssel')
    expect(message?.headers).toEqual([
      ['kind', 'a'],
      ['other', Buffer.from([0xff])],
      ['kind', 'b'],
    ])
    expect(message).toMatchObject({
      timestamp: Date.UTC(2026, 2, 1, 11, 0, 0, 500),
      producer: 'büro',
      contentType: 'text/plain',
      idempotencyKey: '"abc"',
      traceparent,
      tracestate: 'congo=t61rcWkgMzE',
    })
  })

  test('takes key, partition and timestamp from the query', async () => {
    await harness.send(post(`${topic}?key=a%20%C3%BC+b&partition=3&timestamp=1700000000000`, 'x'))
    expect(harness.sink.messages[0]).toMatchObject({ key: 'a ü+b', partition: 3, timestamp: 1_700_000_000_000 })
  })

  test('takes the partition from the path, and the same thing twice', async () => {
    const target = '/topics/orders/partitions/7?partition=7&key=k&key=k&timestamp=1000'
    await harness.send(post(target, 'x', { 'Outrigger-Key': 'k', 'Outrigger-Timestamp': '1970-01-01T00:00:01Z' }))
    expect(harness.sink.messages[0]).toMatchObject({ partition: 7, key: 'k', timestamp: 1000 })
  })

  test('tells an empty key from none', async () => {
    await harness.send(post(`${topic}?key=`, 'x'))
    await harness.send(post(topic, 'x', { 'Outrigger-Key': '' }))
    expect(harness.sink.messages.map(({ key }) => key)).toEqual(['', ''])
  })

  test.each([
    ['of another form', '00-zz', 'a=b'],
    ['of zeros', `00-${'0'.repeat(32)}-b7ad6b7169203331-01`, 'a=b'],
    ['of a forbidden version', 'ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', 'a=b'],
    ['with more than version 0 has', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x', 'a=b'],
  ])('ignores a trace context %s', async (_, traceparent, tracestate) => {
    await harness.send(post(topic, 'x', { traceparent, tracestate }))
    expect(harness.sink.messages[0]).toMatchObject({ traceparent: null, tracestate: null })
  })

  test('ignores a trace state that is not valid, and keeps its parent', async () => {
    const traceparent = 'cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-will-be-like'
    await harness.send(post(topic, 'x', { traceparent, tracestate: 'A B' }))
    expect(harness.sink.messages[0]).toMatchObject({ traceparent, tracestate: null })
  })

  test('comes over a Unix socket too, whatever its host', async () => {
    using connection = await RawConnection.open(harness.unix)
    connection.write(post(topic, 'x', { Host: 'evil.test', Origin: 'https://evil.test' }))
    expect((await connection.answer()).status).toBe(202)
  })

  test.each(['localhost:1', '127.0.0.1:4110', '127.9.9.9', '[::1]:1', 'LOCALHOST', 'app.test'])(
    'may be meant for %s',
    async (host) => {
      expect((await harness.send(post(topic, 'x', { Host: host, Origin: `http://${host}` }))).status).toBe(202)
    },
  )

  test('may have its target in absolute form', async () => {
    expect((await harness.send(post('http://localhost:1/topics/orders?key=a', 'x'))).status).toBe(202)
    expect(harness.sink.messages[0]?.key).toBe('a')
  })

  test('is told to go on when it waits for that', async () => {
    using connection = await harness.connect()
    connection.write(head('POST', topic, { Expect: '100-continue', 'Content-Length': '1' }))
    await connection.until(() => connection.text.includes('\r\n\r\n'), '100 Continue')
    expect(connection.text).toBe('HTTP/1.1 100 Continue\r\n\r\n')
    connection.write('x')
    expect((await connection.answer()).status).toBe(202)
  })

  test('is refused before it sends its body when it waits for that', async () => {
    using connection = await harness.connect()
    connection.write(head('POST', topic, { Expect: '100-continue', 'Content-Length': '65537' }))
    const answer = await connection.answer()
    expect([codeOf(answer), connection.text.startsWith('HTTP/1.1 413')]).toEqual(['body_too_large', true])
    await connection.end()
  })

  test('leaves the connection open for the next one, when it is refused as well', async () => {
    using connection = await harness.connect()
    connection.write(post(topic, 'a'))
    await connection.answer(0)
    connection.write(post(`${topic}?x=y`, 'b'.repeat(1000)))
    await connection.answer(1)
    connection.write(post(topic, 'c'))
    expect((await connection.answer(2)).status).toBe(202)
    expect(harness.sink.values).toEqual(['a', 'c'])
  })

  test('is heard out for a while when it is refused, so that its sender sees why', async () => {
    using connection = await harness.connect()
    connection.write(head('POST', topic, { 'Content-Length': '100000000' }))
    for (let i = 0; i < 20; i++) connection.write(Buffer.alloc(100_000))
    const answer = await connection.answer()
    expect([codeOf(answer), answer.headers.get('connection')]).toEqual(['body_too_large', 'close'])
    await connection.end()
    expect(connection.answers.length).toBe(1)
  })

  test('is answered in the order of the requests when they come in one go', async () => {
    using connection = await harness.connect()
    connection.write(
      Buffer.concat([post(topic, 'a'), post('/nowhere', 'b'), post(topic, 'c'), Buffer.from('garbage\r\n\r\n')]),
    )
    await connection.end()
    expect(connection.answers.map(({ status }) => status)).toEqual([202, 404, 202, 400])
    expect(harness.sink.values).toEqual(['a', 'c'])
  })

  test('gets its own answer first when what follows it is not HTTP', async () => {
    harness.sink.hold()
    using connection = await harness.connect()
    connection.write(Buffer.concat([post(topic, 'a'), Buffer.from('garbage\r\n\r\n')]))
    await waitFor(() => harness.sink.calls.length === 1)
    expect(connection.text).toBe('')
    harness.sink.letGo()
    await connection.end()
    expect(connection.answers.map(({ status }) => status)).toEqual([202, 400])
  })

  test('is answered when its sender has said that nothing more comes', async () => {
    using connection = await harness.connect({ allowHalfOpen: true })
    harness.sink.hold()
    connection.socket.end(post(topic, 'a'))
    await waitFor(() => harness.sink.calls.length === 1)
    harness.sink.letGo()
    expect((await connection.answer()).status).toBe(202)
    await connection.end()
  })

  test('stays accepted when its sender goes away, and leaves nothing behind', async () => {
    harness.sink.hold()
    const connection = await harness.connect()
    connection.write(post(topic, 'a'))
    await waitFor(() => harness.sink.calls.length === 1)
    connection.destroy()
    const half = await harness.connect()
    half.write(head('POST', topic, { 'Content-Length': '100' }))
    half.write('only a part')
    await waitFor(() => harness.intake.pendingBytes > 1200)
    half.destroy()
    harness.sink.letGo()
    await waitFor(() => harness.intake.connectionCount === 0 && harness.intake.pendingBytes === 0)
    expect(harness.sink.values).toEqual(['a'])
  })
})

describe('what is held in memory', () => {
  test('is bounded: beyond it requests are refused, and told to come again', async () => {
    await using harness = await IntakeHarness.start({ pendingBytesMax: 100_000 })
    harness.sink.hold()
    using first = await harness.connect()
    first.write(post(topic, 'x'.repeat(60_000)))
    await waitFor(() => harness.sink.calls.length === 1)
    const answer = await harness.send(post(topic, 'x'.repeat(60_000)))
    expect([answer.status, codeOf(answer), answer.headers.get('retry-after')]).toEqual([503, 'overloaded', '1'])
    harness.sink.letGo()
    expect((await first.answer()).status).toBe(202)
    expect((await harness.send(post(topic, 'x'.repeat(60_000)))).status).toBe(202)
    expect(harness.intake.pendingBytes).toBe(0)
  })

  test('is bounded for bodies of unknown length as well', async () => {
    await using harness = await IntakeHarness.start({ pendingBytesMax: 100_000, bodyBytesMax: 1_000_000 })
    const large = chunked('x'.repeat(60_000), 'x'.repeat(60_000))
    const answer = await harness.send(
      Buffer.concat([head('POST', topic, { 'Transfer-Encoding': 'chunked' }), large, Buffer.from(chunkedEnd)]),
    )
    expect([answer.status, codeOf(answer)]).toEqual([503, 'overloaded'])
    expect(harness.intake.pendingBytes).toBe(0)
  })
})

describe('GET /messages/{id}', () => {
  let harness: IntakeHarness
  beforeEach(async () => {
    harness = await IntakeHarness.start()
  })
  afterEach(() => harness.stop())
  const at = Date.UTC(2026, 0, 2, 3, 4, 5, 6)

  test.each([
    [{ state: 'accepted' } as const, {}],
    [
      { state: 'delivered', topic: 'a', partition: 1, offset: 2, deliveredAt: at, attempts: 3 } as const,
      { topic: 'a', partition: 1, offset: 2, deliveredAt: '2026-01-02T03:04:05.006Z', attempts: 3 },
    ],
    [
      { state: 'dead', topic: 'a', reason: 'TOO_LARGE', diedAt: at, attempts: 3 } as const,
      { topic: 'a', reason: 'TOO_LARGE', diedAt: '2026-01-02T03:04:05.006Z', attempts: 3 },
    ],
    [
      { state: 'lost', reason: 'corrupt', lostAt: at } as const,
      { reason: 'corrupt', lostAt: '2026-01-02T03:04:05.006Z' },
    ],
  ])('tells of a message that is $state', async (fate, rest) => {
    harness.fates.fates.set(5, fate)
    const answer = await harness.send(head('GET', `/messages/${journalId}-5`))
    expect(answer.status).toBe(200)
    expect(answer.headers.get('content-type')).toBe('application/json')
    expect(JSON.parse(answer.body)).toEqual({ id: `${journalId}-5`, state: fate.state, ...rest })
  })

  test('may be asked by HEAD', async () => {
    harness.fates.fates.set(5, { state: 'accepted' })
    using connection = await harness.connect()
    connection.write(head('HEAD', `/messages/${journalId}-5`, { Connection: 'close' }))
    await connection.end()
    expect(connection.text).toMatch(/^HTTP\/1\.1 200 OK\r\n[^{}]*Content-Length: 43\r\n[^{}]*\r\n\r\n$/)
  })
})
