/** Which message, by the two parts of its id. */
export interface MessagePosition {
  readonly journalId: string
  readonly seq: number
}

/**
 * A message id is `<journal id>-<seq>`: the journal's own id (13 characters of Crockford's base32, 64 random bits,
 * lower case) and the message's sequence number in that journal (decimal, from 1). It is short, printable, URL-safe and
 * unique in the world, and leads to the journal position without an index.
 */
export function formatMessageId(journalId: string, seq: number): string {
  return journalId + '-' + seq
}

const idPattern = /^([0-9a-hjkmnp-tv-z]{13})-([1-9][0-9]{0,15})$/

/** The parts of a message id, or null when the text is not one. */
export function parseMessageId(text: string): MessagePosition | null {
  const match = idPattern.exec(text)
  if (!match) return null
  const seq = Number(match[2])
  return Number.isSafeInteger(seq) ? { journalId: match[1] as string, seq } : null
}

const alphabet = '0123456789abcdefghjkmnpqrstvwxyz'

/** A journal id from 8 random bytes. */
export function journalIdOf(random: Uint8Array): string {
  let bits = Buffer.from(random).readBigUInt64BE()
  let text = ''
  for (let i = 0; i < 13; i++) {
    text = (alphabet[Number(bits & 31n)] as string) + text
    bits >>= 5n
  }
  return text
}
