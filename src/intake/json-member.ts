/**
 * Finds the text of an object's member as it was written. `JSON.parse` would turn 12345678901234567890 into another number
 * and 1.0 into 1, and order and spacing would be lost.
 */

const quote = 0x22
const comma = 0x2c
const backslash = 0x5c

/**
 * `text` must be a valid JSON object that has the member: it was parsed before, so this only needs to find its way. Of
 * several members of the same name the last one counts, as it does for `JSON.parse`.
 */
export function memberText(text: string, name: string): string {
  let found = ''
  for (let at = text.indexOf('{') + 1; ; at++) {
    const nameAt = text.indexOf('"', at)
    const nameEnd = endOfString(text, nameAt)
    const start = skipSpace(text, text.indexOf(':', nameEnd) + 1)
    const end = endOfValue(text, start)
    if (isName(text, nameAt, nameEnd, name)) found = text.slice(start, end)
    at = skipSpace(text, end)
    if (text.charCodeAt(at) !== comma) return found
  }
}

function isName(text: string, start: number, end: number, name: string): boolean {
  const written = text.slice(start + 1, end - 1)
  return written === name || (written.includes('\\') && JSON.parse(`"${written}"`) === name)
}

/** The end of the string whose opening quote stands at `start`. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); ; end = text.indexOf('"', end + 1)) {
    let before = end - 1
    while (text.charCodeAt(before) === backslash) before--
    if ((end - before) % 2 === 1) return end + 1
  }
}

function endOfValue(text: string, start: number): number {
  const first = text.charCodeAt(start)
  if (first === quote) return endOfString(text, start)
  if (first === 0x7b /* { */ || first === 0x5b /* [ */) return endOfNested(text, start)
  let end = start
  while (!isEndOfScalar(text.charCodeAt(end))) end++
  return end
}

function endOfNested(text: string, start: number): number {
  let depth = 0
  let at = start
  for (;;) {
    switch (text.charCodeAt(at)) {
      case quote:
        at = endOfString(text, at)
        continue
      case 0x7b /* { */:
      case 0x5b /* [ */:
        depth++
        break
      case 0x7d /* } */:
      case 0x5d /* ] */:
        if (--depth === 0) return at + 1
        break
      default:
    }
    at++
  }
}

function isEndOfScalar(char: number): boolean {
  return char === comma || char === 0x7d || char <= 0x20
}

function skipSpace(text: string, start: number): number {
  let at = start
  while (text.charCodeAt(at) <= 0x20) at++
  return at
}
