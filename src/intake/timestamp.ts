import { Refusal } from './refusal.ts'

/** 9999-12-31T23:59:59.999Z: what RFC 3339 can say. */
const timestampMax = 253_402_300_799_999

const rfc3339 = /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)$/
const digits = /^[0-9]{1,15}$/

/** Reads milliseconds since the epoch, or a date and time as RFC 3339 has them (finer than a millisecond is cut off). */
export function readTimestamp(text: string): number {
  if (digits.test(text)) return checkTimestamp(Number(text), text)
  const match = rfc3339.exec(text)
  if (match === null) throw invalid(text)
  const [, year, month, day, hour, minute, second, fraction = '', zone] = match as unknown as string[]
  const millis = fraction.slice(0, 3).padEnd(3, '0')
  const local = `${year}-${month}-${day}T${hour}:${minute}:${second}.${millis}`
  // Date.parse lets 30 February roll over into March.
  const asWritten = new Date(`${local}Z`)
  if (Number.isNaN(asWritten.getTime()) || asWritten.toISOString() !== `${local}Z`) throw invalid(text)
  return checkTimestamp(Date.parse(local + (zone as string).toUpperCase()), text)
}

/** Milliseconds since the epoch, if they can be a time from 1970 to 9999. */
export function checkTimestamp(millis: number, text: string | number): number {
  if (!Number.isInteger(millis) || millis < 0 || millis > timestampMax) throw invalid(text)
  return millis
}

function invalid(text: string | number): Refusal {
  return new Refusal(
    'timestamp_invalid',
    `“${text}” is neither milliseconds since 1970 nor a time such as 2026-03-01T12:00:00Z.`,
  )
}
