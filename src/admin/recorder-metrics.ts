import { Counter, Gauge, Registry } from 'prom-client'
import type { LedgerStatus } from './status.ts'

/** Shows what the recorders have counted, and their state, as Prometheus metrics. Each has a label `store`. */
export class RecorderMetrics {
  readonly #registry = new Registry()
  readonly #recorded = this.#counter('outrigger_ledger_recorded_messages_total', 'Messages that are in the store.')
  readonly #writes = this.#counter('outrigger_ledger_writes_total', 'Batches that were written.')
  readonly #writeSeconds = this.#counter('outrigger_ledger_write_seconds_total', 'Time that these writes took.')
  readonly #failures = this.#counter(
    'outrigger_ledger_failures_total',
    'Failed attempts, by reason; they are tried again.',
    ['reason'],
  )
  readonly #refused = this.#counter(
    'outrigger_ledger_refused_messages_total',
    'Messages that the store refuses for good; they are set aside.',
  )
  readonly #givenUp = this.#counter(
    'outrigger_ledger_given_up_messages_total',
    'Messages that were given up because the store was away for too long; gaps say which.',
  )
  readonly #lagMessages = this.#gauge(
    'outrigger_ledger_lag_messages',
    'Messages that are delivered, or dead, and not recorded yet.',
  )
  readonly #lagSeconds = this.#gauge(
    'outrigger_ledger_lag_seconds',
    'Time since the oldest message that is known to wait for the store was delivered; 0 when none waits.',
  )
  readonly #breaker = this.#gauge(
    'outrigger_ledger_breaker_state',
    'State of the circuit breaker in front of the store: 0 closed, 1 half-open, 2 open.',
  )
  readonly #exceptions = this.#gauge(
    'outrigger_ledger_exceptions',
    'Gaps and refused messages that are noted, since the beginning.',
  )
  readonly #held = new Gauge({
    name: 'outrigger_ledger_held_bytes',
    help: 'Bytes of the journal that are held for the ledger alone.',
    registers: [this.#registry],
  })

  /** Empty without a ledger. */
  async text(status: LedgerStatus | null, heldBytes: number, now: number): Promise<string> {
    if (status === null) return ''
    for (const counter of [this.#recorded, this.#writes, this.#writeSeconds, this.#failures, this.#refused, this.#givenUp]) counter.reset() // prettier-ignore
    for (const { store, counts, ...recorder } of status.recorders) {
      this.#recorded.inc({ store }, counts.recorded)
      this.#writes.inc({ store }, counts.writes)
      this.#writeSeconds.inc({ store }, counts.writeSeconds)
      for (const [reason, count] of Object.entries(counts.failures)) this.#failures.inc({ store, reason }, count)
      this.#refused.inc({ store }, counts.refused)
      this.#givenUp.inc({ store }, counts.givenUp)
      this.#lagMessages.set({ store }, recorder.lagMessages)
      const { oldestFinishedAt } = recorder
      this.#lagSeconds.set({ store }, oldestFinishedAt === null ? 0 : Math.max(0, now - oldestFinishedAt) / 1000)
      this.#breaker.set({ store }, { closed: 0, 'half-open': 1, open: 2 }[recorder.breaker])
      this.#exceptions.set({ store }, recorder.exceptions)
    }
    this.#held.set(heldBytes)
    return this.#registry.metrics()
  }

  #counter(name: string, help: string, labelNames: string[] = []): Counter {
    return new Counter({ name, help, labelNames: ['store', ...labelNames], registers: [this.#registry] })
  }

  #gauge(name: string, help: string): Gauge {
    return new Gauge({ name, help, labelNames: ['store'], registers: [this.#registry] })
  }
}
