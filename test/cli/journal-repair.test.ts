import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { repairJournal } from '../../src/cli/journal-repair.ts'
import { DirectoryLock } from '../../src/journal/directory-lock.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import { JournalReader } from '../../src/journal/journal-reader.ts'
import { contents, edit, exported, goldenCopy, goldenKeys, openMessages, scratch, segmentsOf, toolsWith, verified } from './journal-rig.ts' // prettier-ignore
import { TextOutput } from './text-output.ts'

async function damaged(name = 'v1'): Promise<{ data: string; directory: string; segment: string }> {
  const data = await goldenCopy(name)
  const directory = join(data, 'journal')
  const segment = (await segmentsOf(directory))[1] ?? ''
  await edit(join(directory, segment), (bytes) => void bytes.writeUInt8(bytes.readUInt8(6000) ^ 4, 6000))
  return { data, directory, segment }
}

describe('outrigger journal repair', () => {
  test('into a new folder: holds what is readable, has no fault, and leaves the original as it is', async () => {
    const { data } = await damaged()
    const before = await contents(data)
    const readable = await exported(data)
    const to = join(await scratch(), 'copy')
    const out = new TextOutput()
    expect(await repairJournal(toolsWith(), data, { to, json: true }, out)).toBe(0)
    expect(JSON.parse(out.text)).toEqual({
      repaired: to,
      faults: 1,
      rewritten: expect.any(Array),
      records: 76,
      lost: 1,
    })
    expect((await verified(to)).code).toBe(0)
    expect((await exported(to)).lines).toEqual(readable.lines)
    expect(await contents(data)).toEqual(before)
  })

  test('in place: only the damaged file is written anew, and it stays in quarantine as it was', async () => {
    const { data, directory, segment } = await damaged()
    const before = await contents(directory)
    const readable = await exported(data)
    const out = new TextOutput()
    expect(await repairJournal(toolsWith(), data, { to: undefined, json: false }, out)).toBe(0)
    expect(out.text).toMatch(/1 fault repaired, 1 segment with 13 records written, 1 record lost, for which gaps stand now\. What they were before is in quarantine\//) // prettier-ignore
    expect((await verified(data)).code).toBe(0)
    expect((await exported(data)).lines).toEqual(readable.lines)
    const kept = `quarantine/${segment}.before-repair`
    const after = await contents(directory)
    expect(after[kept]).toBe(before[segment])
    expect(after[segment]).not.toBe(before[segment])
    expect({ ...after, [segment]: before[segment], [kept]: undefined }).toEqual({ ...before, [kept]: undefined })

    const again = new TextOutput()
    expect(await repairJournal(toolsWith(), data, { to: undefined, json: false }, again)).toBe(0)
    expect(again.text).toMatch(/has no fault; nothing was changed/)
    expect(await contents(directory)).toEqual(after)
  })

  test('in place: never writes over what an earlier repair has kept, nor leaves what a killed one has begun', async () => {
    const { data, directory, segment } = await damaged()
    await mkdir(join(directory, 'quarantine'))
    await writeFile(join(directory, 'quarantine', `${segment}.before-repair`), 'older')
    await writeFile(join(directory, `${segment}.repaired`), 'half')
    await repairJournal(toolsWith(), data, { to: undefined, json: true }, new TextOutput())
    expect((await readdir(join(directory, 'quarantine'))).toSorted()).toEqual([
      `${segment}.before-repair`,
      `${segment}.before-repair-2`,
    ])
    expect(await readFile(join(directory, 'quarantine', `${segment}.before-repair`), 'utf8')).toBe('older')
    expect((await readdir(directory)).filter((name) => name.endsWith('.repaired'))).toEqual([])
  })

  test('in place: is refused while an Outrigger runs, and changes nothing', async () => {
    const { data } = await damaged()
    const lock = DirectoryLock.take(data)
    const before = await contents(data)
    const refused = { code: 'directory_locked' }
    await expect(repairJournal(toolsWith(), data, { to: undefined, json: true }, new TextOutput())).rejects.toMatchObject(refused) // prettier-ignore
    await expect(repairJournal(toolsWith(), join(data, 'journal'), { to: undefined, json: true }, new TextOutput())).rejects.toMatchObject(refused) // prettier-ignore
    expect(await contents(data)).toEqual(before)
    lock.release()
  })

  test('encrypts again what was encrypted', async () => {
    const { data, directory } = await damaged('v1-encrypted')
    const keys = goldenKeys()
    await repairJournal(toolsWith(keys), data, { to: undefined, json: true }, new TextOutput())
    expect((await verified(data, keys)).code).toBe(0)
    const { lines } = await exported(data, {}, keys)
    expect(lines.length).toBe(76)
    for (const text of Object.values(await contents(directory))) expect(text).not.toContain('value ')
  })

  test('finds out how far the newest file went when only its header is damaged', async () => {
    const { data, directory } = await damaged()
    const newest = (await segmentsOf(directory)).at(-1) ?? ''
    await edit(join(directory, newest), (bytes) => void bytes.writeUInt8(1, 3000))
    await repairJournal(toolsWith(), data, { to: undefined, json: true }, new TextOutput())
    const journal = await openMessages(directory)
    expect(journal.nextSeq).toBe(112)
    await journal.close()
  })

  test('makes a journal start again whose newest file is damaged, and gives none of its numbers again', async () => {
    const { data, directory } = await damaged()
    const newest = (await segmentsOf(directory)).at(-1) ?? ''
    await edit(join(directory, newest), (bytes) => void bytes.fill(0xff, 0, 64))
    await expect(openMessages(directory)).rejects.toMatchObject({ code: 'journal_corrupt' })
    await repairJournal(toolsWith(), data, { to: undefined, json: true }, new TextOutput())
    const journal = await openMessages(directory)
    expect(journal.nextSeq).toBeGreaterThan(Number(newest.slice(0, 16)) + 1000)
    // Those who deliver are told that they are lost, rather than left out.
    const reader = new JournalReader(nodeDisk, directory, journal.end, journal.firstSeq)
    const reasons: unknown[] = []
    for (let block = await reader.next(); block; block = await reader.next())
      if (block.lost !== null) reasons.push(block.lost.reason)
    expect(reasons).toEqual(['corrupt', 'skipped', 'corrupt'])
    await reader.close()
    await journal.close()
  })

  test('needs an empty folder, and something readable of one journal', async () => {
    const { data, directory } = await damaged()
    const to = await scratch()
    await writeFile(join(to, 'mine'), '')
    const repair = (): Promise<number> => repairJournal(toolsWith(), data, { to, json: true }, new TextOutput())
    await expect(repair()).rejects.toThrow(/is not empty/)
    await rm(join(to, 'mine'))
    for (const name of await segmentsOf(directory)) await edit(join(directory, name), (bytes) => void bytes.fill(1))
    await expect(repair()).rejects.toThrow(/nothing .* is readable/)
    expect(await readdir(to)).toEqual([])
  })

  test('does the receipts, too', async () => {
    const { data } = await damaged()
    const to = join(await scratch(), 'copy')
    await repairJournal(toolsWith(), join(data, 'receipts'), { to, json: true }, new TextOutput())
    expect((await exported(to, { records: 'receipts' })).lines).toEqual((await exported(join(data, 'receipts'))).lines)
  })
})
