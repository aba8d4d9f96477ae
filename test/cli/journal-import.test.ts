import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { importMessages } from '../../src/cli/journal-import.ts'
import type { ImportOptions } from '../../src/cli/journal-import.ts'
import { CursorFile } from '../../src/journal/cursor-file.ts'
import { DirectoryLock } from '../../src/journal/directory-lock.ts'
import { Journal } from '../../src/journal/journal.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import type { Message } from '../../src/message/message.ts'
import { receiptCodec } from '../../src/message/receipt.ts'
import { contents, edit, exported, goldenCopy, goldenPath, openMessages, scratch, segmentsOf, textMessage, toolsWith } from './journal-rig.ts' // prettier-ignore
import { TextOutput } from './text-output.ts'

async function imported(
  directory: string,
  text: string,
  options: Partial<ImportOptions> = {},
  bytesMax = 1e9,
): Promise<{ readonly code: number; readonly out: Record<string, unknown>; readonly err: string }> {
  const out = new TextOutput()
  const err = new TextOutput()
  const target = { directory, bytesMax, segmentBytes: 64 * 1024 }
  const all = { once: false, json: true, ...options }
  const code = await importMessages(toolsWith(), target, Readable.from([text]), all, out, err)
  return { code, out: JSON.parse(out.text) as Record<string, unknown>, err: err.text }
}

/** Lines without what an import gives anew. */
function withoutIds(lines: readonly Record<string, unknown>[]): Record<string, unknown>[] {
  return lines.map(({ seq: _seq, id: _id, ...rest }) => rest)
}

const texts = fc.string({ unit: 'grapheme', maxLength: 20 })
const buffers = fc.uint8Array({ maxLength: 30 }).map((each) => Buffer.from(each))
const messages: fc.Arbitrary<Message> = fc.record({
  topic: fc.stringMatching(/^[a-zA-Z0-9_-]{1,20}$/),
  partition: fc.option(fc.nat({ max: 0x7fff_ffff })),
  key: fc.option(fc.oneof(texts, buffers)),
  value: fc.option(fc.oneof(texts, buffers)),
  headers: fc.array(fc.tuple(fc.oneof(texts, fc.constantFrom('7', '__proto__', 'a')), fc.oneof(texts, buffers)), { maxLength: 5 }), // prettier-ignore
  timestamp: fc.option(fc.oneof(fc.nat(), fc.double({ noNaN: true, noDefaultInfinity: true }).filter((each) => !Object.is(each, -0)))), // prettier-ignore
  acceptedAt: fc.nat(),
  producer: fc.option(texts),
  contentType: fc.option(texts),
  traceparent: fc.option(texts),
  tracestate: fc.option(texts),
  idempotencyKey: fc.option(texts),
})

describe('outrigger journal import', () => {
  test.each([true, false])('brings back what was exported, whatever it is (raw: %s)', async (raw) => {
    await fc.assert(
      fc.asyncProperty(fc.array(messages, { minLength: 1, maxLength: 20 }), async (given) => {
        const data = await scratch()
        const journal = await openMessages(join(data, 'from'), 64 * 1024)
        await journal.append(given)
        await journal.close()
        const first = await exported(join(data, 'from'), { raw })
        expect((await imported(join(data, 'to'), first.text)).out).toMatchObject({ imported: given.length, fromSeq: 1 })
        const second = await exported(join(data, 'to'), { raw })
        expect(withoutIds(second.lines)).toEqual(withoutIds(first.lines))
        await rm(data, { recursive: true })
      }),
      { numRuns: 25 },
    )
  })

  test('gives new ids, behind those of the journal', async () => {
    const data = await goldenCopy('v1')
    const before = await exported(data)
    const { code, out } = await imported(data, (await exported(goldenPath('v1'), { raw: true })).text)
    const { length } = before.lines
    expect({ code, out }).toEqual({
      code: 0,
      out: { journalId: expect.any(String), imported: length, left: 0, fromSeq: 112, toSeq: 112 + length },
    })
    const { lines } = await exported(data)
    expect(lines.slice(0, length)).toEqual(before.lines)
    expect(withoutIds(lines.slice(length))).toEqual(withoutIds(before.lines))
    expect(lines[length]?.['seq']).toBe(112)
  })

  test('takes dead letters, to try them again', async () => {
    const data = await scratch()
    const letters = await exported(goldenPath('v1/dead-letters'))
    expect((await imported(data, letters.text)).out).toMatchObject({ imported: 1 })
    expect(withoutIds((await exported(data)).lines)).toEqual([letters.lines[0]?.['message']])
  })

  test('takes lines that were written by hand', async () => {
    const data = await scratch()
    const before = Date.now()
    expect((await imported(data, '{"topic":"t","value":"v"}\n\n{"topic":"t"}')).out).toMatchObject({ imported: 2 })
    const { lines } = await exported(data)
    expect(lines.map(({ topic, key, value }) => [topic, key, value])).toEqual([['t', null, 'v'], ['t', null, null]]) // prettier-ignore
    expect(lines[0]?.['acceptedAt']).toBeGreaterThanOrEqual(before)
  })

  test.each([
    ['no JSON', '{', /JSON/],
    ['no object', '[]', /not a JSON object/],
    ['no topic', '{"value":"v"}', /topic/],
    ['a bad topic', '{"topic":"a b"}', /topic/],
    ['a key that is no text', '{"topic":"t","key":1}', /key/],
    ['bad Base64', '{"topic":"t","valueBase64":"?"}', /valueBase64/],
    ['a partition that is none', '{"topic":"t","partition":-1}', /partition/],
    ['a time that is none', '{"topic":"t","acceptedAt":"now"}', /acceptedAt/],
    ['headers that are none', '{"topic":"t","headers":{"a":"b"}}', /header a/],
    ['a reserved header', '{"topic":"t","headers":{"Outrigger-Id":["b"]}}', /Outrigger-Id/],
    ['a text that is too long', `{"topic":"t","producer":"${'x'.repeat(70_000)}"}`, /producer/],
    ['a raw receipt', '{"kind":"receipts","seq":1,"raw":"AQE="}', /another kind/],
    ['raw nonsense', '{"kind":"messages","raw":"AQEBAQ=="}', /raw/],
    ['raw with something behind it', '', /raw/],
  ])('ends at a line with %s, says which, and keeps those before', async (name, bad, why) => {
    const data = await scratch()
    const good = '{"topic":"t","value":"good"}'
    let line = bad
    if (name === 'raw with something behind it') {
      const { lines } = await exported(goldenPath('v1'), { raw: true })
      const raw = Buffer.concat([Buffer.from(String(lines[0]?.['raw']), 'base64'), Buffer.from('x')])
      line = JSON.stringify({ kind: 'messages', raw: raw.toString('base64') })
    }
    const importing = imported(data, `${good}\n${good}\n${line}\n${good}\n`)
    await expect(importing).rejects.toMatchObject({ code: 'journal_command_failed', message: expect.stringMatching(why) }) // prettier-ignore
    await expect(importing).rejects.toThrow(/^line 3 /)
    expect((await exported(data)).lines.map(({ value }) => value)).toEqual(['good', 'good'])
  })

  test('once: can be run again after it was cut short, and takes each message once', async () => {
    const data = await scratch()
    const twice = '{"topic":"t","value":"same","acceptedAt":1}'
    const all = [twice, twice, '{"topic":"t","value":"a","acceptedAt":1}', '{"topic":"t","value":"b","acceptedAt":1}']
    await imported(data, all.slice(0, 1).join('\n'))
    expect((await imported(data, all.join('\n'), { once: true })).out).toMatchObject({ imported: 3, left: 1 })
    expect((await imported(data, all.join('\n'), { once: true })).out).toMatchObject({ imported: 0, left: 4, fromSeq: null }) // prettier-ignore
    expect((await exported(data)).lines.map(({ value }) => value)).toEqual(['same', 'same', 'a', 'b'])
    expect((await imported(data, all.join('\n'))).out).toMatchObject({ imported: 4 })
  })

  test('is refused while an Outrigger runs, and touches nothing', async () => {
    const data = await goldenCopy('v1')
    const lock = DirectoryLock.take(data)
    const before = await contents(data)
    await expect(imported(data, '{"topic":"t"}')).rejects.toMatchObject({ code: 'directory_locked' })
    expect(await contents(data)).toEqual(before)
    lock.release()
  })

  test('says how many it has kept when the journal is full', async () => {
    const data = await scratch()
    const lines = Array.from({ length: 3000 }, () => JSON.stringify({ topic: 't', value: 'v'.repeat(1000) })).join('\n')
    const err = new TextOutput()
    const target = { directory: data, bytesMax: 2_000_000, segmentBytes: 64 * 1024 }
    const options = { once: false, json: false }
    const importing = importMessages(toolsWith(), target, Readable.from([lines]), options, new TextOutput(), err)
    await expect(importing).rejects.toMatchObject({ code: 'journal_full' })
    const kept = (await exported(data)).lines.length
    expect(kept).toBeGreaterThan(100)
    expect(err.text).toMatch(new RegExp(`^Imported ${kept} messages, as \\w+-1 to \\w+-${kept}\\. Then it failed:\n$`))
  })

  test('gives none of the numbers that receipts or the cursor know, though the end of the journal is missing', async () => {
    const data = await scratch()
    const journal = await openMessages(join(data, 'journal'))
    await journal.append([textMessage('t', 'first')])
    await journal.close()
    const position = { seq: 1, mark: 1, reach: 20 }
    await (await CursorFile.open(nodeDisk, join(data, 'forwarder.cursor'), journal.id, position)).close()
    expect((await imported(data, '{"topic":"t"}')).out).toMatchObject({ fromSeq: 20 })
    const options = { directory: join(data, 'receipts'), bytesMax: 1e9, segmentBytes: 64 * 1024 }
    const receipts = await Journal.open(nodeDisk, systemClock, receiptCodec, { committed() {}, failed() {} }, options)
    await receipts.append([{ kind: 'delivered', topic: 't', deliveredAt: 1, attempts: 1, seqs: [30], partitions: [0], offsets: [1] }]) // prettier-ignore
    await receipts.close()
    expect((await imported(data, '{"topic":"t"}')).out).toMatchObject({ fromSeq: 31 })
  })

  test('is refused where the cursor is of another journal', async () => {
    const data = await scratch()
    await (await CursorFile.open(nodeDisk, join(data, 'forwarder.cursor'), 'another', { seq: 1, mark: 1 })).close()
    await expect(imported(data, '{"topic":"t"}')).rejects.toThrow(/cursor in .* is of journal another/)
  })

  test('gets what a damaged journal still holds into another one', async () => {
    const damaged = await goldenCopy('v1')
    const directory = join(damaged, 'journal')
    const newest = (await segmentsOf(directory)).at(-1) ?? ''
    await edit(join(directory, newest), (bytes) => void bytes.fill(0xff, 0, 64))
    const { code, text, lines } = await exported(damaged)
    expect(code).toBe(1)
    const data = await scratch()
    expect((await imported(data, text)).out).toMatchObject({ imported: lines.length })
    expect(withoutIds((await exported(data)).lines)).toEqual(withoutIds(lines))
    expect(await readFile(join(goldenPath('v1'), 'expected.json'), 'utf8')).toContain(String(lines[0]?.['id']))
  })
})
