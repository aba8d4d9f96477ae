import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { GrowingBuffer } from '../../src/intake/growing-buffer.ts'

const lengthMax = 20_000

test('pieces are put together as they came, or not at all when they are too much', () => {
  const piece = fc.oneof(
    fc.uint8Array({ minLength: 0, maxLength: 20 }),
    fc.uint8Array({ minLength: 2000, maxLength: 9000 }),
  )
  const buffer = new GrowingBuffer(lengthMax)
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 6 }), (pieces) => {
      const whole = Buffer.concat(pieces)
      for (const bytes of pieces) buffer.add(Buffer.from(bytes))
      expect(buffer.length).toBe(whole.length)
      const taken = buffer.take()
      expect(taken?.toString('hex') ?? null).toBe(whole.length > lengthMax ? null : whole.toString('hex'))
      expect(buffer.length).toBe(0)
    }),
  )
})
