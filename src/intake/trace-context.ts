/** Reading W3C Trace Context (https://www.w3.org/TR/trace-context/). What is not valid is ignored, as it demands. */

const traceparent = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$/

export function isTraceparent(text: string): boolean {
  const match = traceparent.exec(text)
  if (match === null) return false
  const [, version, traceId, parentId, more] = match
  if (version === 'ff' || (version === '00' && more !== undefined)) return false
  return traceId !== '0'.repeat(32) && parentId !== '0'.repeat(16)
}

const membersMax = 32
const member = /^[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/

/** `text` are the values of all `tracestate` headers, joined by commas. */
export function isTracestate(text: string): boolean {
  const members = text.split(',')
  return members.length <= membersMax && members.every((part) => part.trim() === '' || member.test(part.trim()))
}
