import { join } from 'node:path'
import type { AdminSource } from './admin/admin-api.ts'
import { adminApi } from './admin/admin-api.ts'
import { DeliveryMetrics } from './admin/delivery-metrics.ts'
import { GuardMetrics } from './admin/guard-metrics.ts'
import { IntakeMetrics } from './admin/intake-metrics.ts'
import type { LedgerView } from './admin/ledger-api.ts'
import { RecorderMetrics } from './admin/recorder-metrics.ts'
import type { Clock } from './base/clock.ts'
import { OutriggerError, messageOf } from './base/errors.ts'
import type { ListenAddress } from './base/listen-address.ts'
import type { Log } from './base/log.ts'
import type { LogOutput } from './base/log-output.ts'
import { Pulse } from './base/pulse.ts'
import { formatListenAddress } from './config/listen-address.ts'
import type { Config } from './config/schema.ts'
import { DeliveryThread } from './delivery-thread.ts'
import type { JournalHandle } from './delivery.ts'
import type { HttpListenerOptions } from './http/http-listener.ts'
import { HttpListener } from './http/http-listener.ts'
import { Intake } from './intake/intake.ts'
import type { IntakeObserver } from './intake/ports.ts'
import { DirectoryLock } from './journal/directory-lock.ts'
import type { Disk } from './journal/disk.ts'
import { Journal } from './journal/journal.ts'
import type { KeyRing } from './journal/key-ring.ts'
import { requireKeys } from './journal/key-usage.ts'
import { JournalGuard } from './journal-guard.ts'
import { messageCodec } from './message/message-codec.ts'
import type { MessageFate } from './message/message-fate.ts'
import type { MessagePosition } from './message/message-id.ts'
import type { Message } from './message/message.ts'
import { BacklogLimit } from './recorder/backlog-limit.ts'
import type { RecordingThreadObserver } from './recording-thread.ts'
import { RecordingThread, ledgerUnavailable } from './recording-thread.ts'
import type { RecorderMoved } from './recording.ts'
import { configuredRecorders } from './recording.ts'
import type { KeyRingObserver } from './security/configured-key-ring.ts'
import { openKeyRing } from './security/configured-key-ring.ts'

export interface SidecarOptions {
  /** The program's main module, which the delivering thread runs too. */
  readonly entry: URL
  readonly version: string
  /** The configuration without its secrets, for people to read. */
  readonly described: object
  /** Where the lines of all threads go. */
  readonly output: LogOutput
}

/** Closing has not come to its end in time. */
class ClosingTimeoutError extends OutriggerError {
  override readonly name = 'ClosingTimeoutError'
  override readonly code = 'closing_timeout'
}

/** How long a thread may be busy before it counts as stuck. It answers between two steps of its work, which take milliseconds. */
const silentMsMax = 30_000
/** How long a publisher may take to finish what it has begun to send. */
const unfinishedGraceMs = 5000
/** How long one whose request was refused has to take the answer. */
const refusedGraceMs = 250
/** How long recorders may take to let go, after the drain deadline. */
const recordingGraceMs = 500
/** How long all closing may take after the drain deadline; the last log lines still have to go out within the three seconds that are promised. */
const closingGraceMs = 2700

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
  readonly #recorderMetrics = new RecorderMetrics()
  readonly #guardMetrics = new GuardMetrics()
  readonly #startedAt: number
  readonly #closers: (() => Promise<void> | void)[] = []
  #recording: RecordingThread | null = null
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
    this.#closing ??= this.#closeInTime()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Whatever hangs, even while it starts: whoever stops it kills it soon after the deadline, and then nothing is told. */
  async #closeInTime(): Promise<void> {
    const closing = this.#closeStarted()
    if (await this.#endsWithin(this.#drainDeadlineMs() + closingGraceMs, closing)) return closing
    closing.catch(() => {}) // its failures are logged one by one
    throw new ClosingTimeoutError('not everything could be closed in time', {
      hint: 'Nothing is lost: what was accepted is on disk. Some of what was delivered last may be delivered again.',
    })
  }

  /** Whether `work` has ended, one way or the other, before so much time is over. */
  async #endsWithin(ms: number, work: Promise<unknown>): Promise<boolean> {
    const over = new AbortController()
    const late = this.#clock.sleep(ms, over.signal).then(
      () => false,
      () => true,
    )
    const ended = work.then(
      () => true,
      () => true,
    )
    const inTime = await Promise.race([ended, late])
    over.abort()
    return inTime
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

    const keys = openKeyRing(this.#config.encryption, this.#clock, this.#keyRingObserver())
    if (keys !== null) await requireKeys(this.#disk, directory, keys)
    const guard = await JournalGuard.open(this.#config, this.#disk, this.#clock, this.#log)
    // It makes the reserve already: also when no journal opens.
    this.#closers.push(() => guard.close())
    const journal = await this.#openJournal(guard, keys)
    this.#closers.push(() => journal.close())
    guard.attach(journal)
    // It writes to the journal, and is closed before it.
    this.#closers.push(() => guard.close())
    const openedAt = journal.nextSeq
    // Before anything is released: whoever records may not have read it yet.
    const recorders = configuredRecorders(this.#config)
    for (const recorder of recorders) await journal.hold(recorder, 0)

    const { id, firstSeq, end } = journal
    const handle: JournalHandle = { id, firstSeq, directory: journal.directory, end: end.shared }
    const { entry, output } = this.#options
    const passed = (seq: number): void => this.#passed(guard, seq)
    const delivery = new DeliveryThread(entry, this.#config, handle, recorders, guard.reserve, passed, output)
    this.#closers.push(() => this.#drain(delivery))
    delivery.failed.catch((error: unknown) => this.#fail(error))

    const fates = { find: (position: MessagePosition) => this.#find(journal, delivery, position) }
    const intake = new Intake(guard, fates, this.#clock, this.#observer(), this.#config.publish)
    this.#closers.push(() => this.#closeIntake(intake))

    const admin = new HttpListener(
      this.#config.admin.listen,
      adminApi(this.#adminSource(journal, guard, delivery, intake), (error) =>
        this.#log.error({ error }, 'an operator’s request failed'),
      ),
      this.#clock,
      null,
      { ...adminLimits, socketMode: this.#config.publish.socketMode },
    )
    this.#closers.unshift(() => admin.destroy())
    await admin.start()
    this.#admin = admin

    const started = await delivery.started()
    await this.#skipLost(journal, Math.max(started.finishedSeq, started.reach))
    guard.start(delivery, (seq) => this.#giveUpBelow(delivery, seq), started.position.seq, openedAt)
    await intake.start()
    this.#intake = intake

    if (recorders.length === 0) return
    const observer: RecordingThreadObserver = {
      moved: (position) => this.#recorderMoved(journal, delivery, position),
      restarting: (error, delayMs) =>
        this.#log.error({ error, retryInMs: Math.round(delayMs) }, 'recording has failed; it begins anew'),
    }
    const recording = new RecordingThread(
      entry,
      this.#config,
      handle,
      started,
      guard.reserve,
      observer,
      this.#clock,
      output,
    )
    this.#recording = recording
    await recording.started()
    this.#watchBacklog(journal, recording)
  }

  /**
   * A journal that ends before what was delivered from it, or before what it held, has lost its end (a disk that forgets what it has synced, a copy from
   * before). No seq is given twice all the same: ids would lead to another message, and new messages pass for delivered.
   */
  async #skipLost(journal: Journal<Message>, knownSeq: number): Promise<void> {
    const fromSeq = journal.nextSeq
    if (knownSeq <= fromSeq) return
    this.#log.error(
      { fromSeq, toSeq: knownSeq },
      'the end of the journal is missing: what was not delivered of these messages is lost',
    )
    await journal.skipTo(knownSeq, true)
  }

  /** Below `seq` everything is finished; what recorders don't hold may go. */
  #passed(guard: JournalGuard, seq: number): void {
    guard.release(seq).catch((error: unknown) => this.#log.error({ error }, drainedButNotDeleted))
  }

  /** Gives up the oldest messages: those who deliver, and those who record and need the journal for it. */
  async #giveUpBelow(delivery: DeliveryThread, seq: number): Promise<void> {
    await delivery.giveUpBelow(seq)
    await this.#recording?.giveUpBelow({ seq, isUrgent: true })
  }

  /** Looks now and then whether the ledger holds more of the journal than it may. */
  #watchBacklog(journal: Journal<Message>, recording: RecordingThread): void {
    const { whenFull, backlogBytesMax } = this.#config.ledger
    if (whenFull === 'refuse') return
    const limit = new BacklogLimit(journal, this.#clock, {
      backlogBytesMax,
      journalBytesMax: this.#config.journal.bytesMax,
    })
    const timer = setInterval(() => {
      const request = limit.check()
      if (request === null) return
      recording.giveUpBelow(request).catch(() => {
        // There is no recording thread now. When the journal is nearly full, it is not waited for: what it finds gone, it notes.
        if (request.isUrgent) this.#letGo(journal, request.seq)
      })
    }, backlogCheckMs)
    this.#closers.push(() => clearInterval(timer))
  }

  #letGo(journal: Journal<Message>, seq: number): void {
    const letGo = configuredRecorders(this.#config).map((recorder) => journal.hold(recorder, seq))
    Promise.all(letGo).catch((error: unknown) => this.#log.error({ error }, drainedButNotDeleted))
  }

  #recorderMoved(journal: Journal<Message>, delivery: DeliveryThread, { recorder, seq, mark }: RecorderMoved): void {
    const letGo = [journal.hold(recorder, seq), delivery.holdReceipts({ reader: recorder, from: mark })]
    Promise.all(letGo).catch((error: unknown) => {
      if (this.#state !== 'closed') this.#log.error({ error }, drainedButNotDeleted)
    })
  }

  /** From memory, from the receipts that are held, or from the ledger beyond. */
  async #find(
    journal: Journal<Message>,
    delivery: DeliveryThread,
    position: MessagePosition,
  ): Promise<MessageFate | null> {
    const fate = position.journalId === journal.id ? await delivery.find(position.seq) : null
    return fate ?? (await this.#recording?.fateOf(position)) ?? null
  }

  #ledgerView(): LedgerView {
    const ledger = (): RecordingThread => {
      if (this.#recording === null) throw ledgerUnavailable('starting')
      return this.#recording
    }
    return {
      stores: configuredRecorders(this.#config),
      find: async (position) => ledger().find(position),
      list: async (query) => ledger().list(query),
      content: async (position) => ledger().content(position),
      exceptions: async (store, after, limit) => ledger().exceptions(store, after, limit),
    }
  }

  #openJournal(guard: JournalGuard, keys: KeyRing | null): Promise<Journal<Message>> {
    const { directory, bytesMax, segmentBytes } = this.#config.journal
    return Journal.open(
      guard.disk,
      this.#clock,
      messageCodec,
      {
        committed: (messages, _bytes, durationMs) => {
          this.#metrics.synced(messages, durationMs)
          guard.grew()
        },
        failed: (error) => {
          this.#metrics.journalFailed()
          guard.failed(error)
          this.#log.error({ error }, 'a write to the journal failed')
        },
      },
      {
        directory: join(directory, 'journal'),
        bytesMax,
        segmentBytes,
        keys,
      },
      guard.tally,
    )
  }

  #keyRingObserver(): KeyRingObserver {
    return {
      rotated: (key) => this.#log.info({ key }, 'new files are encrypted under another key from now on'),
      unreadable: (error) =>
        this.#log.warn({ error }, 'the file of keys can not be read again: the keys that were in it are used further'),
    }
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

  #adminSource(journal: Journal<Message>, guard: JournalGuard, delivery: DeliveryThread, intake: Intake): AdminSource {
    const config = this.#config
    const pulses = {
      delivering: new Pulse(() => delivery.ping(), this.#clock),
      recording: new Pulse(() => this.#recording?.ping() ?? Promise.resolve(), this.#clock),
    }
    return {
      liveness: () =>
        Object.entries(pulses).flatMap(([name, pulse]) => {
          const silentMs = pulse.silentMs()
          if (silentMs < silentMsMax) return []
          return `the ${name} thread has not answered for ${Math.floor(silentMs / 1000)} s`
        }),
      readiness: () => {
        if (this.#state !== 'ready') return [`${this.#state}: no messages are accepted`]
        journal.tryAgain()
        return journal.failure === null ? [] : [`the journal can't be written: ${journal.failure.message}`]
      },
      metrics: async () => {
        const own = await this.#metrics.text({
          journalBytes: journal.bytes,
          journalBytesMax: config.journal.bytesMax,
          connections: intake.connectionCount,
        })
        const [status, counts] = await Promise.all([delivery.status(), delivery.counts()])
        const ledger = (await this.#recording?.status(status.pendingReceipts)) ?? null
        const now = this.#clock.now()
        const texts = [
          this.#guardMetrics.text(guard.status()),
          this.#deliveryMetrics.text(status, counts, now),
          this.#recorderMetrics.text(ledger, journal.heldBytes, now),
        ]
        return [own, ...(await Promise.all(texts))].join('')
      },
      status: async () => {
        const status = await delivery.status()
        const { nextSeq } = journal.end
        const { id, firstSeq, bytes, heldBytes } = journal
        return {
          version: this.#options.version,
          state: this.#state,
          startedAt: new Date(this.#startedAt).toISOString(),
          journal: {
            id,
            firstSeq,
            nextSeq,
            bytes,
            bytesMax: config.journal.bytesMax,
            heldForLedgerBytes: heldBytes,
            failure: journal.failure && messageOf(journal.failure),
            ...guard.status(),
          },
          delivery: status,
          ledger: (await this.#recording?.status(status.pendingReceipts)) ?? null,
          publish: intake.addresses.map(formatListenAddress),
          config: this.#options.described,
        }
      },
      deadLetters: (query) => delivery.deadLetters(query),
      ledger: this.#ledgerView(),
    }
  }

  async #closeIntake(intake: Intake): Promise<void> {
    const graceMs = Math.min(unfinishedGraceMs, this.#drainDeadlineMs())
    const unfinished = setTimeout(() => {
      this.#log.warn({ graceMs }, 'publishers did not finish their requests in time; these are refused')
      intake.refuseUnfinished()
    }, graceMs)
    const late = setTimeout(() => void intake.destroy(), this.#drainDeadlineMs() + refusedGraceMs)
    await intake.close()
    clearTimeout(unfinished)
    clearTimeout(late)
  }

  /** Delivery first: it makes what is left to record. */
  async #drain(delivery: DeliveryThread): Promise<void> {
    const drains = this.#state === 'draining'
    try {
      if (drains && this.#drainDeadlineMs() > 0) await delivery.drain(this.#drainDeadlineMs())
      if (drains && this.#drainDeadlineMs() > 0) await this.#recording?.drain(this.#drainDeadlineMs())
    } finally {
      await this.#closeThreads(delivery)
    }
  }

  /** A recorder that does not let go of its store must not keep the delivering half from writing its last receipts. */
  async #closeThreads(delivery: DeliveryThread): Promise<void> {
    const recording = this.#recording?.close() ?? Promise.resolve()
    await this.#endsWithin(Math.max(recordingGraceMs, this.#drainDeadlineMs()), recording)
    try {
      await delivery.close()
    } finally {
      await recording
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

const backlogCheckMs = 1000
const drainedButNotDeleted = 'drained segments can not be deleted'
