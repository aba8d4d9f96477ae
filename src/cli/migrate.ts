import { messageOf } from '../base/errors.ts'
import type { LedgerSchema, MigrationStep } from '../recorder/ledger-schema.ts'
import type { TextOutput } from './config-check.ts'

/** A store of the ledger that the configuration asks for. */
export interface MigratedStore {
  /** What it keeps: `metadata` or `log`. */
  readonly store: string
  /** Which store it is, such as `mysql`. */
  readonly kind: string
  readonly schema: LedgerSchema
}

export interface MigrateOptions {
  /** Only tell what there is to do. */
  readonly dryRun: boolean
  /** One JSON object, for programs. */
  readonly json: boolean
}

/** What `migrate --json` prints of each store. */
interface MigrationReport {
  readonly store: string
  readonly kind: string
  /** The version before; null when the store could not be asked, or has a version that this program does not know. */
  found: number | null
  needed: number | null
  /** The steps that were to be taken at the beginning. */
  pending: readonly MigrationStep[]
  /** Those that were taken here; others may have been taken by a sidecar meanwhile. */
  readonly taken: MigrationStep[]
  error: { readonly message: string; readonly hint: string } | null
}

/**
 * Brings the schemas of the stores to the version that this program needs, one store after another, and tells how it goes.
 * One that fails keeps none of the others. Returns the exit code: 0, or 1 when a schema is not as it has to be.
 */
export async function migrate(
  stores: readonly MigratedStore[],
  options: MigrateOptions,
  out: TextOutput,
  err: TextOutput,
  signal: AbortSignal,
): Promise<number> {
  const say = (text: string): void => {
    if (!options.json) out.write(`${text}\n`)
  }
  if (stores.length === 0) say('There is no ledger: ledger.metadata and ledger.log are none. There is nothing to do.')
  const reports: MigrationReport[] = []
  for (const store of stores) {
    const report = await migrateStore(store, options.dryRun, say, signal)
    reports.push(report)
    if (report.error !== null && !options.json) err.write(`${nameOf(store)}: ${errorText(report.error)}\n`)
  }
  if (options.json) out.write(`${JSON.stringify({ dryRun: options.dryRun, stores: reports }, null, 2)}\n`)
  return reports.every(({ error }) => error === null) ? 0 : 1
}

async function migrateStore(
  store: MigratedStore,
  dryRun: boolean,
  say: (text: string) => void,
  signal: AbortSignal,
): Promise<MigrationReport> {
  const { schema } = store
  const report: MigrationReport = {
    store: store.store,
    kind: store.kind,
    found: null,
    needed: null,
    pending: [],
    taken: [],
    error: null,
  }
  try {
    const state = await schema.inspect(signal)
    Object.assign(report, state)
    if (state.pending.length === 0) {
      say(`${nameOf(store)}: version ${state.found}, as it has to be; there is nothing to do`)
      return report
    }
    const version = state.found === 0 ? 'no schema yet' : `version ${state.found}`
    say(`${nameOf(store)}: ${version}; version ${state.needed} is needed`)
    if (dryRun) {
      for (const step of state.pending) say(`  to do: ${stepText(step)}`)
      return report
    }
    await schema.migrate(signal, (step) => {
      report.taken.push(step)
      say(`  done:  ${stepText(step)}`)
    })
    const others = report.taken.length < state.pending.length ? ' (another one was at it too)' : ''
    say(`${nameOf(store)}: version ${state.needed} now${others}`)
  } catch (error) {
    report.error = signal.aborted
      ? { message: 'interrupted', hint: 'Run it again: it goes on from here.' }
      : { message: messageOf(error), hint: error instanceof Error && 'hint' in error ? String(error.hint) : '' }
  }
  return report
}

function nameOf({ store, kind }: MigratedStore): string {
  return `${store} (${kind})`
}

function stepText({ version, title }: MigrationStep): string {
  return `${version}, ${title}`
}

function errorText({ message, hint }: { readonly message: string; readonly hint: string }): string {
  return hint === '' ? message : `${message}\n${hint}`
}
