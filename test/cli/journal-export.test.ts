import { execFile } from 'node:child_process'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import { CursorFile } from '../../src/journal/cursor-file.ts'
import {
  edit,
  exported,
  goldenCopy,
  goldenPath,
  openMessages,
  scratch,
  segmentsOf,
  textMessage,
} from './journal-rig.ts'

const script = join(import.meta.dirname, '..', '..', 'docs', 'read_journal.py')

interface ScriptResult {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** What the reader in docs/ prints, which knows nothing but docs/journal-format.md. */
async function readByScript(directory: string): Promise<ScriptResult> {
  const run = promisify(execFile)
  try {
    const { stdout, stderr } = await run('python3', [script, directory], { maxBuffer: 1e9 })
    return { code: 0, stdout, stderr }
  } catch (error) {
    const { code, stdout, stderr } = error as ScriptResult
    if (typeof code !== 'number') throw error
    return { code, stdout, stderr }
  }
}

describe('the reader in docs/', () => {
  test.each(['journal', 'repaired'])('prints what export prints, byte for byte: the golden %s', async (name) => {
    const directory = goldenPath(join('v1', name))
    const { text } = await exported(directory, { records: 'messages' })
    expect(await readByScript(directory)).toEqual({ code: 0, stdout: text, stderr: '' })
    expect(text.split('\n').length).toBeGreaterThan(70)
  })

  test('prints what export prints, byte for byte: a journal of this run', async () => {
    const data = await scratch()
    const directory = join(data, 'journal')
    const journal = await openMessages(directory)
    for (let i = 0; i < 60; i++)
      await journal.append([
        textMessage('t', `${i} "quoted" \u0000\u001f\u007f\u2028 \\ ü 🚣`.repeat(i), {
          key: i % 2 === 0 ? null : Buffer.from([i, 0x80]),
          partition: i,
          timestamp: i / 4,
          acceptedAt: 1_700_000_000_000 + i / 8,
          headers: [['a', ''], ['b', Buffer.from([0xff, 0xfe])], ['a', 'again'], ['__proto__', 'x']], // prettier-ignore
          producer: 'ü'.repeat(i),
          idempotencyKey: `${i}`,
        }),
        textMessage('other', '', { value: null }),
      ])
    await journal.skipTo(journal.nextSeq + 3)
    await journal.append([textMessage('last', 'one')])
    const { text } = await exported(directory)
    expect(text.split('\n').length).toBe(122)
    expect(await readByScript(directory)).toEqual({ code: 0, stdout: text, stderr: '' })
    await journal.close()
    expect(await readByScript(directory)).toEqual({ code: 0, stdout: text, stderr: '' })
  })

  test('reads on behind what is damaged, as export does, and says so', async () => {
    const data = await goldenCopy('v1')
    const directory = join(data, 'journal')
    const [first = '', second = '', third = ''] = await segmentsOf(directory)
    await edit(join(directory, first), (bytes) => void bytes.writeUInt8(bytes.readUInt8(6000) ^ 4, 6000))
    await edit(join(directory, second), (bytes) => void bytes.fill(0, 0, 16))
    await edit(join(directory, third), (bytes) => bytes.subarray(0, 7000))
    const { code, text } = await exported(directory)
    expect(code).toBe(1)
    expect(await readByScript(directory)).toMatchObject({ code: 1, stdout: text })
  })

  test('refuses what is encrypted', async () => {
    const { code, stdout, stderr } = await readByScript(goldenPath('v1-encrypted/journal'))
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toContain('is not for this reader')
  })

  test('is short', async () => {
    expect((await readFile(script, 'utf8')).split('\n').length).toBeLessThan(150)
  })
})

describe('outrigger journal export', () => {
  test('writes everything that is readable, and tells what is not', async () => {
    const data = await goldenCopy('v1')
    const whole = await exported(data)
    const directory = join(data, 'journal')
    const [name = ''] = await segmentsOf(directory)
    await edit(join(directory, name), (bytes) => void bytes.writeUInt8(bytes.readUInt8(6000) ^ 4, 6000))
    const { code, lines, err } = await exported(data)
    expect(code).toBe(1)
    expect(whole.lines).toEqual(expect.arrayContaining([...lines]))
    expect(lines.length).toBe(whole.lines.length - 1)
    expect(err).toContain(name)
    expect(err).toMatch(/1 record could not be exported; all others were\.\n$/)
  })

  test('writes raw records', async () => {
    const { lines } = await exported(goldenPath('v1'), { raw: true })
    expect(lines[0]).toEqual({ kind: 'messages', seq: 30, id: expect.stringMatching(/-30$/), raw: expect.any(String) })
    const receipts = await exported(goldenPath('v1/receipts'), { raw: true })
    expect(receipts.lines[0]).toEqual({ kind: 'receipts', seq: 1, raw: expect.any(String) })
  })

  test('writes a record that it can not decode as it is', async () => {
    const { code, lines } = await exported(goldenPath('v1/receipts'), { records: 'dead-letters' })
    expect(code).toBe(0)
    expect(lines[0]).toMatchObject({
      kind: 'dead-letters',
      seq: 1,
      raw: expect.any(String),
      problem: expect.any(String),
    })
  })

  test('writes to a file that is new, for its owner alone', async () => {
    const to = join(await scratch(), 'out.jsonl')
    expect(await exported(goldenPath('v1'), { to })).toMatchObject({ code: 0, text: '' })
    expect(await readFile(to, 'utf8')).toBe((await exported(goldenPath('v1'))).text)
    expect((await stat(to)).mode & 0o777).toBe(0o600)
    await expect(exported(goldenPath('v1'), { to })).rejects.toMatchObject({ code: 'EEXIST' })
    await writeFile(to, 'mine')
    await expect(exported(goldenPath('v1'), { to })).rejects.toMatchObject({ code: 'EEXIST' })
    expect(await readFile(to, 'utf8')).toBe('mine')
  })

  test('of unfinished messages leaves out what cursor and receipts say is done', async () => {
    const { lines } = await exported(goldenPath('v1'), { unfinished: true })
    const all = await exported(goldenPath('v1'))
    // The checkpoint: all is finished below 55, but of orders only below 53.
    const isOpen = ({ seq, topic }: Record<string, unknown>): boolean =>
      (seq as number) >= (topic === 'orders' ? 53 : 55)
    expect(lines).toEqual(all.lines.filter(isOpen))
    expect(lines.length).toBeLessThan(all.lines.length)
    expect(lines.some(({ seq }) => (seq as number) < 55)).toBe(all.lines.some((line) => isOpen(line) && (line['seq'] as number) < 55)) // prettier-ignore
  })

  test('of unfinished messages needs a cursor of this journal', async () => {
    await expect(exported(goldenPath('v1/repaired'), { unfinished: true })).resolves.toMatchObject({ code: 0 })
    const data = await scratch()
    const journal = await openMessages(join(data, 'journal'))
    await journal.close()
    await expect(exported(data, { unfinished: true })).rejects.toMatchObject({ code: 'journal_command_failed' })
    await (await CursorFile.open(nodeDisk, join(data, 'forwarder.cursor'), 'another', { seq: 1, mark: 1 })).close()
    await expect(exported(data, { unfinished: true })).rejects.toThrow(/another/)
    await expect(exported(goldenPath('v1/receipts'), { unfinished: true })).rejects.toThrow(/does not hold messages/)
  })
})
