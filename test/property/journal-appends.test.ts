import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Journal } from '../../src/journal/journal.ts'
import { JournalReader } from '../../src/journal/journal-reader.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import { openText, readText } from '../journal/text-journal.ts'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** How a process ends: it closes its journal, or is gone without a word. */
const ends = fc.constantFrom('close', 'crash')
/** What publishers do: each an array of appends, one after the other; every append so many records of such lengths. */
const lengths = fc.oneof(fc.nat({ max: 40 }), fc.nat({ max: 4000 }), fc.constant(9000))
const appends = fc.array(lengths, { minLength: 1, maxLength: 12 })
const publishers = fc.array(fc.array(appends, { maxLength: 5 }), { minLength: 1, maxLength: 6 })
const sessions = fc.array(fc.record({ publishers, end: ends, from: fc.double({ min: 0, max: 1, noNaN: true }) }), {
  minLength: 1,
  maxLength: 4,
})

test('what was appended is read back equal and in order, also while it is written, over closes and crashes', async () => {
  await fc.assert(
    fc.asyncProperty(
      sessions,
      fc.integer({ min: 80 * 1024, max: 200 * 1024 }),
      fc.integer({ min: 100, max: 20_000 }),
      async (processes, segmentBytes, blockBytesMax) => {
        const directory = await mkdtemp(join(tmpdir(), 'outrigger-journal-'))
        const written: string[] = []
        const crashed: Journal<string>[] = []
        try {
          for (const { publishers: all, end, from } of processes) {
            const { journal } = await openText(directory, nodeDisk, { segmentBytes, blockBytesMax })
            expect(journal.nextSeq).toBe(written.length + 1)
            const following = follow(journal, 1 + Math.floor(from * written.length), written.length + sum(all))
            await Promise.all(all.map((each, name) => publish(journal, each, name, written)))
            expect(await following).toBe(true)
            expect(await readText(journal)).toEqual(written.map((text, i) => [i + 1, text]))
            // Any place, whether by the index of a sealed segment or without.
            for (const share of [from, from / 2, 1]) {
              const seq = 1 + Math.floor(share * written.length)
              const expected = written.slice(seq - 1).map((text, i) => [seq + i, text])
              expect(await readText(journal, seq)).toEqual(expected)
            }
            if (end === 'close') await journal.close()
            else crashed.push(journal)
          }
        } finally {
          await Promise.all(crashed.map((journal) => journal.close()))
          await rm(directory, { recursive: true })
        }
      },
    ),
    { numRuns: 30 },
  )
})

function sum(all: number[][][]): number {
  return all.flat(2).length
}

async function publish(journal: Journal<string>, each: number[][], name: number, written: string[]): Promise<void> {
  for (const [i, sizes] of each.entries()) {
    const records = sizes.map((length, k) => `${name}.${i}.${k}`.padEnd(length, `${i}`))
    const firstSeq = await journal.append(records)
    records.forEach((text, k) => {
      expect(written[firstSeq - 1 + k]).toBeUndefined()
      written[firstSeq - 1 + k] = text
    })
  }
}

/** Reads along until the last record that will be there; whether the seqs had no gap. */
async function follow(journal: Journal<string>, fromSeq: number, lastSeq: number): Promise<boolean> {
  const reader = new JournalReader(nodeDisk, journal.directory, journal.end, fromSeq)
  let isConsecutive = true
  try {
    while (reader.nextSeq <= lastSeq) {
      const { nextSeq } = reader
      const block = await reader.next()
      if (block === null) await journal.end.wait(nextSeq, AbortSignal.timeout(10_000))
      else isConsecutive &&= block.firstSeq === nextSeq || (nextSeq === fromSeq && block.firstSeq < nextSeq)
    }
  } finally {
    await reader.close()
  }
  return isConsecutive
}
