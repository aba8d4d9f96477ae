import type { LedgerSchema, MigrationStep, SchemaState } from '../../src/recorder/ledger-schema.ts'
import { StoreError } from '../../src/recorder/store-error.ts'

const steps: readonly MigrationStep[] = [
  { version: 1, title: 'make a place' },
  { version: 2, title: 'make it tidy' },
]

/** The version that a fake store needs. */
export const fakeSchemaVersion = steps.length

/** What several fakes on the same data share of the schema. */
export interface FakeSchemaData {
  version: number
  /** Whoever migrates waits for this, and puts itself there. */
  migrating: Promise<void>
}

/** A schema in memory. Each step takes a turn of the event loop, with the others waiting. */
export class FakeLedgerSchema implements LedgerSchema {
  readonly #data: FakeSchemaData
  readonly #check: (signal: AbortSignal) => void

  /** `check` throws what every method of the store would reject with. */
  constructor(data: FakeSchemaData, check: (signal: AbortSignal) => void) {
    this.#data = data
    this.#check = check
  }

  async inspect(signal: AbortSignal): Promise<SchemaState> {
    this.#check(signal)
    const { version } = this.#data
    if (version > fakeSchemaVersion) throw tooNew(version)
    return { found: version, needed: fakeSchemaVersion, pending: steps.filter((step) => step.version > version) }
  }

  async migrate(signal: AbortSignal, taken: (step: MigrationStep) => void): Promise<void> {
    this.#check(signal)
    const before = this.#data.migrating
    const migrating = before.then(() => this.#migrate(signal, taken))
    // Who comes next goes on, however this one ended.
    this.#data.migrating = migrating.catch(() => {})
    await migrating
  }

  /** Throws unless the schema is the right one. */
  require(): void {
    const { version } = this.#data
    if (version > fakeSchemaVersion) throw tooNew(version)
    if (version === fakeSchemaVersion) return
    throw new StoreError('fatal', 'SCHEMA_MISSING', 'the fake store has no schema yet', { hint: 'Migrate it.' })
  }

  async #migrate(signal: AbortSignal, taken: (step: MigrationStep) => void): Promise<void> {
    const { pending } = await this.inspect(signal)
    for (const step of pending) {
      await new Promise((resolve) => {
        setImmediate(resolve)
      })
      this.#check(signal)
      this.#data.version = step.version
      taken(step)
    }
  }
}

function tooNew(version: number): StoreError {
  return new StoreError('fatal', 'SCHEMA_TOO_NEW', `the fake store has schema ${version}`, { hint: 'Upgrade.' })
}
