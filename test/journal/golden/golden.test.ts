import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { systemClock } from '../../../src/base/clock.ts'
import { inspectJournal } from '../../../src/cli/journal-inspect.ts'
import { readCursor } from '../../../src/journal/cursor-file.ts'
import { Journal } from '../../../src/journal/journal.ts'
import { surveyParts } from '../../../src/journal/journal-survey.ts'
import { nodeDisk } from '../../../src/journal/node-disk.ts'
import { messageCodec } from '../../../src/message/message-codec.ts'
import {
  contents,
  edit,
  exported,
  goldenCopy,
  goldenKeys,
  goldenPath,
  segmentsOf,
  toolsWith,
  verified,
} from '../../cli/journal-rig.ts'
import { TextOutput } from '../../cli/text-output.ts'

interface Expected {
  readonly journalId: string
  readonly segments: readonly string[]
  readonly journal: readonly { readonly seq: number }[]
  readonly repairedLost: readonly [number, number]
  readonly cursor: unknown
  readonly [name: string]: unknown
}

async function expectedOf(name: string): Promise<Expected> {
  return JSON.parse(await readFile(goldenPath(join(name, 'expected.json')), 'utf8')) as Expected
}

describe.each([
  ['v1', () => null],
  ['v1-encrypted', goldenKeys],
])('the golden directory %s', (name, keysOf) => {
  const keys = keysOf()

  test.each(['journal', 'receipts', 'dead-letters', 'ledger/metadata-exceptions'])('is read: %s', async (journal) => {
    const { code, lines, err } = await exported(goldenPath(join(name, journal)), {}, keys)
    expect({ code, err }).toEqual({ code: 0, err: '' })
    expect(lines).toEqual((await expectedOf(name))[journal])
  })

  test('is read: what a repair has left', async () => {
    const { journal, repairedLost } = await expectedOf(name)
    const { code, lines } = await exported(goldenPath(join(name, 'repaired')), {}, keys)
    expect(code).toBe(0)
    expect(repairedLost[1]).toBeGreaterThan(repairedLost[0])
    expect(lines).toEqual(journal.filter(({ seq }) => seq < repairedLost[0] || seq >= repairedLost[1]))
  })

  test('is read: which seqs were left out, and which were lost', async () => {
    const { repairedLost } = await expectedOf(name)
    const gaps: unknown[] = []
    for await (const part of surveyParts({ disk: nodeDisk, directory: goldenPath(join(name, 'repaired')), keys }))
      if (part.kind === 'block' && part.block.lost !== null)
        gaps.push([part.block.lost.reason, part.block.firstSeq, part.block.firstSeq + part.block.count])
    expect(gaps).toEqual([['corrupt', ...repairedLost], ['skipped', expect.any(Number), expect.any(Number)]]) // prettier-ignore
  })

  test('is read: its cursors, also one of the first version', async () => {
    const { journalId, cursor } = await expectedOf(name)
    expect(await readCursor(nodeDisk, goldenPath(join(name, 'forwarder.cursor')), keys)).toEqual({ journalId, position: cursor }) // prettier-ignore
    const old = goldenPath(join(name, 'cursor-v1/forwarder.cursor'))
    expect(await readCursor(nodeDisk, old, null)).toEqual({ journalId, position: { seq: 47, mark: 1 } })
  })

  test('has no fault, and in it all that a journal may have', async () => {
    expect((await verified(goldenPath(name), keys)).code).toBe(0)
    const out = new TextOutput()
    await inspectJournal(toolsWith(keys), goldenPath(name), { json: true }, out)
    const { journals } = JSON.parse(out.text) as { journals: [{ records: number; firstSeq: number; nextSeq: number; segments: { sealed: boolean; name: string; keyName: string | null }[] }] } // prettier-ignore
    const [{ records, firstSeq, nextSeq, segments }] = journals
    expect(segments.map(({ sealed }) => sealed)).toEqual([true, true, true, true, true, false])
    expect(segments.map((segment) => segment.name)).toEqual((await expectedOf(name)).segments)
    expect(nextSeq - firstSeq - records).toBe(5)
    expect(segments.every(({ keyName }) => (keyName === null) === (keys === null))).toBe(true)
    // The old bytes of a file that was used again lie behind its last block.
    const tail = await readFile(goldenPath(join(name, 'journal', segments.at(-1)?.name ?? '')))
    expect(tail.subarray(-100).some((byte) => byte !== 0)).toBe(true)
  })

  test('goes on: a journal opens it, and gives the next seq', async () => {
    const data = await goldenCopy(name)
    const { journal: lines, journalId } = await expectedOf(name)
    const options = { directory: join(data, 'journal'), bytesMax: 1e9, segmentBytes: 12 * 1024, keys }
    const journal = await Journal.open(nodeDisk, systemClock, messageCodec, { committed() {}, failed() {} }, options)
    expect(journal.id).toBe(journalId)
    expect(journal.nextSeq).toBe((lines.at(-1)?.seq ?? 0) + 1)
    await journal.close()
    expect((await exported(data, {}, keys)).lines).toEqual(lines)
  })
})

describe('a segment of a later version', () => {
  async function later(change: (header: Buffer) => void): Promise<string> {
    const data = await goldenCopy('v1')
    const journal = join(data, 'journal')
    const last = (await segmentsOf(journal)).at(-1) ?? ''
    await edit(join(journal, last), (bytes) => {
      change(bytes)
      bytes.writeUInt32LE(crc32(bytes.subarray(0, 4092)), 4092)
    })
    return data
  }

  test.each([
    ['an unknown feature', (header: Buffer) => header.writeUInt32LE(0x8000_0000, 8), '0x80000000'],
    ['a later format version', (header: Buffer) => header.writeUInt32LE(2, 4), 'format version 2'],
  ])('with %s is refused by everybody, and every file stays as it is', async (_, change, named) => {
    const data = await later(change)
    const before = await contents(data)
    const options = { directory: join(data, 'journal'), bytesMax: 1e9, segmentBytes: 12 * 1024 }
    const opening = Journal.open(nodeDisk, systemClock, messageCodec, { committed() {}, failed() {} }, options)
    const refused = { code: 'journal_unsupported', message: expect.stringContaining(named), hint: expect.stringContaining('later') } // prettier-ignore
    await expect(opening).rejects.toMatchObject(refused)
    await expect(verified(data)).rejects.toMatchObject(refused)
    await expect(exported(data)).rejects.toMatchObject(refused)
    await expect(inspectJournal(toolsWith(), data, { json: true }, new TextOutput())).rejects.toMatchObject(refused)
    expect(await contents(data)).toEqual(before)
  })
})
