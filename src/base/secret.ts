import { inspect } from 'node:util'

const mask = '[secret]'

/**
 * A text that must never be shown: strings, JSON, inspection and logging give `[secret]`. Only `reveal()` gives the
 * text, so that every use of a secret can be found by that word.
 */
export class Secret {
  readonly #text: string

  constructor(text: string) {
    this.#text = text
  }

  /** The text itself; for handing it to a driver, never for showing it. */
  reveal(): string {
    return this.#text
  }

  toString(): string {
    return mask
  }

  toJSON(): string {
    return mask
  }

  [inspect.custom](): string {
    return mask
  }
}

/** `T` with every `Secret` replaced by a plain, cloneable stand-in. */
export type Revealed<T> = T extends Secret
  ? { readonly $secret: string }
  : T extends object
    ? { readonly [K in keyof T]: Revealed<T[K]> }
    : T

/**
 * A copy of plain data (objects, arrays, scalars) in which every secret stands open, for the way to another thread:
 * structured clone would make an empty object of a `Secret`, silently. The other side calls `concealSecrets` at once.
 */
export function revealSecrets<T>(value: T): Revealed<T> {
  return mapData(value, (item) => (item instanceof Secret ? { $secret: item.reveal() } : undefined)) as Revealed<T>
}

/** The reverse of `revealSecrets`. */
export function concealSecrets<T>(value: Revealed<T>): T {
  return mapData(value, (item) =>
    '$secret' in item && typeof item.$secret === 'string' ? new Secret(item.$secret) : undefined,
  ) as T
}

function mapData(value: unknown, replace: (item: object) => object | undefined): unknown {
  if (typeof value !== 'object' || value === null) return value
  const replaced = replace(value)
  if (replaced !== undefined) return replaced
  if (Array.isArray(value)) return value.map((item: unknown) => mapData(item, replace))
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mapData(item, replace)]))
}
