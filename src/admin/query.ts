import { readTime } from '../base/rfc3339.ts'
import type { Problem } from '../http/problem.ts'

/**
 * The query of a request. Each parameter is one of those that are known, is given once, and is percent-encoded UTF-8; a
 * plus sign is a plus sign, as for publishers. What is wrong stands in `problem`, the first of it, and the readers then
 * give what they would without the parameter: whoever reads looks at `problem` at the end.
 */
export class Query {
  problem: Problem | null = null
  readonly #values = new Map<string, string>()

  /** `text` comes without its question mark. */
  constructor(text: string, known: readonly string[]) {
    for (const parameter of text.split('&')) {
      if (parameter === '') continue
      const end = parameter.indexOf('=')
      const name = end < 0 ? parameter : parameter.slice(0, end)
      const value = end < 0 ? '' : decoded(parameter.slice(end + 1))
      if (!known.includes(name)) this.refuse('parameter_unknown', unknownDetail(name, known))
      else if (this.#values.has(name)) this.refuse('parameter_conflict', `“${name}” is given more than once.`)
      else if (value === null) this.refuse('parameter_invalid', `“${name}” is not percent-encoded UTF-8.`)
      else this.#values.set(name, value)
    }
  }

  text(name: string): string | undefined {
    return this.#values.get(name)
  }

  wholeNumber(name: string, min: number, max: number): number | undefined {
    return this.#read(name, `a whole number from ${min} to ${max}`, (text) => {
      const value = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN
      return value >= min && value <= max ? value : null
    })
  }

  /** Milliseconds since the epoch, from just these or from RFC 3339. */
  time(name: string): number | undefined {
    return this.#read(name, 'milliseconds since 1970, or a time such as 2026-03-01T12:00:00Z', readTime)
  }

  oneOf<T extends string>(name: string, values: readonly T[]): T | undefined {
    return this.#read(name, values.join(' or '), (text) => values.find((value) => value === text) ?? null)
  }

  bytes(name: string): Buffer | undefined {
    return this.#read(name, 'Base64', (text) => {
      const bytes = Buffer.from(text, 'base64')
      const isWhole = bytes.toString('base64').replaceAll('=', '') === text.replaceAll(/=+$/g, '')
      return isWhole || bytes.toString('base64url') === text ? bytes : null
    })
  }

  /** What `read` makes of the parameter's text; null is refused, as not being `expected`. */
  #read<T>(name: string, expected: string, read: (text: string) => T | null): T | undefined {
    const text = this.text(name)
    if (text === undefined) return undefined
    const value = read(text)
    if (value === null) this.refuse('parameter_invalid', `“${name}” is ${expected}, and not “${text}”.`)
    return value ?? undefined
  }

  /** Notes a problem, unless there is one already. */
  refuse(code: Problem['code'], detail: string): void {
    this.problem ??= { code, detail }
  }
}

function unknownDetail(name: string, known: readonly string[]): string {
  const there = known.length === 0 ? 'there are none here' : `there is ${known.join(', ')}`
  return `“${name}” is not known; ${there}.`
}

function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text)
  } catch {
    // Not encoded; what comes of it is told to whoever asks.
    return null
  }
}
