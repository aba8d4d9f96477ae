import { readTime } from '../base/rfc3339.ts'
import { readDuration } from '../config/quantities.ts'

/** A time as people give it to a command: so long ago, or a time, in milliseconds. */
export type PointInTime = { readonly agoMs: number } | { readonly at: number }

/** Reads `1h` or `7d` as so long ago, and RFC 3339 or milliseconds since the epoch as a time; null when it is neither. */
export function readPointInTime(text: string): PointInTime | null {
  const duration = readDuration(text)
  if (duration.ok) return { agoMs: duration.value }
  const at = readTime(text)
  return at === null ? null : { at }
}
