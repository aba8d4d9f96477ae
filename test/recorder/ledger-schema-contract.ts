import { expect, test } from 'vitest'
import type { LedgerSchema, MigrationStep, SchemaState } from '../../src/recorder/ledger-schema.ts'
import { StoreError } from '../../src/recorder/store-error.ts'

/** How a store without a schema came to have one. */
export interface SchemaLife {
  readonly before: SchemaState
  /** How a read ended before there was a schema. */
  readonly tooEarly: StoreError
  /** The steps of two that migrated at once, together. */
  readonly taken: readonly MigrationStep[]
  readonly after: SchemaState
  /** The steps of one who migrated once more. */
  readonly takenAgain: readonly MigrationStep[]
}

const never = new AbortController().signal

/** Migrates by two objects on the same data, at once, and once more by one of them. `read` is any read of the store. */
export async function bringUp(
  one: LedgerSchema,
  other: LedgerSchema,
  read: () => Promise<unknown>,
): Promise<SchemaLife> {
  const before = await one.inspect(never)
  const tooEarly = await storeFailureOf(read())
  const taken: MigrationStep[] = []
  await Promise.all([one, other].map((schema) => schema.migrate(never, (step) => taken.push(step))))
  const after = await one.inspect(never)
  const takenAgain: MigrationStep[] = []
  await other.migrate(never, (step) => takenAgain.push(step))
  return { before, tooEarly, taken, after, takenAgain }
}

/** What every `LedgerSchema` does alike. */
export function testSchemaLife(life: () => SchemaLife): void {
  test('says before the first migration what is to be done', () => {
    const { before } = life()
    expect(before.found).toBe(0)
    expect(before.needed).toBeGreaterThan(0)
    expect(before.pending.map(({ version }) => version)).toEqual(Array.from({ length: before.needed }, (_, i) => i + 1))
    expect(before.pending.every(({ title }) => title !== '')).toBe(true)
  })

  test('is of no use before the first migration, and says so to an operator', () => {
    expect(life().tooEarly).toMatchObject({ failure: 'fatal' })
    expect(life().tooEarly.hint).not.toBe('')
  })

  test('takes each step once when two migrate at once', () => {
    const { before, taken } = life()
    expect(taken.map(({ version }) => version).toSorted((a, b) => a - b)).toEqual(
      before.pending.map(({ version }) => version),
    )
  })

  test('has nothing to do after that', () => {
    const { before, after, takenAgain } = life()
    expect(after).toEqual({ found: before.needed, needed: before.needed, pending: [] })
    expect(takenAgain).toEqual([])
  })
}

/** The `StoreError` with which a call fails; the test fails when it does not. */
export async function storeFailureOf(call: Promise<unknown>): Promise<StoreError> {
  const outcome: unknown = await call.then(
    () => 'it was done',
    (error: unknown) => error,
  )
  if (outcome instanceof StoreError) return outcome
  throw new Error(`expected a StoreError, got ${String(outcome)}`, { cause: outcome })
}
