/** 9999-12-31T23:59:59.999Z: what RFC 3339 can say. */
const timeMax = 253_402_300_799_999

const rfc3339 = /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)$/
const digits = /^[0-9]{1,15}$/

/**
 * Milliseconds since the epoch from just these, or from a date and time as RFC 3339 has them (finer than a millisecond is
 * cut off); null when the text is neither, or not of the years 1970 to 9999.
 */
export function readTime(text: string): number | null {
  if (digits.test(text)) return isTime(Number(text)) ? Number(text) : null
  const match = rfc3339.exec(text)
  if (match === null) return null
  const [, year, month, day, hour, minute, second, fraction = '', zone] = match as unknown as string[]
  const millis = fraction.slice(0, 3).padEnd(3, '0')
  const local = `${year}-${month}-${day}T${hour}:${minute}:${second}.${millis}`
  // Date.parse lets 30 February roll over into March.
  const asWritten = new Date(`${local}Z`)
  if (Number.isNaN(asWritten.getTime()) || asWritten.toISOString() !== `${local}Z`) return null
  const time = Date.parse(local + (zone as string).toUpperCase())
  return isTime(time) ? time : null
}

/** Whether a number can be a time from 1970 to 9999, in milliseconds since the epoch. */
export function isTime(millis: number): boolean {
  return Number.isInteger(millis) && millis >= 0 && millis <= timeMax
}
