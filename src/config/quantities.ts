/** Sizes and durations as people write them. Inside, sizes are bytes and durations milliseconds. */

export const KiB = 1024
export const MiB = 1024 * KiB
export const GiB = 1024 * MiB
export const TiB = 1024 * GiB
export const second = 1000
export const minute = 60 * second
export const hour = 60 * minute
export const day = 24 * hour

/** The outcome of reading one value; a `hint` tells what was probably meant. */
export type Reading<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly hint?: string }

interface Unit {
  readonly name: string
  readonly factor: number
}

/** Largest first, and at about the same magnitude the binary one first. */
const sizeUnits: readonly Unit[] = [
  { name: 'TiB', factor: 2 ** 40 },
  { name: 'TB', factor: 1e12 },
  { name: 'GiB', factor: 2 ** 30 },
  { name: 'GB', factor: 1e9 },
  { name: 'MiB', factor: 2 ** 20 },
  { name: 'MB', factor: 1e6 },
  { name: 'KiB', factor: 2 ** 10 },
  { name: 'KB', factor: 1e3 },
]

const durationUnits: readonly Unit[] = [
  { name: 'd', factor: 86_400_000 },
  { name: 'h', factor: 3_600_000 },
  { name: 'm', factor: 60_000 },
  { name: 's', factor: 1000 },
  { name: 'ms', factor: 1 },
]

export const sizePattern = '^[0-9]+(KiB|MiB|GiB|TiB|KB|MB|GB|TB)?$'
export const sharePattern = '^[0-9]{1,3}(\\.[0-9]{1,2})?%$'
export const durationPattern = '^[0-9]+(ms|s|m|h|d)$|^0$'

/** Reads `512`, `64KiB`, `10MiB`, `1GiB` or, decimal, `64KB`, `10MB`: a whole number of bytes. */
export function readSize(input: unknown): Reading<number> {
  if (typeof input === 'number') {
    return Number.isSafeInteger(input) && input >= 0 ? { ok: true, value: input } : { ok: false }
  }
  if (typeof input !== 'string') return { ok: false }
  const match = /^([0-9]+)([a-z]+)?$/i.exec(input)
  if (!match) return refuse(meantSize(input))
  const unit = match[2] === undefined ? { factor: 1 } : sizeUnits.find(({ name }) => name === match[2])
  if (!unit) return refuse(meantSize(input))
  return whole(Number(match[1]) * unit.factor)
}

/** Reads `50ms`, `30s`, `5m`, `1h` or `7d` as milliseconds. A bare number has no unit and is refused, but for 0. */
export function readDuration(input: unknown): Reading<number> {
  if (input === 0 || input === '0') return { ok: true, value: 0 }
  if (typeof input === 'number' || (typeof input === 'string' && /^[0-9]+$/.test(input))) {
    return { ok: false, hint: `a duration needs a unit: ${input}s, or ${input}ms` }
  }
  if (typeof input !== 'string') return { ok: false }
  const match = /^([0-9]+)(ms|s|m|h|d)$/.exec(input)
  if (!match) return refuse(meantDuration(input))
  const unit = durationUnits.find(({ name }) => name === match[2])
  return unit ? whole(Number(match[1]) * unit.factor) : { ok: false }
}

/** Reads `5%` or `2.5%` as a share: from 0 to 1, for shares above 100% don't exist. */
export function readShare(input: unknown): Reading<number> {
  if (typeof input === 'number')
    return { ok: false, hint: `a share needs a percent sign: ${input > 0 && input < 1 ? input * 100 : input}%` }
  if (typeof input !== 'string') return { ok: false }
  const match = /^([0-9]{1,3}(?:\.[0-9]{1,2})?)%$/.exec(input)
  if (!match) return /^[0-9.]+ +%$/.test(input) ? refuse(input.replaceAll(' ', '')) : { ok: false }
  const percent = Number(match[1])
  return percent <= 100 ? { ok: true, value: percent / 100 } : { ok: false }
}

/** `5%`, `2.5%`. `readShare` gives the same number back. */
export function formatShare(share: number): string {
  return `${Number((share * 100).toFixed(2))}%`
}

/** The shortest exact form: `10MiB`, `900KiB`, `1500`. `readSize` gives the same number back. */
export function formatSize(bytes: number): string {
  return format(bytes, sizeUnits) ?? String(bytes)
}

/** The shortest exact form: `30s`, `7d`, `1500ms`. `readDuration` gives the same number back. */
export function formatDuration(ms: number): string {
  return format(ms, durationUnits) ?? `${ms}ms`
}

function format(value: number, units: readonly Unit[]): string | undefined {
  if (value === 0) return undefined
  const unit = units.find(({ factor }) => value % factor === 0)
  return unit && `${value / unit.factor}${unit.name}`
}

function whole(value: number): Reading<number> {
  return Number.isSafeInteger(value) ? { ok: true, value } : { ok: false }
}

function refuse(meant: string | undefined): Reading<never> {
  return meant === undefined ? { ok: false } : { ok: false, hint: `did you mean ${meant}?` }
}

/** `10mb`, `10 MiB`, Kubernetes' `10Mi`, `1.5GiB`: what the writer probably meant. */
function meantSize(input: string): string | undefined {
  const match = /^\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt])(i?)b?\s*$/i.exec(input)
  if (!match) return undefined
  const name = (match[2] as string).toUpperCase() + (match[3] === '' ? 'B' : 'iB')
  const factor = sizeUnits.find((unit) => unit.name === name)?.factor ?? 1
  const bytes = Number(match[1]) * factor
  return Number.isSafeInteger(bytes) ? formatSize(bytes) : undefined
}

const durationWords: Readonly<Record<string, string>> = {
  millis: 'ms',
  millisecond: 'ms',
  milliseconds: 'ms',
  msec: 'ms',
  sec: 's',
  secs: 's',
  second: 's',
  seconds: 's',
  min: 'm',
  mins: 'm',
  minute: 'm',
  minutes: 'm',
  hr: 'h',
  hour: 'h',
  hours: 'h',
  day: 'd',
  days: 'd',
}

/** `30 s`, `5min`, `1.5s`, `1h30m`: what the writer probably meant. */
function meantDuration(input: string): string | undefined {
  const part = /([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)\s*/gi
  const text = input.trim()
  let ms = 0
  let end = 0
  for (const match of text.matchAll(part)) {
    if (match.index !== end) return undefined
    end += match[0].length
    const word = (match[2] as string).toLowerCase()
    const name = Object.hasOwn(durationWords, word) ? durationWords[word] : word
    const unit = durationUnits.find((candidate) => candidate.name === name)
    if (!unit) return undefined
    ms += Number(match[1]) * unit.factor
  }
  return end > 0 && end === text.length && Number.isSafeInteger(ms) ? formatDuration(ms) : undefined
}
