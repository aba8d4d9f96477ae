import { UnavailableError } from '../base/errors.ts'
import type { ListenAddress } from '../base/listen-address.ts'
import type { HttpObserver } from '../http/http-listener.ts'
import type { ProblemCode } from '../http/problem-codes.ts'
import type { MessageFate } from '../message/message-fate.ts'
import type { MessagePosition } from '../message/message-id.ts'
import type { Message } from '../message/message.ts'

/** Where accepted messages go. */
export interface MessageSink {
  /** The journal's id: the first part of the ids of its messages. */
  readonly id: string
  /**
   * Keeps messages, which get consecutive seqs. Resolves with the first one after all of them are on stable storage;
   * rejects with an `UnavailableError`.
   */
  append(messages: readonly Message[]): Promise<number>
  /**
   * Why a message of this topic can't be taken now, or null. Asked before its body is; so it is cheap, and does not say all
   * that `append` may say.
   */
  refusal(topic: string, isLowPriority: boolean): UnavailableError | null
  /** How long, in milliseconds, a publisher may wait for room after `append` was rejected for want of it. 0: not at all. */
  readonly roomWaitMs: number
}

/** Whether an append was rejected for want of room, which may come. */
export function isFull(error: unknown): boolean {
  return error instanceof UnavailableError && fullCodes.has(error.code)
}

const fullCodes: ReadonlySet<string> = new Set(['journal_full', 'disk_full', 'backlog_too_old'])

/** Tells what became of messages. */
export interface FateSource {
  /**
   * The fate of a message of this or of another journal, or null when none is known. Rejects with an `UnavailableError`
   * when whoever may know can't be asked.
   */
  find(position: MessagePosition): Promise<MessageFate | null>
}

/** What intake tells of itself, for metrics. None of it may throw. */
export interface IntakeObserver extends HttpObserver {
  /** Messages are on stable storage; `bytes` are those of their bodies or lines. */
  accepted(count: number, bytes: number): void
  /** A publish request (but not a streamed one, which ends when its client likes) was answered, from its head on. */
  answered(durationMs: number, status: number): void
  /** A request was refused, or a line of one, or all of those lines that were to be kept together. */
  refused(code: ProblemCode): void
  /** Something went wrong that is no `UnavailableError`: a bug, or a disk that can't be read. The client got a 500. */
  failed(error: unknown): void
}

/** The configuration's `publish`, resolved: bytes, and milliseconds. */
export interface IntakeOptions {
  readonly listen: readonly ListenAddress[]
  readonly socketMode: number
  readonly allowedHosts: readonly string[]
  /** Largest value of a message. */
  readonly bodyBytesMax: number
  readonly lineBytesMax: number
  /** Most messages in one NDJSON request that has a Content-Length. */
  readonly messagesPerRequestMax: number
  /** Most headers of a message. */
  readonly headersMax: number
  /** Largest head of a request; in NDJSON the largest key and headers of a message, together. */
  readonly headerBytesMax: number
  readonly connectionsMax: number
  readonly headersTimeout: number
  readonly requestTimeout: number
  readonly streamIdleTimeout: number
  readonly keepAliveTimeout: number
  /** Most bytes of messages that are in memory and not yet on disk. */
  readonly pendingBytesMax: number
}
