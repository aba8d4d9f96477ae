import { PassThrough, Writable } from 'node:stream'
import { expect, test } from 'vitest'
import { tail } from '../../src/cli/tail.ts'
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

  offsetsAt(): never {
    throw new Error('tail asks for no offsets')
  }

  readRange(): never {
    throw new Error('tail reads no part')
  }

  topics(): never {
    throw new Error('tail asks for no topics')
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

test('takes the id from the header that carries it', async () => {
  const headers = [['outrigger-id', Buffer.from('0123456789abc-7')]] as const
  const output = new PassThrough()
  const consumer = new FakeConsumer([record({ headers }), record()])
  await tail(consumer, { topic: 'orders', from: 'beginning', count: 2, json: true }, output, never)
  const text = (await output.end().setEncoding('utf8').toArray()).join('')
  const ids = text
    .trimEnd()
    .split('\n')
    .map((line) => (JSON.parse(line) as { id: unknown }).id)
  expect(ids).toEqual(['0123456789abc-7', null])
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
