import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { head, IntakeHarness, journalId, ndjson, ndjsonStream, post } from '../intake/intake-harness.ts'
import { chunked, chunkedEnd, RawConnection, readAnswers } from '../http/raw-http.ts'
import { waitFor } from '../http/wait-for.ts'

/** Requests as clients should send them, and some that nearly are. */
const valid = [
  post('/topics/orders', 'hello'),
  post('/topics/orders/partitions/1?key=a&timestamp=5', 'hello', { 'Outrigger-Header-A': 'b', 'Outrigger-Key': 'a' }),
  post('/topics/orders', '{"value":1}\n\n{"value":"x","headers":{"a":["b"]}}\nnope\n', ndjson),
  Buffer.concat([
    head('POST', '/topics/orders', ndjsonStream),
    chunked('{"value":1}\n{"va', 'lue":2}\n', 'x\n'),
    Buffer.from(chunkedEnd),
  ]),
  Buffer.concat([
    head('POST', '/topics/orders', { 'Transfer-Encoding': 'chunked' }),
    chunked('abc', 'def'),
    Buffer.from(chunkedEnd),
  ]),
  Buffer.concat([head('POST', '/topics/orders', { Expect: '100-continue', 'Content-Length': '1' }), Buffer.from('x')]),
  head('GET', `/messages/${journalId}-1`),
  head('GET', '/nowhere?a=b'),
  post('/topics/orders', 'x'.repeat(70_000)),
  Buffer.from('POST /topics/a HTTP/1.0\r\nContent-Length: 1\r\n\r\nx'),
  Buffer.from('CONNECT localhost:1 HTTP/1.1\r\nHost: localhost:1\r\n\r\n'),
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  head('GET', '/messages/x', { Connection: 'Upgrade, HTTP2-Settings', Upgrade: 'h2c', 'HTTP2-Settings': 'AAMAAABk' }),
]

interface Mutation {
  readonly at: number
  readonly remove: number
  readonly insert: Uint8Array
}

/** Small changes, many of them with what has a meaning in HTTP. */
const mutation = fc.record<Mutation>({
  at: fc.nat(600),
  remove: fc.oneof({ weight: 3, arbitrary: fc.nat(4) }, fc.nat(200)),
  insert: fc.oneof(
    fc.uint8Array({ maxLength: 4 }),
    fc
      .constantFrom(
        '\r\n',
        '\n',
        '\r\n\r\n',
        ':',
        ' ',
        '0',
        '-',
        '\0',
        'ffffffffff\r\n',
        '0\r\n\r\n',
        ';a=b',
        'Host: localhost\r\n',
        'Content-Length: 5\r\n',
        'Transfer-Encoding: chunked\r\n',
        'Connection: close\r\n',
        '%',
        '?',
        '"',
        '\\',
        '{"value":null}\n',
      ) // prettier-ignore
      .map((text) => Buffer.from(text)),
  ),
})

const request = fc
  .tuple(fc.constantFrom(...valid), fc.oneof(fc.constant([]), fc.array(mutation, { maxLength: 3 })))
  .map(([bytes, mutations]) =>
    mutations.reduce((mutated, { at, remove, insert }) => {
      const start = at % (mutated.length + 1)
      return Buffer.concat([mutated.subarray(0, start), insert, mutated.subarray(start + remove)])
    }, bytes),
  )

const input = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.array(request, { minLength: 1, maxLength: 4 }).map((requests) => Buffer.concat(requests)),
  },
  { weight: 1, arbitrary: fc.uint8Array({ minLength: 1, maxLength: 300 }).map((bytes) => Buffer.from(bytes)) },
)

type Ending = 'half-closed' | 'cut off'

describe('whatever comes in over a socket', () => {
  let harness: IntakeHarness
  beforeAll(async () => {
    harness = await IntakeHarness.start({ headersTimeout: 2000, requestTimeout: 2000, streamIdleTimeout: 2000 })
  })
  afterAll(() => harness.stop())

  /** Sends bytes in pieces, says that nothing more comes, and takes what comes back. */
  async function exchange(bytes: Buffer, cuts: readonly number[], ending: Ending, overUnix: boolean): Promise<Buffer> {
    using connection = await RawConnection.open(overUnix ? harness.unix : harness.tcp, { allowHalfOpen: true })
    let at = 0
    for (const length of cuts) {
      if (at >= bytes.length) break
      connection.write(bytes.subarray(at, at + length))
      at += length
      await new Promise(setImmediate)
    }
    connection.write(bytes.subarray(at))
    if (ending === 'cut off') return Buffer.alloc(0)
    connection.socket.end()
    await connection.end()
    return connection.received
  }

  test('is answered with well-formed HTTP, or not at all', async () => {
    await fc.assert(
      fc.asyncProperty(
        input,
        fc.array(fc.integer({ min: 1, max: 300 }), { maxLength: 8 }),
        fc.constantFrom<Ending>('half-closed', 'half-closed', 'half-closed', 'cut off'),
        fc.boolean(),
        async (bytes, cuts, ending, overUnix) => {
          const before = harness.sink.messages.length
          const received = await exchange(bytes, cuts, ending, overUnix)
          const { answers, rest } = readAnswers(received)
          expect(rest.toString('latin1')).toBe('')
          const accepted = answers.filter(({ status }) => status === 202)
          const ids = accepted.flatMap(({ body }) => body.match(/"id":"[^"]+"/g) ?? [])
          expect(new Set(ids).size).toBe(ids.length)
          expect(harness.sink.messages.length - before).toBeGreaterThanOrEqual(ids.length)
          const refused = answers.filter(({ status }) => status >= 300)
          expect(refused.map(({ headers }) => headers.get('content-type'))).toEqual(
            refused.map(({ body }) =>
              body.startsWith('{"type"') ? 'application/problem+json' : 'application/x-ndjson',
            ),
          )
        },
      ),
      { numRuns: 400 },
    )
    // Nothing of it is left, and honest clients are served as before.
    await waitFor(() => harness.intake.connectionCount === 0 && harness.intake.pendingBytes === 0)
    expect(harness.intake.streamCount).toBe(0)
    expect((await harness.send(post('/topics/orders', 'hello'))).status).toBe(202)
    expect(harness.observer.errors).toEqual([])
  }, 120_000)

  test('is answered the same way when it comes in other pieces', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...valid),
        fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 12 }),
        async (bytes, cuts) => {
          const plain = await exchange(bytes, [], 'half-closed', false)
          const cut = await exchange(bytes, cuts, 'half-closed', false)
          expect(comparable(cut)).toEqual(comparable(plain))
        },
      ),
      { numRuns: 150 },
    )
  }, 120_000)
})

/** Answers without what differs from one time to the next. */
function comparable(received: Buffer): unknown {
  return readAnswers(received).answers.map(({ status, body }) => ({
    status,
    body: body.replaceAll(/"id":"[^"]+"/g, '"id"'),
  }))
}
