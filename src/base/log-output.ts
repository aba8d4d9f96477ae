import { constants, fstatSync, openSync, write, writeSync } from 'node:fs'
import { isatty } from 'node:tty'
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import type { Clock } from './clock.ts'
import { codeOf } from './errors.ts'

/** Takes log lines, each with its line break. Never throws, never waits. */
export interface LineSink {
  write(line: string): void
}

/** Where bytes go at last. An immediate one takes what it can at once, or throws; one that waits must be waited for. */
export type LogTarget =
  | { readonly kind: 'immediate'; write(bytes: Buffer): number }
  | { readonly kind: 'waiting'; write(bytes: Buffer): Promise<number> }

/** What another thread logs to; see `ThreadLogSink`. */
export interface LogChannel {
  readonly port: MessagePort
  /** Characters under way, and lines that were lost because there were too many. */
  readonly counts: SharedArrayBuffer
}

/** What a thread may have waiting until its log is read, in bytes (or characters, between threads). */
const waitingBytesMax = 1024 * 1024
const retryDelayMs = 5
/** While a reader does not read. */
const stalledDelayMaxMs = 50
/** While the disk is full, or the reader gone. */
const failedDelayMaxMs = 1000

/**
 * The end of the log: whole lines, in order, to one descriptor, from one thread. Other threads send theirs here, so lines
 * of any length never mix.
 *
 * A log that can't be written neither ends nor holds up anything. Lines wait in memory, up to a limit; what comes beyond
 * is lost and counted, until all that waited is written. Then `lost` is told how many there were.
 */
export class LogOutput implements LineSink {
  readonly #target: LogTarget
  readonly #clock: Clock
  readonly #lost: (lines: number) => void
  readonly #bytesMax: number
  readonly #channels = new Map<MessagePort, LogChannel>()
  #lines: Buffer[] = []
  #bytes = 0
  /** Of the first line, how much is written. */
  #offset = 0
  #lostLines = 0
  #delayMs = retryDelayMs
  /** The next try is due later. */
  #pausing = false
  /** A write that waits for its reader. */
  #writing: Promise<void> | null = null

  constructor(target: LogTarget, clock: Clock, lost: (lines: number) => void, bytesMax = waitingBytesMax) {
    this.#target = target
    this.#clock = clock
    this.#lost = lost
    this.#bytesMax = bytesMax
  }

  /** Whether a write waits for the reader in a thread of Node's pool, which the end of the process would wait for. */
  get isHeldUp(): boolean {
    return this.#writing !== null
  }

  write(line: string): void {
    const bytes = Buffer.from(line)
    // Once lines are missing, the next that is written says so.
    if (this.#lostLines > 0 || this.#bytes + bytes.length > this.#bytesMax) {
      this.#lostLines++
      return
    }
    this.#lines.push(bytes)
    this.#bytes += bytes.length
    if (!this.#pausing) this.#writeOn()
  }

  /** For a thread that is about to start: its `ThreadLogSink` sends lines here. `port` is to be transferred. */
  open(): { readonly channel: LogChannel; readonly closed: () => void } {
    const { port1, port2 } = new MessageChannel()
    const channel: LogChannel = { port: port2, counts: new SharedArrayBuffer(8) }
    this.#channels.set(port1, channel)
    port1.on('message', (line: string) => this.#take(channel, line))
    const closed = (): void => {
      this.#takeAll(port1, channel)
      this.#channels.delete(port1)
      port1.close()
    }
    return { channel, closed }
  }

  /** Before the process ends: gives what waits another chance to be written, for at most so long. */
  async flush(timeoutMs: number): Promise<void> {
    for (const [port, channel] of this.#channels) this.#takeAll(port, channel)
    const until = this.#clock.monotonic() + timeoutMs
    while (this.#lines.length > 0) {
      this.#writeOn()
      const leftMs = until - this.#clock.monotonic()
      if (this.#lines.length === 0 || leftMs <= 0) return
      if (this.#writing !== null) await this.#within(leftMs, this.#writing)
      // Nothing else may happen any more if it can be helped: this may be the way out of a bug.
      if (this.#lines.length > 0 && this.#writing === null) holdStill(retryDelayMs)
    }
  }

  #take({ counts }: LogChannel, line: string): void {
    const shared = new Int32Array(counts)
    const left = Atomics.sub(shared, 0, line.length) - line.length
    this.write(line)
    // What was lost comes after what was kept.
    const lost = left === 0 ? Atomics.exchange(shared, 1, 0) : 0
    if (lost > 0) this.#lose(lost)
  }

  #takeAll(port: MessagePort, channel: LogChannel): void {
    for (let next = receiveMessageOnPort(port); next; next = receiveMessageOnPort(port))
      this.#take(channel, next.message as string)
  }

  #lose(lines: number): void {
    this.#lostLines += lines
    if (!this.#pausing) this.#writeOn()
  }

  #writeOn(): void {
    if (this.#writing !== null) return
    const target = this.#target
    if (target.kind === 'waiting') {
      if (this.#lines.length > 0) this.#writing = this.#writeWaiting(target)
      return
    }
    try {
      for (let rest = this.#rest(); rest; rest = this.#rest()) this.#wrote(target.write(rest))
    } catch (error) {
      this.#later(error)
      return
    }
    this.#tellLost()
  }

  async #writeWaiting(target: Extract<LogTarget, { kind: 'waiting' }>): Promise<void> {
    try {
      for (let rest = this.#rest(); rest; rest = this.#rest()) this.#wrote(await target.write(rest))
    } catch (error) {
      this.#later(error)
      return
    } finally {
      this.#writing = null
    }
    this.#tellLost()
  }

  #rest(): Buffer | undefined {
    return this.#lines[0]?.subarray(this.#offset)
  }

  #wrote(bytes: number): void {
    this.#delayMs = retryDelayMs
    this.#offset += bytes
    const line = this.#lines[0] as Buffer
    if (this.#offset < line.length) return
    this.#lines.shift()
    this.#bytes -= line.length
    this.#offset = 0
  }

  /** There is nobody to tell why; whoever reads the log again is told how many lines are missing. */
  #later(error: unknown): void {
    if (this.#pausing) return
    void this.#tryLater(codeOf(error) === 'EAGAIN')
  }

  async #tryLater(isStalled: boolean): Promise<void> {
    this.#pausing = true
    const delayMs = this.#delayMs
    this.#delayMs = Math.min(2 * delayMs, isStalled ? stalledDelayMaxMs : failedDelayMaxMs)
    await this.#clock.sleep(delayMs)
    this.#pausing = false
    this.#writeOn()
  }

  #tellLost(): void {
    const lines = this.#lostLines
    if (lines === 0 || this.#lines.length > 0) return
    this.#lostLines = 0
    this.#lost(lines)
  }

  async #within(ms: number, work: Promise<void>): Promise<void> {
    const over = new AbortController()
    await Promise.race([work, this.#clock.sleep(ms, over.signal).catch(() => {})])
    over.abort()
  }
}

/** Sends log lines to the thread that writes them. What that does not read in time is lost, and counted. */
export class ThreadLogSink implements LineSink {
  readonly #port: MessagePort
  readonly #counts: Int32Array

  constructor({ port, counts }: LogChannel) {
    this.#port = port
    this.#counts = new Int32Array(counts)
  }

  write(line: string): void {
    if (Atomics.load(this.#counts, 0) + line.length > waitingBytesMax) {
      Atomics.add(this.#counts, 1, 1)
      return
    }
    Atomics.add(this.#counts, 0, line.length)
    this.#port.postMessage(line)
  }
}

/**
 * Opens a descriptor for log lines, such as 1.
 *
 * A pipe's or a terminal's reader may stall, and writing would then stop the thread. O_NONBLOCK prevents that, but it
 * belongs to the open file description, which other processes share (the shell, `tee`); so the same pipe is opened once
 * more by its name in /proc, and that description is ours alone. A file or a device needs none of this, and must not be
 * opened anew: a second description would have its own position, and overwrite.
 *
 * Where that can't be done (sockets, as systemd and Node give them to their children; other systems than Linux; another
 * user's pipe) a thread of Node's pool writes, one line at a time: while the reader stalls it holds up that one of the
 * four, and never more, because one thread of Outrigger does all the writing.
 */
export function openLogTarget(descriptor: number): LogTarget {
  const stats = fstatSync(descriptor)
  const hasReader = isatty(descriptor) || !(stats.isFile() || stats.isCharacterDevice() || stats.isBlockDevice())
  const own = hasReader ? openAgain(descriptor) : descriptor
  if (own !== null) return { kind: 'immediate', write: (bytes) => writeSync(own, bytes) }
  return {
    kind: 'waiting',
    write: (bytes) =>
      new Promise((resolve, reject) => {
        write(descriptor, bytes, (error, written) => {
          if (error) reject(error)
          else resolve(written)
        })
      }),
  }
}

function openAgain(descriptor: number): number | null {
  const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = constants
  try {
    return openSync(`/proc/self/fd/${descriptor}`, O_WRONLY | O_NONBLOCK | O_NOCTTY)
  } catch {
    // Then it is written the other way.
    return null
  }
}

function holdStill(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}
