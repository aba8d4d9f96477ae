import { describe, expect, test } from 'vitest'
import { UnavailableError } from '../../src/base/errors.ts'
import { WaitingRoom } from '../../src/intake/waiting-room.ts'
import { systemClock } from '../../src/base/clock.ts'
import { FakeSink, IntakeHarness, codeOf, head, ndjson, ndjsonStream, post, resultsOf } from './intake-harness.ts'
import type { Message } from '../../src/message/message.ts'
import { chunked, chunkedEnd } from '../http/raw-http.ts'
import { plainMessage } from '../message/plain-message.ts'

const full = new UnavailableError('journal_full', 'it is full', { retryAfterSeconds: 5 })
const message = (key: string): Message => plainMessage({ topic: 'a', key, acceptedAt: 0 })
const here = (): boolean => false

describe('a waiting room', () => {
  function opened(waitMs: number): { sink: FakeSink; room: WaitingRoom } {
    const sink = new FakeSink()
    sink.roomWaitMs = waitMs
    sink.failure = full
    return { sink, room: new WaitingRoom(sink, systemClock) }
  }

  test('lets in those who wait in their order, when there is room', async () => {
    const { sink, room } = opened(10_000)
    const seqs = ['a', 'b', 'c'].map((key) => room.wait([message(key)], here))
    expect(room.isEmpty).toBe(false)
    setTimeout(() => {
      sink.failure = null
    }, 60)
    expect(await Promise.all(seqs)).toEqual([1, 2, 3])
    expect(sink.messages.map(({ key }) => key)).toEqual(['a', 'b', 'c'])
    expect(room.isEmpty).toBe(true)
  })

  test('does not wait for the disk between two that it lets in', async () => {
    const { sink, room } = opened(10_000)
    const seqs = ['a', 'b', 'c'].map((key) => room.wait([message(key)], here))
    sink.failure = null
    sink.hold()
    await expect.poll(() => sink.messages.length).toBe(3)
    sink.letGo()
    expect(await Promise.all(seqs)).toEqual([1, 2, 3])
  })

  test('sends away whose time is over, with what is missing', async () => {
    const { room } = opened(80)
    const startedAt = performance.now()
    await expect(room.wait([message('a')], here)).rejects.toBe(full)
    expect(performance.now() - startedAt).toBeGreaterThan(79)
    expect(room.isEmpty).toBe(true)
  })

  test('lets go of those who are gone, wherever they stand, and never appends what they sent', async () => {
    const { sink, room } = opened(10_000)
    let isGone = false
    const first = room.wait([message('a')], here)
    const gone = room.wait([message('b')], () => isGone)
    const last = room.wait([message('c')], here)
    isGone = true
    await expect(gone).rejects.toMatchObject({ code: 'journal_full' })
    sink.failure = null
    expect(await Promise.all([first, last])).toEqual([1, 2])
    expect(sink.messages.map(({ key }) => key)).toEqual(['a', 'c'])
  })

  test('lets go of very many who are gone, at once and without a stall', async () => {
    const { room } = opened(10_000)
    let isGone = false
    const all = Array.from({ length: 100_000 }, () => room.wait([], () => isGone).catch(() => 'gone'))
    isGone = true
    const before = performance.eventLoopUtilization()
    expect(new Set(await Promise.all(all))).toEqual(new Set(['gone']))
    expect(performance.eventLoopUtilization(before).active).toBeLessThan(1500)
    expect(room.isEmpty).toBe(true)
  })

  test('tells those who wait of another failure at once, and goes on with the next', async () => {
    const { sink, room } = opened(10_000)
    const first = room.wait([message('a')], here)
    sink.failure = new UnavailableError('journal_failed', 'the disk is broken', { retryAfterSeconds: 1 })
    await expect(first).rejects.toMatchObject({ code: 'journal_failed' })
  })

  test('sends all away when it closes, and takes nobody', async () => {
    const { room } = opened(10_000)
    const waiting = room.wait([message('a')], here)
    room.close()
    await expect(waiting).rejects.toMatchObject({ code: 'draining' })
    await expect(room.wait([message('b')], here)).rejects.toMatchObject({ code: 'draining' })
    expect(room.admits(full)).toBe(false)
  })
})

describe('intake, while the journal is full and publishers may wait,', () => {
  async function started(waitMs = 10_000): Promise<IntakeHarness> {
    const harness = await IntakeHarness.start({ pendingBytesMax: 64 * 1024 })
    harness.sink.roomWaitMs = waitMs
    harness.sink.failure = full
    return harness
  }

  test('answers when there is room, and keeps the order of single messages and lines', async () => {
    await using harness = await started()
    const { sink } = harness
    const single = harness.send(post('/topics/a', 'one'))
    await expect.poll(() => sink.calls.length).toBeGreaterThan(0)
    const lines = harness.send(post('/topics/a', '{"value":"two"}\n{"value":"three"}', ndjson))
    const stream = harness.send(
      Buffer.concat([head('POST', '/topics/a', ndjsonStream), chunked('{"value":"x"}\n'), Buffer.from(chunkedEnd)]),
    )
    setTimeout(() => {
      sink.failure = null
    }, 100)
    expect((await single).status).toBe(202)
    expect((await lines).status).toBe(202)
    expect(resultsOf((await stream).body).every(({ id }) => id !== undefined)).toBe(true)
    expect(sink.values[0]).toBe('one')
    expect(sink.values.indexOf('three')).toBe(sink.values.indexOf('two') + 1)
    expect(harness.intake.pendingBytes).toBe(0)
  })

  test('answers 503 when nothing comes of it', async () => {
    await using harness = await started(60)
    expect(codeOf(await harness.send(post('/topics/a', 'one')))).toBe('journal_full')
    expect(codeOf(await harness.send(post('/topics/a', '{"value":1}', ndjson)))).toBe('journal_full')
    expect(harness.intake.pendingBytes).toBe(0)
  })

  test('holds no more than it may, and lets go of what clients have sent who are gone', async () => {
    await using harness = await started()
    const connections = await Promise.all(Array.from({ length: 5 }, () => harness.connect()))
    for (const connection of connections) connection.write(post('/topics/a', Buffer.alloc(14_000)))
    await expect.poll(() => harness.observer.codes).toEqual(['overloaded'])
    expect(harness.intake.pendingBytes).toBeGreaterThan(56_000)
    for (const connection of connections) connection[Symbol.dispose]()
    await expect.poll(() => harness.intake.pendingBytes).toBe(0)
    harness.sink.failure = null
    await harness.send(post('/topics/a', 'after'))
    expect(harness.sink.values).toEqual(['after'])
  })

  test('refuses who waits when it closes', async () => {
    await using harness = await started()
    const waiting = harness.send(post('/topics/a', 'one'))
    await expect.poll(() => harness.intake.pendingBytes).toBeGreaterThan(0)
    await expect.poll(() => harness.sink.calls.length).toBeGreaterThan(1)
    await harness.intake.close()
    expect(codeOf(await waiting)).toBe('draining')
  })
})

describe('the priority of a request', () => {
  const nearlyFull = new UnavailableError('journal_nearly_full', 'no room for low priority', { retryAfterSeconds: 5 })

  async function started(): Promise<{ harness: IntakeHarness; asked: [string, boolean][] } & AsyncDisposable> {
    const harness = await IntakeHarness.start()
    const asked: [string, boolean][] = []
    harness.sink.refusals = (topic, isLow) => {
      asked.push([topic, isLow])
      return isLow ? nearlyFull : null
    }
    return { harness, asked, [Symbol.asyncDispose]: () => harness.stop() }
  }

  test.each([
    ['a value', 'x', {}],
    ['lines', '{"value":1}', ndjson],
  ])('decides on %s before the body is taken, whatever case it is written in', async (_, body, headers) => {
    await using rig = await started()
    const { harness, asked } = rig
    expect((await harness.send(post('/topics/a', body, headers))).status).toBe(202)
    expect((await harness.send(post('/topics/a', body, { ...headers, 'outrigger-priority': 'Normal' }))).status).toBe(202) // prettier-ignore
    const low = { ...headers, 'Outrigger-Priority': 'LOW' }
    const answer = await harness.send(head('POST', '/topics/b', { ...low, 'Content-Length': '5', Expect: '100-continue' })) // prettier-ignore
    expect([answer.status, codeOf(answer), answer.headers.get('retry-after')]).toEqual([503, 'journal_nearly_full', '5']) // prettier-ignore
    expect(asked.at(-1)).toEqual(['b', true])
    expect(harness.sink.messages).toHaveLength(2)
    expect(harness.observer.codes).toEqual(['journal_nearly_full'])
    expect(harness.intake.pendingBytes).toBe(0)
  })

  test('decides again on each group of lines of a stream, which then ends', async () => {
    await using rig = await started()
    const { harness } = rig
    let isFull = false
    harness.sink.refusals = (_, isLow) => (isLow && isFull ? nearlyFull : null)
    using connection = await harness.connect()
    connection.write(head('POST', '/topics/a', { ...ndjsonStream, 'Outrigger-Priority': 'low' }))
    connection.write(chunked('{"value":1}\n'))
    await expect.poll(() => harness.sink.messages.length).toBe(1)
    isFull = true
    connection.write(chunked('{"value":2}\n'))
    const answer = await connection.answer()
    const results = resultsOf(answer.body)
    expect(results[0]?.id).toBeDefined()
    expect(results[1]?.error).toMatchObject({ code: 'journal_nearly_full', line: 2 })
    expect(harness.sink.messages).toHaveLength(1)
  })
})

test('the time in which a request with a Content-Length waits for room is not the client’s', async () => {
  await using harness = await IntakeHarness.start({
    requestTimeout: 100,
    pendingBytesMax: 64 * 1024 * 1024,
    messagesPerRequestMax: 100_000,
  })
  harness.sink.roomWaitMs = 10_000
  harness.sink.failure = full
  const body = `${JSON.stringify({ value: 'x'.repeat(2000) })}\n`.repeat(4000)
  setTimeout(() => {
    harness.sink.failure = null
  }, 600)
  const answer = await harness.send(post('/topics/orders', body, ndjson))
  expect([answer.status, harness.sink.messages.length]).toEqual([202, 4000])
})
