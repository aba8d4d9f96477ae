import { types } from 'cassandra-driver'
import { randomUUID } from 'node:crypto'
import type { Clock } from '../base/clock.ts'
import type { LedgerSchema, MigrationStep, SchemaState } from '../recorder/ledger-schema.ts'
import { StoreError } from '../recorder/store-error.ts'
import type { CassandraOptions } from './cassandra-options.ts'
import type { CassandraSession } from './cassandra-session.ts'
import { literal, quoted, schemaSteps } from './log-layout.ts'
import type { SchemaStep } from './log-layout.ts'

/** A migration's lock is let go by Cassandra when its holder has not renewed it for so long, because it is gone. */
const lockSecondsDefault = 30
const lookEveryMs = 250
const visibleTriesMax = 20
const what = 'migrating the message log'

/**
 * The schema of the message log. `outrigger_schema` has a row for each step that was taken, `outrigger_lock` one row, which
 * exists while somebody migrates: it is made by a lightweight transaction and has a TTL.
 *
 * All steps may be taken again. So a program that was killed amid a step leaves nothing to clean up: its lock expires, and
 * the next one takes the step again. And a holder that is so slow that it loses the lock does no harm.
 */
export class CassandraSchema implements LedgerSchema {
  readonly #clock: Clock
  readonly #session: Pick<CassandraSession, 'execute' | 'define'>
  readonly #options: Pick<CassandraOptions, 'keyspace' | 'localDataCenter' | 'replicationFactor'>
  readonly #steps: readonly SchemaStep[]
  readonly #lockSeconds: number
  readonly #keyspace: string

  constructor(
    clock: Clock,
    session: Pick<CassandraSession, 'execute' | 'define'>,
    options: CassandraOptions,
    own: { readonly steps?: readonly SchemaStep[]; readonly lockSeconds?: number } = {},
  ) {
    this.#clock = clock
    this.#session = session
    this.#options = options
    this.#keyspace = quoted(options.keyspace)
    this.#steps = own.steps ?? schemaSteps(options.keyspace, options.retention)
    this.#lockSeconds = own.lockSeconds ?? lockSecondsDefault
  }

  async inspect(signal: AbortSignal): Promise<SchemaState> {
    const noted = await this.#notedVersion(signal)
    const needed = this.#steps.at(-1)?.version ?? 0
    if (noted > needed) {
      throw new StoreError(
        'fatal',
        'SCHEMA_TOO_NEW',
        `the schema of keyspace ${this.#options.keyspace} has version ${noted}; this program knows versions up to ${needed}`,
        { hint: 'Use the version of Outrigger that made it, or a newer one.' },
      )
    }
    const found = await this.#wholeVersion(noted, signal)
    const pending = this.#steps.filter(({ version }) => version > found)
    return { found, needed, pending: pending.map(({ version, title }) => ({ version, title })) }
  }

  async migrate(signal: AbortSignal, taken: (step: MigrationStep) => void): Promise<void> {
    if ((await this.inspect(signal)).pending.length === 0) return
    await this.#prepare(signal)
    const holder = randomUUID()
    for (;;) {
      if (await this.#onceVisible(signal, () => this.#acquire(holder, signal))) break
      await this.#clock.sleep(lookEveryMs * (0.5 + Math.random()), signal)
      if ((await this.inspect(signal)).pending.length === 0) return
    }
    try {
      // What is pending may have changed while we waited for the lock.
      const { pending } = await this.inspect(signal)
      for (const { version, title } of pending) {
        await this.#take(holder, version, title, signal)
        taken({ version, title })
      }
    } finally {
      await this.#release(holder)
    }
  }

  /** The last step that was taken; 0 without a keyspace or a table of steps. */
  async #notedVersion(signal: AbortSignal): Promise<number> {
    const query = `SELECT version FROM ${this.#keyspace}.outrigger_schema WHERE name = 'message_log' ORDER BY version DESC LIMIT 1`
    try {
      const { rows } = await this.#look(query, signal)
      return (rows[0]?.['version'] as number | undefined) ?? 0
    } catch (error) {
      if (isMissing(error)) return 0
      throw error
    }
  }

  /** The last step up to `noted` that is still there, with all steps before it: somebody may have dropped a table. */
  async #wholeVersion(noted: number, signal: AbortSignal): Promise<number> {
    if (noted === 0) return 0
    const query = `SELECT table_name FROM system_schema.tables WHERE keyspace_name = ${literal(this.#options.keyspace)}`
    const { rows } = await this.#look(query, signal)
    const there = new Set(rows.map((row) => row['table_name'] as string))
    const broken = this.#steps.findIndex(({ tables }) => tables.some((table) => !there.has(table)))
    return broken === -1 ? noted : Math.min(noted, this.#steps[broken - 1]?.version ?? 0)
  }

  /** The keyspace, if it is missing, and the two tables of our own. */
  async #prepare(signal: AbortSignal): Promise<void> {
    const { localDataCenter, replicationFactor } = this.#options
    // An existing keyspace is not touched, and needs no right to create any. Whether it exists is learned by using it: what
    // system_schema lists may be from the commit log of a node that was killed amid creating it, and unknown to the node.
    try {
      await this.#createTables(signal)
    } catch (error) {
      if (!isMissing(error)) throw error
      const replication = `{'class': 'NetworkTopologyStrategy', ${literal(localDataCenter)}: ${replicationFactor}}`
      const statement = `CREATE KEYSPACE IF NOT EXISTS ${this.#keyspace} WITH replication = ${replication}`
      await this.#session.define(statement, what, signal)
      await this.#onceVisible(signal, () => this.#createTables(signal))
    }
  }

  async #createTables(signal: AbortSignal): Promise<void> {
    for (const [name, columns] of [
      ['outrigger_lock', 'name text PRIMARY KEY, holder text'],
      ['outrigger_schema', 'name text, version int, title text, taken_at timestamp, PRIMARY KEY (name, version)'],
    ] as const)
      await this.#session.define(`CREATE TABLE IF NOT EXISTS ${this.#keyspace}.${name} (${columns})`, what, signal)
  }

  /** What another sidecar creates at this moment is listed by a node, and answers that it "exists", before it can be used. */
  async #onceVisible<T>(signal: AbortSignal, action: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await action()
      } catch (error) {
        if (!isMissing(error) || tries === visibleTriesMax) throw error
      }
      await this.#clock.sleep(lookEveryMs, signal)
    }
  }

  async #take(holder: string, version: number, title: string, signal: AbortSignal): Promise<void> {
    const step = this.#steps.find((candidate) => candidate.version === version)
    for (const statement of step?.statements ?? []) {
      await this.#renew(holder, signal)
      await this.#session.define(statement, what, signal)
    }
    const query = `INSERT INTO ${this.#keyspace}.outrigger_schema (name, version, title, taken_at) VALUES (?, ?, ?, ?)`
    await this.#execute(query, ['message_log', version, title, this.#clock.now()], signal)
  }

  async #acquire(holder: string, signal: AbortSignal): Promise<boolean> {
    const query = `INSERT INTO ${this.#keyspace}.outrigger_lock (name, holder) VALUES (?, ?) IF NOT EXISTS USING TTL ?`
    const result = await this.#transact(query, ['migration', holder, this.#lockSeconds], signal)
    // An earlier try of ours may have been applied although its answer was lost.
    return result.wasApplied() || result.rows[0]?.['holder'] === holder
  }

  async #renew(holder: string, signal: AbortSignal): Promise<void> {
    const query = `UPDATE ${this.#keyspace}.outrigger_lock USING TTL ? SET holder = ? WHERE name = ? IF holder = ?`
    const result = await this.#transact(query, [this.#lockSeconds, holder, 'migration', holder], signal)
    if (result.wasApplied()) return
    throw new StoreError('transient', 'LOCK_LOST', `${what}: it took too long, and another sidecar may be at it now`)
  }

  /** Best effort: what is not released expires. */
  async #release(holder: string): Promise<void> {
    const query = `DELETE FROM ${this.#keyspace}.outrigger_lock WHERE name = ? IF holder = ?`
    const enough = AbortSignal.timeout(2000)
    await this.#transact(query, ['migration', holder], enough).catch((error: unknown) => {
      if (!(error instanceof StoreError) && !enough.aborted) throw error
    })
  }

  #execute(query: string, params: unknown[], signal: AbortSignal): Promise<types.ResultSet> {
    return this.#session.execute(query, params, { what }, signal)
  }

  /** Not prepared: a node that has lost the table tells of a prepared statement only that it has forgotten it. */
  #look(query: string, signal: AbortSignal): Promise<types.ResultSet> {
    return this.#session.execute(query, [], { what, options: { prepare: false } }, signal)
  }

  /** A lightweight transaction. Not idempotent: sent twice, its second answer would be about the first. */
  #transact(query: string, params: unknown[], signal: AbortSignal): Promise<types.ResultSet> {
    const options = { isIdempotent: false, serialConsistency: types.consistencies.serial }
    return this.#session.execute(query, params, { what, options }, signal)
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof StoreError && error.reason === 'SCHEMA_MISSING'
}
