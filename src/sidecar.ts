import { join } from 'node:path'
import type { AdminSource } from './admin/admin-api.ts'
import { adminApi } from './admin/admin-api.ts'
import { DeliveryMetrics } from './admin/delivery-metrics.ts'
import { IntakeMetrics } from './admin/intake-metrics.ts'
import type { Clock } from './base/clock.ts'
import type { ListenAddress } from './base/listen-address.ts'
import type { Log } from './base/log.ts'
import { formatListenAddress } from './config/listen-address.ts'
import type { Config } from './config/schema.ts'
import { DeliveryThread } from './delivery-thread.ts'
import type { HttpListenerOptions } from './http/http-listener.ts'
import { HttpListener } from './http/http-listener.ts'
import { Intake } from './intake/intake.ts'
import type { IntakeObserver } from './intake/ports.ts'
import { DirectoryLock } from './journal/directory-lock.ts'
import type { Disk } from './journal/disk.ts'
import { Journal } from './journal/journal.ts'
import { messageCodec } from './message/message-codec.ts'
import type { Message } from './message/message.ts'

export interface SidecarOptions {
  /** The program's main module, which the delivering thread runs too. */
  readonly entry: URL
  readonly version: string
  /** The configuration without its secrets, for people to read. */
  readonly described: object
}

/** The operator's listener needs no more than these. */
const adminLimits = {
  allowedHosts: [],
  headersMax: 100,
  headerBytesMax: 16 * 1024,
  connectionsMax: 256,
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  keepAliveTimeout: 75_000,
} as const satisfies Omit<HttpListenerOptions, 'socketMode'>

/**
 * The whole of Outrigger, composed: what is acquired here is registered for closing right beside, and closed in reverse.
 */
export class Sidecar {
  readonly #config: Config
  readonly #options: SidecarOptions
  readonly #clock: Clock
  readonly #disk: Disk
  readonly #log: Log
  readonly #metrics: IntakeMetrics
  readonly #deliveryMetrics = new DeliveryMetrics()
  readonly #startedAt: number
  readonly #closers: (() => Promise<void> | void)[] = []
  #intake: Intake | null = null
  #admin: HttpListener | null = null
  #drainUntil: number | null = null
  #state: 'starting' | 'ready' | 'draining' | 'closed' = 'starting'
  #starting: Promise<void> | null = null
  #closing: Promise<void> | null = null
  #fail: (error: unknown) => void = () => {}
  /** Never resolves; rejects when Outrigger can't go on. */
  readonly failed: Promise<never>

  constructor(config: Config, disk: Disk, clock: Clock, log: Log, options: SidecarOptions) {
    this.#config = config
    this.#options = options
    this.#disk = disk
    this.#clock = clock
    this.#log = log
    this.#metrics = new IntakeMetrics(options.version)
    this.#startedAt = clock.now()
    this.failed = new Promise((_, reject) => {
      this.#fail = reject
    })
    this.failed.catch(() => {}) // main.ts listens; a failure during the start is thrown there
  }

  /** Where publishers reach it, once started. */
  get publishAddresses(): readonly ListenAddress[] {
    return this.#intake?.addresses ?? []
  }

  /** Where operators reach it, once started. */
  get adminAddress(): ListenAddress | null {
    return this.#admin?.address ?? null
  }

  /** Resolves when it accepts messages. When it rejects, everything is closed again. */
  async start(): Promise<void> {
    this.#starting = this.#compose()
    try {
      await this.#starting
      if (this.#state === 'starting') this.#state = 'ready'
    } catch (error) {
      await this.#closeAll().catch(() => {}) // it is logged; why it did not start says more
      throw error
    }
  }

  /**
   * Stops accepting, delivers what is left until the drain deadline, and closes; what is left then stays in the journal.
   * Idempotent.
   */
  close(): Promise<void> {
    if (this.#state !== 'closed') this.#state = 'draining'
    this.#closing ??= this.#closeStarted()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #closeStarted(): Promise<void> {
    // Whoever starts has the failure; closing in its midst would miss what it acquires next.
    await this.#starting?.catch(() => {})
    await this.#closeAll()
  }

  async #compose(): Promise<void> {
    const { directory } = this.#config.journal
    await this.#disk.makeDirectory(directory)
    const lock = DirectoryLock.take(directory)
    this.#closers.push(() => lock.release())

    const journal = await this.#openJournal()
    this.#closers.push(() => journal.close())

    const { id, firstSeq, end } = journal
    const handle = { id, firstSeq, directory: journal.directory, end: end.shared }
    const delivery = new DeliveryThread(this.#options.entry, this.#config, handle, (seq) => {
      journal.release(seq).catch((error: unknown) => this.#log.error({ error }, 'drained segments can not be deleted'))
    })
    this.#closers.push(() => this.#drain(delivery))
    delivery.failed.catch((error: unknown) => this.#fail(error))

    const intake = new Intake(journal, delivery, this.#clock, this.#observer(), this.#config.publish)
    this.#closers.push(() => this.#closeIntake(intake))
    await intake.start()
    this.#intake = intake

    const admin = new HttpListener(
      this.#config.admin.listen,
      adminApi(this.#adminSource(journal, delivery, intake), (error) =>
        this.#log.error({ error }, 'an operator’s request failed'),
      ),
      this.#clock,
      null,
      { ...adminLimits, socketMode: this.#config.publish.socketMode },
    )
    this.#closers.unshift(() => admin.destroy())
    await admin.start()
    this.#admin = admin

    await delivery.started()
  }

  #openJournal(): Promise<Journal<Message>> {
    const { directory, bytesMax, segmentBytes } = this.#config.journal
    return Journal.open(
      this.#disk,
      this.#clock,
      messageCodec,
      {
        committed: (messages, _bytes, durationMs) => this.#metrics.synced(messages, durationMs),
        failed: (error) => {
          this.#metrics.journalFailed()
          this.#log.error({ error }, 'a write to the journal failed')
        },
      },
      { directory: join(directory, 'journal'), bytesMax, segmentBytes },
    )
  }

  #observer(): IntakeObserver {
    const metrics = this.#metrics
    return {
      accepted: (count, bytes) => metrics.accepted(count, bytes),
      answered: (durationMs, status) => metrics.answered(durationMs, status),
      refused: (code) => metrics.refused(code),
      dropped: () => metrics.dropped(),
      failed: (error) => this.#log.error({ error }, 'a publisher’s request failed'),
    }
  }

  #adminSource(journal: Journal<Message>, delivery: DeliveryThread, intake: Intake): AdminSource {
    const config = this.#config
    return {
      readiness: () => (this.#state === 'ready' ? [] : [`${this.#state}: no messages are accepted`]),
      metrics: async () => {
        const own = await this.#metrics.text({
          journalBytes: journal.bytes,
          journalBytesMax: config.journal.bytesMax,
          connections: intake.connectionCount,
        })
        const [status, counts] = await Promise.all([delivery.status(), delivery.counts()])
        return own + (await this.#deliveryMetrics.text(status, counts, this.#clock.now()))
      },
      status: async () => ({
        version: this.#options.version,
        state: this.#state,
        startedAt: new Date(this.#startedAt).toISOString(),
        journal: {
          id: journal.id,
          firstSeq: journal.firstSeq,
          nextSeq: journal.end.nextSeq,
          bytes: journal.bytes,
          bytesMax: config.journal.bytesMax,
        },
        delivery: await delivery.status(),
        publish: intake.addresses.map(formatListenAddress),
        config: this.#options.described,
      }),
      deadLetters: (query) => delivery.deadLetters(query),
    }
  }

  async #closeIntake(intake: Intake): Promise<void> {
    const late = setTimeout(() => {
      this.#log.warn({}, 'publishers did not finish before the drain deadline; their connections are cut')
      void intake.destroy()
    }, this.#drainDeadlineMs())
    await intake.close()
    clearTimeout(late)
  }

  async #drain(delivery: DeliveryThread): Promise<void> {
    const left = this.#drainDeadlineMs()
    try {
      if (this.#state === 'draining' && left > 0) await delivery.drain(left)
    } finally {
      await delivery.close()
    }
  }

  /** What is left of the drain deadline, from the first time that it is asked for. */
  #drainDeadlineMs(): number {
    this.#drainUntil ??= this.#clock.monotonic() + this.#config.drain.deadline
    return Math.ceil(Math.max(0, this.#drainUntil - this.#clock.monotonic()))
  }

  /** In reverse; a closer that fails keeps none of the others from running. Rejects with the first failure. */
  async #closeAll(): Promise<void> {
    const failures: unknown[] = []
    for (let close = this.#closers.pop(); close; close = this.#closers.pop()) {
      try {
        await close()
      } catch (error) {
        this.#log.error({ error }, 'something could not be closed')
        failures.push(error)
      }
    }
    this.#state = 'closed'
    if (failures.length > 0) throw failures[0]
  }
}
