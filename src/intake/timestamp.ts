import { isTime, readTime } from '../base/rfc3339.ts'
import { Refusal } from './refusal.ts'

/** Reads milliseconds since the epoch, or a date and time as RFC 3339 has them (finer than a millisecond is cut off). */
export function readTimestamp(text: string): number {
  const time = readTime(text)
  if (time === null) throw invalid(text)
  return time
}

/** Milliseconds since the epoch, if they can be a time from 1970 to 9999. */
export function checkTimestamp(millis: number, text: string | number): number {
  if (!isTime(millis)) throw invalid(text)
  return millis
}

function invalid(text: string | number): Refusal {
  return new Refusal(
    'timestamp_invalid',
    `“${text}” is neither milliseconds since 1970 nor a time such as 2026-03-01T12:00:00Z.`,
  )
}
