import * as fc from 'fast-check'
import assert from 'node:assert/strict'
import { expect, test } from 'vitest'
import type { Disk } from '../../src/journal/disk.ts'
import type { Journal } from '../../src/journal/journal.ts'
import { JournalReader } from '../../src/journal/journal-reader.ts'
import { UnavailableError } from '../../src/base/errors.ts'
import { MemoryDisk } from '../journal/memory-disk.ts'
import type { Random } from '../journal/memory-disk.ts'
import { openText } from '../journal/text-journal.ts'
import type { OpenedJournal } from '../journal/text-journal.ts'
import type { Fault } from '../journal/watched-disk.ts'
import { WatchedDisk } from '../journal/watched-disk.ts'

/** mulberry32 */
function randomOf(seed: number): Random {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000
  }
}

const directory = '/journal'
const faultable = [
  'write',
  'sync',
  'rename',
  'syncDirectory',
  'truncate',
  'open create',
  'open write',
  'unlink',
] as const

/**
 * The world around a journal: what publishers were answered and what readers saw. It lives through many processes, and
 * holds against each what the ones before have promised.
 */
class World {
  readonly disk: MemoryDisk
  readonly random: Random
  readonly withFaults: boolean
  /** Answered, or seen by a reader: from then on it must never change or go, until it is released. */
  readonly kept = new Map<number, string>()
  id: string | null = null
  releasedBelow = 1
  appends = 0
  answered = 0
  refused = 0
  rolls = 0

  constructor(seed: number, withFaults: boolean) {
    this.random = randomOf(seed)
    this.disk = new MemoryDisk(this.random)
    this.withFaults = withFaults
  }

  below(limit: number): number {
    return Math.floor(this.random() * limit)
  }

  /** A process from its start to its end, which may come at any operation of the disk. */
  async live(): Promise<void> {
    const { disk, died } = this.disk.boot(this.random() < 0.7 ? this.below(400) : Number.POSITIVE_INFINITY)
    const watched = new WatchedDisk(disk)
    const ended = this.#run(watched).then(
      () => 'ended' as const,
      (error: unknown) => ({ error }),
    )
    const end = await Promise.race([ended, died.then(() => 'died' as const)])
    if (typeof end === 'object') throw end.error
    if (this.random() < 0.5) this.disk.powerOff()
    else this.disk.kill()
  }

  async #run(disk: WatchedDisk): Promise<void> {
    const opened = await openText(directory, disk)
    const { journal } = opened
    this.id ??= journal.id
    assert.equal(journal.id, this.id)
    assert.ok(journal.firstSeq <= this.releasedBelow)
    await this.#readAll(disk, journal, journal.firstSeq)
    assert.ok(journal.end.nextSeq > Math.max(0, ...this.kept.keys()))
    const follower = new JournalReader(disk, directory, journal.end, Math.max(1, this.releasedBelow))
    for (let steps = this.below(12); steps > 0; steps--) await this.#step(disk, opened, follower)
    disk.mend()
    await this.#follow(follower)
    await this.#readAll(disk, journal, this.below(journal.end.nextSeq + 1))
    await follower.close()
    if (this.random() < 0.5) {
      await journal.close()
      assert.deepEqual(disk.openFiles, [])
    }
  }

  async #step(disk: WatchedDisk, { journal, clock }: OpenedJournal, follower: JournalReader): Promise<void> {
    // A fault of the disk ends sooner or later.
    disk.mend()
    if (this.withFaults && this.random() < 0.5) disk.fail(this.#fault())
    clock.monotonicMs += this.below(1000)
    const appends = Array.from({ length: this.below(6) }, () => this.#append(journal))
    if (this.random() < 0.3) {
      // As the cursor has it: only what is durable and was read may be released.
      this.releasedBelow = Math.max(this.releasedBelow, 1 + this.below(follower.nextSeq))
      await journal.release(this.releasedBelow).catch((error: unknown) => {
        if (!this.withFaults) throw error
      })
    }
    if (this.random() < 0.5) await this.#follow(follower)
    await Promise.all(appends)
    assert.equal(journal.nextSeq, journal.end.nextSeq)
  }

  #fault(): Fault {
    const operation = faultable[this.below(faultable.length)] as Fault['operation']
    const times = this.random() < 0.5 ? 1 : this.below(20)
    return { operation, after: this.below(6), times, code: 'EIO', written: this.random() }
  }

  async #append(journal: Journal<string>): Promise<void> {
    const name = ++this.appends
    const records = Array.from({ length: 1 + this.below(this.random() < 0.1 ? 30 : 3) }, (_, i) =>
      `${name}.${i}`.padEnd(this.below(3000), String(name)),
    )
    try {
      const firstSeq = await journal.append(records)
      this.answered++
      records.forEach((text, i) => this.#see(firstSeq + i, text))
    } catch (error) {
      if (!this.withFaults || !(error instanceof UnavailableError)) throw error
      this.refused++
    }
  }

  #see(seq: number, text: string): void {
    assert.equal(this.kept.get(seq) ?? text, text)
    this.kept.set(seq, text)
  }

  async #follow(reader: JournalReader): Promise<void> {
    let expected = reader.nextSeq
    for (let block = await reader.next(); block; block = await reader.next()) {
      assert.ok(block.firstSeq <= expected)
      expected = block.firstSeq + block.count
      block.forEach((seq, bytes, start, end) => this.#see(seq, bytes.toString('latin1', start, end)))
    }
  }

  /** Reads from a seq on; everything that was promised must be there. */
  async #readAll(disk: Disk, journal: Journal<string>, fromSeq: number): Promise<void> {
    const reader = new JournalReader(disk, directory, journal.end, fromSeq)
    const seen = new Set<number>()
    let expected: number | null = null
    for (let block = await reader.next(); block; block = await reader.next()) {
      expected ??= block.firstSeq
      assert.equal(block.firstSeq, expected)
      expected += block.count
      block.forEach((seq, bytes, start, end) => {
        seen.add(seq)
        this.#see(seq, bytes.toString('latin1', start, end))
      })
    }
    await reader.close()
    if (expected !== null) assert.equal(expected, journal.end.nextSeq)
    for (const seq of this.kept.keys())
      if (seq >= Math.max(this.releasedBelow, fromSeq)) assert.ok(seen.has(seq), `message ${seq} was lost`)
  }
}

async function history(seed: number, withFaults: boolean): Promise<World> {
  const world = new World(seed, withFaults)
  for (let processes = 2 + world.below(5); processes > 0; processes--) await world.live()
  return world
}

test('whatever was answered or read survives crashes and power failures at any operation', async () => {
  let answered = 0
  await fc.assert(
    fc.asyncProperty(fc.integer(), async (seed) => {
      answered += (await history(seed, false)).answered
    }),
    { numRuns: 100 },
  )
  expect(answered).toBeGreaterThan(500)
})

test('whatever was answered or read survives failing disks, crashes and power failures', async () => {
  let answered = 0
  let refused = 0
  await fc.assert(
    fc.asyncProperty(fc.integer(), async (seed) => {
      const world = await history(seed, true)
      answered += world.answered
      refused += world.refused
    }),
    { numRuns: 200 },
  )
  expect(answered).toBeGreaterThan(500)
  expect(refused).toBeGreaterThan(50)
})
