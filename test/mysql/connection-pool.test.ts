import { describe, expect, test } from 'vitest'
import { ConnectionPool } from '../../src/mysql/connection-pool.ts'
import type { MysqlConnection } from '../../src/mysql/mysql-connection.ts'
import { ManualClock } from './manual-clock.ts'

const never = new AbortController().signal

/** As much of a connection as a pool knows. */
class FakeConnection {
  usable = true
  ended: 'closed' | 'destroyed' | undefined

  close(): void {
    this.usable = false
    this.ended ??= 'closed'
  }

  destroy(): void {
    this.usable = false
    this.ended ??= 'destroyed'
  }
}

function setUp(connectionsMax: number) {
  const clock = new ManualClock()
  const opened: FakeConnection[] = []
  const trouble: { next?: Error } = {}
  const pool = new ConnectionPool(clock, connectionsMax, async () => {
    if (trouble.next) throw trouble.next
    const connection = new FakeConnection()
    opened.push(connection)
    return connection as unknown as MysqlConnection
  })
  return { clock, opened, pool, trouble }
}

describe('a pool of connections', () => {
  test('opens none before it is asked, and keeps what it has opened', async () => {
    const { opened, pool } = setUp(2)
    expect(opened).toHaveLength(0)
    for (let i = 0; i < 5; i++) expect(await pool.use(never, async () => i)).toBe(i)
    expect(opened).toHaveLength(1)
  })

  test('opens no more than it may, and lets those wait in order who come too late', async () => {
    const { opened, pool } = setUp(2)
    const order: number[] = []
    let running = 0
    await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        pool.use(never, async () => {
          order.push(i)
          running++
          expect(running).toBeLessThanOrEqual(2)
          await Promise.resolve()
          running--
        }),
      ),
    )
    expect(order).toEqual(Array.from({ length: 20 }, (_, i) => i))
    expect(opened.length).toBeLessThanOrEqual(2)
  })

  test('opens another after one that failed, or was idle for so long that it may be dead', async () => {
    const { clock, opened, pool } = setUp(1)
    await expect(
      pool.use(never, async (connection) => {
        connection.destroy()
        throw new Error('cut')
      }),
    ).rejects.toThrow('cut')
    await pool.use(never, async () => {})
    expect(opened).toHaveLength(2)
    clock.pass(50_000)
    await pool.use(never, async () => {})
    expect(opened).toHaveLength(2)
    clock.pass(70_000)
    await pool.use(never, async () => {})
    expect(opened).toHaveLength(3)
    expect(opened[1]!.ended).toBe('closed')
  })

  test('gives the turn to the next when a connection could not be opened, or a wait was given up', async () => {
    const { pool, trouble } = setUp(1)
    trouble.next = new Error('refused')
    const abort = new AbortController()
    const calls = [
      pool.use(never, async () => 'first'),
      pool.use(abort.signal, async () => 'second'),
      pool.use(never, async () => 'third'),
    ]
    abort.abort(new Error('enough'))
    const [first, second, third] = await Promise.allSettled(calls)
    expect(first).toMatchObject({ status: 'rejected', reason: { message: 'refused' } })
    expect(second).toMatchObject({ status: 'rejected', reason: { message: 'enough' } })
    expect(third).toMatchObject({ status: 'rejected', reason: { message: 'refused' } })
    delete trouble.next
    expect(await pool.use(never, async () => 'fourth')).toBe('fourth')
  })

  test.each([1, 2, 3])(
    'of %i connections lets no more than a hundred look-ups wait, and writes all the same',
    async (connectionsMax) => {
      const { opened, pool } = setUp(connectionsMax)
      const held: (() => void)[] = []
      const hold = () => new Promise<void>((resolve) => held.push(resolve))
      const order: string[] = []
      const running = Array.from({ length: Math.max(1, connectionsMax - 1) }, () => pool.use(never, hold, 'lookup'))
      const waiting = Array.from({ length: 100 }, () =>
        pool.use(never, async () => void order.push('lookup'), 'lookup'),
      )
      await expect(pool.use(never, async () => {}, 'lookup')).rejects.toMatchObject({
        failure: 'transient',
        reason: 'POOL_EXHAUSTED',
      })
      const maintained = pool.use(never, async () => void order.push('maintenance'), 'maintenance')
      const written = Array.from({ length: 3 }, () => pool.use(never, async () => void order.push('write')))
      // With more than one connection, a write waits for no look-up at all.
      if (connectionsMax > 1) await Promise.all(written)
      for (const free of held) free()
      await Promise.all([...running, ...waiting, maintained, ...written])
      expect(order.slice(0, 3)).toEqual(['write', 'write', 'write'])
      expect(order).toHaveLength(104)
      expect(opened).toHaveLength(connectionsMax)
    },
  )

  test('keeps a connection for writes while the table is maintained', async () => {
    const { pool } = setUp(2)
    const { promise: over, resolve: end } = Promise.withResolvers<void>()
    const maintained = pool.use(never, () => over, 'maintenance')
    const lookedUp = pool.use(never, () => over, 'lookup')
    expect(await pool.use(never, async () => 'written')).toBe('written')
    end()
    await Promise.all([maintained, lookedUp])
  })

  test('lets look-ups and maintenance have all that writes leave, and no more than was allowed', async () => {
    const { opened, pool } = setUp(4)
    const running = { all: 0, aside: 0, allMax: 0, asideMax: 0 }
    const purposes = ['lookup', 'write', 'lookup', 'maintenance'] as const
    await Promise.all(
      Array.from({ length: 80 }, async (_, i) => {
        const purpose = i < 20 ? 'lookup' : purposes[i % purposes.length]!
        const aside = purpose === 'write' ? 0 : 1
        await pool.use(
          never,
          async () => {
            running.allMax = Math.max(running.allMax, ++running.all)
            running.asideMax = Math.max(running.asideMax, (running.aside += aside))
            for (let turns = 0; turns < 50; turns++) await Promise.resolve()
            running.all--
            running.aside -= aside
          },
          purpose,
        )
      }),
    )
    expect(running).toEqual({ all: 0, aside: 0, allMax: 4, asideMax: 3 })
    expect(opened).toHaveLength(4)
  })

  test('closes once: refuses what comes, waits for what runs, and cuts what runs too long', async () => {
    const { clock, opened, pool } = setUp(2)
    await pool.use(never, async () => {})
    const endless = pool.use(never, () => new Promise<void>(() => {}))
    void endless
    await Promise.resolve()
    await Promise.all([pool.close(), pool.close()])
    expect(clock.slept).toEqual([5000])
    expect(opened.map(({ ended }) => ended)).toEqual(['destroyed'])
    await expect(pool.use(never, async () => {})).rejects.toMatchObject({ reason: 'CLOSED' })
  })
})
