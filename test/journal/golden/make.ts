/**
 * Makes the golden data directories of the present format version: `node test/journal/golden/make.ts`. They are made once for
 * each version, committed, and read for ever: it refuses to make one again. What they must be read as is written from what
 * went in, not from what comes out.
 */
import { cp, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { systemClock } from '../../../src/base/clock.ts'
import { deadLetterCodec } from '../../../src/forwarder/dead-letters.ts'
import { CursorFile } from '../../../src/journal/cursor-file.ts'
import { Journal } from '../../../src/journal/journal.ts'
import { repairInto } from '../../../src/journal/journal-repair.ts'
import { surveyJournal } from '../../../src/journal/journal-survey.ts'
import type { KeyRing } from '../../../src/journal/key-ring.ts'
import { nodeDisk } from '../../../src/journal/node-disk.ts'
import type { RecordCodec } from '../../../src/journal/record-codec.ts'
import { messageCodec } from '../../../src/message/message-codec.ts'
import type { Message } from '../../../src/message/message.ts'
import type { Receipt } from '../../../src/message/receipt.ts'
import { receiptCodec } from '../../../src/message/receipt.ts'
import { exceptionCodec } from '../../../src/recorder/ledger-exceptions.ts'
import type { LedgerException } from '../../../src/recorder/ledger-exceptions.ts'
import { openKeyRing } from '../../../src/security/configured-key-ring.ts'

const segmentBytes = 12 * 1024
/** 1 May 2026, and each time it is asked a second later. */
class SteppedClock {
  #now = Date.UTC(2026, 4, 1)
  now(): number {
    return (this.#now += 1000)
  }
  monotonic(): number {
    return 0
  }
  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return systemClock.sleep(ms, signal)
  }
}

const clock = new SteppedClock()
type Line = Record<string, unknown>

/** Message `i`, in which different things are there and missing, and how it is exported. */
function messageAt(i: number): { readonly message: Message; readonly line: Line } {
  const topic = ['orders', 'billing', 'a.b_c-d'][i % 3] as string
  const value = i % 7 === 0 ? null : `value ${i} é 🚣 `.padEnd(500 + i, String(i % 10))
  const isBinary = i % 5 === 0
  const line = {
    topic,
    partition: i % 4 === 0 ? i : null,
    timestamp: i % 3 === 0 ? 1_700_000_000_000 + i : null,
    acceptedAt: Date.UTC(2026, 3, 30) + i * 1000,
    producer: i % 2 === 0 ? 'golden' : null,
    contentType: i % 6 === 0 ? 'text/plain; charset=utf-8' : null,
    traceparent: i % 8 === 0 ? '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' : null,
    tracestate: i % 8 === 0 ? 'a=1' : null,
    idempotencyKey: i % 9 === 0 ? `key-${i}` : null,
    ...(isBinary ? { keyBase64: Buffer.from([0xff, i]).toString('base64') } : { key: i % 11 === 0 ? null : `k${i}` }),
    value,
    headers: i % 10 === 0 ? { twice: ['one', { base64: '/w==' }], é: [''] } : {},
  }
  const { partition, timestamp, acceptedAt, producer, contentType, traceparent, tracestate, idempotencyKey } = line
  const message: Message = {
    topic,
    partition,
    timestamp,
    acceptedAt,
    producer,
    contentType,
    traceparent,
    tracestate,
    idempotencyKey,
    value,
    key: isBinary ? Buffer.from([0xff, i]) : i % 11 === 0 ? null : `k${i}`,
    headers: i % 10 === 0 ? [['twice', 'one'], ['twice', Buffer.from([0xff])], ['é', '']] : [], // prettier-ignore
  }
  return { message, line }
}

function open<T>(path: string, codec: RecordCodec<T>, keys: KeyRing | null): Promise<Journal<T>> {
  const options = { directory: path, bytesMax: 1e9, segmentBytes, keys }
  return Journal.open(nodeDisk, clock, codec, { committed() {}, failed() {} }, options)
}

/** A data directory as it lies on the disk in the midst of a run, which `target` gets a copy of. */
async function make(target: string, keys: KeyRing | null): Promise<void> {
  if (existsSync(target)) throw new Error(`${target} is there: golden directories are never made again`)
  const work = join(tmpdir(), `outrigger-golden-${process.pid}`)
  const journal = await open(join(work, 'journal'), messageCodec, keys)
  const lines: Line[] = []
  const append = async (from: number, to: number, group: number): Promise<void> => {
    for (let i = from; i < to; i += group) {
      const messages = Array.from({ length: group }, (_, n) => messageAt(i + n))
      const seq = await journal.append(messages.map(({ message }) => message))
      messages.forEach(({ line }, n) => lines.push({ seq: seq + n, id: `${journal.id}-${seq + n}`, ...line }))
    }
  }
  await append(0, 60, 1)
  await append(60, 72, 4)
  // Files that are used again: old bytes lie behind what is written to them.
  await journal.release(40)
  const firstSeq = journal.firstSeq
  await journal.skipTo(journal.nextSeq + 5)
  await append(72, 102, 3)
  await append(102, 106, 1)

  const receipts = await open(join(work, 'receipts'), receiptCodec, keys)
  const given: Receipt[] = [
    { kind: 'delivered', topic: 'orders', deliveredAt: 1_777_600_000_000, attempts: 2, seqs: [46, 49, 52], partitions: [0, 1, 0], offsets: [100, 7, 101] }, // prettier-ignore
    { kind: 'dead', topic: 'billing', diedAt: 1_777_600_000_001, attempts: 3, seq: 47, reason: 'MESSAGE_TOO_LARGE' },
    { kind: 'lost', topic: null, lostAt: 1_777_600_000_002, reason: 'corrupt', ranges: [[48, 49], [50, 52]] }, // prettier-ignore
    { kind: 'checkpoint', head: 55, positions: new Map([['orders', 53]]) },
  ]
  await receipts.append(given)
  const letters = await open(join(work, 'dead-letters'), deadLetterCodec, keys)
  const { message: dead, line: deadLine } = messageAt(46)
  const letter = { id: `${journal.id}-47`, reason: 'MESSAGE_TOO_LARGE', detail: 'too large', diedAt: 1_777_600_000_001, attempts: 3 } // prettier-ignore
  await letters.append([{ ...letter, message: dead }])
  const exceptions = await open(join(work, 'ledger/metadata-exceptions'), exceptionCodec, keys)
  const refused: LedgerException = { kind: 'refused', at: 1, id: `${journal.id}-46`, topic: 'orders', partition: 0, offset: 100, reason: 'ER_DATA_TOO_LONG', detail: 'd' } // prettier-ignore
  await exceptions.append([refused])
  const forwarder = await CursorFile.open(nodeDisk, join(work, 'forwarder.cursor'), journal.id, { seq: 46, mark: 1 }, keys) // prettier-ignore
  await forwarder.write({ seq: 47, mark: 1, reach: journal.end.nextSeq })
  await forwarder.close()

  await cp(work, target, { recursive: true })
  const segments = (await readdir(join(target, 'journal'))).filter((name) => name.endsWith('.segment')).toSorted()
  for (const each of [journal, receipts, letters, exceptions]) await each.close()
  await rm(work, { recursive: true })

  await writeOldCursor(join(target, 'cursor-v1'), journal.id)
  const expected = {
    journalId: journal.id,
    segments,
    journal: lines.filter(({ seq }) => (seq as number) >= firstSeq),
    receipts: given.map((receipt, i) => ({
      seq: i + 1,
      ...receipt,
      ...(receipt.kind === 'checkpoint' && { positions: Object.fromEntries(receipt.positions) }),
    })),
    'dead-letters': [{ number: 1, ...letter, message: deadLine }],
    'ledger/metadata-exceptions': [{ number: 1, ...refused }],
    repairedLost: await makeRepaired(target, segments, keys),
    cursor: { seq: 47, mark: 1, reach: journal.end.nextSeq },
  }
  await writeFile(join(target, 'expected.json'), `${JSON.stringify(expected, null, 1)}\n`)
}

/** A journal in which a repair has left a gap for records that were lost; which ones. */
async function makeRepaired(
  target: string,
  [damaged = '']: readonly string[],
  keys: KeyRing | null,
): Promise<[number, number]> {
  const broken = join(tmpdir(), `outrigger-golden-broken-${process.pid}`)
  await cp(join(target, 'journal'), broken, { recursive: true })
  const path = join(broken, damaged)
  const bytes = await readFile(path)
  bytes.writeUInt8(bytes.readUInt8(6000) ^ 0x10, 6000)
  await writeFile(path, bytes)
  const source = { disk: nodeDisk, directory: broken, keys }
  const survey = await surveyJournal(source)
  await repairInto(source, { ...survey, journalId: survey.journalId ?? '' }, join(target, 'repaired'))
  await rm(broken, { recursive: true })
  const damage = survey.segments.flatMap(({ damages }) => damages)[0]
  return [damage?.fromSeq ?? 0, damage?.toSeq ?? 0]
}

/** As versions before the first release wrote it. */
async function writeOldCursor(directory: string, journalId: string): Promise<void> {
  const slot = Buffer.alloc(52)
  slot.write('ORCU')
  slot.writeUInt32LE(1, 4)
  slot.writeBigUInt64LE(8n, 8)
  slot.write(journalId, 16)
  slot.writeBigUInt64LE(47n, 32)
  slot.writeBigUInt64LE(1n, 40)
  slot.writeUInt32LE(crc32(slot.subarray(0, 48)), 48)
  await mkdir(directory)
  await writeFile(join(directory, 'forwarder.cursor'), slot)
}

const here = import.meta.dirname
await make(join(here, 'v1'), null)
const key = `golden:${Buffer.from('a key that is committed: for tests'.slice(0, 32)).toString('base64')}`
const keysFile = join(here, 'v1-encrypted.keys')
await mkdir(here, { recursive: true })
await writeFile(keysFile, `# Known to everybody: for the tests alone.\n${key}\n`)
await make(join(here, 'v1-encrypted'), openKeyRing({ keysFile, acceptUnencrypted: false }, systemClock))
