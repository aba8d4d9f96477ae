import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { onTestFinished } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import type { BackupSource } from '../../src/cli/backup.ts'
import { copyDatabase } from '../../src/embedded/database-copy.ts'
import { CursorFile } from '../../src/journal/cursor-file.ts'
import { Journal } from '../../src/journal/journal.ts'
import { nodeDisk } from '../../src/journal/node-disk.ts'
import { receiptCodec } from '../../src/message/receipt.ts'
import type { Receipt } from '../../src/message/receipt.ts'

const textCodec = {
  sizeMax: (text: string) => text.length,
  encode: (text: string, into: Buffer, at: number) => at + into.write(text, at, 'latin1'),
}
const silent = { committed() {}, failed() {} }
const segmentBytes = 64 * 1024

/** A data directory as a sidecar has it, with its files open as a sidecar has them. */
export class DataDirectory {
  readonly root: string
  readonly path: string
  readonly messages: Journal<string>
  readonly receipts: Journal<Receipt>
  readonly letters: Journal<string>
  readonly exceptions: Journal<string>
  readonly forwarder: CursorFile
  readonly recorder: CursorFile

  private constructor(
    root: string,
    journals: {
      messages: Journal<string>
      receipts: Journal<Receipt>
      letters: Journal<string>
      exceptions: Journal<string>
    },
    cursors: { forwarder: CursorFile; recorder: CursorFile },
  ) {
    this.root = root
    this.path = join(root, 'data')
    this.messages = journals.messages
    this.receipts = journals.receipts
    this.letters = journals.letters
    this.exceptions = journals.exceptions
    this.forwarder = cursors.forwarder
    this.recorder = cursors.recorder
  }

  static async open(): Promise<DataDirectory> {
    const root = await mkdtemp(join(tmpdir(), 'outrigger-backup-'))
    onTestFinished(() => rm(root, { recursive: true, force: true }))
    const data = await DataDirectory.openIn(root)
    const broker = new DatabaseSync(join(data.path, 'broker.sqlite'))
    broker.exec(
      'PRAGMA journal_mode = WAL; CREATE TABLE records (id INTEGER PRIMARY KEY); INSERT INTO records VALUES (1)',
    )
    onTestFinished(() => broker.close())
    return data
  }

  static async openIn(root: string, path = join(root, 'data')): Promise<DataDirectory> {
    const open = <T>(
      name: string,
      codec: { sizeMax(record: T): number; encode(record: T, into: Buffer, at: number): number },
    ) =>
      // prettier-ignore
      Journal.open(nodeDisk, systemClock, codec, silent, { directory: join(path, name), bytesMax: 1e9, segmentBytes })
    const journals = {
      messages: await open('journal', textCodec),
      receipts: await open('receipts', receiptCodec),
      letters: await open('dead-letters', textCodec),
      exceptions: await open('ledger/metadata-exceptions', textCodec),
    }
    const { id } = journals.messages
    const cursors = {
      forwarder: await CursorFile.open(nodeDisk, join(path, 'forwarder.cursor'), id, { seq: 1, mark: 1 }),
      recorder: await CursorFile.open(nodeDisk, join(path, 'ledger', 'metadata.cursor'), id, { seq: 1, mark: 1 }),
    }
    return new DataDirectory(root, journals, cursors)
  }

  get source(): BackupSource {
    return { directory: this.path, recorders: ['metadata'], databases: ['ledger.sqlite', 'broker.sqlite'], copyDatabase, version: '1.2.3' } // prettier-ignore
  }

  get backup(): string {
    return join(this.root, 'backup')
  }

  /** Accepts messages, each of 4 KB, so that sixteen fill a segment. */
  async accept(count: number): Promise<void> {
    for (let i = 0; i < count; i++) await this.messages.append([`${this.messages.nextSeq}:`.padEnd(4000, '.')])
  }

  /** As the forwarder: a receipt, a checkpoint, the cursor; and what is below may go as soon as the recorder is there. */
  async deliver(belowSeq: number): Promise<void> {
    const seqs = Array.from(
      { length: belowSeq - this.forwarder.position.seq },
      (_, i) => this.forwarder.position.seq + i,
    )
    const zeros = seqs.map(() => 0)
    await this.receipts.append([{ kind: 'delivered', topic: 't', deliveredAt: 1, attempts: 1, seqs, partitions: zeros, offsets: seqs }]) // prettier-ignore
    const mark = await this.receipts.append([{ kind: 'checkpoint', head: belowSeq, positions: new Map() }])
    await this.forwarder.write({ seq: belowSeq, mark })
  }

  /** As the recorder that has recorded everything: then the files go, or are used again. */
  async recordAll(): Promise<void> {
    await this.recorder.write({ seq: this.forwarder.position.seq, mark: this.receipts.nextSeq })
    await this.messages.release(this.forwarder.position.seq)
    await this.receipts.release(this.forwarder.position.mark)
  }

  async close(): Promise<void> {
    await Promise.all([this.messages, this.receipts, this.letters, this.exceptions].map((journal) => journal.close()))
    await Promise.all([this.forwarder.close(), this.recorder.close()])
  }

  /** The seqs that the message journal holds from `seq` on. */
  async seqsFrom(seq: number): Promise<number[]> {
    const seqs: number[] = []
    const reader = this.messages.reader(seq)
    for (let block = await reader.next(); block; block = await reader.next())
      block.forEach((at, bytes, start, end) => {
        if (bytes.toString('latin1', start, end) !== `${at}:`.padEnd(4000, '.'))
          throw new Error(`message ${at} is another`)
        if (at >= seq) seqs.push(at)
      })
    await reader.close()
    return seqs
  }
}

/** Every file below a directory, by path. */
export async function filesBelow(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1))
    .toSorted()
}
