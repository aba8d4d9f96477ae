import { join } from 'node:path'
import type { GuardStatus } from './admin/guard-metrics.ts'
import type { Clock } from './base/clock.ts'
import type { UnavailableError } from './base/errors.ts'
import { codeOf, isSpaceExhausted } from './base/errors.ts'
import type { Log } from './base/log.ts'
import type { Config } from './config/schema.ts'
import type { MessageSink } from './intake/ports.ts'
import { TopicPatterns } from './intake/topic-patterns.ts'
import type { Disk, DiskSpace } from './journal/disk.ts'
import { DiskReserve } from './journal/disk-reserve.ts'
import type { ReserveHandle } from './journal/disk-reserve.ts'
import { fullError, nearlyFullError, reserveError, shareError } from './journal/full-errors.ts'
import type { Journal } from './journal/journal.ts'
import { ReserveDisk } from './journal/reserve-disk.ts'
import type { DeliveryProgress, ProgressSource } from './journal/share-watch.ts'
import { ShareWatch } from './journal/share-watch.ts'
import type { RecordTally } from './journal/topic-backlogs.ts'
import type { Level } from './journal/watermarks.ts'
import { Watermarks, diskFill, gauges } from './journal/watermarks.ts'
import type { Message } from './message/message.ts'

/** The delivering half, as far as the journal's limits need it. */
export type GuardedDelivery = ProgressSource

/** What is written to, behind the guard. */
type GuardedJournal = Pick<
  Journal<Message>,
  'id' | 'append' | 'bytes' | 'seqAfter' | 'failure' | 'tryAgain' | 'release' | 'keepSpares'
> & { readonly end: { readonly nextSeq: number } }

const lookMs = 1000
/** Between two looks at the disk within that time. */
const lookBytesMin = 64 * 1024
/** With `drop-oldest`, the oldest messages go from this fill on, down to the other; for the disk, from 1 on. */
const dropFrom = 0.95
const dropTo = 0.85
/** A small file system has a small reserve. */
const reserveShareMax = 0.05
/** Without `journal.diskFreeMin`, the smaller of the two. */
const freeShareDefault = 0.02
const freeBytesDefault = 1024 ** 3
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
  /** When the journal is as large as this, the free space is looked at before its time. */
  #lookAgainAt = Number.POSITIVE_INFINITY
  #level: Level = 'normal'
  #passed: number | null = null
  #dropping = false
  #droppedBelow = 0
  #isAsking = false
  #dropTold = 0
  #isReserveMissing = false
  #isBlind = false
  #looking: Promise<void> = Promise.resolve()

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
    // Without it all goes on as well; each look tells that it can't be told.
    const space = await disk.space(directory).catch(() => null)
    const bytes = space === null ? reserveBytes : Math.min(reserveBytes, Math.floor(space.totalBytes * reserveShareMax))
    const reserve = await DiskReserve.open(disk, join(directory, 'reserve'), bytes)
    const guard = new JournalGuard(config, disk, clock, log, reserve)
    await guard.#lookAtDisk()
    guard.#tellWhetherItFits(bytes)
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
    this.#watch?.begin(delivery, fromSeq, toSeq, signal).catch((error: unknown) => {
      if (!signal.aborted) this.#log.warn({ error }, 'what was in the journal at the start counts for no topic’s share')
    })
    this.#looking = this.#lookOn()
  }

  refusal(topic: string, isLowPriority: boolean): UnavailableError | null {
    if (this.#marks.refusesLow || this.#reserve.isSpent) {
      if (isLowPriority || this.#lowTopics.has(topic)) return nearlyFullError()
      if (this.#refusesAll && this.roomWaitMs === 0) return this.#fullError
    }
    return this.#watch !== null && this.#watch.shares.isOver(topic)
      ? shareError(topic, this.#watch.shares.limitOf(topic))
      : null
  }

  append(messages: readonly Message[]): Promise<number> {
    if (this.#refusesAll) return Promise.reject(this.#fullError)
    const appended = this.#journalOrThrow.append(messages)
    appended.catch(this.#onRejected)
    return appended
  }

  /** The journal has written a block. */
  grew(): void {
    this.#lookAtBytes()
    // On a small disk the next look could come after it is full.
    if (this.#journalOrThrow.bytes >= this.#lookAgainAt) {
      this.#lookAgainAt = Number.POSITIVE_INFINITY
      void this.#lookAtDisk()
    }
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
      topicsOverShareCount: this.#watch?.shares.overCount ?? 0,
      topicsOverShare: this.#watch?.shares.over.slice(0, shownMax) ?? [],
      isMeasured: this.#watch?.isMeasured ?? true,
    }
  }

  /** Idempotent. Does not wait for delivering to say anything. */
  async close(): Promise<void> {
    this.#stop.abort()
    await this.#looking
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

  get #fullError(): UnavailableError {
    return this.#reserve.isSpent ? reserveError() : fullError(this.#marks.worst, this.#config.bytesMax)
  }

  get #journalOrThrow(): GuardedJournal {
    if (this.#journal === null) throw new Error('there is no journal to guard yet')
    return this.#journal
  }

  readonly #onRejected = (error: unknown): void => {
    if (codeOf(error) !== 'journal_full') return
    this.#lookAtBytes()
    if (this.#marks.overflowed('bytes')) this.#tellLevel()
    // It may be a large one: a file at a time, until it fits.
    this.#dropOldest(1)
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
    // What it was told to give up before, it may have failed to.
    this.#droppedBelow = 0
    this.#dropOldest(this.#missingOnDisk)
    this.#askProgress()
    this.#tellLevel()
    this.#tellReserve()
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
    this.#lookAgainAt = (this.#journal?.bytes ?? 0) + Math.max((freeBytes - freeMin) / 4, lookBytesMin)
    this.#tellLevel()
    // In the background: it may write for a while.
    this.#reserve.tend(freeBytes, freeMin, this.#clock.monotonic()).catch((error: unknown) => {
      this.#log.error({ error }, 'the reserve for a full disk can not be made')
    })
  }

  #freeMinBytes(totalBytes: number): number {
    const { diskFreeMin } = this.#config
    // A share of a large disk is more than Outrigger needs, and often less is free.
    if (diskFreeMin === undefined) return Math.min(freeShareDefault * totalBytes, freeBytesDefault)
    return 'share' in diskFreeMin ? diskFreeMin.share * totalBytes : diskFreeMin.bytes
  }

  #lookAtBytes(): void {
    if (this.#marks.update('bytes', this.#journalOrThrow.bytes / this.#config.bytesMax)) this.#tellLevel()
    if (this.#marks.fillOf('bytes') >= dropFrom) this.#dropOldest()
  }

  /** Asked only when somebody wants to know; never waited for: whoever delivers may have no time to answer. */
  #askProgress(): void {
    const delivery = this.#delivery
    const isWanted = this.#config.ageMax !== undefined || this.#watch?.shares.isEmpty === false
    if (!isWanted || this.#isAsking || delivery === null) return
    this.#isAsking = true
    const asked = this.#watch?.ask() ?? delivery.progress().catch(() => null) // it ends, and with it everything
    void asked.then((progress) => {
      this.#isAsking = false
      this.#lookAtAge(progress)
      this.#tellLevel()
    })
  }

  #lookAtAge(progress: DeliveryProgress | null): void {
    const { ageMax } = this.#config
    if (ageMax === undefined || progress === null) return
    const { oldestAcceptedAt = null } = progress
    this.#marks.update('age', oldestAcceptedAt === null ? 0 : (this.#clock.now() - oldestAcceptedAt) / ageMax)
  }

  /** What must become free so that the disk has room again, when the journal has so much to give; else nothing. */
  get #missingOnDisk(): number {
    if (this.#space === null || this.#marks.levelOf('disk') !== 'refuse-all') return 0
    const { freeBytes, totalBytes } = this.#space
    const missing = Math.ceil(this.#freeMinBytes(totalBytes) / dropTo) + 1 - freeBytes
    return missing <= this.#journalOrThrow.bytes ? missing : 0
  }

  /** With `drop-oldest`: what is too much, and `missing` bytes at least, as far as that is not on its way already. */
  #dropOldest(missing = 0): void {
    const { whenFull, bytesMax } = this.#config
    if (whenFull !== 'drop-oldest' || this.#dropping || this.#delivery === null) return
    const journal = this.#journalOrThrow
    const isDue = this.#marks.levelOf('bytes') === 'refuse-all' || journal.bytes >= dropFrom * bytesMax
    const excess = Math.max(missing, isDue ? journal.bytes - dropTo * bytesMax : 0)
    if (excess <= 0) return
    const belowSeq = journal.seqAfter(excess)
    if (belowSeq <= Math.max(this.#droppedBelow, this.#passed ?? 0)) return
    this.#dropping = true
    this.#droppedBelow = belowSeq
    if (belowSeq > this.#dropTold) {
      this.#dropTold = belowSeq
      this.#log.warn({ belowSeq }, 'the journal is full: the oldest messages that are not delivered are dropped')
    }
    this.#giveUp(belowSeq)
      .catch((error: unknown) => {
        if (!this.#stop.signal.aborted) this.#log.error({ error }, 'the oldest messages can not be dropped')
      })
      .finally(() => {
        this.#dropping = false
      })
  }

  #tellWhetherItFits(reserveBytes: number): void {
    if (this.#space === null) return
    const { bytesMax } = this.#config
    const { totalBytes } = this.#space
    if (bytesMax + reserveBytes + this.#freeMinBytes(totalBytes) > totalBytes)
      this.#log.warn(
        { bytesMax, reserveBytes, totalBytes },
        'journal.bytesMax is more than the disk has room for, beside the reserve and journal.diskFreeMin: the disk will be full first',
      )
  }

  #tellReserve(): void {
    const { state } = this.#reserve
    if (state === 'forming' || (state === 'missing') === this.#isReserveMissing) return
    this.#isReserveMissing = state === 'missing'
    if (this.#isReserveMissing)
      this.#log.warn(
        {},
        'there is no room on the disk for journal.reserveBytes: if it fills up, delivering and deleting have nothing to go on with',
      )
    else this.#log.info({ reserve: state }, 'the reserve for a full disk is no longer missing')
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
}

const levelTexts = {
  warn: 'the journal fills up',
  'refuse-low': 'the journal fills up: messages of low priority are refused',
  'refuse-all': 'the journal is full, or the disk: messages are refused',
} as const
