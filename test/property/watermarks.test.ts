import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Watermark, Watermarks, diskFill, gauges, hysteresis, levels } from '../../src/journal/watermarks.ts'

const options = fc
  .tuple(fc.double({ min: 0.1, max: 0.9, noNaN: true }), fc.double({ min: 0.1, max: 1, noNaN: true }))
  .map(([a, b]) => ({ warnAt: Math.min(a, b), refuseLowAt: Math.max(a, b) }))
/** Most of them near the thresholds, where it could flap; and what did not fit. */
const fill = fc.double({ min: 0, max: 1.3, noNaN: true })
const steps = fc.array(fc.oneof(fill, fill.map((f) => 0.9 + f / 10), fc.constant('overflow' as const)), { maxLength: 200 }) // prettier-ignore

describe('a watermark', () => {
  test('never flaps: between entering a level and leaving it, the gauge has moved by the hysteresis', () => {
    fc.assert(
      fc.property(options, steps, (given, history) => {
        const mark = new Watermark(given)
        /** For each level above normal, at which fill it was entered. */
        const entered: (number | undefined)[] = []
        for (const step of history) {
          const before = levels.indexOf(mark.level)
          if (step === 'overflow') mark.overflowed()
          else mark.update(step)
          const now = levels.indexOf(mark.level)
          for (let level = before + 1; level <= now; level++) entered[level] = mark.fill
          for (let level = before; level > now; level--)
            expect((entered[level] as number) - mark.fill).toBeGreaterThan(hysteresis - 1e-9)
        }
      }),
    )
  })

  test('is at a level whenever the gauge is at its threshold or above, and never when it is well below', () => {
    fc.assert(
      fc.property(options, steps, ({ warnAt, refuseLowAt }, history) => {
        const mark = new Watermark({ warnAt, refuseLowAt })
        for (const step of history) {
          if (step === 'overflow') mark.overflowed()
          else mark.update(step)
          const thresholds = [Number.NEGATIVE_INFINITY, warnAt, refuseLowAt, 1]
          const level = levels.indexOf(mark.level)
          // The highest that it must be at, and the highest that it may still be at.
          expect(level).toBeGreaterThanOrEqual(thresholds.findLastIndex((threshold) => mark.fill >= threshold))
          expect(level).toBeLessThanOrEqual(thresholds.findLastIndex((threshold) => mark.fill >= threshold - 2 * hysteresis)) // prettier-ignore
        }
      }),
    )
  })

  test('counts what does not fit as full only near the limit', () => {
    const mark = new Watermark({ warnAt: 0.7, refuseLowAt: 0.85 })
    mark.update(0.6)
    expect([mark.overflowed(), mark.level]).toEqual([false, 'normal'])
    mark.update(0.96)
    expect([mark.overflowed(), mark.level]).toEqual([true, 'refuse-all'])
    expect([mark.update(0.91), mark.level]).toEqual([false, 'refuse-all'])
    expect([mark.update(0.89), mark.level]).toEqual([true, 'refuse-low'])
    expect([mark.update(0.79), mark.level]).toEqual([true, 'warn'])
    expect([mark.update(0), mark.level]).toEqual([true, 'normal'])
  })
})

describe('watermarks', () => {
  test('are as bad as the worst gauge, and say so only when that changes', () => {
    const step = fc.tuple(fc.constantFrom(...gauges), fill)
    fc.assert(
      fc.property(options, fc.array(step), (given, history) => {
        const marks = new Watermarks(given)
        for (const [gauge, value] of history) {
          const before = marks.level
          expect(marks.update(gauge, value)).toBe(marks.level !== before)
          const ranks = gauges.map((each) => levels.indexOf(marks.levelOf(each)))
          const rank = Math.max(...ranks)
          expect(levels.indexOf(marks.level)).toBe(rank)
          expect(levels.indexOf(marks.levelOf(marks.worst))).toBe(rank)
          expect([marks.refusesLow, marks.refusesAll]).toEqual([rank >= 2, rank === 3])
        }
      }),
    )
  })
})

test('a disk is full when it has as little free as shall stay free', () => {
  expect(diskFill(200, 100)).toBe(0.5)
  expect(diskFill(100, 100)).toBe(1)
  expect(diskFill(0, 100)).toBe(Number.POSITIVE_INFINITY)
  expect(diskFill(0, 0)).toBe(0)
})
