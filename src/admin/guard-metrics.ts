import { Gauge, Registry } from 'prom-client'

/** How far the journal is from its limits, and who is refused. */
export interface GuardStatus {
  readonly level: GuardLevel
  /** 1 is the limit. */
  readonly gauges: Readonly<Record<'bytes' | 'disk' | 'age', { readonly fill: number; readonly level: GuardLevel }>>
  /** null until it was looked at for the first time. */
  readonly disk: { readonly freeBytes: number; readonly totalBytes: number; readonly freeMinBytes: number } | null
  readonly reserve: 'whole' | 'forming' | 'spent' | 'missing'
  readonly topicsOverShareCount: number
  /** At most 100 of them. */
  readonly topicsOverShare: readonly { readonly topic: string; readonly bytes: number; readonly bytesMax: number }[]
  /** Whether what was in the journal at the start counts for topics already. */
  readonly isMeasured: boolean
}

type GuardLevel = 'normal' | 'warn' | 'refuse-low' | 'refuse-all'

const levelNumbers = { normal: 0, warn: 1, 'refuse-low': 2, 'refuse-all': 3 } as const

/** Shows the journal's limits as Prometheus metrics. */
export class GuardMetrics {
  readonly #registry = new Registry()
  readonly #level = this.#gauge(
    'outrigger_journal_level',
    'Who is refused: 0 nobody, 1 nobody, but it is time to look (warn), 2 low priority, 3 everybody.',
  )
  readonly #fill = this.#gauge(
    'outrigger_journal_fill_ratio',
    'How much of each limit is used up; 1 is the limit (journal.bytesMax, diskFreeMin, ageMax).',
    ['gauge'],
  )
  readonly #free = this.#gauge('outrigger_disk_free_bytes', 'Free space on the disk that holds the journal.')
  readonly #reserve = this.#gauge(
    'outrigger_disk_reserve_spent',
    '1 while the space that is kept back is in use or missing, else 0.',
  )
  readonly #over = this.#gauge(
    'outrigger_topics_over_share',
    'Topics whose unfinished messages take more of the journal than they may.',
  )

  text({ level, gauges, disk, reserve, topicsOverShareCount }: GuardStatus): Promise<string> {
    this.#level.set(levelNumbers[level])
    // A disk without any free space is a long way beyond its limit.
    for (const [gauge, { fill }] of Object.entries(gauges)) this.#fill.set({ gauge }, Math.min(fill, 1000))
    if (disk !== null) this.#free.set(disk.freeBytes)
    this.#reserve.set(reserve === 'spent' || reserve === 'missing' ? 1 : 0)
    this.#over.set(topicsOverShareCount)
    return this.#registry.metrics()
  }

  #gauge(name: string, help: string, labelNames: string[] = []): Gauge {
    return new Gauge({ name, help, labelNames, registers: [this.#registry] })
  }
}
