import { cp, readFile, readdir, rm, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { faultsOf } from '../../src/cli/journal-facts.ts'
import { Journal } from '../../src/journal/journal.ts'
import { repairInPlace, repairInto } from '../../src/journal/journal-repair.ts'
import type { JournalSource, JournalSurvey } from '../../src/journal/journal-survey.ts'
import { surveyOf, surveyParts } from '../../src/journal/journal-survey.ts'
import type { SurveyedSegment } from '../../src/journal/journal-survey.ts'
import type { KeyRing } from '../../src/journal/key-ring.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import { contents, edit, goldenKeys, scratch, segmentsOf } from '../cli/journal-rig.ts'

const segmentBytes = 10 * 1024
const textCodec = {
  sizeMax: (text: string) => text.length,
  encode: (text: string, into: Buffer, at: number) => at + into.write(text, at, 'latin1'),
}

type Step =
  { readonly kind: 'append'; readonly sizes: readonly number[] } | { readonly kind: 'skip'; readonly by: number }
const steps: fc.Arbitrary<Step> = fc.oneof(
  { weight: 9, arbitrary: fc.record({ kind: fc.constant('append' as const), sizes: fc.array(fc.integer({ min: 0, max: 1500 }), { minLength: 1, maxLength: 4 }) }) }, // prettier-ignore
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('skip' as const), by: fc.integer({ min: 1, max: 9 }) }) },
)
/** `at`: which segment, and where in it, both as a share. */
const damages = fc.record({
  kind: fc.constantFrom('flip', 'flip', 'zero', 'truncate', 'header', 'delete', 'swap'),
  segment: fc.double({ min: 0, max: 0.999, noNaN: true }),
  at: fc.double({ min: 0, max: 0.999, noNaN: true }),
  length: fc.integer({ min: 1, max: 3000 }),
})
type Damage = typeof damages extends fc.Arbitrary<infer T> ? T : never

function open(directory: string, keys: KeyRing | null): Promise<Journal<string>> {
  const options = { directory, bytesMax: 1e9, segmentBytes, keys }
  return Journal.open(nodeDisk, systemClock, textCodec, { committed() {}, failed() {} }, options)
}

/** A journal in `directory`, as it lies there in the midst of a run or after its end; and its records. */
async function write(
  directory: string,
  history: readonly Step[],
  isClosed: boolean,
  keys: KeyRing | null,
): Promise<Map<number, string>> {
  const work = `${directory}.work`
  const journal = await open(work, keys)
  const written = new Map<number, string>()
  for (const step of history) {
    if (step.kind === 'skip') await journal.skipTo(journal.nextSeq + step.by)
    else {
      const texts = step.sizes.map((size, i) => `${journal.nextSeq + i} `.padEnd(size, '.'))
      const seq = await journal.append(texts)
      texts.forEach((text, i) => written.set(seq + i, text))
    }
  }
  if (isClosed) await journal.close()
  await cp(work, directory, { recursive: true })
  await journal.close()
  await rm(work, { recursive: true })
  return written
}

/** Does a damage; which segment it is in, or null when it would hit none. */
async function inflict(directory: string, { kind, segment, at, length }: Damage): Promise<void> {
  const names = await segmentsOf(directory)
  const index = Math.floor(segment * names.length)
  const path = join(directory, names[index] as string)
  const size = (await readFile(path)).length
  const from = Math.floor(at * size)
  if (size === 0) return
  switch (kind) {
    case 'flip':
      return edit(path, (bytes) => void bytes.writeUInt8(bytes.readUInt8(from) ^ (1 << (length % 8)), from))
    case 'zero':
      return edit(path, (bytes) => void bytes.fill(0, from, Math.min(size, from + length)))
    case 'truncate':
      return truncate(path, from)
    case 'header':
      return edit(path, (bytes) => void bytes.fill(0xff, 0, Math.min(300, bytes.length)))
    case 'delete':
      // The newest one tells how far the journal has come; without it nobody knows that anything is missing.
      return index < names.length - 1 ? rm(path) : undefined
    case 'swap': {
      const other = join(directory, names[(index + 1) % names.length] as string)
      const bytes = await readFile(other)
      return edit(path, () => bytes)
    }
  }
}

async function read(source: JournalSource): Promise<{ survey: JournalSurvey; records: Map<number, string> }> {
  const records = new Map<number, string>()
  const segments: SurveyedSegment[] = []
  for await (const part of surveyParts(source)) {
    if (part.kind === 'end') segments.push(part.segment)
    if (part.kind === 'block')
      part.block.forEach((seq, bytes, start, end) => records.set(seq, bytes.toString('latin1', start, end)))
  }
  return { survey: surveyOf(segments), records }
}

test('whatever is damaged: what is readable is what was written, and a repair leaves exactly that, and no fault', async () => {
  const seen = { faults: 0, unreadable: 0 }
  const keyRing = goldenKeys()
  await fc.assert(
    fc.asyncProperty(
      fc.array(steps, { minLength: 1, maxLength: 40 }),
      fc.array(damages, { maxLength: 4 }),
      fc.boolean(),
      fc.boolean(),
      async (history, inflicted, isClosed, isEncrypted) => {
        const keys = isEncrypted ? keyRing : null
        const data = await scratch()
        const directory = join(data, 'journal')
        const written = await write(directory, history, isClosed, keys)
        for (const damage of inflicted) if ((await segmentsOf(directory)).length > 0) await inflict(directory, damage)
        const before = await contents(directory)
        const source = { disk: nodeDisk, directory, keys }
        const { survey, records } = await read(source)
        for (const [seq, text] of records) expect([seq, text]).toEqual([seq, written.get(seq)])
        const faults = faultsOf('journal', survey)
        const isWhole = faults.length === 0 && records.size === written.size
        expect(isWhole || inflicted.length > 0).toBe(true)
        if (faults.length > 0) seen.faults++
        const { journalId } = survey
        if (journalId === null) {
          seen.unreadable++
          return
        }

        const copy = join(data, 'copy')
        await repairInto(source, { ...survey, journalId }, copy)
        expect(await contents(directory)).toEqual(before)
        const repaired = await read({ ...source, directory: copy })
        expect(faultsOf('copy', repaired.survey)).toEqual([])
        expect(repaired.records).toEqual(records)
        expect(repaired.survey.nextSeq).toBe(survey.nextSeq)
        expect(repaired.survey.journalId).toBe(journalId)

        const { rewritten } = await repairInPlace(source, { ...survey, journalId })
        const inPlace = await read(source)
        expect(faultsOf('journal', inPlace.survey)).toEqual([])
        expect(inPlace.records).toEqual(records)
        const kept = rewritten.length === 0 ? [] : await readdir(join(directory, 'quarantine'))
        expect(kept.toSorted()).toEqual(rewritten.map((name) => `${name}.before-repair`))
        for (const name of rewritten)
          expect(await readFile(join(directory, 'quarantine', `${name}.before-repair`), 'latin1')).toBe(before[name])

        // The sidecar's own journal takes both, and gives no seq again.
        for (const each of [copy, directory]) {
          const journal = await open(each, keys)
          expect(journal.nextSeq).toBe(survey.nextSeq)
          await journal.append(['more'])
          await journal.close()
          expect((await read({ ...source, directory: each })).records).toEqual(
            new Map([...records, [survey.nextSeq, 'more']]),
          )
        }
      },
    ),
    { numRuns: 60 },
  )
  // It was about something.
  expect(seen.faults).toBeGreaterThan(15)
}, 120_000)
