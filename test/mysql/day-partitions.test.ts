import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { planPartitions, type Partition, type PartitionPlan } from '../../src/mysql/day-partitions.ts'

const day = 86_400_000
const later: Partition = { name: 'later', below: null }
const noon = Date.parse('2026-03-10T12:00:00Z')

/** The partitions once the plan is carried out. */
function carryOut(partitions: readonly Partition[], { add, drop }: PartitionPlan): Partition[] {
  return [...partitions.slice(0, -1), ...add, later].filter(({ name }) => !drop.includes(name))
}

describe('a plan of partitions', () => {
  test('begins with the day before the retention, and ends three days ahead', () => {
    const { add, empty, drop } = planPartitions([later], noon, 2 * day)
    expect(add.map(({ name }) => name)).toEqual([
      'p20260307',
      'p20260308',
      'p20260309',
      'p20260310',
      'p20260311',
      'p20260312',
      'p20260313',
    ])
    expect(add[3]).toEqual({ name: 'p20260310', below: Date.parse('2026-03-11T00:00:00Z') })
    expect(empty).toBe('p20260307')
    expect(drop).toEqual([])
  })

  test('lets a day go when its last millisecond is older than the retention, and not a millisecond sooner', () => {
    const partitions = carryOut([later], planPartitions([later], noon, 2 * day))
    const midnight = Date.parse('2026-03-11T00:00:00Z')
    expect(planPartitions(partitions, midnight - 1, 2 * day)).toMatchObject({ empty: 'p20260307', drop: [] })
    expect(planPartitions(partitions, midnight, 2 * day)).toMatchObject({ empty: 'p20260308', drop: ['p20260307'] })
  })

  test('of any history leaves what is needed and nothing else, and has then nothing more to do', () => {
    const steps = fc.array(fc.integer({ min: 0, max: 40 * day }), { minLength: 1, maxLength: 12 })
    const retentions = fc.oneof(fc.integer({ min: 1000, max: 20 * day }), fc.constantFrom(day, 7 * day))
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 41 }), steps, retentions, (start, waits, retention) => {
        let partitions: Partition[] = [later]
        let now = start
        for (const wait of waits) {
          now += wait
          const plan = planPartitions(partitions, now, retention)
          const cutoff = now - retention
          const belowOf = new Map([...partitions, ...plan.add].map(({ name, below }) => [name, below]))
          for (const name of [...plan.drop, ...(plan.empty === undefined ? [] : [plan.empty])]) {
            expect(belowOf.get(name)).toBeLessThanOrEqual(cutoff)
          }
          partitions = carryOut(partitions, plan)
          expect(partitions.at(-1)).toEqual(later)
          const bounds = partitions.slice(0, -1).map(({ below }) => below as number)
          // One that is expired, and one for each day from there to three days ahead.
          expect(bounds.filter((below) => below <= cutoff)).toHaveLength(1)
          for (const [i, below] of bounds.slice(1).entries()) expect(below - bounds[i]!).toBeGreaterThanOrEqual(day)
          for (const [i, below] of bounds.slice(2).entries()) expect(below - bounds[i + 1]!).toBe(day)
          expect(bounds.at(-1)! - now).toBeGreaterThan(3 * day)
          expect(bounds.at(-1)! - now).toBeLessThanOrEqual(4 * day)
          expect(planPartitions(partitions, now, retention)).toEqual({ add: [], empty: plan.empty, drop: [] })
        }
      }),
    )
  })

  test('of a clock that was set back adds nothing twice, and drops nothing', () => {
    const partitions = carryOut([later], planPartitions([later], noon, 2 * day))
    expect(planPartitions(partitions, noon - 30 * day, 2 * day)).toEqual({ add: [], empty: undefined, drop: [] })
  })
})
