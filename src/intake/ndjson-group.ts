import { problemJson, type Problem } from '../http/problem.ts'
import type { Message } from '../message/message.ts'

/** How much a group may take in memory. */
const costMax = 512 * 1024
/** What a line costs beside its bytes, as a message and as a problem. */
const messageCost = 128
const problemCost = 512

/** Successive lines of a request: their messages, which are appended together, and their results, which are told together. */
export class NdjsonGroup {
  readonly messages: Message[] = []
  /** Bytes of its lines. */
  bytes = 0
  /** For each line its problem, or null: it is the next of the messages. */
  readonly #results: (Problem | null)[] = []
  readonly #lineNumbers: number[] = []
  #cost = 0

  get lineCount(): number {
    return this.#results.length
  }

  get isFull(): boolean {
    return this.#cost >= costMax
  }

  /** Number of its first line, if it has any. */
  get firstLine(): number | undefined {
    return this.#lineNumbers[0]
  }

  addMessage(message: Message, lineNumber: number, bytes: number): void {
    this.messages.push(message)
    this.#results.push(null)
    this.#lineNumbers.push(lineNumber)
    this.#cost += bytes + messageCost
  }

  addProblem(problem: Problem, lineNumber: number): void {
    this.#results.push({ ...problem, line: lineNumber })
    this.#lineNumbers.push(lineNumber)
    this.#cost += problemCost
  }

  /** Its messages can't be kept. */
  refuseMessages(problem: Problem): void {
    this.messages.length = 0
    for (let i = 0; i < this.#results.length; i++)
      this.#results[i] ??= { ...problem, line: this.#lineNumbers[i] as number }
  }

  /** A result line for each, in order. The messages were kept, with consecutive seqs from `firstSeq`. */
  text(journalId: string, firstSeq: number): string {
    const start = `{"id":"${journalId}-`
    let text = ''
    let seq = firstSeq
    for (const problem of this.#results) text += problem === null ? `${start}${seq++}"}\n` : problemLine(problem)
    return text
  }
}

/** The result line that says that `line` was not taken, and nothing after it. */
export function restLine(problem: Problem, line: number): string {
  const detail = `${problem.detail} Line ${line} and all after it were not taken.`
  return problemLine({ ...problem, detail, line, rest: true })
}

function problemLine(problem: Problem): string {
  return `{"error":${problemJson(problem)}}\n`
}
