import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { GuardMetrics } from '../src/admin/guard-metrics.ts'
import type { Clock } from '../src/base/clock.ts'
import { UnavailableError } from '../src/base/errors.ts'
import type { Log } from '../src/base/log.ts'
import { spendReserve } from '../src/journal/disk-reserve.ts'
import type { Disk, DiskSpace } from '../src/journal/disk.ts'
import type { TopicProgress } from '../src/journal/topic-backlogs.ts'
import { JournalGuard } from '../src/journal-guard.ts'
import type { Message } from '../src/message/message.ts'
import { load } from './config/load.ts'
import { MemoryDisk } from './journal/memory-disk.ts'

const MiB = 1024 * 1024
const message = { topic: 'orders' } as Message

/** A second passes when the test says so. */
class SteppedClock implements Clock {
  ms = 1_000_000
  #wake: (() => void)[] = []

  now(): number {
    return this.ms
  }

  monotonic(): number {
    return this.ms
  }

  sleep(_ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      signal?.addEventListener('abort', () => reject(signal.reason as Error))
      this.#wake.push(resolve)
    })
  }

  async pass(ms: number): Promise<void> {
    this.ms += ms
    const wake = this.#wake
    this.#wake = []
    for (const each of wake) each()
    for (let i = 0; i < 200; i++) await new Promise((resolve) => setImmediate(resolve))
  }
}

class FakeJournal {
  readonly id = 'abc'
  readonly end = { nextSeq: 1 }
  bytes = 0
  failure: Error | null = null
  isFull = false
  tries = 0
  readonly released: number[] = []
  readonly spares: boolean[] = []
  appended = 0

  append(messages: readonly Message[]): Promise<number> {
    if (this.isFull) return Promise.reject(new UnavailableError('journal_full', 'full', { retryAfterSeconds: 5 }))
    this.appended += messages.length
    return Promise.resolve(this.appended)
  }

  seqAfter(bytes: number): number {
    return Math.ceil(bytes / 1000)
  }

  tryAgain(): void {
    this.tries++
  }

  release(seq: number): Promise<void> {
    this.released.push(seq)
    return Promise.resolve()
  }

  keepSpares(keeps: boolean): Promise<void> {
    this.spares.push(keeps)
    return Promise.resolve()
  }
}

interface Rig {
  readonly guard: JournalGuard
  readonly journal: FakeJournal
  readonly clock: SteppedClock
  readonly disk: Disk
  readonly memory: MemoryDisk
  readonly lines: string[]
  readonly givenUp: number[]
  progress: TopicProgress & { oldestAcceptedAt: number | null }
  answer(topic?: string, isLow?: boolean): Promise<string>
}

interface Setup {
  readonly capacity?: number
  readonly space?: DiskSpace
  readonly isStarted?: boolean
}

/** A guard of a journal of 1,000,000 bytes on a disk of 100 MiB. */
async function guarded(settings: string, { capacity = 100 * MiB, space, isStarted = true }: Setup = {}): Promise<Rig> {
  const { config } = await load({ yaml: `journal: { directory: /data, bytesMax: 1000000, segmentBytes: 200000, ${settings} }\npublish: { bodyBytesMax: 1000, lineBytesMax: 1000, lowPriorityTopics: [debug.*] }` }) // prettier-ignore
  const memory = new MemoryDisk(() => 0.5)
  memory.capacity = capacity
  const { disk } = memory.boot()
  if (space !== undefined) vi.spyOn(disk, 'space').mockResolvedValue(space)
  const clock = new SteppedClock()
  const journal = new FakeJournal()
  const lines: string[] = []
  const write = (_: object, text: string): number => lines.push(text)
  const log = { info: write, warn: write, error: write } as unknown as Log
  const guard = await JournalGuard.open(config, disk, clock, log)
  guard.attach(journal)
  const rig: Rig = {
    guard,
    journal,
    clock,
    disk,
    memory,
    lines,
    givenUp: [],
    progress: { head: 1, positions: [], oldestAcceptedAt: null },
    async answer(topic = 'orders', isLow = false) {
      const refusal = guard.refusal(topic, isLow)
      if (refusal !== null) return refusal.code
      return guard.append([message]).then(
        () => 'kept',
        (error: unknown) => (error as UnavailableError).code,
      )
    },
  }
  const delivery = {
    progress: () => Promise.resolve(rig.progress),
    measure: ({ fromSeq }: { fromSeq: number }) => Promise.resolve({ fromSeq, toSeq: fromSeq, topics: [] }),
  }
  if (isStarted) guard.start(delivery, (seq) => Promise.resolve(void rig.givenUp.push(seq)), 1, 1)
  onTestFinished(() => guard.close())
  await clock.pass(0)
  return rig
}

async function fill(rig: Rig, bytes: number, name = '/data/stranger'): Promise<void> {
  const file = await rig.disk.open(name, 'create')
  await file.write(Buffer.alloc(bytes), 0)
}

describe('by the journal’s bytes', () => {
  test('low priority is refused first, by header or by topic, then everybody, and back in steps', async () => {
    const rig = await guarded('')
    const { guard, journal } = rig
    const at = async (bytes: number): Promise<string[]> => {
      journal.bytes = bytes
      guard.grew()
      return [
        guard.status().level,
        await rig.answer(),
        await rig.answer('orders', true),
        await rig.answer('debug.a'),
        await rig.answer('debugging'),
      ]
    }
    expect(await at(600_000)).toEqual(['normal', 'kept', 'kept', 'kept', 'kept'])
    expect(await at(700_000)).toEqual(['warn', 'kept', 'kept', 'kept', 'kept'])
    const low = ['refuse-low', 'kept', 'journal_nearly_full', 'journal_nearly_full', 'kept']
    expect(await at(850_000)).toEqual(low)
    expect(await at(960_000)).toEqual(low)
    journal.isFull = true
    expect(await rig.answer()).toBe('journal_full')
    journal.isFull = false
    const all = ['refuse-all', 'journal_full', 'journal_nearly_full', 'journal_nearly_full', 'journal_full']
    expect(await at(960_000)).toEqual(all)
    expect(await at(910_000)).toEqual(all)
    expect(await at(890_000)).toEqual(low)
    expect(await at(790_000)).toEqual(['warn', 'kept', 'kept', 'kept', 'kept'])
    expect(await at(0)).toEqual(['normal', 'kept', 'kept', 'kept', 'kept'])
    expect(rig.lines.filter((line) => !line.includes('reserve'))).toHaveLength(6)
  })

  test('an append that is too large for what is left is refused, and no other', async () => {
    const rig = await guarded('')
    rig.journal.bytes = 500_000
    rig.journal.isFull = true
    expect(await rig.answer()).toBe('journal_full')
    rig.journal.isFull = false
    expect(await rig.answer()).toBe('kept')
  })

  test('with block, publishers are let in to wait, but for low priority', async () => {
    const rig = await guarded('whenFull: block, blockDeadline: 3s')
    rig.journal.bytes = 1_000_000
    rig.guard.grew()
    expect(rig.guard.roomWaitMs).toBe(3000)
    expect(rig.guard.refusal('orders', false)).toBe(null)
    expect(rig.guard.refusal('orders', true)?.code).toBe('journal_nearly_full')
    await expect(rig.guard.append([message])).rejects.toMatchObject({ code: 'journal_full' })
    expect(rig.journal.appended).toBe(0)
  })

  test('with drop-oldest, the oldest messages go before it is full, one time after the other', async () => {
    const rig = await guarded('whenFull: drop-oldest')
    rig.journal.bytes = 940_000
    rig.guard.grew()
    expect(rig.givenUp).toEqual([])
    rig.journal.bytes = 950_000
    rig.guard.grew()
    rig.guard.grew()
    expect(rig.givenUp).toEqual([100])
    // Giving up takes a while, and so does deleting.
    await new Promise((resolve) => setImmediate(resolve))
    rig.guard.grew()
    expect(rig.givenUp).toEqual([100])
    await rig.clock.pass(1000)
    expect(rig.givenUp).toEqual([100, 100])
    rig.journal.bytes = 840_000
    await rig.clock.pass(1000)
    expect(rig.givenUp).toHaveLength(2)
    expect(rig.lines.filter((line) => line.includes('are dropped'))).toHaveLength(1)
  })

  test('with drop-oldest, a message that is too large for what is left has its room, a file at a time', async () => {
    const rig = await guarded('whenFull: drop-oldest')
    rig.journal.bytes = 500_000
    rig.guard.grew()
    expect(rig.givenUp).toEqual([])
    rig.journal.isFull = true
    expect(await rig.answer()).toBe('journal_full')
    expect(await rig.answer()).toBe('journal_full')
    expect(rig.givenUp).toEqual([1])
    await rig.guard.release(1)
    await rig.clock.pass(1000)
    expect(await rig.answer()).toBe('journal_full')
    // What is finished already frees nothing.
    expect(rig.givenUp).toEqual([1])
  })

  test('with drop-oldest, nothing is dropped and nothing said before delivering has begun', async () => {
    const rig = await guarded('whenFull: drop-oldest', { isStarted: false })
    rig.journal.bytes = 960_000
    rig.guard.grew()
    expect(rig.lines.filter((line) => line.includes('are dropped'))).toEqual([])
  })

  test.each(['reject', 'block'])('with %s, nothing is dropped', async (whenFull) => {
    const rig = await guarded(`whenFull: ${whenFull}`)
    rig.journal.bytes = 1_000_000
    rig.guard.grew()
    await rig.clock.pass(1000)
    expect(rig.givenUp).toEqual([])
  })
})

describe('by the disk', () => {
  test('everybody is refused while too little is free, and not before a tenth more is', async () => {
    const rig = await guarded('diskFreeMin: 10MiB, reserveBytes: 0')
    expect(await rig.answer()).toBe('kept')
    await fill(rig, 91 * MiB)
    expect(await rig.answer()).toBe('kept')
    await rig.clock.pass(1000)
    expect(await rig.answer()).toBe('disk_full')
    expect(rig.guard.status().disk).toEqual({ freeBytes: 9 * MiB, totalBytes: 100 * MiB, freeMinBytes: 10 * MiB })
    // Drained files are deleted, and not kept for the next segments.
    expect(rig.journal.spares.at(-1)).toBe(false)
    await rig.disk.unlink('/data/stranger')
    await fill(rig, 89 * MiB)
    await rig.clock.pass(1000)
    expect(await rig.answer()).toBe('disk_full')
    await rig.disk.unlink('/data/stranger')
    await rig.clock.pass(1000)
    expect(await rig.answer()).toBe('kept')
    expect(rig.journal.spares.at(-1)).toBe(true)
  })

  test('a journal that grows fast on a small disk is refused in time, not at the next look', async () => {
    const rig = await guarded('diskFreeMin: 10MiB, reserveBytes: 0', {
      space: { freeBytes: 12 * MiB, totalBytes: 100 * MiB },
    })
    const looks = vi.spyOn(rig.disk, 'space').mockResolvedValue({ freeBytes: 9 * MiB, totalBytes: 100 * MiB })
    looks.mockClear()
    rig.journal.bytes = 500_000
    rig.guard.grew()
    expect(looks).not.toHaveBeenCalled()
    rig.journal.bytes = 600_000
    rig.guard.grew()
    rig.guard.grew()
    await vi.waitFor(() => expect(rig.guard.status().level).toBe('refuse-all'))
    expect(looks).toHaveBeenCalledTimes(1)
    expect(await rig.answer()).toBe('disk_full')
  })

  test('of a large disk little must be free by default, and of a small one less', async () => {
    const GiB = 1024 * MiB
    const large = await guarded('', { space: { freeBytes: 18 * GiB, totalBytes: 1000 * GiB } })
    expect([await large.answer(), large.guard.status().disk?.freeMinBytes]).toEqual(['kept', GiB])
    const small = await guarded('reserveBytes: 0')
    expect(small.guard.status().disk?.freeMinBytes).toBe(2 * MiB)
  })

  test('a reserve that there was never room for is told, and keeps nobody away', async () => {
    const rig = await guarded('diskFreeMin: 1MiB, reserveBytes: 4MiB', {
      space: { freeBytes: 3 * MiB, totalBytes: 100 * MiB },
    })
    await rig.clock.pass(1000)
    await rig.clock.pass(1000)
    expect([await rig.answer(), rig.guard.status().reserve]).toEqual(['kept', 'missing'])
    expect(rig.lines.filter((line) => line.includes('no room on the disk for journal.reserveBytes'))).toHaveLength(1)
    vi.spyOn(rig.disk, 'space').mockResolvedValue({ freeBytes: 50 * MiB, totalBytes: 100 * MiB })
    await rig.clock.pass(10_000)
    await vi.waitFor(() => expect(rig.guard.status().reserve).toBe('whole'))
    await rig.clock.pass(1000)
    expect(rig.lines.at(-1)).toContain('no longer missing')
  })

  test('with drop-oldest and a disk smaller than bytesMax, as much is dropped as it lacks, if the journal has it', async () => {
    const rig = await guarded('whenFull: drop-oldest, diskFreeMin: 1MiB, reserveBytes: 0')
    vi.spyOn(rig.disk, 'space').mockResolvedValue({ freeBytes: 1_000_000, totalBytes: 100 * MiB })
    rig.journal.bytes = 100_000
    await rig.clock.pass(1000)
    expect(rig.guard.status().level).toBe('refuse-all')
    expect(rig.givenUp).toEqual([])
    rig.journal.bytes = 400_000
    await rig.clock.pass(1000)
    // Down to a fill of 85%, which is 1,233,619 bytes free.
    expect(rig.givenUp).toEqual([234])
  })

  test('bytesMax beyond what the disk has room for is told at the start', async () => {
    const told = (rig: Rig): number => rig.lines.filter((line) => line.includes('the disk will be full first')).length
    expect(told(await guarded('diskFreeMin: 1MiB', { capacity: 100 * MiB }))).toBe(0)
    expect(told(await guarded('diskFreeMin: 1MiB', { capacity: 1.5 * MiB }))).toBe(1)
  })

  test('it is looked at also while delivering has no time to say how far it is; closing does not wait for that either', async () => {
    const rig = await guarded('diskFreeMin: 10MiB, reserveBytes: 0, ageMax: 1h, topicShareMax: 50%')
    Object.defineProperty(rig, 'progress', { get: () => new Promise<never>(() => {}) })
    await rig.clock.pass(1000)
    await fill(rig, 95 * MiB)
    await rig.clock.pass(1000)
    expect(await rig.answer()).toBe('disk_full')
    await rig.guard.close()
  })

  test('a disk that does not say what is free keeps nobody from starting', async () => {
    const memory = new MemoryDisk(() => 0.5)
    const { disk } = memory.boot()
    vi.spyOn(disk, 'space').mockRejectedValue(new Error('ENOSYS'))
    const { config } = await load({ yaml: 'journal: { directory: /data }' })
    const lines: string[] = []
    const write = (_: object, text: string): number => lines.push(text)
    const log = { info: write, warn: write, error: write } as unknown as Log
    const guard = await JournalGuard.open(config, disk, new SteppedClock(), log)
    expect(guard.refusal('orders', false)).toBe(null)
    expect(lines).toEqual(['it can not be told how much space is free on the disk'])
    await guard.close()
  })

  test('a write that finds it full has it looked at, at once', async () => {
    const rig = await guarded('diskFreeMin: 10%, reserveBytes: 0')
    await fill(rig, 95 * MiB)
    rig.guard.failed(Object.assign(new Error('no space'), { code: 'ENOSPC' }))
    await vi.waitFor(async () => expect(await rig.answer()).toBe('disk_full'))
  })

  test('nobody else has to come for it to be found out that the journal can be written again, and files to go', async () => {
    const rig = await guarded('diskFreeMin: 10MiB, reserveBytes: 0')
    await rig.guard.release(7)
    expect(rig.journal.released).toEqual([7])
    await rig.clock.pass(1000)
    expect([rig.journal.tries, rig.journal.released]).toEqual([0, [7]])
    rig.journal.failure = new Error('no space')
    await rig.clock.pass(1000)
    expect([rig.journal.tries, rig.journal.released]).toEqual([1, [7, 7]])
  })

  test('everybody is refused from the moment on when the reserve is spent, until it is whole again', async () => {
    const rig = await guarded('diskFreeMin: 1MiB, reserveBytes: 4MiB')
    expect(rig.guard.status().reserve).toBe('whole')
    await fill(rig, 95 * MiB)
    await spendReserve(rig.disk, rig.guard.reserve)
    await fill(rig, MiB / 4, '/data/another')
    expect(await rig.answer()).toBe('disk_full')
    expect(await rig.answer('orders', true)).toBe('journal_nearly_full')
    await rig.clock.pass(10_000)
    expect([await rig.answer(), rig.guard.status().level]).toEqual(['disk_full', 'refuse-all'])
    await rig.disk.unlink('/data/stranger')
    await rig.clock.pass(10_000)
    await vi.waitFor(async () => expect(await rig.answer()).toBe('kept'))
  })

  test('without a reserve nobody can spend one: a full disk is left as soon as there is room', async () => {
    const rig = await guarded('diskFreeMin: 1MiB, reserveBytes: 0')
    await spendReserve(rig.disk, rig.guard.reserve)
    await rig.clock.pass(1000)
    expect([await rig.answer(), rig.guard.status().reserve]).toEqual(['kept', 'whole'])
  })

  test('the journal has a piece of the reserve for its next file, but only when everything in it is finished', async () => {
    const rig = await guarded('diskFreeMin: 0, reserveBytes: 4MiB')
    await vi.waitFor(() => expect(rig.guard.status().reserve).toBe('whole'))
    await fill(rig, 96 * MiB)
    const header = async (): Promise<string> => {
      const path = `/data/${rig.clock.ms}.spare`
      const file = await rig.guard.disk.open(path, 'create')
      const end = await file.writeDurably(Buffer.alloc(4096), 0).then(() => 'written', String)
      await file.close()
      await rig.disk.unlink(path)
      return `${end}, ${rig.guard.status().reserve}`
    }
    rig.journal.end.nextSeq = 8
    expect(await header()).toMatch(/ENOSPC.*, whole/)
    await rig.guard.release(7)
    expect(await header()).toMatch(/ENOSPC.*, whole/)
    await rig.guard.release(8)
    expect(await header()).toMatch(/ENOSPC.*, spent/)
    expect(await header()).toBe('written, spent')
  })

  test('a small file system has a small reserve, and can be used', async () => {
    const rig = await guarded('reserveBytes: 32MiB', { capacity: 16 * MiB })
    await vi.waitFor(() => expect(rig.guard.status().reserve).toBe('whole'))
    const sizes = await Promise.all((await rig.disk.list('/data/reserve')).map((name) => rig.disk.sizeOf(`/data/reserve/${name}`))) // prettier-ignore
    const bytes = sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0)
    expect(bytes).toBeLessThanOrEqual(16 * MiB * 0.05)
    expect(bytes).toBeGreaterThan(16 * MiB * 0.049)
    expect(await rig.answer()).toBe('kept')
  })
})

describe('by age', () => {
  test('everybody is refused while the oldest message waits for too long', async () => {
    const rig = await guarded('ageMax: 100s, reserveBytes: 0, diskFreeMin: 0')
    rig.progress = { ...rig.progress, oldestAcceptedAt: rig.clock.now() }
    await rig.clock.pass(86_000)
    expect([await rig.answer(), await rig.answer('debug.x')]).toEqual(['kept', 'journal_nearly_full'])
    await rig.clock.pass(20_000)
    expect(await rig.answer()).toBe('backlog_too_old')
    rig.progress = { ...rig.progress, oldestAcceptedAt: null }
    await rig.clock.pass(1000)
    expect(await rig.answer('debug.x')).toBe('kept')
  })
})

describe('by topic', () => {
  test('one that has used up its share is refused, and no other, until it is well below', async () => {
    const rig = await guarded('topicShares: { flood: 10% }, reserveBytes: 0')
    const tally = rig.guard.tally?.begin(1)
    for (let i = 0; i < 10; i++) tally?.add({ topic: 'flood' } as Message, 10_000)
    tally?.keep()
    rig.clock.ms += 100
    await rig.clock.pass(1000)
    expect([await rig.answer('flood'), await rig.answer()]).toEqual(['topic_share_full', 'kept'])
    expect(rig.guard.status().topicsOverShare).toEqual([{ topic: 'flood', bytes: 100_000, bytesMax: 100_000 }])
    rig.progress = { ...rig.progress, head: 11, positions: [['flood', 3]] }
    await rig.clock.pass(1000)
    expect(await rig.answer('flood')).toBe('kept')
  })

  test.each(['', 'ageMax: 1h, '])(
    'it is told when one is over its share, and when none is any more (%s)',
    async (age) => {
      const rig = await guarded(`${age}topicShares: { flood: 10% }, reserveBytes: 0`)
      const tally = rig.guard.tally?.begin(1)
      for (let i = 0; i < 10; i++) tally?.add({ topic: 'flood' } as Message, 10_000)
      tally?.keep()
      rig.clock.ms += 100
      await rig.clock.pass(1000)
      rig.progress = { ...rig.progress, head: 11, positions: [] }
      await rig.clock.pass(1000)
      expect(rig.lines.filter((line) => line.includes('share of the journal'))).toEqual([
        'topics have used up their share of the journal, and are refused',
        'no topic is over its share of the journal any more',
      ])
    },
  )

  test('of very many that are over their share, all are counted, and some are named', async () => {
    const rig = await guarded('topicShareMax: 1%, reserveBytes: 0')
    const tally = rig.guard.tally?.begin(1)
    for (let i = 0; i < 300; i++) tally?.add({ topic: `t${i}` } as Message, 10_000)
    tally?.keep()
    rig.clock.ms += 100
    await rig.clock.pass(1000)
    expect(rig.guard.status().topicsOverShare).toHaveLength(100)
    expect(await new GuardMetrics().text(rig.guard.status())).toContain('\noutrigger_topics_over_share 300\n')
  })

  test('nothing is counted when there are no shares', async () => {
    const rig = await guarded('topicShareMax: 100%')
    expect(rig.guard.tally).toBe(null)
  })
})
