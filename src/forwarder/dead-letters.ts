import { decodeMessage, messageCodec } from '../message/message-codec.ts'
import type { StoredMessage } from '../message/message.ts'
import type { DeadLetter, DeadLetterBox, WritableJournal } from './ports.ts'

/**
 * A dead letter as a journal record: the message as it stood in its journal, behind a JSON text about its death.
 *
 * ```
 *   0  1  record version, 1
 *   1  4  length of the JSON text, n
 *   5  n  {"id","reason","detail","diedAt","attempts"}
 *   +  .  the message (see message-codec.ts)
 * ```
 */
export const deadLetterCodec = {
  sizeMax(letter: DeadLetter): number {
    return 5 + Buffer.byteLength(aboutText(letter)) + messageCodec.sizeMax(letter.message)
  },

  encode(letter: DeadLetter, into: Buffer, at: number): number {
    into[at] = recordVersion
    const length = into.write(aboutText(letter), at + 5)
    into.writeUInt32LE(length, at + 1)
    return messageCodec.encode(letter.message, into, at + 5 + length)
  },
}

/** A dead letter as read back. */
export interface StoredDeadLetter extends DeadLetter {
  /** Its number among the dead letters, ascending with time. */
  readonly number: number
  readonly message: StoredMessage
}

/** The record at `start`; its bytes are views. */
export function decodeDeadLetter(bytes: Buffer, start: number, number: number): StoredDeadLetter {
  const version = bytes[start]
  if (version !== recordVersion) throw new Error(`dead letter version ${version} is not known`)
  const end = start + 5 + bytes.readUInt32LE(start + 1)
  const about = JSON.parse(bytes.toString('utf8', start + 5, end)) as Omit<DeadLetter, 'message'>
  return { ...about, number, message: decodeMessage(bytes, end, 0) }
}

/** Keeps dead letters until an operator decides. */
export class DeadLetters implements DeadLetterBox {
  readonly #journal: WritableJournal<DeadLetter>

  constructor(journal: WritableJournal<DeadLetter>) {
    this.#journal = journal
  }

  get count(): number {
    return this.#journal.end.nextSeq - this.#journal.firstSeq
  }

  get bytes(): number {
    return this.#journal.bytes
  }

  async add(letter: DeadLetter): Promise<void> {
    await this.#journal.append([letter])
  }

  /** Shows up to `limit` dead letters with numbers above `after`, oldest first. What is shown is valid only while it is shown. */
  async list<T>(after: number, limit: number, show: (letter: StoredDeadLetter) => T): Promise<T[]> {
    const reader = this.#journal.reader(after + 1)
    const shown: T[] = []
    try {
      for (let block = await reader.next(); block && shown.length < limit; block = await reader.next())
        block.forEach((number, bytes, start) => {
          if (number > after && shown.length < limit) shown.push(show(decodeDeadLetter(bytes, start, number)))
        })
    } finally {
      await reader.close()
    }
    return shown
  }
}

const recordVersion = 1

function aboutText({ id, reason, detail, diedAt, attempts }: DeadLetter): string {
  return JSON.stringify({ id, reason, detail, diedAt, attempts })
}
