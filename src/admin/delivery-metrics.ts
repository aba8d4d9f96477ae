import { Counter, Gauge, Registry } from 'prom-client'
import type { DeliveryCountsData } from './delivery-counts.ts'
import { deliverySecondsBuckets } from './delivery-counts.ts'
import type { DeliveryStatus } from './status.ts'

/** Shows what the delivering half has counted, and its state, as Prometheus metrics. */
export class DeliveryMetrics {
  readonly #registry = new Registry()
  readonly #delivered = this.#counter(
    'outrigger_delivered_messages_total',
    'Messages that the broker has acknowledged.',
    ['topic'],
  )
  readonly #retried = this.#counter(
    'outrigger_delivery_retries_total',
    'Batches that were not acknowledged and are sent again, by reason.',
    ['topic', 'reason'],
  )
  readonly #dead = this.#counter(
    'outrigger_dead_messages_total',
    'Messages that the broker refused for good, by reason. They are kept as dead letters.',
    ['topic', 'reason'],
  )
  readonly #receiptFailures = this.#counter(
    'outrigger_receipt_failures_total',
    'Failed writes of receipts; they are tried again.',
    [],
  )
  readonly #lost = this.#counter(
    'outrigger_messages_lost_total',
    'Messages that will not be delivered, by reason: their file is corrupt or missing, or they were dropped because the journal was full.',
    ['reason'],
  )
  readonly #backlog = this.#gauge(
    'outrigger_backlog_messages',
    'Messages from the oldest that is not finished to the newest accepted.',
  )
  readonly #oldest = this.#gauge(
    'outrigger_backlog_oldest_age_seconds',
    'Age of the oldest message that is not finished; 0 when there is none.',
  )
  readonly #memory = this.#gauge(
    'outrigger_forwarder_memory_bytes',
    'Bytes of messages that wait in memory for the broker.',
  )
  readonly #lanes = this.#gauge(
    'outrigger_lanes',
    'Topics with messages that are not finished: all of them (busy), and those that can not be delivered now (failing).',
    ['state'],
  )
  readonly #breaker = this.#gauge(
    'outrigger_breaker_state',
    'State of the circuit breaker in front of the broker: 0 closed, 1 half-open, 2 open.',
    ['breaker'],
  )
  readonly #damaged = this.#counter(
    'outrigger_journal_damaged_total',
    'Damaged places that were found in files of journals, as long as their reports are in quarantine/.',
    [],
  )
  readonly #quarantine = this.#gauge(
    'outrigger_quarantine_bytes',
    'Bytes of damaged files that are kept, and of the reports about them.',
  )
  readonly #deadLetters = this.#gauge('outrigger_dead_letters', 'Dead letters that are kept.')
  readonly #disk = this.#gauge('outrigger_delivery_disk_bytes', 'Bytes on disk of receipts and of dead letters.', [
    'kind',
  ])

  async text(status: DeliveryStatus, counts: DeliveryCountsData, now: number): Promise<string> {
    this.#count(counts)
    const { oldestAcceptedAt } = status
    this.#backlog.set(status.backlogMessages)
    this.#oldest.set(oldestAcceptedAt === null ? 0 : Math.max(0, now - oldestAcceptedAt) / 1000)
    this.#memory.set(status.memoryBytes)
    this.#lanes.set({ state: 'busy' }, status.busyLanes)
    this.#lanes.set({ state: 'failing' }, status.failingLanes)
    this.#breaker.set({ breaker: 'broker' }, { closed: 0, 'half-open': 1, open: 2 }[status.breaker])
    this.#damaged.reset()
    this.#damaged.inc(status.quarantine.damages)
    this.#quarantine.set(status.quarantine.bytes)
    this.#deadLetters.set(status.deadLetters)
    this.#disk.set({ kind: 'receipts' }, status.receiptBytes)
    this.#disk.set({ kind: 'dead-letters' }, status.deadLetterBytes)
    return (await this.#registry.metrics()) + deliverySecondsText(counts.seconds)
  }

  /** The counts are totals already, so each counter starts anew from them. */
  #count(counts: DeliveryCountsData): void {
    for (const counter of [this.#delivered, this.#retried, this.#dead, this.#receiptFailures, this.#lost]) counter.reset() // prettier-ignore
    for (const [topic, messages] of counts.delivered) this.#delivered.inc({ topic }, messages)
    for (const [topic, reasons] of counts.retried)
      for (const [reason, batches] of reasons) this.#retried.inc({ topic, reason }, batches)
    for (const [topic, reasons] of counts.dead)
      for (const [reason, messages] of reasons) this.#dead.inc({ topic, reason }, messages)
    this.#receiptFailures.inc(counts.receiptFailures)
    for (const [reason, messages] of Object.entries(counts.lost)) this.#lost.inc({ reason }, messages)
  }

  #counter(name: string, help: string, labelNames: string[]): Counter {
    return new Counter({ name, help, labelNames, registers: [this.#registry] })
  }

  #gauge(name: string, help: string, labelNames: string[] = []): Gauge {
    return new Gauge({ name, help, labelNames, registers: [this.#registry] })
  }
}

/** A histogram in the text format (prom-client can count one, but not show one that was counted elsewhere). */
function deliverySecondsText({ buckets, sum }: DeliveryCountsData['seconds']): string {
  const name = 'outrigger_delivery_seconds'
  let total = 0
  const lines = buckets.map((count, i) => {
    total += count
    return `${name}_bucket{le="${deliverySecondsBuckets[i] ?? '+Inf'}"} ${total}`
  })
  return [
    '',
    `# HELP ${name} Time from accepting a message until the broker has acknowledged it; of the oldest message of each batch.`,
    `# TYPE ${name} histogram`,
    ...lines,
    `${name}_sum ${sum}`,
    `${name}_count ${total}`,
    '',
  ].join('\n')
}
