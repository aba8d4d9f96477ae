import * as fc from 'fast-check'
import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { formatMessageId, journalIdOf, parseMessageId } from '../../src/message/message-id.ts'

const randoms = fc.uint8Array({ minLength: 8, maxLength: 8 })

test('a message id leads back to its journal and seq, and needs no escaping in a URL', () => {
  fc.assert(
    fc.property(randoms, fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), (random, seq) => {
      const journalId = journalIdOf(random)
      const id = formatMessageId(journalId, seq)
      expect(parseMessageId(id)).toEqual({ journalId, seq })
      expect(encodeURIComponent(id)).toBe(id)
      expect(id.length).toBeLessThanOrEqual(30)
    }),
    {
      examples: [
        [new Uint8Array(8), 1],
        [new Uint8Array(8).fill(255), Number.MAX_SAFE_INTEGER],
      ],
    },
  )
})

test('a journal id tells all of its 64 random bits apart', () => {
  fc.assert(
    fc.property(randoms, randoms, (a, b) => {
      expect(journalIdOf(a) === journalIdOf(b)).toBe(Buffer.from(a).equals(b))
    }),
  )
  for (let bit = 0; bit < 64; bit++) {
    const one = new Uint8Array(8)
    one[bit >> 3] = 1 << (bit & 7)
    expect(journalIdOf(one)).not.toBe(journalIdOf(new Uint8Array(8)))
  }
})

test('journal ids are unique', () => {
  const ids = Array.from({ length: 20_000 }, () => journalIdOf(randomBytes(8)))
  expect(new Set(ids).size).toBe(ids.length)
  expect(ids.every((id) => id.length === 13)).toBe(true)
})

test('ids sort and compare by seq within a journal only by number, so none has leading zeros', () => {
  expect(parseMessageId('0123456789abc-01')).toBeNull()
})

test.each([
  ['nothing', ''],
  ['no seq', '0123456789abc-'],
  ['no journal', '-1'],
  ['a seq of 0', '0123456789abc-0'],
  ['a negative seq', '0123456789abc--1'],
  ['a seq beyond 2^53 - 1', '0123456789abc-9007199254740992'],
  ['a seq of 17 digits', '0123456789abc-10000000000000000'],
  ['a journal id too short', '0123456789ab-1'],
  ['a journal id too long', '0123456789abcd-1'],
  ['letters that Crockford left out', '0123456789abi-1'],
  ['upper case', '0123456789ABC-1'],
  ['something behind it', '0123456789abc-1 '],
  ['a line end', '0123456789abc-1\n'],
  ['something before it', '/0123456789abc-1'],
])('text with %s is no message id', (_, text) => {
  expect(parseMessageId(text)).toBeNull()
})
