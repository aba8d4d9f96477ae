import { join } from 'node:path'
import type { GuardStatus } from './admin/guard-metrics.ts'
import type { Clock } from './base/clock.ts'
import { UnavailableError, codeOf, isSpaceExhausted } from './base/errors.ts'
import type { Log } from './base/log.ts'
import type { Config } from './config/schema.ts'
import type { MessageSink } from './intake/ports.ts'
import { TopicPatterns } from './intake/topic-patterns.ts'
import type { Disk, DiskSpace } from './journal/disk.ts'
import { DiskReserve } from './journal/disk-reserve.ts'
import type { ReserveHandle } from './journal/disk-reserve.ts'
import type { Journal } from './journal/journal.ts'
import { ReserveDisk } from './journal/reserve-disk.ts'
import type { ProgressSource } from './journal/share-watch.ts'
import { ShareWatch } from './journal/share-watch.ts'
import type { RecordTally, TopicProgress } from './journal/topic-backlogs.ts'
import type { Level } from './journal/watermarks.ts'
import { Watermarks, diskFill, gauges } from './journal/watermarks.ts'
import type { Message } from './message/message.ts'

/** The delivering half, as far as the journal's limits need it. */
export interface GuardedDelivery extends ProgressSource {
  progress(): Promise<TopicProgress & { readonly oldestAcceptedAt: number | null }>
}

/** What is written to, behind the guard. */
type GuardedJournal = Pick<
  Journal<Message>,
  'id' | 'append' | 'bytes' | 'seqAfter' | 'failure' | 'tryAgain' | 'release' | 'keepSpares'
> & { readonly end: { readonly nextSeq: number } }

const lookMs = 1000
/** With `drop-oldest`, the oldest messages go from this fill on, down to the other. */
const dropFrom = 0.95
const dropTo = 0.85
/** A small file system has a small reserve. */
const reserveShareMax = 0.05
const retryAfterSeconds = 5
const shownMax = 100

/**
 * Stands between publishers and the journal, and knows when to refuse: by the journal's bytes, the free space of the disk, the
 * age of what waits, the reserve, and each topic's share. What is asked for every message looks at fields alone.
 */
export class JournalGuard implements MessageSink {
  readonly #config: Config['journal']
  readonly #disk: Disk
  readonly #clock: Clock
  readonly #log: Log
  readonly #marks: Watermarks
  readonly #reserve: DiskReserve
  readonly #lowTopics: TopicPatterns
  readonly #watch: ShareWatch<Message> | null
  readonly #stop = new AbortController()
  #journal: GuardedJournal | null = null
  #delivery: GuardedDelivery | null = null
  #giveUp: (seq: number) => Promise<void> = () => Promise.resolve()
  #space: DiskSpace | null = null
  #level: Level = 'normal'
  #passed: number | null = null
  #dropping = false
  #isBlind = false
  #looking: Promise<void> = Promise.resolve()
  #measuring: Promise<void> = Promise.resolve()

  private constructor(config: Config, disk: Disk, clock: Clock, log: Log, reserve: DiskReserve) {
    const { journal, publish } = config
    this.#config = journal
    this.#disk = disk
    this.#clock = clock
    this.#log = log
    this.#reserve = reserve
    this.#marks = new Watermarks(journal)
    this.#lowTopics = new TopicPatterns(publish.lowPriorityTopics)
    const shares = {
      journalBytesMax: journal.bytesMax,
      shareMax: journal.topicShareMax,
      shares: journal.topicShares ?? {},
    }
    const isShared = [shares.shareMax, ...Object.values(shares.shares)].some((share) => share < 1)
    this.#watch = isShared ? new ShareWatch(shares, clock, () => this.#tellShares()) : null
  }

  /** Finds the reserve of an earlier run, and looks at the disk. The directory exists. */
  static async open(config: Config, disk: Disk, clock: Clock, log: Log): Promise<JournalGuard> {
    const { directory, reserveBytes } = config.journal
    const { totalBytes } = await disk.space(directory)
    const bytes = Math.min(reserveBytes, Math.floor(totalBytes * reserveShareMax))
    const reserve = await DiskReserve.open(disk, join(directory, 'reserve'), bytes)
    const guard = new JournalGuard(config, disk, clock, log, reserve)
    await guard.#lookAtDisk()
    return guard
  }

  /** What the journal of messages must be written to. */
  get disk(): Disk {
    return new ReserveDisk(this.#disk, this.#reserve.handle, { lastFile: { isFinished: () => this.#isFinished } })
  }

  /** Counts what the journal of messages keeps, by topic. */
  get tally(): RecordTally<Message> | null {
    return this.#watch?.shares.tally ?? null
  }

  /** For the other threads, which may use the reserve. */
  get reserve(): ReserveHandle {
    return this.#reserve.handle
  }

  get id(): string {
    return this.#journalOrThrow.id
  }

  get roomWaitMs(): number {
    return this.#config.whenFull === 'reject' ? 0 : this.#config.blockDeadline
  }

  /** From now on it guards this journal. */
  attach(journal: GuardedJournal): void {
    this.#journal = journal
    this.#lookAtBytes()
  }

  /**
   * Begins to watch. From `fromSeq` to `toSeq` the journal holds what earlier runs have accepted. `giveUp` gives up all
   * messages below a seq that are not finished.
   */
  start(delivery: GuardedDelivery, giveUp: (seq: number) => Promise<void>, fromSeq: number, toSeq: number): void {
    const { signal } = this.#stop
    this.#delivery = delivery
    this.#giveUp = giveUp
    this.#looking = this.#lookOn()
    if (this.#watch !== null)
      this.#measuring = this.#watch.begin(delivery, fromSeq, toSeq, signal).catch((error: unknown) => {
        if (!signal.aborted)
          this.#log.warn({ error }, 'what was in the journal at the start counts for no topic’s share')
      })
  }

  refusal(topic: string, isLowPriority: boolean): UnavailableError | null {
    if (this.#marks.refusesLow || this.#reserve.isSpent) {
      if (isLowPriority || this.#lowTopics.has(topic)) return this.#lowError()
      if (this.#refusesAll && this.roomWaitMs === 0) return this.#fullError()
    }
    return this.#watch !== null && this.#watch.shares.isOver(topic) ? this.#shareError(topic) : null
  }

  append(messages: readonly Message[]): Promise<number> {
    if (this.#refusesAll) return Promise.reject(this.#fullError())
    const appended = this.#journalOrThrow.append(messages)
    appended.catch(this.#onRejected)
    return appended
  }

  /** The journal has written a block. */
  grew(): void {
    this.#lookAtBytes()
  }

  /** A write to the journal has failed. */
  failed(error: unknown): void {
    if (isSpaceExhausted(error)) void this.#lookAtDisk()
  }

  /** Below `seq` everything is finished: what nobody else holds is deleted. */
  async release(seq: number): Promise<void> {
    this.#passed = seq
    await this.#journalOrThrow.release(seq)
    this.#lookAtBytes()
  }

  status(): GuardStatus {
    const gaugeOf = (gauge: 'bytes' | 'disk' | 'age') => ({
      fill: this.#marks.fillOf(gauge),
      level: this.#marks.levelOf(gauge),
    })
    return {
      level: this.#levelNow,
      gauges: { bytes: gaugeOf('bytes'), disk: gaugeOf('disk'), age: gaugeOf('age') },
      disk: this.#space && { ...this.#space, freeMinBytes: this.#freeMinBytes(this.#space.totalBytes) },
      reserve: this.#reserve.state,
      topicsOverShare: this.#watch?.shares.over.slice(0, shownMax) ?? [],
      isMeasured: this.#watch?.isMeasured ?? true,
    }
  }

  async close(): Promise<void> {
    this.#stop.abort()
    await Promise.all([this.#looking, this.#measuring])
    await this.#reserve.close()
  }

  get #refusesAll(): boolean {
    return this.#marks.refusesAll || this.#reserve.isSpent
  }

  /** Whether everything that is in the journal may go. */
  get #isFinished(): boolean {
    return this.#journal !== null && this.#passed !== null && this.#passed >= this.#journal.end.nextSeq
  }

  get #levelNow(): Level {
    return this.#reserve.isSpent ? 'refuse-all' : this.#marks.level
  }

  get #journalOrThrow(): GuardedJournal {
    if (this.#journal === null) throw new Error('there is no journal to guard yet')
    return this.#journal
  }

  readonly #onRejected = (error: unknown): void => {
    if (codeOf(error) !== 'journal_full') return
    this.#lookAtBytes()
    if (this.#marks.overflowed('bytes')) this.#tellLevel()
    this.#dropOldest()
  }

  async #lookOn(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      await this.#look()
      await this.#clock.sleep(lookMs, signal).catch(() => {}) // the loop looks
    }
  }

  async #look(): Promise<void> {
    await this.#lookAtDisk()
    this.#lookAtBytes()
    this.#dropOldest()
    const progress = await this.#lookAtProgress()
    this.#lookAtAge(progress)
    this.#tellLevel()
    await this.#makeRoom()
  }

  /** What fails here is tried again in a second. */
  async #makeRoom(): Promise<void> {
    const journal = this.#journalOrThrow
    try {
      const isLow = this.#reserve.isSpent || this.#marks.levelOf('disk') === 'refuse-all'
      await journal.keepSpares(!isLow)
      if (journal.failure === null && this.#levelNow === 'normal') return
      // Nobody appends any more, so nobody else finds out; and the last file can go only when there is a next one.
      journal.tryAgain()
      if (this.#passed !== null) await journal.release(this.#passed)
    } catch (error) {
      this.#log.error({ error }, 'files of the journal that nobody needs can not be deleted')
    }
  }

  async #lookAtDisk(): Promise<void> {
    const { directory } = this.#config
    try {
      this.#space = await this.#disk.space(directory)
      this.#isBlind = false
    } catch (error) {
      if (!this.#isBlind) this.#log.error({ error }, 'it can not be told how much space is free on the disk')
      this.#isBlind = true
      return
    }
    const { freeBytes, totalBytes } = this.#space
    const freeMin = this.#freeMinBytes(totalBytes)
    this.#marks.update('disk', diskFill(freeBytes, freeMin))
    this.#tellLevel()
    // In the background: it may write for a while.
    this.#reserve.tend(freeBytes, freeMin, this.#clock.monotonic()).catch((error: unknown) => {
      this.#log.error({ error }, 'the reserve for a full disk can not be made')
    })
  }

  #freeMinBytes(totalBytes: number): number {
    const { diskFreeMin } = this.#config
    return 'share' in diskFreeMin ? diskFreeMin.share * totalBytes : diskFreeMin.bytes
  }

  #lookAtBytes(): void {
    if (this.#marks.update('bytes', this.#journalOrThrow.bytes / this.#config.bytesMax)) this.#tellLevel()
    if (this.#marks.fillOf('bytes') >= dropFrom) this.#dropOldest()
  }

  /** Asked only when somebody wants to know. */
  async #lookAtProgress(): Promise<(TopicProgress & { readonly oldestAcceptedAt?: number | null }) | null> {
    if (this.#config.ageMax !== undefined && this.#delivery !== null) {
      const progress = await this.#delivery.progress().catch(() => null) // it ends, and with it everything
      if (progress !== null) this.#watch?.shares.settle(progress)
      return progress
    }
    return this.#watch !== null && !this.#watch.shares.isEmpty ? this.#watch.ask() : null
  }

  #lookAtAge(progress: { readonly oldestAcceptedAt?: number | null } | null): void {
    const { ageMax } = this.#config
    if (ageMax === undefined || progress === null) return
    const { oldestAcceptedAt = null } = progress
    this.#marks.update('age', oldestAcceptedAt === null ? 0 : (this.#clock.now() - oldestAcceptedAt) / ageMax)
  }

  #dropOldest(): void {
    const { whenFull, bytesMax } = this.#config
    const journal = this.#journalOrThrow
    const excess = journal.bytes - dropTo * bytesMax
    const isDue = this.#marks.levelOf('bytes') === 'refuse-all' || journal.bytes >= dropFrom * bytesMax
    if (whenFull !== 'drop-oldest' || this.#dropping || !isDue || excess <= 0) return
    const belowSeq = journal.seqAfter(excess)
    this.#dropping = true
    this.#log.warn({ belowSeq }, 'the journal is full: the oldest messages that are not delivered are dropped')
    this.#giveUp(belowSeq)
      .catch((error: unknown) => {
        if (!this.#stop.signal.aborted) this.#log.error({ error }, 'the oldest messages can not be dropped')
      })
      .finally(() => {
        this.#dropping = false
      })
  }

  #tellLevel(): void {
    const level = this.#levelNow
    if (level === this.#level) return
    const before = this.#level
    this.#level = level
    const fills = Object.fromEntries(gauges.map((gauge) => [gauge, Number(this.#marks.fillOf(gauge).toFixed(3))]))
    const news = { journalLevel: level, before, fills, reserve: this.#reserve.state }
    if (level === 'normal') this.#log.info(news, 'the journal has room again')
    else this.#log.warn(news, levelTexts[level])
  }

  #overTold = ''

  #tellShares(): void {
    const over = this.#watch?.shares.over ?? []
    const topics = over
      .map(({ topic }) => topic)
      .toSorted()
      .slice(0, shownMax)
    const told = topics.join(',')
    if (told === this.#overTold) return
    this.#overTold = told
    if (topics.length > 0) this.#log.warn({ topics }, 'topics have used up their share of the journal, and are refused')
    else this.#log.info({}, 'no topic is over its share of the journal any more')
  }

  #lowError(): UnavailableError {
    return new UnavailableError('journal_nearly_full', 'the journal has no room for messages of low priority', {
      retryAfterSeconds,
    })
  }

  #shareError(topic: string): UnavailableError {
    const bytesMax = Math.floor(this.#watch?.shares.limitOf(topic) ?? 0)
    const text = `what waits of ${topic} takes its share of the journal (${bytesMax} bytes, journal.topicShareMax) already`
    return new UnavailableError('topic_share_full', text, { retryAfterSeconds })
  }

  #fullError(): UnavailableError {
    const { bytesMax } = this.#config
    if (this.#reserve.isSpent)
      return new UnavailableError(
        'disk_full',
        'the disk is full (ENOSPC); what is left is for delivering and deleting',
        {
          retryAfterSeconds,
          hint: 'What is accepted goes on being delivered, out of a reserve. Make room on the disk.',
        },
      )
    switch (this.#marks.worst) {
      case 'bytes':
        return new UnavailableError('journal_full', `what is kept takes journal.bytesMax (${bytesMax} bytes) already`, {
          retryAfterSeconds,
          hint: 'It empties as messages are delivered; see whether the broker is away.',
        })
      case 'disk':
        return new UnavailableError('disk_full', 'too little is free on the disk (journal.diskFreeMin)', {
          retryAfterSeconds,
        })
      case 'age':
        return new UnavailableError('backlog_too_old', 'messages wait for too long already (journal.ageMax)', {
          retryAfterSeconds,
        })
    }
  }
}

const levelTexts = {
  warn: 'the journal fills up',
  'refuse-low': 'the journal fills up: messages of low priority are refused',
  'refuse-all': 'the journal is full, or the disk: messages are refused',
} as const
