import type { ConsumedRecord } from '../../src/subscriptions/consumer.ts'
import { parseMessageId } from '../../src/message/message-id.ts'

/** What a publisher sent, as it must stand in the broker. */
export interface SentMessage {
  readonly topic: string
  readonly key: Buffer | null
  readonly value: Buffer | null
  /** In order, without those that Outrigger adds; names as they stand in the broker. */
  readonly headers: readonly (readonly [name: string, value: Buffer])[]
}

/**
 * What the publishers were told. Every message carries a tag of its publisher's in a header, the same when it is sent
 * again after no answer came; ids are Outrigger's, one for each time that it accepted the message.
 */
export class AnswerLog {
  /** The tag of every id that was answered. */
  readonly tags = new Map<string, string>()
  /** Answers whose id was given before, is of another journal, or is lower than an earlier one of the same sequence. */
  faults = 0
  #journalId: string | null = null
  readonly #lastSeqs = new Map<string, number>()

  /** `sequence` names messages that are sent one after another, each once the one before is answered. */
  add(sequence: string, tag: string, id: string): void {
    const { journalId, seq } = partsOf(id)
    this.#journalId ??= journalId
    const isOrdered = seq > (this.#lastSeqs.get(sequence) ?? 0)
    if (this.tags.has(id) || journalId !== this.#journalId || !isOrdered) this.faults++
    this.#lastSeqs.set(sequence, seq)
    // Of two messages with one id the first is lost, or the second is not what it was said to be.
    if (!this.tags.has(id)) this.tags.set(id, tag)
  }
}

/** A record that stands in the broker more than once. */
export interface Duplicate {
  readonly id: string
  /** The timestamps of a record and of the next one after it. */
  readonly firstAt: number
  readonly againAt: number
}

export interface Verdict {
  readonly answered: number
  /** Answered messages that are in the broker. */
  readonly delivered: number
  /** Answered messages that are not. */
  readonly lost: readonly string[]
  /** Records in which topic, key, value or headers are not as they were sent. */
  readonly damaged: readonly string[]
  /** First records of a message that stand behind a later one of the same key, or in another partition. */
  readonly outOfOrder: readonly string[]
  readonly duplicates: readonly Duplicate[]
  /** Messages that were accepted though their publisher got no answer, and so sent them again. */
  readonly keptUnanswered: number
  /** Records that nobody sent. */
  readonly unknown: number
  /** Answers that can't be right; see `AnswerLog.faults`. */
  readonly wrongAnswers: number
}

/** Whether every promise was kept. Duplicates are for the caller to judge: they may stand around crashes. */
export function isFlawless(verdict: Verdict): boolean {
  const { lost, damaged, outOfOrder, unknown, wrongAnswers } = verdict
  return lost.length + damaged.length + outOfOrder.length + unknown + wrongAnswers === 0
}

/** Holds what is in the broker against what the publishers were told. */
export class Trial {
  readonly #answers: AnswerLog
  readonly #tagHeader: string
  readonly #sent: (tag: string) => SentMessage | null
  /** When each id was first seen. */
  readonly #seen = new Map<string, number>()
  readonly #keys = new Map<string, { seq: number; readonly partition: number }>()
  readonly #damaged: string[] = []
  readonly #outOfOrder: string[] = []
  /** When those were seen that are there more than once. Without a key they may be in several partitions, read in any order. */
  readonly #repeated = new Map<string, number[]>()
  #keptUnanswered = 0
  #unknown = 0

  /** `sent` gives the message of a tag, which stands in the header `tagHeader`. */
  constructor(answers: AnswerLog, tagHeader: string, sent: (tag: string) => SentMessage | null) {
    this.#answers = answers
    this.#tagHeader = tagHeader
    this.#sent = sent
  }

  /** Takes a record; those of a partition must come in order. */
  add(record: ConsumedRecord): void {
    const id = headerOf(record, 'outrigger-id')
    const tag = headerOf(record, this.#tagHeader)
    const sent = tag === null ? null : this.#sent(tag)
    if (id === null || parseMessageId(id) === null || sent === null) {
      this.#unknown++
      return
    }
    const answeredTag = this.#answers.tags.get(id)
    if (!isSame(record, sent) || (answeredTag !== undefined && answeredTag !== tag)) this.#damaged.push(id)
    const firstAt = this.#seen.get(id)
    if (firstAt !== undefined) {
      const times = this.#repeated.get(id) ?? [firstAt]
      times.push(record.timestamp)
      this.#repeated.set(id, times)
      return
    }
    this.#seen.set(id, record.timestamp)
    if (answeredTag === undefined) this.#keptUnanswered++
    if (record.key !== null) this.#checkOrder(record, record.key, id)
  }

  verdict(): Verdict {
    const lost = [...this.#answers.tags.keys()].filter((id) => !this.#seen.has(id))
    const answered = this.#answers.tags.size
    return {
      answered,
      delivered: answered - lost.length,
      lost,
      damaged: this.#damaged,
      outOfOrder: this.#outOfOrder,
      duplicates: [...this.#repeated].flatMap(([id, times]) => duplicatesOf(id, times)),
      keptUnanswered: this.#keptUnanswered,
      unknown: this.#unknown,
      wrongAnswers: this.#answers.faults,
    }
  }

  #checkOrder({ topic, partition }: ConsumedRecord, key: Buffer, id: string): void {
    const name = `${topic}/${key.toString('latin1')}`
    const { seq } = partsOf(id)
    const last = this.#keys.get(name)
    if (last === undefined) {
      this.#keys.set(name, { seq, partition })
    } else if (seq > last.seq && partition === last.partition) {
      last.seq = seq
    } else {
      this.#outOfOrder.push(id)
    }
  }
}

function partsOf(id: string): { readonly journalId: string; readonly seq: number } {
  const parts = parseMessageId(id)
  if (parts === null) throw new Error(`“${id}” is not the id of a message`)
  return parts
}

function duplicatesOf(id: string, times: readonly number[]): Duplicate[] {
  const sorted = times.toSorted((a, b) => a - b)
  return sorted.slice(1).map((againAt, i) => ({ id, firstAt: sorted[i] as number, againAt }))
}

function headerOf(record: ConsumedRecord, name: string): string | null {
  const header = record.headers.find(([each]) => each === name)
  return header === undefined ? null : header[1].toString()
}

/** What Outrigger puts before the publisher's headers. */
const added = ['outrigger-id', 'outrigger-accepted-at']

function isSame(record: ConsumedRecord, sent: SentMessage): boolean {
  const own = record.headers.slice(0, added.length).map(([name]) => name)
  const headers = record.headers.slice(added.length)
  return (
    record.topic === sent.topic &&
    isEqual(record.key, sent.key) &&
    isEqual(record.value, sent.value) &&
    own.join() === added.join() &&
    headers.length === sent.headers.length &&
    sent.headers.every(([name, value], i) => headers[i]?.[0] === name && value.equals(headers[i][1]))
  )
}

function isEqual(a: Buffer | null, b: Buffer | null): boolean {
  return a === null || b === null ? a === b : a.equals(b)
}
