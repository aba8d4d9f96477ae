import { OutriggerError } from '../base/errors.ts'

/** One thing that is wrong with a configuration. */
export interface ConfigFault {
  /** The setting, such as `kafka.brokers[1]`; empty when the fault is not about one. */
  readonly path: string
  /** What stands there, as text; undefined when there is nothing to show, or when it must not be shown. */
  readonly given?: string
  /** What should stand there. */
  readonly expected: string
  /** Where it comes from: `outrigger.yaml:12`, `OUTRIGGER_KAFKA_BROKERS`, a secret's file, or `defaults`. */
  readonly source: string
  /** What was probably meant, or what to do. */
  readonly hint?: string
}

/** The configuration can't be used. Carries every fault that was found, and its message prints them one a line. */
export class ConfigError extends OutriggerError {
  override readonly name = 'ConfigError'
  override readonly code = 'config_invalid'
  readonly faults: readonly ConfigFault[]

  constructor(faults: readonly ConfigFault[], options?: { cause?: unknown }) {
    const count = faults.length === 1 ? 'a fault' : `${faults.length} faults`
    super(`the configuration has ${count}:\n${faults.map((fault) => `  ${formatFault(fault)}`).join('\n')}`, options)
    this.faults = faults
  }
}

/** One line: where, what, expectation, given value, hint. */
export function formatFault(fault: ConfigFault): string {
  const where = fault.path === '' ? fault.source : `${fault.source}: ${fault.path}`
  const given = fault.given === undefined ? '' : `, given ${fault.given}`
  const hint = fault.hint === undefined ? '' : ` (${fault.hint})`
  return `${where}: expected ${fault.expected}${given}${hint}`
}

const givenLengthMax = 80

/** A given value as text for a fault: short, on one line, and without the password of a URL. */
export function formatGiven(value: unknown): string {
  if (value === undefined || value === null) return 'nothing'
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list'
  if (typeof value === 'object') return 'a mapping'
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (typeof value !== 'string') return `a ${typeof value}`
  const text = JSON.stringify(withoutCredentials(value))
  return text.length <= givenLengthMax ? text : `${text.slice(0, givenLengthMax - 2)}…"`
}

/** `scheme://user:password@host` and `user:password@host` without the user and the password. */
function withoutCredentials(text: string): string {
  const end = text.lastIndexOf('@')
  const start = text.indexOf('://') + 3
  const from = start > 2 && start < end ? start : 0
  return end !== -1 && text.slice(from, end).includes(':') ? `${text.slice(0, from)}[secret]${text.slice(end)}` : text
}
