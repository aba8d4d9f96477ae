import { randomBytes } from 'node:crypto'
import { open, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { encodeFooter, encodeSegmentHeader, noUuid, seedOf, segmentName } from '../../src/journal/format.ts'
import { residentMiB } from '../bench/process-usage.ts'
import { EmbeddedOutage } from './embedded-records.ts'
import { FaultLoad } from './fault-load.ts'
import { Program } from './program.ts'

const segments = 320
const segmentBytes = 64 * 1024 * 1024

test('a backlog of 20 GiB delays the start by nothing, and takes no memory', async () => {
  await using program = await Program.start({
    settings: { OUTRIGGER_JOURNAL_BYTES_MAX: '40GiB', OUTRIGGER_DRAIN_DEADLINE: '0s' },
  })
  const load = new FaultLoad(program, { bodyBytes: 500_000 })
  const idle = await startedAgain(program)
  using outage = EmbeddedOutage.begin(program.brokerFile)
  // More than the forwarder holds in memory: what lies behind is read when the broker has taken this.
  await load.accepted(300)
  const { journal } = await program.status()
  await program.stop()
  await addSegments(join(program.dataDirectory, 'journal'), journal.id, journal.nextSeq)
  const large = await startedAgain(program)
  expect((await program.status()).journal.bytes).toBeGreaterThan(20 * 1024 ** 3)
  expect(large.readyMs).toBeLessThan(1000)
  expect(large.residentMiB).toBeLessThan(idle.residentMiB + 50)
  await load.accepted(10)
  outage.end()
  await program.kill()
}, 120_000)

/** The quickest of three starts, for a busy machine; and what it takes a while after the last one. */
async function startedAgain(program: Program): Promise<{ readonly readyMs: number; readonly residentMiB: number }> {
  const times: number[] = []
  for (let i = 0; i < 3; i++) {
    if (program.isRunning) await program.stop()
    times.push((await program.start()).readyMs)
  }
  await sleep(2000)
  return { readyMs: Math.min(...times), residentMiB: (await residentMiB(program.pid)).now }
}

/**
 * Sealed segments with headers and footers as they should be, and holes for blocks: what a start, which reads no block of a
 * sealed segment, does not see the difference of.
 */
async function addSegments(directory: string, journalId: string, firstSeq: number): Promise<void> {
  let previousUuid = noUuid
  const recordsEach = 1000
  for (let i = 0; i < segments; i++) {
    const baseSeq = firstSeq + i * recordsEach
    const uuid = randomBytes(16)
    await using file = await open(join(directory, segmentName(baseSeq)), 'wx', 0o600)
    await file.write(encodeSegmentHeader({ journalId, uuid, previousUuid, baseSeq, createdAt: 0, encryption: null }))
    const index = Array.from({ length: 1000 }, (_, k) => [baseSeq + k, 4096 + k * 65_536] as const)
    const footer = { nextSeq: baseSeq + recordsEach, offset: segmentBytes - 20_000, index }
    await file.write(encodeFooter(footer, seedOf(uuid)), 0, undefined, footer.offset)
    previousUuid = uuid
  }
  const names = (await readdir(directory)).filter((name) => name.endsWith('.segment'))
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(directory, name))).size))
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBeGreaterThan(20_000_000_000)
}
