import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { Clock } from '../../src/base/clock.ts'
import { systemClock } from '../../src/base/clock.ts'
import type { Disk } from '../../src/journal/disk.ts'
import { Journal } from '../../src/journal/journal.ts'
import type { JournalOptions } from '../../src/journal/journal.ts'
import type { JournalEnd } from '../../src/journal/journal-end.ts'
import { JournalReader } from '../../src/journal/journal-reader.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import type { RecordCodec } from '../../src/journal/record-codec.ts'

/** Records that are texts, one byte a character. */
const textCodec: RecordCodec<string> = {
  sizeMax: (text) => text.length,
  encode: (text, into, at) => at + into.write(text, at, 'latin1'),
}

/** The smallest segments that still take records of 4 KiB. */
export const smallSegmentBytes = 74 * 1024

/** A clock whose monotonic time the test moves. */
export class HeldClock implements Clock {
  monotonicMs = 0

  now(): number {
    return systemClock.now()
  }

  monotonic(): number {
    return this.monotonicMs
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return systemClock.sleep(ms, signal)
  }
}

/** What a journal told about its work. */
export interface Told {
  readonly committed: { readonly records: number; readonly bytes: number }[]
  readonly failed: unknown[]
}

export interface OpenedJournal {
  readonly journal: Journal<string>
  readonly clock: HeldClock
  readonly told: Told
}

/** A directory of its own for a test, which goes with it. */
export async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'outrigger-journal-'))
  onTestFinished(() => rm(directory, { recursive: true, force: true }))
  return directory
}

export async function openText(
  directory: string,
  disk: Disk = nodeDisk,
  options: Partial<JournalOptions> = {},
): Promise<OpenedJournal> {
  const clock = new HeldClock()
  const told: Told = { committed: [], failed: [] }
  const observer = {
    committed: (records: number, bytes: number) => told.committed.push({ records, bytes }),
    failed: (error: unknown) => told.failed.push(error),
  }
  const all = { directory, bytesMax: 1e9, segmentBytes: smallSegmentBytes, ...options }
  return { journal: await Journal.open(disk, clock, textCodec, observer, all), clock, told }
}

/** Every record from `fromSeq` to the durable end. */
export async function readText(
  journal: { readonly directory: string; readonly end: JournalEnd },
  fromSeq = 1,
  disk: Disk = nodeDisk,
): Promise<[seq: number, text: string][]> {
  const reader = new JournalReader(disk, journal.directory, journal.end, fromSeq)
  const records: [number, string][] = []
  try {
    for (let block = await reader.next(); block; block = await reader.next())
      block.forEach((seq, bytes, start, end) => {
        if (seq >= fromSeq) records.push([seq, bytes.toString('latin1', start, end)])
      })
  } finally {
    await reader.close()
  }
  return records
}

/** Texts with their seqs, as `readText` gives them. */
export function numbered(firstSeq: number, records: readonly string[]): [seq: number, text: string][] {
  return records.map((text, i) => [firstSeq + i, text])
}

/** Appends texts one after the other, each in a block of its own. */
export async function appendEach(journal: Journal<string>, records: readonly string[]): Promise<void> {
  for (const text of records) await journal.append([text])
}

/** Different texts of about `length` characters. */
export function texts(count: number, length: number, name = 'text'): string[] {
  return Array.from({ length: count }, (_, i) => `${name} ${i} `.padEnd(length, String(i)))
}

/** The segments in a directory, oldest first. */
export async function segmentsIn(directory: string): Promise<string[]> {
  return (await readdir(directory)).filter((name) => name.endsWith('.segment')).toSorted()
}

/** All files of a directory with their bytes, to see that nothing was changed. */
export async function snapshot(directory: string): Promise<Map<string, string>> {
  const names = (await readdir(directory)).toSorted()
  return new Map(
    await Promise.all(
      names.map(async (name): Promise<[string, string]> => [name, await readFile(join(directory, name), 'latin1')]),
    ),
  )
}
