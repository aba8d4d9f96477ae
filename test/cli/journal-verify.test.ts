import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { inspectJournal } from '../../src/cli/journal-inspect.ts'
import { verifyJournal } from '../../src/cli/journal-verify.ts'
import { CursorFile } from '../../src/journal/cursor-file.ts'
import type { Disk } from '../../src/journal/disk.ts'
import { surveyJournal } from '../../src/journal/journal-survey.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import { contents, edit, goldenCopy, goldenKeys, goldenPath, openMessages, scratch, segmentsOf, textMessage, toolsWith, verified } from './journal-rig.ts' // prettier-ignore
import { TextOutput } from './text-output.ts'

/** One segment of a golden copy, with its path. */
async function segmentAt(data: string, index: number): Promise<{ name: string; path: string }> {
  const name = (await segmentsOf(join(data, 'journal'))).at(index) ?? ''
  return { name, path: join(data, 'journal', name) }
}

const flip = (at: number) => (bytes: Buffer) => void bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at)

describe('outrigger journal verify', () => {
  test('names a block that is damaged: file, bytes, records', async () => {
    const data = await goldenCopy('v1')
    const { name, path } = await segmentAt(data, 1)
    await edit(path, flip(6000))
    const { code, lines } = await verified(data)
    expect(code).toBe(1)
    expect(lines).toEqual([
      {
        journal: 'journal',
        file: name,
        fault: 'corrupt',
        found: expect.stringContaining('CRC'),
        fromOffset: expect.any(Number),
        toOffset: expect.any(Number),
        fromSeq: expect.any(Number),
        toSeq: expect.any(Number),
      },
      { totals: expect.objectContaining({ faults: 1, lostRecords: 1 }) },
    ])
    const { fromOffset, toOffset } = lines[0] as { fromOffset: number; toOffset: number }
    expect(fromOffset).toBeLessThanOrEqual(6000)
    expect(toOffset).toBeGreaterThan(6000)
  })

  test('tells people the same', async () => {
    const data = await goldenCopy('v1')
    await edit((await segmentAt(data, 1)).path, flip(6000))
    const out = new TextOutput()
    expect(await verifyJournal(toolsWith(), data, { json: false }, out)).toBe(1)
    expect(out.text).toMatch(/^journal\/\d{16}\.segment, bytes \d+ to \d+: a block .*; 1 record lost: \d+\n/)
    expect(out.text).toMatch(/\d+ records in 9 segments \(\d+ bytes\): 1 fault, 1 record lost\n$/)
  })

  test.each([0, 1, 2, 3, 4])('notices every single flipped bit of sealed segment %i', async (index) => {
    const data = await goldenCopy('v1')
    const journal = join(data, 'journal')
    const { path } = await segmentAt(data, index)
    const whole = await readFile(path)
    const unnoticed: number[] = []
    for (let at = index; at < whole.length; at += 397) {
      const bytes = Buffer.from(whole)
      flip(at)(bytes)
      await writeFile(path, bytes)
      // A bit of the magic, the version or the features makes it a segment that is not known.
      const found = await verified(journal).then(({ code }) => code, (error: unknown) => (error as { code: string }).code) // prettier-ignore
      if (found === 0) unnoticed.push(at)
    }
    expect(unnoticed).toEqual([])
  })

  test('notices every byte of a footer', async () => {
    const data = await goldenCopy('v1')
    const { path } = await segmentAt(data, 0)
    const whole = await readFile(path)
    const footer = whole.lastIndexOf('ORIX')
    const found = new Set<unknown>()
    for (let at = footer; at < whole.length; at++) {
      const bytes = Buffer.from(whole)
      flip(at)(bytes)
      await writeFile(path, bytes)
      const { lines } = await verified(join(data, 'journal'))
      found.add(lines.length === 2 ? lines[0]?.['fault'] : at)
    }
    expect([...found]).toEqual(['footer'])
  })

  test('takes the torn tail of the newest segment for what it is, and no damage', async () => {
    const data = await goldenCopy('v1')
    const { path } = await segmentAt(data, -1)
    const whole = await readFile(path)
    const lastBlock = whole.lastIndexOf('ORBK', whole.length - 600)
    await writeFile(path, whole.subarray(0, lastBlock + 60))
    expect((await verified(join(data, 'journal'))).code).toBe(0)
    // But the cursor knows that the journal has come further.
    expect((await verified(data)).lines[0]).toMatchObject({
      fault: 'cursor',
      found: 'the end of the journal is missing',
    })
  })

  test('takes what a crash leaves in the midst of sealing for no damage', async () => {
    const data = await goldenCopy('v1')
    await edit((await segmentAt(data, 2)).path, (bytes) => Buffer.concat([bytes, Buffer.alloc(2000)]))
    expect((await verified(data)).code).toBe(0)
  })

  test('takes a segment that is sealed while it looks for no damage, whenever that is', async () => {
    const data = await goldenCopy('v1')
    const { path } = await segmentAt(data, 2)
    const sealed = await readFile(path)
    const directory = join(data, 'journal')
    for (let opens = 1; opens < 12; opens++) {
      await writeFile(path, Buffer.concat([sealed.subarray(0, sealed.lastIndexOf('ORIX')), Buffer.alloc(3000)]))
      let left = opens
      const disk: Disk = {
        ...nodeDisk,
        async open(opened, mode) {
          if (opened === path && --left === 0) await writeFile(path, sealed)
          return nodeDisk.open(opened, mode)
        },
      }
      const { segments } = await surveyJournal({ disk, directory, keys: null })
      expect(segments[2]?.footer).not.toBe('broken')
    }
  })

  test('names a segment that is missing', async () => {
    const data = await goldenCopy('v1')
    await rm((await segmentAt(data, 2)).path)
    const { lines } = await verified(data)
    expect(lines[0]).toMatchObject({ fault: 'missing', file: null, fromOffset: null })
    expect(lines[0]).toMatchObject({ fromSeq: Number((await segmentAt(goldenPath('v1'), 2)).name.slice(0, 16)) })
  })

  test('names a segment of another journal', async () => {
    const data = await scratch()
    for (const name of ['a', 'b']) {
      const journal = await openMessages(join(data, name))
      for (let i = 0; i < 20; i++) await journal.append([textMessage('t', 'v'.repeat(1000))])
      await journal.close()
    }
    const name = (await segmentsOf(join(data, 'b')))[0] ?? ''
    await cp(join(data, 'b', name), join(data, 'a', name))
    const { code, lines } = await verified(join(data, 'a'))
    expect(code).toBe(1)
    expect(JSON.stringify(lines)).toMatch(/another|swapped|of journal/)
  })

  test.each([
    ['ahead of the journal', { seq: 1, mark: 1, reach: 5000 }, 'the end of the journal is missing'],
    ['behind its beginning', { seq: 2, mark: 1 }, 'the beginning of the journal is missing'],
  ])('names a cursor that is %s', async (_, position, found) => {
    const data = await goldenCopy('v1')
    await rm(join(data, 'forwarder.cursor'))
    const { journalId } = JSON.parse(await readFile(join(data, 'expected.json'), 'utf8')) as { journalId: string }
    await (await CursorFile.open(nodeDisk, join(data, 'forwarder.cursor'), journalId, position)).close()
    const { code, lines } = await verified(data)
    expect(code).toBe(1)
    expect(lines[0]).toMatchObject({ fault: 'cursor', file: 'forwarder.cursor', found })
  })

  test('names a cursor that is damaged', async () => {
    const data = await goldenCopy('v1')
    await edit(join(data, 'forwarder.cursor'), (bytes) => void bytes.fill(7))
    expect((await verified(data)).lines[0]).toMatchObject({ fault: 'cursor', found: 'neither of its slots is valid' })
  })

  test('needs the key of what is encrypted, names it, and touches nothing', async () => {
    const data = await goldenCopy('v1-encrypted')
    const before = await contents(data)
    await expect(verified(data)).rejects.toMatchObject({ code: 'journal_key_missing', message: expect.stringContaining('golden/') }) // prettier-ignore
    expect(await contents(data)).toEqual(before)
  })

  test('tells a segment that somebody has brought back from the past', async () => {
    const data = await goldenCopy('v1-encrypted')
    const journal = join(data, 'journal')
    const [, name = ''] = await segmentsOf(journal)
    // The repaired copy has the same records under another data key, which nobody but the holder of the key could make.
    await cp(join(data, 'repaired', name), join(journal, name))
    await edit(join(journal, name), (bytes) => void bytes.writeUInt8(bytes.readUInt8(20) ^ 1, 20))
    const { code, lines } = await verified(data, goldenKeys())
    expect(code).toBe(1)
    expect(lines[0]).toMatchObject({ fault: 'corrupt', file: name, fromOffset: 0 })
  })

  test('says that there is no journal where there is none', async () => {
    const data = await scratch()
    await mkdir(join(data, 'journal'))
    await expect(verified(data)).rejects.toMatchObject({ code: 'journal_command_failed' })
    await expect(verified(join(data, 'nowhere'))).rejects.toMatchObject({ code: 'journal_command_failed' })
  })

  test('reads a journal that is being written to, beside its writer, and finds no fault', async () => {
    const data = await scratch()
    const directory = join(data, 'journal')
    const journal = await openMessages(directory)
    const stop = new AbortController()
    const writing = (async (): Promise<void> => {
      for (let count = 0; !stop.signal.aborted; count++) {
        await journal.append([textMessage('t', 'x'.repeat(700 + (count % 600)))])
        if (count % 25 === 24) await journal.release(journal.nextSeq - 60)
      }
    })()
    const found: unknown[] = []
    for (let i = 0; i < 25 || journal.nextSeq < 200; i++) found.push(...(await verified(data)).lines.slice(0, -1))
    stop.abort()
    await writing
    expect(found).toEqual([])
    await journal.close()
  })
})

describe('outrigger journal inspect', () => {
  test('shows people segments, records, cursors and what is damaged', async () => {
    const data = await goldenCopy('v1')
    const { name, path } = await segmentAt(data, 1)
    await edit(path, flip(6000))
    const out = new TextOutput()
    expect(await inspectJournal(toolsWith(), data, { json: false }, out)).toBe(1)
    expect(out.text).toContain(`${name}  sealed, 13 records (44 to 57) in 13 blocks`)
    expect(out.text).toMatch(/DAMAGED {2}journal\/.*1 record lost/)
    expect(out.text).toMatch(/not sealed/)
    expect(out.text).toMatch(/^forwarder\.cursor: of journal \w{13}, finished below 47, receipts from 1$/m)
  })

  test('tells which keys are needed without having them', async () => {
    const out = new TextOutput()
    expect(await inspectJournal(toolsWith(), goldenPath('v1-encrypted'), { json: true }, out)).toBe(0)
    const { journals } = JSON.parse(out.text) as { journals: { unread: string; segments: { keyName: string }[] }[] }
    expect(journals[0]?.unread).toContain('golden/')
    expect(new Set(journals.flatMap(({ segments }) => segments.map(({ keyName }) => keyName)))).toEqual(new Set(['golden/e2c08a68547964b8'])) // prettier-ignore
  })

  test('shows what is in quarantine', async () => {
    const data = await goldenCopy('v1')
    await mkdir(join(data, 'journal', 'quarantine'))
    await writeFile(join(data, 'journal', 'quarantine', '0000000000000001.segment.json'), '{}')
    const out = new TextOutput()
    await inspectJournal(toolsWith(), data, { json: false }, out)
    expect(out.text).toContain('quarantine/0000000000000001.segment.json: 2 bytes')
  })
})
