import type { Clock } from '../base/clock.ts'
import type { BreakerState } from '../base/resilience.ts'
import { Breaker } from '../base/resilience.ts'
import { isDiskFailure } from '../base/errors.ts'
import { Wakeup } from '../base/wakeup.ts'
import type { MessageFate } from '../message/message-fate.ts'
import { isSameTopic, topicOf } from '../message/message-codec.ts'
import type { Broker } from './broker.ts'
import { BrokerError } from './broker.ts'
import { GapLosses } from './gap-losses.ts'
import type { LaneContext, LaneOptions } from './lane.ts'
import { LaneMemory } from './lane-queue.ts'
import { Lane } from './lane.ts'
import type { ReadableJournal, RecordReader } from '../base/record-reader.ts'
import type { Cursor, DeadLetterBox, ReceiptJournal } from './ports.ts'
import { ReaderPool } from './reader-pool.ts'
import type { Checkpoint, DeadReceipt, DeliveredReceipt, LostReceipt, SeqRange } from '../message/receipt.ts'
import type { ReceiptLogOptions } from './receipt-log.ts'
import { ReceiptLog, ReceiptsClosedError } from './receipt-log.ts'

export interface ForwarderOptions extends LaneOptions, ReceiptLogOptions {
  readonly checkpointInterval: number
  readonly breakerFailures: number
  readonly breakerDelayMax: number
}

/** What the forwarder tells about its work. */
export interface ForwarderObserver {
  /** The broker has acknowledged a batch; `acceptedAt` (milliseconds since the epoch) is its oldest message's. */
  delivered(topic: string, messages: number, acceptedAt: number): void
  retrying(topic: string, error: BrokerError, attempts: number, delayMs: number): void
  died(topic: string, id: string, error: BrokerError): void
  /** Messages are lost; `topic` is null when it can't be known. */
  lost(receipt: LostReceipt, messages: number): void
  breakerChanged(state: BreakerState): void
  receiptsFailed(error: unknown): void
}

export interface ForwarderStatus {
  readonly breaker: BreakerState
  /** Messages from the oldest unfinished one to the newest accepted. */
  readonly backlogMessages: number
  /** When the oldest unfinished message was accepted (milliseconds since the epoch), or null when there is none. */
  readonly oldestAcceptedAt: number | null
  readonly memoryBytes: number
  /** Finished messages whose receipts are not durable yet. */
  readonly pendingReceipts: number
  readonly lanes: readonly {
    readonly topic: string
    readonly queuedMessages: number
    readonly failure: {
      readonly reason: string
      readonly message: string
      readonly hint: string
      readonly attempts: number
    } | null
  }[]
}

/** How far delivering is. Below its position a topic's messages are finished; those of topics without one are below `head`. */
export interface ForwarderProgress {
  readonly head: number
  readonly positions: readonly (readonly [topic: string, seq: number])[]
  /** When the oldest unfinished message was accepted (milliseconds since the epoch), or null when there is none. */
  readonly oldestAcceptedAt: number | null
}

/**
 * Carries messages from the journal to the broker, a lane for each topic.
 *
 * One head reader goes through the journal and hands each record to its lane. It waits while the lanes hold as much as
 * they may; a lane that is stuck while others get through is detached instead, so that it delays nobody.
 *
 * What is finished is remembered as receipts. From time to time a checkpoint sums them up, and then the cursor moves:
 * so a restart reads the receipts since the last checkpoint, and the journal from the oldest unfinished message.
 */
export class Forwarder {
  readonly #journal: ReadableJournal
  readonly #broker: Broker
  readonly #receipts: ReceiptLog
  readonly #cursor: Cursor
  readonly #passed: (seq: number) => void
  readonly #clock: Clock
  readonly #options: ForwarderOptions
  readonly #breaker: Breaker
  readonly #context: LaneContext
  /** Ends the loops and all waiting. */
  readonly #stop = new AbortController()
  /** Ends what is being sent. */
  readonly #abandon = new AbortController()
  /** Lanes that have something to do; an idle lane is no object at all. */
  readonly #lanes = new Map<string, Lane>()
  /** Resumed from the checkpoint: below these, a topic's messages are finished. Entries go as the head passes them. */
  #resumed = new Map<string, number>()
  #resumedHead = 0
  #headSeq = 0
  /** Nothing from here on was finished before this run. */
  #finishedSeq = 0
  #giveUpSeq = 0
  #checkpointsAtStart = 0
  #checking: Promise<void> = Promise.resolve()
  readonly #lost: (receipt: LostReceipt, messages: number) => void
  readonly #losses: GapLosses
  readonly #receiptsFailed: (error: unknown) => void
  #reader: RecordReader | null = null
  #unchecked = false
  readonly #changes: Wakeup
  readonly #memory = new LaneMemory()
  #loops: Promise<void>[] = []
  readonly #working = new Set<Promise<void>>()
  #closing: Promise<void> | null = null
  #fail: (error: unknown) => void = () => {}
  /** Never resolves; rejects when forwarding can't go on (a corrupt journal, a bug). */
  readonly failed: Promise<never>

  constructor(
    journal: ReadableJournal,
    receiptJournal: ReceiptJournal,
    cursor: Cursor,
    broker: Broker,
    deadLetters: DeadLetterBox,
    /** Told when every message below a seq is finished, durably: the journal may let it go. */
    passed: (seq: number) => void,
    observer: ForwarderObserver,
    clock: Clock,
    options: ForwarderOptions,
  ) {
    this.#journal = journal
    this.#broker = broker
    this.#cursor = cursor
    this.#passed = passed
    this.#clock = clock
    this.#options = options
    this.#changes = new Wakeup(clock)
    this.#lost = (receipt, messages) => observer.lost(receipt, messages)
    this.#receiptsFailed = (error) => observer.receiptsFailed(error)
    this.#receipts = new ReceiptLog(receiptJournal, clock, options, {
      failing: this.#receiptsFailed,
      broken: (error) => this.#fail(error),
    })
    this.#breaker = new Breaker(clock, {
      failures: options.breakerFailures,
      delayMs: options.retryDelay,
      delayMaxMs: options.breakerDelayMax,
      counts: (error) => error instanceof BrokerError && (error.failure === 'transient' || error.failure === 'fatal'),
      onStateChange: (state) => observer.breakerChanged(state),
    })
    this.#losses = new GapLosses(this.#receipts, clock, this.#stop.signal, {
      lowSeq: () => this.#lowSeq(),
      knownBelow: () => Math.max(this.#headSeq, this.#finishedSeq),
      forEachQueued: (visit) => {
        for (const lane of this.#lanes.values()) lane.forEachQueued(visit)
      },
      record: (receipt) => this.#context.recordDurably(receipt),
    })
    this.failed = new Promise((_, reject) => {
      this.#fail = reject
    })
    this.failed.catch(() => {}) // whoever composes it listens; a failure before that must not end the process unexplained
    this.#context = {
      journal,
      broker,
      breaker: this.#breaker,
      deadLetters,
      clock,
      options,
      memory: this.#memory,
      readers: new ReaderPool(journal, readersMax),
      signal: this.#stop.signal,
      sendSignal: this.#abandon.signal,
      headSeq: () => this.#headSeq,
      record: (receipt) => {
        this.#note(receipt)
        return this.#receipts.record(receipt, this.#stop.signal)
      },
      recordDurably: async (receipt) => {
        this.#note(receipt)
        await this.#receipts.recordDurably(receipt, this.#stop.signal)
      },
      giveUpSeq: () => this.#giveUpSeq,
      lose: (gap) => this.#losses.lose(gap),
      changed: () => this.#changes.wake(),
      sent: (lane, messages, acceptedAt) => observer.delivered(lane.topic, messages, acceptedAt),
      retrying: (lane, error, attempts, delayMs) => observer.retrying(lane.topic, error, attempts, delayMs),
      died: (lane, id, error) => observer.died(lane.topic, id, error),
    }
  }

  /**
   * Finds out what is finished already, and begins with the rest. Returns one past the highest seq that the receipts know of:
   * what the journal gives next must not be less.
   */
  async start(): Promise<number> {
    const { seq: low, mark } = this.#cursor.position
    let head = low
    let finished = low
    const positions = new Map<string, number>()
    await this.#receipts.replay(mark, (receipt) => {
      switch (receipt.kind) {
        case 'checkpoint':
          this.#checkpointsAtStart++
          head = receipt.head
          finished = Math.max(finished, head)
          positions.clear()
          for (const [topic, position] of receipt.positions) positions.set(topic, position)
          break
        case 'delivered':
        case 'dead':
        case 'lost':
          finished = Math.max(finished, positionAfter(receipt))
          // Those of no known topic stood in a gap: when that is read again, it is seen that they are named already.
          if (receipt.topic !== null) positions.set(receipt.topic, positionAfter(receipt))
          break
      }
    })
    this.#resumed = positions
    this.#resumedHead = head
    this.#finishedSeq = Math.max(finished, ...positions.values())
    this.#headSeq = low
    this.#reader = this.#journal.reader(low)
    this.#loops = [this.#watch(this.#readOn()), this.#watch(this.#checkOn())]
    return this.#finishedSeq
  }

  /**
   * How many checkpoints the receipts had at the start from the one on that the cursor stands at. There is that one, and perhaps
   * another after which the cursor could not be moved any more. More say that the cursor is not the newest that was written.
   */
  get checkpointsAtStart(): number {
    return this.#checkpointsAtStart
  }

  /**
   * Gives up every message below `seq` that is not finished: it is `dropped`. A batch that is being sent may still be
   * delivered, and then it is. Resolves when receipts say which they were, durably, and the journal may let them go; or when the
   * forwarder is closing.
   */
  async giveUpBelow(seq: number): Promise<void> {
    const target = Math.min(seq, this.#journal.end.nextSeq)
    this.#giveUpSeq = Math.max(this.#giveUpSeq, target)
    for (const lane of this.#lanes.values()) lane.giveUp()
    const { signal } = this.#stop
    while (!signal.aborted && this.#lowSeq() < target) await this.#changes.wait(signal, 1000)
    if (signal.aborted) return
    try {
      await this.#check()
    } catch (error) {
      if (!(error instanceof ReceiptsClosedError)) throw error // what is not durable is given up by the next run, or delivered
    }
  }

  /**
   * Resolves when every message that is in the journal now is finished, or as soon as the signal aborts or the forwarder
   * is closed.
   */
  async drain(signal: AbortSignal): Promise<void> {
    const end = this.#journal.end.nextSeq
    while (!signal.aborted && !this.#stop.signal.aborted && this.#lowSeq() < end) await this.#changes.wait(signal, 1000)
  }

  /**
   * Ends; what is left stays in the journal. What is being sent may end within `graceMs`, so that it need not be sent
   * again by the next start, and its receipts have half as much. Idempotent.
   */
  close(graceMs = 1000): Promise<void> {
    this.#closing ??= this.#close(graceMs)
    return this.#closing
  }

  async #close(graceMs: number): Promise<void> {
    this.#stop.abort(new Error('the forwarder is closing'))
    this.#changes.wake()
    const sent = Promise.all(this.#working)
    await this.#within(graceMs, sent)
    this.#abandon.abort(new Error('the forwarder is closing'))
    await sent
    try {
      const checked = this.#checkLast()
      // On a disk that takes no receipts any more this would wait for ever.
      await this.#within(graceMs / 2, checked)
      this.#receipts.close()
      await checked
    } finally {
      await this.#reader?.close()
      await this.#broker.close()
    }
  }

  async #checkLast(): Promise<void> {
    await Promise.all(this.#loops)
    try {
      if (this.#reader !== null) await this.#check()
    } catch (error) {
      if (!(error instanceof ReceiptsClosedError)) throw error // they will be written again by the next start
    }
  }

  /** Waits for `work`, but not longer than `ms`. Whether it fails is not looked at. */
  async #within(ms: number, work: Promise<unknown>): Promise<void> {
    const over = new AbortController()
    const ended = work.then(
      () => over.abort(),
      () => over.abort(),
    )
    await Promise.race([ended, this.#clock.sleep(ms, over.signal).catch(() => {})])
  }

  /** What became of a message; null when it was never accepted, or was finished so long ago that no receipt is held. */
  async find(seq: number): Promise<MessageFate | null> {
    if (seq >= this.#journal.end.nextSeq) return null
    // Looked at before: it may be finished while its receipt is looked for.
    const isUnfinished = seq >= this.#lowSeq()
    return (await this.#receipts.find(seq)) ?? (isUnfinished ? { state: 'accepted' } : null)
  }

  progress(): ForwarderProgress {
    const { head, positions } = this.#checkpoint()
    return { head, positions: [...positions], oldestAcceptedAt: this.#oldestAcceptedAt() }
  }

  #oldestAcceptedAt(): number | null {
    let oldest: number | null = null
    for (const { oldestAcceptedAt: own } of this.#lanes.values())
      if (own !== null && (oldest === null || own < oldest)) oldest = own
    return oldest
  }

  status(): ForwarderStatus {
    const lanes = [...this.#lanes.values()].filter((lane) => lane.firstUnfinished !== null)
    return {
      breaker: this.#breaker.state,
      backlogMessages: this.#journal.end.nextSeq - this.#lowSeq(),
      oldestAcceptedAt: this.#oldestAcceptedAt(),
      memoryBytes: this.#memory.bytes,
      pendingReceipts: this.#receipts.pendingMessages,
      lanes: lanes.map((lane) => ({
        topic: lane.topic,
        queuedMessages: lane.queuedMessages,
        failure: lane.failure && {
          reason: lane.failure.error.reason,
          message: lane.failure.error.message,
          hint: lane.failure.error.hint,
          attempts: lane.failure.attempts,
        },
      })),
    }
  }

  async #readOn(): Promise<void> {
    const reader = this.#reader as RecordReader
    const { signal } = this.#stop
    const gatherMs = Math.min(gatherMsMax, this.#options.linger)
    let wokenAt = Number.NEGATIVE_INFINITY
    for (;;) {
      signal.throwIfAborted()
      const block = await reader.next()
      if (block === null) {
        // Under load, several blocks are read at once; what comes after a quiet time is read at once.
        if (this.#clock.monotonic() - wokenAt < gatherMs) await this.#clock.sleep(gatherMs, signal)
        await this.#journal.end.wait(reader.nextSeq, signal)
        wokenAt = this.#clock.monotonic()
        continue
      }
      if (block.lost !== null) await this.#context.lose(block)
      const lanes = new Set<Lane>()
      let topic = ''
      let topicStart = -1
      block.forEach((seq, bytes, start, end) => {
        // Often it is the topic of the record before.
        if (topicStart === -1 || !isSameTopic(bytes, start, topicStart)) topic = topicOf(bytes, start)
        topicStart = start
        if (seq < (this.#resumed.get(topic) ?? this.#resumedHead)) return
        const lane = this.#laneOf(topic)
        lane.offer(seq, bytes, start, end)
        lanes.add(lane)
      })
      this.#headSeq = reader.nextSeq
      this.#forgetResumed()
      if (lanes.size === 0) this.#changes.wake()
      for (const lane of lanes) this.#work(lane)
      await this.#makeRoom(lanes)
    }
  }

  #laneOf(topic: string): Lane {
    let lane = this.#lanes.get(topic)
    if (lane === undefined) {
      lane = new Lane(topic, this.#context)
      this.#lanes.set(topic, lane)
    }
    return lane
  }

  /** Sees to it that the lane works until it has nothing to do, and is forgotten then. */
  #work(lane: Lane): void {
    if (lane.isRunning) return
    const work = lane.run().then(
      () => {
        this.#working.delete(work)
        if (lane.firstUnfinished === null) this.#lanes.delete(lane.topic)
        else if (!this.#stop.signal.aborted) this.#work(lane)
      },
      (error: unknown) => {
        this.#working.delete(work)
        this.#fail(error)
      },
    )
    this.#working.add(work)
  }

  /** During a resume it must not be forgotten what this run finished; else a second restart would send it again. */
  #note(receipt: DeliveredReceipt | DeadReceipt | LostReceipt): void {
    const { topic } = receipt
    this.#unchecked = true
    if (topic !== null && (this.#headSeq < this.#resumedHead || this.#resumed.has(topic)))
      this.#resumed.set(topic, positionAfter(receipt))
    if (receipt.kind === 'lost') this.#lost(receipt, messagesIn(receipt.ranges))
  }

  #forgetResumed(): void {
    if (this.#headSeq < this.#resumedHead) return
    for (const [topic, position] of this.#resumed) if (position <= this.#headSeq) this.#resumed.delete(topic)
  }

  /** Waits until there is room for more, and detaches lanes that are stuck. `fed` are those that just got records. */
  async #makeRoom(fed: ReadonlySet<Lane>): Promise<void> {
    const { signal } = this.#stop
    for (;;) {
      signal.throwIfAborted()
      const full = [...fed].filter((lane) => lane.isFull)
      if (full.length === 0 && !this.#isOverfull) return
      const clusterWorks = this.#clusterWorks()
      for (const lane of full) if (lane.isStuck(clusterWorks)) lane.detach(false)
      if (this.#isOverfull) {
        const stuck = [...this.#lanes.values()].filter((lane) => lane.isStuck(clusterWorks))
        for (const lane of stuck.toSorted((a, b) => b.queuedBytes - a.queuedBytes))
          if (this.#isOverfull) lane.detach(true)
      }
      if (full.some((lane) => lane.isFull) || this.#isOverfull) await this.#changes.wait(signal, 200)
    }
  }

  get #isOverfull(): boolean {
    return this.#memory.bytes > this.#options.memoryBytesMax
  }

  /**
   * Whether trouble is a lane's own: the breaker is closed, or no other lane has any. To be wrong costs no more than that
   * lanes read back what the head has passed.
   */
  #clusterWorks(): boolean {
    if (this.#breaker.state === 'closed') return true
    let troubled = 0
    for (const lane of this.#lanes.values()) if (lane.troubledSince !== null) troubled++
    return troubled <= 1
  }

  /** Every message below it is finished. */
  #lowSeq(): number {
    let low = this.#headSeq
    for (const lane of this.#lanes.values()) low = Math.min(low, lane.firstUnfinished ?? low)
    return low
  }

  async #checkOn(): Promise<void> {
    for (;;) {
      await this.#clock.sleep(this.#options.checkpointInterval, this.#stop.signal)
      await this.#check()
    }
  }

  /** One after the other. */
  #check(): Promise<void> {
    const checking = this.#checking.then(() => this.#checkNow())
    this.#checking = checking.catch(() => {}) // whoever wanted it has the failure
    return checking
  }

  async #checkNow(): Promise<void> {
    const { position } = this.#cursor
    if (!this.#unchecked && this.#lowSeq() === position.seq) {
      // While nothing gets through, the end moves all the same.
      if (this.#reach > (position.reach ?? 0)) await this.#moveCursor(position)
      return
    }
    this.#unchecked = false
    const seq = this.#lowSeq()
    const mark = await this.#receipts.recordDurably(this.#checkpoint())
    if (!(await this.#moveCursor({ seq, mark }))) {
      // It is tried again with the next checkpoint.
      this.#unchecked = true
      return
    }
    this.#passed(seq)
    await this.#receipts.trim(mark)
  }

  /** How far the journal is durable, or was: a journal that has lost its end has a smaller one until that is known. */
  get #reach(): number {
    return Math.max(this.#journal.end.nextSeq, this.#cursor.position.reach ?? 0)
  }

  /** False when the disk has failed: then the other slot of the cursor is whole. */
  async #moveCursor({ seq, mark }: { readonly seq: number; readonly mark: number }): Promise<boolean> {
    try {
      await this.#cursor.write({ seq, mark, reach: this.#reach })
      return true
    } catch (error) {
      if (!isDiskFailure(error)) throw error
      this.#receiptsFailed(error)
      return false
    }
  }

  #checkpoint(): Checkpoint {
    const positions = new Map(this.#resumed)
    for (const lane of this.#lanes.values())
      if (lane.firstUnfinished !== null) positions.set(lane.topic, lane.firstUnfinished)
    return { kind: 'checkpoint', head: Math.max(this.#headSeq, this.#resumedHead), positions }
  }

  #watch(loop: Promise<void>): Promise<void> {
    return loop.catch((error: unknown) => {
      if (!this.#stop.signal.aborted) this.#fail(error)
    })
  }
}

/** How long the head reader lets blocks gather, at most. */
const gatherMsMax = 2

/** How many lanes read the journal back at a time. */
const readersMax = 4

/** Where a topic stands after a receipt: lanes are in order, so all its messages below are finished. */
function positionAfter(receipt: DeliveredReceipt | DeadReceipt | LostReceipt): number {
  switch (receipt.kind) {
    case 'delivered':
      return (receipt.seqs.at(-1) as number) + 1
    case 'dead':
      return receipt.seq + 1
    case 'lost':
      return (receipt.ranges.at(-1) as SeqRange)[1]
  }
}

function messagesIn(ranges: readonly SeqRange[]): number {
  return ranges.reduce((sum, [fromSeq, toSeq]) => sum + toSeq - fromSeq, 0)
}
