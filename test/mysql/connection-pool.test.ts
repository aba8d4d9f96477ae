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

  test('lets no more than a hundred wait', async () => {
    const { pool } = setUp(1)
    let free = (): void => {}
    const held = pool.use(never, () => new Promise<void>((resolve) => (free = resolve)))
    const waiting = Array.from({ length: 100 }, () => pool.use(never, async () => {}))
    await expect(pool.use(never, async () => {})).rejects.toMatchObject({
      failure: 'transient',
      reason: 'POOL_EXHAUSTED',
    })
    free()
    await Promise.all([held, ...waiting])
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
