import { expect, test } from 'vitest'
import type { Receipt } from '../../src/message/receipt.ts'
import { decodeReceipt, receiptCodec } from '../../src/message/receipt.ts'
import { ReceiptLog, ReceiptsClosedError } from '../../src/forwarder/receipt-log.ts'
import { Journal } from '../../src/journal/journal.ts'
import { Life } from './life.ts'
import { until, withDirectory, writable } from './rig.ts'

const never = new AbortController().signal
const range = (count: number, from = 0): number[] => Array.from({ length: count }, (_, i) => from + i)

const delivered = (...seqs: number[]): Receipt => ({
  kind: 'delivered',
  topic: 't',
  deliveredAt: 1000 + (seqs[0] as number),
  attempts: 1,
  seqs,
  partitions: seqs.map(() => 0),
  offsets: seqs.map((seq) => seq * 10),
})
const checkpoint = (head: number): Receipt => ({ kind: 'checkpoint', head, positions: new Map() })

interface Opened {
  readonly life: Life
  readonly journal: Journal<Receipt>
  readonly log: ReceiptLog
  readonly failures: unknown[]
  readonly broken: unknown[]
}

async function open(directory: string, options: { interval?: number; bytesMax?: number } = {}): Promise<Opened> {
  const life = new Life()
  const journal = await Journal.open(
    life.disk,
    life.clock,
    receiptCodec,
    { committed() {}, failed() {} },
    {
      directory,
      bytesMax: Number.MAX_SAFE_INTEGER,
      segmentBytes: 256 * 1024,
    },
  )
  const failures: unknown[] = []
  const broken: unknown[] = []
  const log = new ReceiptLog(
    writable(journal, life),
    life.clock,
    { receiptInterval: options.interval ?? 1, receiptBytesMax: options.bytesMax ?? 64 * 1024 * 1024 },
    { failing: (error) => void failures.push(error), broken: (error) => void broken.push(error) },
  )
  return { life, journal, log, failures, broken }
}

function withLog(options: { interval?: number; bytesMax?: number }, use: (opened: Opened) => Promise<void>) {
  return withDirectory(async (directory) => {
    const opened = await open(directory, options)
    try {
      await use(opened)
    } finally {
      opened.log.close()
      await opened.journal.close()
    }
  })
}

async function replayed(log: ReceiptLog, from: number): Promise<Receipt[]> {
  const receipts: Receipt[] = []
  await log.replay(from, (receipt) => receipts.push(receipt))
  return receipts
}

/** The receipt that stands at `seq` in the journal. */
async function receiptAt({ journal, life }: Opened, seq: number): Promise<Receipt> {
  const reader = writable(journal, life).reader(seq)
  let found: Receipt | undefined
  const block = await reader.next()
  block?.forEach((at, bytes, start, end) => {
    if (at === seq) found = decodeReceipt(bytes, start, end)
  })
  await reader.close()
  if (!found) throw new Error(`no receipt at ${seq}`)
  return found
}

test('receipts are written in the order in which they came, in groups', async () => {
  await withLog({ interval: 20 }, async ({ log, journal, life }) => {
    const { calls } = life
    for (const i of range(500)) await log.record(delivered(i * 2, i * 2 + 1), never)
    expect(journal.end.nextSeq).toBe(1)
    await until(() => journal.end.nextSeq === 501)
    expect(life.calls - calls).toBeLessThan(20)
    expect(await replayed(log, 1)).toEqual(range(500).map((i) => delivered(i * 2, i * 2 + 1)))
    expect(await replayed(log, 499)).toHaveLength(2)
    expect(await replayed(log, 501)).toEqual([])
  })
})

test('a durable receipt does not wait for the interval, and what came before it is durable too', async () => {
  await withLog({ interval: 60_000 }, async ({ log, journal }) => {
    await log.record(delivered(1), never)
    await log.record(delivered(2), never)
    expect(await log.recordDurably(checkpoint(3))).toBe(3)
    expect(journal.end.nextSeq).toBe(4)
    await log.record(delivered(3), never)
    expect(await log.recordDurably(checkpoint(4))).toBe(5)
  })
})

test('the seq of a durable receipt is its own, whatever is recorded at the same time', async () => {
  await withLog({ interval: 1 }, async (opened) => {
    const { log, life } = opened
    let failing = 0
    life.failDisk = (call) => (call === 'sync' && ++failing % 7 === 0 ? new Error('EIO') : undefined)
    const results: Promise<[number, number]>[] = []
    for (const i of range(300)) {
      if (i % 3 === 0) await log.record(delivered(i + 1), never)
      results.push(log.recordDurably(checkpoint(i)).then((seq) => [i, seq]))
      if (i % 11 === 0) await life.clock.sleep(1)
    }
    for (const [head, seq] of await Promise.all(results))
      expect(await receiptAt(opened, seq)).toMatchObject({ kind: 'checkpoint', head })
  })
})

test('a failed write is told and tried again, and nothing of it is lost or out of order', async () => {
  await withLog({}, async ({ log, life, failures, broken }) => {
    life.failDisk = (call) => (call === 'write' || call === 'create' ? new Error('ENOSPC') : undefined)
    for (const i of range(5)) await log.record(delivered(i + 1), never)
    const durable = log.recordDurably(checkpoint(6))
    await until(() => failures.length >= 2)
    life.failDisk = () => undefined
    await durable
    expect(broken).toEqual([])
    const seqs = (await replayed(log, 1)).flatMap((receipt) => (receipt.kind === 'delivered' ? receipt.seqs : []))
    expect(seqs).toEqual([1, 2, 3, 4, 5])
  })
})

test('while receipts can not be written, whoever brings more waits, until they can or until the signal aborts', async () => {
  await withLog({}, async ({ log, life }) => {
    life.failDisk = (call) => (call === 'write' || call === 'create' ? new Error('ENOSPC') : undefined)
    const many = (i: number) => log.record(delivered(...range(5000, i * 5000)), never)
    for (const i of range(40)) await many(i)
    let recorded = false
    const waiting = many(40).then(() => {
      recorded = true
    })
    const abort = new AbortController()
    const other = log.record(delivered(1_000_000), abort.signal)
    await life.clock.sleep(50)
    expect(recorded).toBe(false)
    abort.abort()
    await other
    expect(recorded).toBe(false)
    life.failDisk = () => undefined
    await waiting
  })
})

test('what can not be mended breaks it: whoever waits is told, and nobody waits for ever', async () => {
  await withLog({}, async ({ log, life, broken }) => {
    const tooLarge = delivered(...range(100_000))
    const waiting = log.recordDurably(tooLarge)
    await expect(waiting).rejects.toMatchObject({ code: 'record_too_large' })
    expect(broken).toHaveLength(1)
    await life.clock.sleep(5)
    expect(broken).toHaveLength(1)
  })
})

test('closing gives up what can not be written, and stops trying', async () => {
  await withLog({}, async ({ log, life, failures }) => {
    life.failDisk = (call) => (call === 'write' || call === 'create' ? new Error('ENOSPC') : undefined)
    const waiting = log.recordDurably(delivered(1))
    await until(() => failures.length > 0)
    log.close()
    await expect(waiting).rejects.toMatchObject({ name: 'ReceiptsClosedError', code: 'receipts_closed' })
    await expect(log.recordDurably(checkpoint(1))).rejects.toBeInstanceOf(ReceiptsClosedError)
    const { calls } = life
    await life.clock.sleep(700)
    expect(life.calls - calls).toBe(1) // this sleep
  })
})

test('a message is found while its receipt is not durable yet, afterwards, and after a restart', async () => {
  const fate = (seq: number) => ({
    state: 'delivered',
    topic: 't',
    partition: 0,
    offset: seq * 10,
    deliveredAt: 1000 + Math.floor((seq - 1) / 4) * 4 + 1,
    attempts: 1,
  })
  await withDirectory(async (directory) => {
    const { log, journal } = await open(directory, { interval: 60_000 })
    await log.record(delivered(1, 2, 3, 4), never)
    expect(await log.find(3)).toEqual(fate(3))
    for (const i of range(2000, 1)) await log.record(delivered(...range(4, i * 4 + 1)), never)
    await log.record({ kind: 'dead', topic: 'd', diedAt: 7, attempts: 3, seq: 9000, reason: 'WHY' }, never)
    await log.recordDurably(checkpoint(9001))
    for (const seq of [1, 4, 5, 4000, 8004]) expect(await log.find(seq)).toEqual(fate(seq))
    const dead = { state: 'dead', topic: 'd', reason: 'WHY', diedAt: 7, attempts: 3 }
    expect(await log.find(9000)).toEqual(dead)
    for (const seq of [0, 8005, 8999, 9001]) expect(await log.find(seq)).toBeNull()
    await journal.close()

    const again = await open(directory)
    await again.log.recordDurably(delivered(9005, 9006, 9007, 9008))
    for (const seq of [1, 4000, 8004]) expect(await again.log.find(seq)).toEqual(fate(seq))
    expect(await again.log.find(9000)).toEqual(dead)
    expect(await again.log.find(9006)).toEqual(fate(9006))
    expect(await again.log.find(8999)).toBeNull()
    await again.journal.close()
  })
})

test('a search that fails is tried anew by the next', async () => {
  await withDirectory(async (directory) => {
    const first = await open(directory)
    await first.log.recordDurably(delivered(1))
    await first.journal.close()
    const { log, journal, life } = await open(directory)
    life.failDisk = (call) => (call === 'read' ? new Error('EIO') : undefined)
    await expect(log.find(1)).rejects.toThrow('EIO')
    life.failDisk = () => undefined
    expect(await log.find(1)).toMatchObject({ state: 'delivered', offset: 10 })
    await journal.close()
  })
})

test('trimming keeps what is needed, and about as much as may be kept; what it took away is not found any more', async () => {
  await withLog({ interval: 0, bytesMax: 600 * 1024 }, async ({ log, journal }) => {
    const size = 4000
    for (const i of range(100)) await log.recordDurably(delivered(...range(size, i * size)))
    const before = journal.bytes
    expect(before).toBeGreaterThan(1_100_000)
    await log.trim(10)
    expect(journal.firstSeq).toBeLessThanOrEqual(10)
    await log.trim(90)
    expect(journal.firstSeq).toBeGreaterThan(10)
    expect(journal.firstSeq).toBeLessThanOrEqual(90)
    // To the segment.
    expect(journal.bytes).toBeLessThan(600 * 1024 + 256 * 1024)
    expect(journal.bytes).toBeGreaterThan(300 * 1024)
    expect(await log.find(0)).toBeNull()
    expect(await log.find(99 * size + 5)).toMatchObject({ offset: (99 * size + 5) * 10 })
    expect(await replayed(log, 90)).toHaveLength(11)
  })
})

test('nothing is trimmed under a search', async () => {
  await withLog({ interval: 0, bytesMax: 1000 }, async ({ log, journal }) => {
    for (const i of range(100)) await log.recordDurably(delivered(...range(4000, i * 4000)))
    const { firstSeq } = journal
    const finding = log.find(1)
    await log.trim(100)
    expect(journal.firstSeq).toBe(firstSeq)
    expect(await finding).toMatchObject({ offset: 10 })
    await log.trim(100)
    expect(journal.firstSeq).toBeGreaterThan(firstSeq)
  })
})

test('a message that is lost is found as such, and one that was delivered after all is not', async () => {
  await withLog({ interval: 60_000 }, async ({ log }) => {
    const lost = { kind: 'lost', topic: null, lostAt: 5, reason: 'corrupt', ranges: [[3, 6], [8, 9]] } as const // prettier-ignore
    await log.recordDurably(delivered(4))
    await log.record(lost, never)
    for (let isDurable = 0; isDurable < 2; isDurable++) {
      for (const seq of [3, 5, 8]) expect(await log.find(seq)).toEqual({ state: 'lost', reason: 'corrupt', lostAt: 5 })
      expect(await log.find(4)).toMatchObject({ state: 'delivered', offset: 40 })
      for (const seq of [2, 6, 7, 9]) expect(await log.find(seq)).toBeNull()
      await log.recordDurably(checkpoint(9))
    }
    await log.record(delivered(8), never)
    expect(await log.find(8)).toMatchObject({ state: 'delivered', offset: 80 })
  })
})

test('tells which messages of a range have a receipt, pending or durable, of whatever kind', async () => {
  await withLog({ interval: 60_000 }, async ({ log }) => {
    await log.record({ kind: 'dead', topic: 'd', diedAt: 7, attempts: 3, seq: 12, reason: 'WHY' }, never)
    await log.recordDurably(delivered(1, 5, 10, 30))
    await log.record({ kind: 'lost', topic: 't', lostAt: 5, reason: 'dropped', ranges: [[2, 7], [18, 40]] }, never) // prettier-ignore
    const finished: (readonly [number, number])[] = []
    await log.finishedBetween(5, 20, (part) => finished.push(part))
    expect(finished.toSorted(([a], [b]) => a - b)).toEqual([[5, 7], [5, 6], [10, 11], [12, 13], [18, 20]]) // prettier-ignore
  })
})
