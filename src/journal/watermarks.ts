/** How far things have come, from good to bad: what is told to operators, and who is refused. */
export const levels = ['normal', 'warn', 'refuse-low', 'refuse-all'] as const
export type Level = (typeof levels)[number]

/** What is watched: the journal's bytes, the free space of its disk, and the age of the oldest unfinished message. */
export const gauges = ['bytes', 'disk', 'age'] as const
export type Gauge = (typeof gauges)[number]

export interface WatermarkOptions {
  /** At this fill, from 0 to 1, a gauge warns. */
  readonly warnAt: number
  /** At this fill messages of low priority are refused. At 1 all are. */
  readonly refuseLowAt: number
}

/** A level is left this far below where it is entered, so that nothing flaps. */
export const hysteresis = 0.05
/** What does not fit counts as full from here on, although the gauge is not at 1. */
const fullFrom = 1 - hysteresis
/** All are refused until a gauge is below this. */
const fullUntil = fullFrom - hysteresis

/**
 * The level of one gauge. A fill of 1 is its limit. Pure: what it says depends on the fills that it was told alone. Between
 * entering a level and leaving it, the fill has moved by the hysteresis.
 */
export class Watermark {
  readonly #entries: readonly number[]
  #index = 0
  #fill = 0

  constructor({ warnAt, refuseLowAt }: WatermarkOptions) {
    this.#entries = [Number.NEGATIVE_INFINITY, warnAt, refuseLowAt, 1]
  }

  get level(): Level {
    return levels[this.#index] as Level
  }

  get fill(): number {
    return this.#fill
  }

  /** True when the level has changed. */
  update(fill: number): boolean {
    const before = this.#index
    this.#fill = fill
    while (this.#index < 3 && fill >= this.#entry(this.#index + 1)) this.#index++
    while (this.#index > 0 && fill < this.#exit(this.#index)) this.#index--
    return this.#index !== before
  }

  /** Something did not fit at the fill that was told last. Counts as full only near the limit: else it was too large. */
  overflowed(): boolean {
    if (this.#index === 3 || this.#fill < fullFrom) return false
    this.#index = 3
    return true
  }

  #entry(index: number): number {
    return this.#entries[index] as number
  }

  #exit(index: number): number {
    return index === 3 ? fullUntil : this.#entry(index) - hysteresis
  }
}

/** The levels of all gauges, of which the worst counts. */
export class Watermarks {
  readonly #marks: Readonly<Record<Gauge, Watermark>>
  /** Index in `levels`: 0 is normal. A plain field, because it is looked at for every message. */
  #index = 0

  constructor(options: WatermarkOptions) {
    this.#marks = { bytes: new Watermark(options), disk: new Watermark(options), age: new Watermark(options) }
  }

  get level(): Level {
    return levels[this.#index] as Level
  }

  get refusesLow(): boolean {
    return this.#index >= 2
  }

  get refusesAll(): boolean {
    return this.#index === 3
  }

  levelOf(gauge: Gauge): Level {
    return this.#marks[gauge].level
  }

  fillOf(gauge: Gauge): number {
    return this.#marks[gauge].fill
  }

  /** The gauge that has come furthest. */
  get worst(): Gauge {
    return gauges.reduce((a, b) => (this.#rank(b) > this.#rank(a) ? b : a))
  }

  /** True when the level of all has changed. */
  update(gauge: Gauge, fill: number): boolean {
    return this.#marks[gauge].update(fill) && this.#settle()
  }

  /** Something did not fit. True when the level of all has changed. */
  overflowed(gauge: Gauge): boolean {
    return this.#marks[gauge].overflowed() && this.#settle()
  }

  #settle(): boolean {
    const before = this.#index
    this.#index = Math.max(...gauges.map((gauge) => this.#rank(gauge)))
    return this.#index !== before
  }

  #rank(gauge: Gauge): number {
    return levels.indexOf(this.#marks[gauge].level)
  }
}

/** How full a disk is that shall keep `freeMin` bytes free: 1 when it has just these, less when it has more. */
export function diskFill(freeBytes: number, freeMin: number): number {
  if (freeMin <= 0) return 0
  return freeBytes <= 0 ? Number.POSITIVE_INFINITY : freeMin / freeBytes
}
