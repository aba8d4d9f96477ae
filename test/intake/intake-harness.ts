import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import type { UnavailableError } from '../../src/base/errors.ts'
import type { ListenAddress } from '../../src/base/listen-address.ts'
import { Intake } from '../../src/intake/intake.ts'
import type { FateSource, IntakeObserver, IntakeOptions, MessageSink } from '../../src/intake/ports.ts'
import type { MessageFate } from '../../src/message/message-fate.ts'
import type { Bytes, Message } from '../../src/message/message.ts'
import { RawConnection, type RawAnswer } from '../http/raw-http.ts'

export const journalId = '0123456789abc'

/** A sink that keeps messages in memory, and fails or waits when told to. */
export class FakeSink implements MessageSink {
  readonly id = journalId
  readonly messages: Message[] = []
  /** How many messages came with each call. */
  readonly calls: number[] = []
  failure: Error | null = null
  refusals: (topic: string, isLowPriority: boolean) => UnavailableError | null = () => null
  roomWaitMs = 0
  #held: (() => void)[] | null = null

  async append(messages: readonly Message[]): Promise<number> {
    this.calls.push(messages.length)
    const { failure } = this
    const firstSeq = this.messages.length + 1
    if (failure === null) this.messages.push(...messages)
    const held = this.#held
    if (held !== null) await new Promise<void>((resolve) => held.push(resolve))
    if (failure !== null) throw failure
    return firstSeq
  }

  refusal(topic: string, isLowPriority: boolean): UnavailableError | null {
    return this.refusals(topic, isLowPriority)
  }

  /** Answers no append until `letGo`. */
  hold(): void {
    this.#held ??= []
  }

  letGo(): void {
    const held = this.#held ?? []
    this.#held = null
    for (const resolve of held) resolve()
  }

  get values(): (string | null)[] {
    return this.messages.map((message) => textOf(message.value))
  }
}

class FakeFates implements FateSource {
  readonly fates = new Map<number, MessageFate>()
  failure: Error | null = null

  find(position: { readonly journalId: string; readonly seq: number }): Promise<MessageFate | null> {
    if (this.failure !== null) return Promise.reject(this.failure)
    return Promise.resolve((position.journalId === journalId && this.fates.get(position.seq)) || null)
  }
}

class RecordingObserver implements IntakeObserver {
  acceptedCount = 0
  acceptedBytes = 0
  readonly statuses: number[] = []
  readonly codes: string[] = []
  readonly errors: unknown[] = []
  droppedCount = 0

  accepted(count: number, bytes: number): void {
    this.acceptedCount += count
    this.acceptedBytes += bytes
  }

  answered(durationMs: number, status: number): void {
    if (!(durationMs >= 0)) throw new Error(`an answer took ${durationMs} ms`)
    this.statuses.push(status)
  }

  refused(code: string): void {
    this.codes.push(code)
  }

  failed(error: unknown): void {
    this.errors.push(error)
  }

  dropped(): void {
    this.droppedCount++
  }
}

/** An intake on a free port and a Unix socket, with limits that tests can reach. */
export class IntakeHarness {
  readonly sink = new FakeSink()
  readonly fates = new FakeFates()
  readonly observer = new RecordingObserver()
  readonly intake: Intake
  readonly folder: string

  private constructor(folder: string, options: Partial<IntakeOptions>) {
    this.folder = folder
    this.intake = new Intake(this.sink, this.fates, systemClock, this.observer, {
      listen: [
        { kind: 'tcp', host: '127.0.0.1', port: 0 },
        { kind: 'unix', path: join(folder, 'run', 'publish.sock') },
      ],
      socketMode: 0o660,
      allowedHosts: ['app.test'],
      bodyBytesMax: 64 * 1024,
      lineBytesMax: 128 * 1024,
      messagesPerRequestMax: 1000,
      headersMax: 8,
      headerBytesMax: 16 * 1024,
      connectionsMax: 100,
      headersTimeout: 10_000,
      requestTimeout: 30_000,
      streamIdleTimeout: 300_000,
      keepAliveTimeout: 75_000,
      pendingBytesMax: 8 * 1024 * 1024,
      ...options,
    })
  }

  static async start(options: Partial<IntakeOptions> = {}): Promise<IntakeHarness> {
    const harness = new IntakeHarness(await mkdtemp(join(tmpdir(), 'outrigger-intake-')), options)
    await harness.intake.start()
    return harness
  }

  get tcp(): ListenAddress & { kind: 'tcp' } {
    return this.intake.addresses[0] as ListenAddress & { kind: 'tcp' }
  }

  get unix(): ListenAddress & { kind: 'unix' } {
    return this.intake.addresses[1] as ListenAddress & { kind: 'unix' }
  }

  connect(options: { allowHalfOpen?: boolean } = {}): Promise<RawConnection> {
    return RawConnection.open(this.tcp, options)
  }

  /** Writes bytes on a connection of its own, and takes the first answer. */
  async send(bytes: string | Buffer): Promise<RawAnswer> {
    using connection = await this.connect()
    connection.write(bytes)
    return await connection.answer()
  }

  async stop(): Promise<void> {
    this.sink.letGo()
    await this.intake.destroy()
    await rm(this.folder, { recursive: true, force: true })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}

/** A POST with a body of known length. */
export function post(target: string, body: string | Buffer, headers: Readonly<Record<string, string>> = {}): Buffer {
  return Buffer.concat([
    head('POST', target, { ...headers, 'Content-Length': String(Buffer.byteLength(body)) }),
    Buffer.from(body as string),
  ])
}

export function head(method: string, target: string, headers: Readonly<Record<string, string>> = {}): Buffer {
  const all = { Host: 'localhost', ...headers }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  return Buffer.from(`${method} ${target} HTTP/1.1\r\n${lines.join('')}\r\n`, 'latin1')
}

export const ndjson = { 'Content-Type': 'application/x-ndjson' }
export const ndjsonStream = { ...ndjson, 'Transfer-Encoding': 'chunked' }

/** The result lines of an NDJSON answer. */
export function resultsOf(body: string): { id?: string; error?: { code: string; line: number; rest?: true } }[] {
  return body
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as { id?: string })
}

export function codeOf(answer: RawAnswer): string {
  return (JSON.parse(answer.body) as { code: string }).code
}

export function textOf(bytes: Bytes | null): string | null {
  return bytes === null || typeof bytes === 'string' ? bytes : Buffer.from(bytes).toString('utf8')
}
