import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Journal, RecordTooLargeError } from '../../src/journal/journal.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import type { RecordCodec } from '../../src/journal/record-codec.ts'
import { parseMessageId } from '../../src/message/message-id.ts'
import { appendEach, HeldClock, numbered, openText, readText, segmentsIn, smallSegmentBytes, temporaryDirectory, texts } from './text-journal.ts' // prettier-ignore
import { WatchedDisk } from './watched-disk.ts'

describe('an append', () => {
  test('gets the seqs from 1 on, without gaps', async () => {
    const { journal } = await openText(await temporaryDirectory())
    expect(journal.nextSeq).toBe(1)
    expect(await journal.append(['a'])).toBe(1)
    expect(await journal.append(['b', 'c', 'd'])).toBe(2)
    expect(await journal.append(['e'])).toBe(5)
    expect([journal.nextSeq, journal.firstSeq, journal.end.nextSeq]).toEqual([6, 1, 6])
    expect(await readText(journal)).toEqual(numbered(1, ['a', 'b', 'c', 'd', 'e']))
    await journal.close()
  })

  test('of nothing resolves with the next seq and writes nothing', async () => {
    const { journal, told } = await openText(await temporaryDirectory())
    await journal.append(['a'])
    expect(await journal.append([])).toBe(2)
    await journal.close()
    expect(told.committed).toHaveLength(1)
  })

  test('keeps empty records', async () => {
    const { journal } = await openText(await temporaryDirectory())
    await journal.append(['', 'a', ''])
    expect(await readText(journal)).toEqual(numbered(1, ['', 'a', '']))
    await journal.close()
  })

  test('shares its block with all that were called in the same turn', async () => {
    const { journal, told } = await openText(await temporaryDirectory())
    const seqs = await Promise.all(texts(256, 20).map((text) => journal.append([text])))
    expect(seqs).toEqual(Array.from({ length: 256 }, (_, i) => i + 1))
    expect(told.committed.map(({ records }) => records)).toEqual([256])
    await journal.close()
  })

  test('fills the next block while one is being synced', async () => {
    const { journal, told } = await openText(await temporaryDirectory())
    const first = journal.append(['first'])
    await new Promise<void>((resolve) => setImmediate(resolve))
    const others = texts(50, 20).map((text) => journal.append([text]))
    await Promise.all([first, ...others])
    expect(told.committed.map(({ records }) => records)).toEqual([1, 50])
    await journal.close()
  })

  test('may span blocks and segments, and resolves when the last of them is synced', async () => {
    const directory = await temporaryDirectory()
    const { journal, told } = await openText(directory, nodeDisk, { blockBytesMax: 8 * 1024 })
    const records = texts(100, 3000)
    expect(await journal.append(records)).toBe(1)
    expect(journal.end.nextSeq).toBe(101)
    expect(told.committed.length).toBe(50)
    expect((await segmentsIn(directory)).length).toBeGreaterThan(3)
    expect(await readText(journal)).toEqual(numbered(1, records))
    await journal.close()
  })

  test('of a record larger than a block gives it a block of its own', async () => {
    const { journal, told } = await openText(await temporaryDirectory(), nodeDisk, { blockBytesMax: 1024 })
    const records = ['small', 'x'.repeat(3000), 'small again', 'y'.repeat(4000), 'z']
    await journal.append(records)
    expect(told.committed.map((each) => each.records)).toEqual([1, 1, 1, 1, 1])
    expect(await readText(journal)).toEqual(numbered(1, records))
    await journal.close()
  })

  test('of a record that fits no segment is refused whole, and costs no seq', async () => {
    const { journal } = await openText(await temporaryDirectory())
    const limit = smallSegmentBytes - 4096 - 48 - 4 - 4
    const refused = journal.append(['kept?', 'x'.repeat(limit + 1)])
    await expect(refused).rejects.toBeInstanceOf(RecordTooLargeError)
    await expect(refused).rejects.toMatchObject({ name: 'RecordTooLargeError', code: 'record_too_large' })
    const largest = 'x'.repeat(limit)
    expect(await journal.append([largest])).toBe(1)
    expect(await readText(journal)).toEqual([[1, largest]])
    await journal.close()
  })

  test('needs no more room than the codec asks for', async () => {
    // Asks for three times of what it writes, as for text that may not be ASCII.
    const cautious: RecordCodec<string> = {
      sizeMax: (text) => text.length * 3,
      encode: (text, into, at) => {
        expect(into.length - at).toBeGreaterThanOrEqual(text.length * 3)
        return at + into.write(text, at)
      },
    }
    const directory = await temporaryDirectory()
    const observer = { committed() {}, failed() {} }
    const options = { directory, bytesMax: 1e9, segmentBytes: 1024 * 1024 }
    const journal = await Journal.open(nodeDisk, new HeldClock(), cautious, observer, options)
    const records = Array.from({ length: 300 }, (_, i) => `${i} é`.repeat(i))
    await journal.append(records)
    const read = (await readText(journal)).map(([seq, text]) => [seq, Buffer.from(text, 'latin1').toString()])
    expect(read).toEqual(numbered(1, records))
    await journal.close()
  })
})

describe('a journal', () => {
  test('has an id of its own, which stays', async () => {
    const directory = await temporaryDirectory()
    const { journal } = await openText(directory)
    expect(parseMessageId(`${journal.id}-1`)).toEqual({ journalId: journal.id, seq: 1 })
    await journal.close()
    const again = (await openText(directory)).journal
    expect(again.id).toBe(journal.id)
    await again.close()
    const other = (await openText(await temporaryDirectory())).journal
    expect(other.id).not.toBe(journal.id)
    await other.close()
  })

  test('goes on after a close, and seals what it closes', async () => {
    const directory = await temporaryDirectory()
    const written: string[] = []
    for (let run = 0; run < 5; run++) {
      const { journal } = await openText(directory)
      expect([journal.nextSeq, journal.end.nextSeq]).toEqual([written.length + 1, written.length + 1])
      const records = texts(40, 500, `run ${run}`)
      await appendEach(journal, records)
      written.push(...records)
      expect(await readText(journal)).toEqual(numbered(1, written))
      await journal.close()
      await expectSealed(directory)
    }
  })

  test('that was opened and closed without an append leaves no more segments', async () => {
    const directory = await temporaryDirectory()
    for (let run = 0; run < 4; run++) await (await openText(directory)).journal.close()
    expect(await segmentsIn(directory)).toEqual(['0000000000000001.segment'])
    const { journal } = await openText(directory)
    await journal.append(['a'])
    await journal.close()
    for (let run = 0; run < 4; run++) await (await openText(directory)).journal.close()
    expect(await segmentsIn(directory)).toEqual(['0000000000000001.segment'])
  })

  test('reads no sealed segment at its start, however many there are', async () => {
    const directory = await temporaryDirectory()
    const { journal } = await openText(directory)
    await appendEach(journal, texts(100, 4000))
    await journal.close()
    const segments = await segmentsIn(directory)
    expect(segments.length).toBeGreaterThan(5)
    const disk = new WatchedDisk(nodeDisk)
    const again = (await openText(directory, disk)).journal
    const opened = disk.log.filter(({ name }) => name.startsWith('open')).map(({ path }) => path)
    expect(opened).toEqual([join(directory, segments.at(-1) as string)])
    const bytesRead = disk.log.reduce((sum, { name, bytes }) => sum + (name === 'read' ? (bytes ?? 0) : 0), 0)
    expect(bytesRead).toBeLessThan(16 * 1024)
    await again.close()
  })

  test('counts the bytes of all its segments', async () => {
    const directory = await temporaryDirectory()
    const { journal } = await openText(directory)
    expect(journal.bytes).toBe(4096)
    const files: number[] = []
    for (const text of texts(60, 3000)) {
      const before = journal.bytes
      await journal.append([text])
      files.push(journal.bytes - before)
    }
    // A block, or a block in a new segment.
    expect(new Set(files)).toEqual(new Set([3000 + 4 + 52, 3000 + 4 + 52 + 4096]))
    const { bytes } = journal
    await journal.close()
    expect(journal.bytes).toBe(bytes)
    const sizes = await Promise.all(
      (await segmentsIn(directory)).map(async (name) => (await stat(join(directory, name))).size),
    )
    const onDisk = sizes.reduce((a, b) => a + b)
    expect(onDisk - bytes).toBeLessThan(sizes.length * 200) // the footers
    const again = (await openText(directory)).journal
    expect(again.bytes).toBe(onDisk)
    await again.close()
  })

  test('refuses appends as soon as it is being closed, and keeps those called before', async () => {
    const { journal } = await openText(await temporaryDirectory())
    const before = journal.append(['before'])
    const closing = Promise.all([journal.close(), journal.close()])
    await expect(journal.append(['after'])).rejects.toMatchObject({ code: 'draining', retryAfterSeconds: 1 })
    expect(await before).toBe(1)
    await closing
    await journal.close()
    expect(await readText(journal)).toEqual([[1, 'before']])
  })

  test('keeps no file open after its close, whatever it did', async () => {
    const directory = await temporaryDirectory()
    const before = await descriptors()
    for (let run = 0; run < 5; run++) {
      const { journal } = await openText(directory)
      await appendEach(journal, texts(60, 3000))
      await readText(journal, 10)
      await journal.release(run * 60)
      await journal.close()
    }
    expect(await descriptors()).toBe(before)
  })
})

async function expectSealed(directory: string): Promise<void> {
  for (const name of await segmentsIn(directory)) {
    const bytes = Buffer.alloc(16)
    const file = await nodeDisk.open(join(directory, name), 'read')
    await file.read(bytes, (await file.size()) - 16)
    await file.close()
    expect([name, bytes.toString('latin1', 8, 12)]).toEqual([name, 'ORND'])
  }
}

async function descriptors(): Promise<number> {
  return (await readdir('/proc/self/fd')).length
}
