import { PassThrough } from 'node:stream'
import { describe, expect, test } from 'vitest'
import type { Clock } from '../../src/base/clock.ts'
import { systemClock } from '../../src/base/clock.ts'
import type { LogOptions } from '../../src/cli/log.ts'
import { printLog } from '../../src/cli/log.ts'
import type { LogEntry, MessageLog } from '../../src/recorder/message-log.ts'
import { StoreError } from '../../src/recorder/store-error.ts'
import { FakeMessageLog } from '../recorder/fake-message-log.ts'
import { logEntry } from '../recorder/message-log-contract.ts'

const never = new AbortController().signal
const hour = 3_600_000
const now = 1_750_000_000_000
/** Its time stands still, and polls come one right after the other. */
const clock: Clock = { ...systemClock, now: () => now, sleep: (_, signal) => systemClock.sleep(1, signal) }

const entry = (partition: number, offset: number, deliveredAt: number, parts: Partial<LogEntry> = {}): LogEntry =>
  logEntry({ topic: 'orders', partition, offset, seq: 1 + partition * 10_000 + offset, deliveredAt, ...parts })

async function filled(...entries: readonly LogEntry[]): Promise<FakeMessageLog> {
  const log = new FakeMessageLog()
  if (entries.length > 0) await log.write(entries, now, never)
  return log
}

type Line = Record<string, unknown> & { partition: number; offset: number }
const linesIn = (text: string): Line[] =>
  text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Line)
const placesIn = (text: string): string[] => linesIn(text).map(({ partition, offset }) => `${partition}/${offset}`)

async function printed(log: MessageLog, options: Partial<LogOptions> = {}): Promise<string> {
  const output = new PassThrough()
  const text = output.setEncoding('utf8').toArray()
  await printLog(log, clock, { topic: 'orders', follow: false, json: true, ...options }, output, never)
  output.end()
  return (await text).join('')
}

describe('the log of a topic', () => {
  test('is printed over all partitions by the time of delivery, each partition in order', async () => {
    const log = await filled(
      entry(0, 1, now - 50),
      entry(0, 2, now - 20),
      entry(1, 7, now - 40),
      // A later delivery with an earlier time, as when a clock was set back: order within the partition goes first.
      entry(1, 8, now - 60),
      entry(2, 0, now - 30),
      logEntry({ topic: 'other', offset: 5 }),
    )
    expect(placesIn(await printed(log))).toEqual(['0/1', '1/7', '1/8', '2/0', '0/2'])
  })

  test('is whole however many pages it takes', async () => {
    const entries = Array.from({ length: 3000 }, (_, i) => entry(i % 3, Math.floor(i / 3), now - 5000 + i))
    const places = placesIn(await printed(await filled(...entries)))
    expect(places).toEqual(entries.map(({ partition, offset }) => `${partition}/${offset}`))
  })

  test('takes large values in smaller pages', async () => {
    const value = Buffer.alloc(1024 * 1024)
    const log = await filled(...Array.from({ length: 60 }, (_, i) => entry(0, i, now, { value })))
    const limits: number[] = []
    const list = log.list.bind(log)
    log.list = (topic, partition, from, limit, signal) => {
      limits.push(limit)
      return list(topic, partition, from, limit, signal)
    }
    expect(placesIn(await printed(log))).toHaveLength(60)
    expect(Math.max(...limits)).toBeLessThanOrEqual(32)
  })

  test('as JSON has what tail has, and what only the log knows', async () => {
    const log = await filled(
      entry(0, 3, now, {
        seq: 42,
        key: Buffer.from('k'),
        headers: [['colour', Buffer.from('red')]],
        contentType: 'text/plain',
        timestamp: now - 3,
        acceptedAt: now - 2,
      }),
    )
    expect(linesIn(await printed(log))).toEqual([
      {
        topic: 'orders',
        partition: 0,
        offset: 3,
        timestamp: now - 3,
        id: '0123456789abc-42',
        contentType: 'text/plain',
        acceptedAt: now - 2,
        deliveredAt: now,
        key: 'k',
        value: 'value',
        headers: { colour: ['red'] },
      },
    ])
  })

  test('for people says when it was delivered, where, which key and what', async () => {
    const log = await filled(entry(0, 3, now, { key: Buffer.from('k') }))
    expect(await printed(log, { json: false })).toBe(`${new Date(now).toISOString()}  0/3  k:  value\n`)
  })

  test.each([
    [{ since: { agoMs: hour } }, ['0/2', '1/2']],
    [{ since: { at: now - 3 * hour } }, ['0/1', '0/2', '1/2']],
    [{ key: 'a' }, ['1/1', '0/2']],
    [{ key: 'a', since: { agoMs: hour } }, ['0/2']],
    [{ key: 'nobody' }, []],
    [{ count: 2 }, ['1/1', '0/1']],
    [{ count: 0 }, []],
    [{ topic: 'nothing' }, []],
  ] satisfies [Partial<LogOptions>, string[]][])('%j narrows it down', async (options, expected) => {
    const log = await filled(
      entry(1, 1, now - 4 * hour, { key: Buffer.from('a') }),
      entry(0, 1, now - 2 * hour, { key: Buffer.from('b') }),
      entry(0, 2, now - hour, { key: Buffer.from('a') }),
      entry(1, 2, now - 1000),
    )
    expect(placesIn(await printed(log, options))).toEqual(expected)
  })

  test('shows nothing older when the store knows only roughly where to begin', async () => {
    const log = await filled(entry(0, 1, now - 2 * hour), entry(0, 2, now))
    log.positions = () => Promise.resolve([{ partition: 0, offset: 0 }])
    expect(placesIn(await printed(log, { since: { agoMs: hour } }))).toEqual(['0/2'])
  })

  test('fails when the store does', async () => {
    const log = new FakeMessageLog({ schemaVersion: 0 })
    await expect(printed(log)).rejects.toMatchObject({ code: 'store_failed', reason: 'SCHEMA_MISSING' })
  })
})

describe('following', () => {
  class Following implements AsyncDisposable {
    readonly output = new PassThrough().setEncoding('utf8')
    readonly ended: Promise<void>
    readonly #stop = new AbortController()
    #text = ''

    constructor(log: MessageLog, options: Partial<LogOptions> = {}) {
      this.output.on('data', (text: string) => {
        this.#text += text
      })
      const all = { topic: 'orders', follow: true, json: true, ...options }
      this.ended = printLog(log, clock, all, this.output, this.#stop.signal)
      this.ended.catch(() => {}) // whoever waits for it hears of it
    }

    get places(): string[] {
      return placesIn(this.#text)
    }

    stop(): void {
      this.#stop.abort()
    }

    async [Symbol.asyncDispose](): Promise<void> {
      this.stop()
      await this.ended.catch(() => {}) // a test that expects a failure has looked at it
    }
  }

  const old = now - hour

  test('goes on with what comes, also in partitions that are new, and ends without an error', async () => {
    const log = await filled(entry(0, 1, old))
    await using following = new Following(log)
    await expect.poll(() => following.places).toEqual(['0/1'])
    await log.write([entry(0, 2, old)], now, never)
    await expect.poll(() => following.places).toEqual(['0/1', '0/2'])
    await log.write([entry(5, 9, old), entry(5, 10, old)], now, never)
    await expect.poll(() => following.places).toEqual(['0/1', '0/2', '5/9', '5/10'])
    following.stop()
    await following.ended
  })

  test('waits for a topic that has nothing yet, and ends after as many as asked for', async () => {
    const log = await filled()
    await using following = new Following(log, { count: 1 })
    await log.write([entry(0, 0, old), entry(0, 1, old)], now, never)
    await following.ended
    expect(following.places).toEqual(['0/0'])
  })

  test('misses nothing that is written after what comes behind it', async () => {
    const log = await filled(entry(0, 1, old))
    await using following = new Following(log)
    await expect.poll(() => following.places).toEqual(['0/1'])
    // Two writes under way at once, of which the second is done first.
    await log.write([entry(0, 3, now - 10)], now, never)
    await systemClock.sleep(50)
    expect(following.places).toEqual(['0/1'])
    await log.write([entry(0, 2, now - 20)], now, never)
    await expect.poll(() => following.places).toEqual(['0/1', '0/2', '0/3'])
  })

  test('does not wait for ever for offsets that are nobody’s', async () => {
    const log = await filled(entry(0, 1, old), entry(0, 3, old))
    await using following = new Following(log)
    await expect.poll(() => following.places).toEqual(['0/1', '0/3'])
  })

  test('survives a store that is away for a moment, but no other failure', async () => {
    const log = await filled(entry(0, 1, old))
    const list = log.list.bind(log)
    let failing: StoreError | null = null
    log.list = async (...given) => {
      if (failing) throw failing
      return list(...given)
    }
    await using following = new Following(log)
    await expect.poll(() => following.places).toEqual(['0/1'])
    failing = new StoreError('transient', 'ECONNRESET', 'away')
    await systemClock.sleep(5)
    failing = null
    await log.write([entry(0, 2, old)], now, never)
    await expect.poll(() => following.places).toEqual(['0/1', '0/2'])

    await using refused = new Following(log, { count: 3 })
    await expect.poll(() => refused.places).toEqual(['0/1', '0/2'])
    failing = new StoreError('fatal', 'ER_ACCESS_DENIED_ERROR', 'no entry')
    await expect(refused.ended).rejects.toBe(failing)
    await expect(following.ended).rejects.toBe(failing)
  })

  test('gives up on a store that stays away', async () => {
    const log = await filled(entry(0, 1, old))
    await using following = new Following(log)
    await expect.poll(() => following.places).toEqual(['0/1'])
    log.list = () => Promise.reject(new StoreError('transient', 'ECONNREFUSED', 'away'))
    await expect(following.ended).rejects.toThrow('away')
  })
})
