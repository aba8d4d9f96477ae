import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { join } from 'node:path'
import { StringDecoder } from 'node:string_decoder'
import { namesIn } from '../journal/disk-look.ts'
import { DirectoryLock } from '../journal/directory-lock.ts'
import { Journal } from '../journal/journal.ts'
import { surveyParts } from '../journal/journal-survey.ts'
import { messageCodec } from '../message/message-codec.ts'
import { formatMessageId } from '../message/message-id.ts'
import type { Message } from '../message/message.ts'
import type { TextOutput } from './config-check.ts'
import { FinishedMessages } from './journal-finished.ts'
import type { JournalTools } from './journal-folder.ts'
import { JournalCommandError, countText, journalExits, sourceOf } from './journal-folder.ts'
import { messageOfLine } from './journal-line-parser.ts'

export interface ImportTarget {
  /** `journal.directory`. */
  readonly directory: string
  readonly bytesMax: number
  readonly segmentBytes: number
}

export interface ImportOptions {
  /** Leave out what the journal holds already, byte for byte: an import that was cut short can be run again. */
  readonly once: boolean
  readonly json: boolean
}

const batchMessagesMax = 1000
const batchBytesMax = 1024 * 1024

/**
 * Appends messages, as `export` writes them, to the journal of a stopped Outrigger, which delivers them when it starts. They
 * get new ids; everything else of them stays, the time of acceptance too. Throws at the first line that is not a message,
 * having kept those before, and says how many these were. Returns the exit code.
 */
export async function importMessages(
  tools: JournalTools,
  target: ImportTarget,
  input: Readable,
  { once, json }: ImportOptions,
  out: TextOutput,
  err: TextOutput,
): Promise<number> {
  const { disk, clock } = tools
  await disk.makeDirectory(target.directory)
  const lock = DirectoryLock.take(target.directory)
  try {
    const held = once ? await heldMessages(tools, join(target.directory, 'journal')) : null
    const journal = await openJournal(tools, target)
    const importing = new Importing(journal, held)
    try {
      let number = 0
      for await (const line of linesOf(input)) {
        number++
        if (line.trim() === '') continue
        const parsed = messageOfLine(line, clock.now())
        if (typeof parsed === 'string') {
          await importing.flush()
          throw new JournalCommandError(`line ${number} is not a message: ${parsed}`)
        }
        await importing.add(parsed)
      }
      await importing.flush()
    } catch (error) {
      err.write(`${importedText(journal, importing)} Then it failed:\n`)
      throw error
    } finally {
      await journal.close()
    }
    const { imported, left, fromSeq } = importing
    const toSeq = fromSeq === null ? null : fromSeq + imported
    if (json) out.write(`${JSON.stringify({ journalId: journal.id, imported, left, fromSeq, toSeq })}\n`)
    else out.write(`${importedText(journal, importing)}\n`)
    return journalExits.fine
  } finally {
    lock.release()
  }
}

async function openJournal({ disk, clock, keys }: JournalTools, target: ImportTarget): Promise<Journal<Message>> {
  const { directory, bytesMax, segmentBytes } = target
  const finished = await FinishedMessages.read({ disk, clock, keys }, directory)
  const options = { directory: join(directory, 'journal'), bytesMax, segmentBytes, keys }
  const journal = await Journal.open(disk, clock, messageCodec, { committed() {}, failed() {} }, options)
  try {
    if (finished.journalId !== null && finished.journalId !== journal.id)
      throw new JournalCommandError(
        `the cursor in ${directory} is of journal ${finished.journalId}, but the journal there is ${journal.id}`,
        {
          hint: 'Put the files of one data directory back together, or move the cursor away.',
        },
      )
    // What lies below was given to other messages: those that get it now would pass for delivered.
    await journal.skipTo(finished.reach)
    return journal
  } catch (error) {
    await journal.close()
    throw error
  }
}

/** Its lines, one at a time. A failure to read is thrown. */
async function* linesOf(input: Readable): AsyncGenerator<string> {
  const decoder = new StringDecoder('utf8')
  let begun: string[] = []
  for await (const chunk of input as AsyncIterable<Buffer | string>) {
    const text = typeof chunk === 'string' ? chunk : decoder.write(chunk)
    const pieces = text.split('\n')
    const last = pieces.pop() ?? ''
    for (const piece of pieces) {
      begun.push(piece)
      yield begun.join('')
      begun = []
    }
    begun.push(last)
  }
  yield begun.join('') + decoder.end()
}

/** Appends messages in batches, one after the other. */
class Importing {
  imported = 0
  /** How many were left out, because they are there. */
  left = 0
  fromSeq: number | null = null
  readonly #journal: Journal<Message>
  readonly #held: HeldMessages | null
  #batch: Message[] = []
  #batchBytes = 0

  constructor(journal: Journal<Message>, held: HeldMessages | null) {
    this.#journal = journal
    this.#held = held
  }

  async add(message: Message): Promise<void> {
    if (this.#held?.take(encoded(message))) {
      this.left++
      return
    }
    this.#batch.push(message)
    this.#batchBytes += messageCodec.sizeMax(message)
    if (this.#batch.length >= batchMessagesMax || this.#batchBytes >= batchBytesMax) await this.flush()
  }

  async flush(): Promise<void> {
    const batch = this.#batch
    if (batch.length === 0) return
    const seq = await this.#journal.append(batch)
    this.#batch = []
    this.#batchBytes = 0
    this.fromSeq ??= seq
    this.imported += batch.length
  }
}

/** What a journal holds, to tell whether a message is among it: 8 bytes for each, however large it is. */
class HeldMessages {
  readonly #hashes: BigUint64Array
  /** How often one was taken of those that are there several times. */
  readonly #taken = new Map<bigint, number>()

  constructor(hashes: BigUint64Array) {
    this.#hashes = hashes.toSorted()
  }

  /** Whether it is there; each that is there counts once. */
  take(record: Buffer): boolean {
    const hash = hashOf(record)
    const taken = this.#taken.get(hash) ?? 0
    if (this.#hashes[this.#firstOf(hash) + taken] !== hash) return false
    this.#taken.set(hash, taken + 1)
    return true
  }

  #firstOf(hash: bigint): number {
    let [low, high] = [0, this.#hashes.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#hashes[middle] as bigint) < hash) low = middle + 1
      else high = middle
    }
    return low
  }
}

async function heldMessages(tools: JournalTools, directory: string): Promise<HeldMessages> {
  let hashes = new BigUint64Array(1024)
  let count = 0
  if ((await namesIn(tools.disk, directory)).length > 0)
    for await (const part of surveyParts(sourceOf(tools, directory)))
      if (part.kind === 'block')
        part.block.forEach((_, bytes, start, end) => {
          if (count === hashes.length) {
            const larger = new BigUint64Array(count * 2)
            larger.set(hashes)
            hashes = larger
          }
          hashes[count++] = hashOf(bytes.subarray(start, end))
        })
  return new HeldMessages(hashes.subarray(0, count))
}

function hashOf(record: Buffer): bigint {
  return createHash('sha256').update(record).digest().readBigUInt64LE()
}

function encoded(message: Message): Buffer {
  const bytes = Buffer.allocUnsafe(messageCodec.sizeMax(message))
  return bytes.subarray(0, messageCodec.encode(message, bytes, 0))
}

function importedText({ id }: Journal<Message>, { imported, left, fromSeq }: Importing): string {
  const range = fromSeq === null ? '' : `, as ${formatMessageId(id, fromSeq)} to ${formatMessageId(id, fromSeq + imported - 1)}` // prettier-ignore
  const known = left === 0 ? '' : ` ${left} were there already.`
  return `Imported ${countText(imported, 'message')}${range}.${known}`
}
