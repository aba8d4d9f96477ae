import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client'

/** What the accepting half counts, and the process as a whole. */
export class IntakeMetrics {
  readonly #registry = new Registry()
  readonly #accepted = new Counter({
    name: 'outrigger_accepted_messages_total',
    help: 'Messages that are on disk and were answered.',
    registers: [this.#registry],
  })
  readonly #acceptedBytes = new Counter({
    name: 'outrigger_accepted_bytes_total',
    help: 'Bytes of accepted messages as publishers sent them.',
    registers: [this.#registry],
  })
  readonly #answerSeconds = new Histogram({
    name: 'outrigger_answer_seconds',
    help: 'Time from a request’s arrival to its answer, by status.',
    labelNames: ['status'],
    buckets: [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
    registers: [this.#registry],
  })
  readonly #refused = new Counter({
    name: 'outrigger_refused_total',
    help: 'Requests and NDJSON lines that were refused, by code (docs/errors.md).',
    labelNames: ['code'],
    registers: [this.#registry],
  })
  readonly #dropped = new Counter({
    name: 'outrigger_dropped_connections_total',
    help: 'Connections that were closed unheard, because there were too many.',
    registers: [this.#registry],
  })
  readonly #syncSeconds = new Histogram({
    name: 'outrigger_journal_sync_seconds',
    help: 'Time to write one block to the journal and sync it.',
    buckets: [0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5],
    registers: [this.#registry],
  })
  readonly #syncedMessages = new Counter({
    name: 'outrigger_journal_synced_messages_total',
    help: 'Messages that were written to the journal and synced; divided by the number of syncs: the size of a group.',
    registers: [this.#registry],
  })
  readonly #journalFailures = new Counter({
    name: 'outrigger_journal_failures_total',
    help: 'Writes or syncs of the journal that failed.',
    registers: [this.#registry],
  })
  readonly #journalBytes = new Gauge({
    name: 'outrigger_journal_bytes',
    help: 'Bytes of the journal on disk.',
    registers: [this.#registry],
  })
  readonly #journalBytesMax = new Gauge({
    name: 'outrigger_journal_bytes_max',
    help: 'Bytes that the journal may take (journal.bytesMax).',
    registers: [this.#registry],
  })
  readonly #connections = new Gauge({
    name: 'outrigger_connections',
    help: 'Open connections of publishers.',
    registers: [this.#registry],
  })
  readonly #answers = new Map<number, Histogram.Internal<'status'>>()

  constructor(version: string) {
    collectDefaultMetrics({ register: this.#registry })
    new Gauge({
      name: 'outrigger_info',
      help: 'Always 1; the label tells the version.',
      labelNames: ['version'],
      registers: [this.#registry],
    }).set({ version }, 1)
  }

  accepted(messages: number, bytes: number): void {
    this.#accepted.inc(messages)
    this.#acceptedBytes.inc(bytes)
  }

  answered(durationMs: number, status: number): void {
    let histogram = this.#answers.get(status)
    if (histogram === undefined) {
      histogram = this.#answerSeconds.labels({ status: String(status) })
      this.#answers.set(status, histogram)
    }
    histogram.observe(durationMs / 1000)
  }

  refused(code: string): void {
    this.#refused.inc({ code })
  }

  dropped(): void {
    this.#dropped.inc()
  }

  synced(messages: number, durationMs: number): void {
    this.#syncedMessages.inc(messages)
    this.#syncSeconds.observe(durationMs / 1000)
  }

  journalFailed(): void {
    this.#journalFailures.inc()
  }

  /** The registry's text, with the gauges as of now. */
  text(now: { journalBytes: number; journalBytesMax: number; connections: number }): Promise<string> {
    this.#journalBytes.set(now.journalBytes)
    this.#journalBytesMax.set(now.journalBytesMax)
    this.#connections.set(now.connections)
    return this.#registry.metrics()
  }
}
