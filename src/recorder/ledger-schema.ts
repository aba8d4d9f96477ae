/** One forward step of a store's schema: safe to take again after it was cut short. */
export interface MigrationStep {
  /** The schema has this version when the step is done; 1 is the first. */
  readonly version: number
  /** What it does, in a few words. */
  readonly title: string
}

export interface SchemaState {
  /** What the store has: 0 before the first step. */
  readonly found: number
  /** What this program needs. */
  readonly needed: number
  /** The steps from the one to the other; empty when the schema is right. */
  readonly pending: readonly MigrationStep[]
}

/**
 * The schema of one store. Versions only go forward. A store whose schema is newer than this program's is refused with a
 * `fatal` `StoreError` (`SCHEMA_TOO_NEW`) and left alone.
 */
export interface LedgerSchema {
  inspect(signal: AbortSignal): Promise<SchemaState>
  /**
   * Takes the pending steps, one by one; `taken` hears of each. Many sidecars may call it at once: each step is taken by
   * one of them while the others wait. A program that is killed amid a step leaves a schema from which the next call goes on.
   */
  migrate(signal: AbortSignal, taken: (step: MigrationStep) => void): Promise<void>
}
