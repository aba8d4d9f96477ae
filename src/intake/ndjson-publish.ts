import type { ServerResponse } from 'node:http'
import { acceptBody } from '../http/answer.ts'
import type { BodySink, HttpRequest } from '../http/http-request.ts'
import type { Problem } from '../http/problem.ts'
import type { Message } from '../message/message.ts'
import { isBlank, LineReader } from './line-reader.ts'
import { NdjsonGroup, restLine } from './ndjson-group.ts'
import { readNdjsonMessage, type SharedFields } from './ndjson-message.ts'
import { PublishRequest, type PublishContext } from './publish-request.ts'
import { appendProblem, overloadedProblem, Refusal, tooManyProblem } from './refusal.ts'

/** What the head of a request says for all of its lines. */
export interface RequestFields extends SharedFields {
  readonly isLowPriority: boolean
}

/**
 * A request with a message on each line. Lines are gathered in a group as they come, while the group before is on its way to
 * stable storage. One group at a time is under way, so that no line is kept after one that was refused for want of room; and
 * when the next group is full, nothing more is read, so that memory is bounded however much the client sends.
 *
 * How the client is told is up to the two kinds of it.
 */
export abstract class NdjsonPublish extends PublishRequest implements BodySink {
  readonly #shared: RequestFields
  readonly #lines: LineReader
  #gathering = new NdjsonGroup()
  #appending: NdjsonGroup | null = null
  /** Lines that have a result, or will have one. */
  #lineCount = 0
  #acceptedCount = 0
  /** Bytes received and not yet told of. */
  #held = 0
  #paused = false
  #bodyEnded = false
  /** Why the client is told that the rest was not taken. What was received before still is. */
  #stop: Problem | null = null
  /** The first line that is not taken, although it was received. */
  #cutAt: number | null = null
  /** Why no line is kept any more: those that follow one that was refused must not overtake it. */
  #failure: Problem | null = null
  /** The client is gone, or has heard everything. */
  #over = false
  #unwatch: () => void = () => {}

  constructor(context: PublishContext, request: HttpRequest, response: ServerResponse, shared: RequestFields) {
    super(context, request, response)
    this.#shared = shared
    this.#lines = new LineReader(context.options)
  }

  /** Whether lines are appended as soon as they can be, instead of when a group is full. */
  protected abstract readonly isEager: boolean
  /** Most lines that are taken. */
  protected abstract readonly linesMax: number

  /** Whether the client has not yet taken what it was told. */
  protected abstract get isClogged(): boolean
  /** Result lines. */
  protected abstract tell(results: string): void
  /** A group could not be kept, and so none after it will be; of those that are read, each line is told so. */
  protected abstract onFailure(problem: Problem): void
  /** The client sent something that is not HTTP, or was too slow. */
  protected abstract onBroken(problem: Problem): void
  /** Everything was told; of the rest that was not taken, if any, the last line tells. */
  protected abstract end(lineCount: number, acceptedCount: number, rest: Problem | null): void

  /** Why no message of this request can be taken now, or null. */
  protected refusal(): Problem | null {
    const { topic, isLowPriority } = this.#shared
    const refusal = this.context.sink.refusal(topic, isLowPriority)
    return refusal && appendProblem(refusal)
  }

  protected begin(): void {
    const unwatch = this.request.peer?.whenGone(() => this.abandon())
    if (unwatch !== undefined) this.#unwatch = unwatch
    acceptBody(this.request, this.response, this)
  }

  onBodyChunk(chunk: Buffer): boolean {
    if (this.#over || this.#stop !== null) return true
    if (!this.context.admission.reserve(chunk.length)) {
      this.stop(overloadedProblem)
      return true
    }
    this.#held += chunk.length
    this.#lines.push(chunk)
    this.pump()
    this.#letGo(this.#lines.takeForgotten())
    this.#paused = !this.#over && this.#stop === null && this.#lines.hasMore
    return !this.#paused
  }

  onBodyEnd(): void {
    this.#bodyEnded = true
    this.#lines.end()
    this.pump()
  }

  onBodyFailed(problem: Problem | null): void {
    if (problem === null) this.abandon()
    else this.onBroken(problem)
  }

  /** Takes what was received so far, and tells that the rest was not taken. */
  protected stop(problem: Problem): void {
    this.#stop ??= problem
    this.pump()
  }

  /** As `stop`, and takes nothing more of what was received either. */
  protected cut(problem: Problem): void {
    this.#cutAt ??= this.#gathering.firstLine ?? this.#lines.lineNumber + 1
    this.#lineCount -= this.#gathering.lineCount
    this.#gathering = new NdjsonGroup()
    this.stop(problem)
  }

  /** Whether some lines were kept, or may be. */
  protected get hasKept(): boolean {
    return this.#acceptedCount > 0 || this.#appending !== null
  }

  protected get isAppending(): boolean {
    return this.#appending !== null
  }

  /** Nobody is there to be told. What is on its way to the disk will get there. */
  protected abandon(): void {
    this.#unwatch()
    // What is on its way to the disk is in memory until it is there.
    this.#letGo(this.#held - (this.#appending?.bytes ?? 0))
    this.#over = true
  }

  #letGo(bytes: number): void {
    // When it was over, all was let go but what was being appended.
    if (this.#over) return
    this.context.admission.release(bytes)
    this.#held -= bytes
  }

  /** Goes on as far as it can. */
  protected pump(): void {
    while (!this.#over) {
      this.#readLines()
      const allRead = this.#cutAt !== null || !this.#lines.hasMore
      const isLast = allRead && (this.#bodyEnded || this.#stop !== null)
      if (allRead) this.#flow()
      if (this.#appending !== null || this.isClogged) return
      const { lineCount, isFull } = this.#gathering
      if (lineCount > 0 && (isFull || isLast || this.isEager)) this.#append()
      else if (isLast) this.#finish()
      else return
    }
  }

  #flow(): void {
    if (!this.#paused) return
    this.#paused = false
    this.request.resumeBody()
  }

  #readLines(): void {
    const lines = this.#lines
    const acceptedAt = this.context.clock.now()
    while (this.#cutAt === null && !this.#gathering.isFull && lines.next()) {
      const group = this.#gathering
      if (lines.fault === null && isBlank(lines.line)) {
        this.#letGo(lines.lineBytes)
        continue
      }
      group.bytes += lines.lineBytes
      if (this.#lineCount === this.linesMax) {
        this.#cutAt = lines.lineNumber
        this.#stop = tooManyProblem(this.linesMax)
        return
      }
      this.#lineCount++
      if (this.#failure === null) this.#takeLine(group, acceptedAt)
      else group.addProblem(this.#failure, lines.lineNumber)
    }
  }

  #takeLine(group: NdjsonGroup, acceptedAt: number): void {
    const { lineNumber, lineBytes } = this.#lines
    try {
      group.addMessage(this.#readMessage(acceptedAt), lineNumber, lineBytes)
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      this.context.observer?.refused(error.code)
      group.addProblem(error.problem, lineNumber)
    }
  }

  #readMessage(acceptedAt: number): Message {
    const { options } = this.context
    const { fault, line } = this.#lines
    switch (fault) {
      case null:
        return readNdjsonMessage(line, this.#shared, acceptedAt, options)
      case 'too_long':
        throw new Refusal('line_too_long', `A line has at most ${options.lineBytesMax} bytes (publish.lineBytesMax).`)
      case 'not_utf8':
        throw new Refusal('line_invalid', 'The line is not UTF-8.')
      default:
        return fault satisfies never
    }
  }

  #append(): void {
    const group = this.#gathering
    this.#gathering = new NdjsonGroup()
    const { appender, sink } = this.context
    if (group.messages.length === 0) {
      this.#told(group, group.text('', 0))
      return
    }
    this.#appending = group
    const { topic, isLowPriority } = this.#shared
    const refusal = sink.refusal(topic, isLowPriority)
    // In the midst of a request as well: it may be a long one, and the journal may have filled up meanwhile.
    const appended =
      refusal === null
        ? appender.append(group.messages, () => this.#over || this.isGone)
        : Promise.reject<number>(refusal)
    void appended.then(
      (firstSeq) => this.#onAppended(group, firstSeq),
      (error: unknown) => this.#onAppendFailed(group, error),
    )
  }

  #onAppended(group: NdjsonGroup, firstSeq: number): void {
    const { appender, observer } = this.context
    const { length } = group.messages
    observer?.accepted(length, group.bytes)
    this.#acceptedCount += length
    this.#appending = null
    if (this.#over) {
      this.context.admission.release(group.bytes)
      return
    }
    this.#told(group, group.text(appender.journalId, firstSeq))
    this.pump()
  }

  #onAppendFailed(group: NdjsonGroup, error: unknown): void {
    const problem = appendProblem(error)
    const { observer } = this.context
    observer?.refused(problem.code)
    if (problem.code === 'internal') observer?.failed(error)
    this.#appending = null
    if (this.#over) {
      this.context.admission.release(group.bytes)
      return
    }
    this.#failure = problem
    group.refuseMessages(problem)
    this.#gathering.refuseMessages(problem)
    this.#told(group, group.text('', 0))
    this.onFailure(problem)
    this.pump()
  }

  #told(group: NdjsonGroup, results: string): void {
    this.#letGo(group.bytes)
    this.tell(results)
  }

  #finish(): void {
    if (this.#stop !== null) {
      const line = this.#cutAt ?? this.#lines.lineNumber + 1
      this.tell(restLine(this.#stop, line))
    }
    this.abandon()
    this.end(this.#lineCount + (this.#stop === null ? 0 : 1), this.#acceptedCount, this.#stop)
  }
}
