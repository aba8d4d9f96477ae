import { PassThrough, Writable } from 'node:stream'
import { expect, test } from 'vitest'
import { humanLine, jsonLine, tail } from '../../src/cli/tail.ts'
import { BrokerError } from '../../src/forwarder/broker.ts'
import type { ConsumedRecord, Consumer } from '../../src/subscriptions/consumer.ts'

const record = (parts: Partial<ConsumedRecord> = {}): ConsumedRecord => ({
  topic: 'orders',
  partition: 2,
  offset: 41,
  timestamp: 1_700_000_000_123,
  key: Buffer.from('k1'),
  value: Buffer.from('hello'),
  headers: [],
  ...parts,
})
const never = new AbortController().signal

/** Gives these records, and then waits for ever; or fails. */
class FakeConsumer implements Consumer {
  readonly asked: [topic: string, from: string][] = []
  given = 0
  readonly #records: Iterable<ConsumedRecord>
  readonly #failure: Error | undefined

  constructor(records: Iterable<ConsumedRecord>, failure?: Error) {
    this.#records = records
    this.#failure = failure
  }

  read(topic: string, from: 'beginning' | 'latest', signal: AbortSignal) {
    this.asked.push([topic, from])
    return { ready: Promise.resolve(), [Symbol.asyncIterator]: () => this.#generate(signal) }
  }

  async close(): Promise<void> {}

  async *#generate(signal: AbortSignal): AsyncGenerator<ConsumedRecord> {
    for (const each of this.#records) {
      if (signal.aborted) return
      this.given++
      yield each
    }
    if (this.#failure) throw this.#failure
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
  }
}

test('a record is one line of JSON with the fields that are promised, in their order', () => {
  const headers = [
    ['outrigger-id', Buffer.from('0123456789abc-7')],
    ['tag', Buffer.from('a')],
    ['tag', Buffer.from([0xff])],
  ] as const
  expect(jsonLine(record({ headers }))).toBe(
    '{"topic":"orders","partition":2,"offset":41,"timestamp":1700000000123,"id":"0123456789abc-7","key":"k1","value":"hello",' +
      '"headers":{"outrigger-id":["0123456789abc-7"],"tag":["a",{"base64":"/w=="}]}}\n',
  )
})

test('what is not UTF-8 stands in base64; no key and a tombstone are null, and empty is empty', () => {
  const line = (parts: Partial<ConsumedRecord>): unknown => JSON.parse(jsonLine(record(parts)))
  expect(line({ key: Buffer.from([0xc3]), value: Buffer.from([0, 0x80]) })).toMatchObject({
    keyBase64: 'ww==',
    valueBase64: 'AIA=',
  })
  expect(line({ key: Buffer.from([0xc3]) })).not.toHaveProperty('key')
  expect(line({ key: null, value: null })).toMatchObject({ key: null, value: null, id: null })
  expect(line({ key: Buffer.alloc(0), value: Buffer.alloc(0) })).toMatchObject({ key: '', value: '' })
  expect(line({ value: Buffer.from('\uFEFFbom') })).toMatchObject({ value: '\uFEFFbom' })
  expect(jsonLine(record({ headers: [['__proto__', Buffer.from('x')]] }))).toContain('"__proto__":["x"]')
})

test('a line for people says when, where, which key and what', () => {
  expect(humanLine(record())).toBe('2023-11-14T22:13:20.123Z  2/41  k1:  hello\n')
  expect(humanLine(record({ key: null, value: null }))).toBe('2023-11-14T22:13:20.123Z  2/41  (tombstone)\n')
  expect(humanLine(record({ value: Buffer.from([0xff, 0xfe]) }))).toContain('(2 bytes, not UTF-8)')
  expect(humanLine(record({ value: Buffer.from('x'.repeat(5000)) })).length).toBeLessThan(500)
})

test('a line for people can do nothing to their terminal', () => {
  const line = humanLine(record({ value: Buffer.from('a\nb\u001b[2J\u202Ec') }))
  expect(line).toContain('a\\nb\\u{1b}[2J\\u{202e}c')
  expect(line.trimEnd().split('\n')).toHaveLength(1)
})

test('ends after as many records as asked for', async () => {
  const consumer = new FakeConsumer([record({ offset: 1 }), record({ offset: 2 }), record({ offset: 3 })])
  const output = new PassThrough()
  await tail(consumer, { topic: 'orders', from: 'beginning', count: 2, json: true }, output, never)
  expect(output.writableEnded).toBe(false)
  const lines = (await output.end().setEncoding('utf8').toArray()).join('').trimEnd().split('\n')
  expect(lines.map((line) => (JSON.parse(line) as { offset: number }).offset)).toEqual([1, 2])
  expect(consumer.asked).toEqual([['orders', 'beginning']])
})

test('goes on until it is aborted, and ends without an error', async () => {
  const abort = new AbortController()
  const output = new PassThrough()
  const tailing = tail(new FakeConsumer([record()]), { topic: 't', from: 'latest', json: true }, output, abort.signal)
  await expect.poll(() => output.readableLength).toBeGreaterThan(0)
  abort.abort()
  await tailing
})

test('a slow reader holds it up', async () => {
  const consumer = new FakeConsumer(Array.from({ length: 10_000 }, () => record()))
  const output = new PassThrough({ highWaterMark: 1000 })
  const abort = new AbortController()
  const tailing = tail(consumer, { topic: 't', from: 'beginning', json: true }, output, abort.signal)
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(consumer.given).toBeLessThan(30)
  output.resume()
  await expect.poll(() => consumer.given).toBe(10_000)
  abort.abort()
  await tailing
})

test('a reader that goes away ends it quietly, also while it waits', async () => {
  const gone = new Writable({
    write(_chunk, _encoding, done) {
      done(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }))
    },
  })
  await tail(new FakeConsumer([record(), record()]), { topic: 't', from: 'beginning', json: true }, gone, never)

  const later = new PassThrough()
  const tailing = tail(new FakeConsumer([]), { topic: 't', from: 'beginning', json: true }, later, never)
  later.destroy()
  await expect(tailing).resolves.toBeUndefined()
})

test('a disk that is full does not end it quietly', async () => {
  const full = new Writable({
    write(_chunk, _encoding, done) {
      done(Object.assign(new Error('write ENOSPC'), { code: 'ENOSPC' }))
    },
  })
  const tailing = tail(new FakeConsumer([record()]), { topic: 't', from: 'beginning', json: true }, full, never)
  await expect(tailing).rejects.toThrow('ENOSPC')
})

test("the broker's failure comes through", async () => {
  const failure = new BrokerError('transient', 'ECONNREFUSED', 'away')
  const tailing = tail(
    new FakeConsumer([], failure),
    { topic: 't', from: 'beginning', json: true },
    new PassThrough(),
    never,
  )
  await expect(tailing).rejects.toBe(failure)
})
