import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { rowIdOf } from './embedded-schema.ts'

/** So many records at most go in one step, which keeps the file for some milliseconds. */
const recordsPerStep = 2000
const pagesPerStep = 256

/**
 * Removes records from the front of each partition once they are old enough, a bounded number at a time, and gives
 * their pages back to the file system. Offsets are never reused, and no gap comes into being behind the first record.
 */
export class Retention {
  readonly #database: DatabaseSync
  readonly #partitions: StatementSync
  readonly #front: StatementSync
  readonly #remove: StatementSync

  constructor(database: DatabaseSync) {
    this.#database = database
    this.#partitions = database.prepare('SELECT id FROM partitions')
    this.#front = database.prepare('SELECT id, appended_at FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?')
    this.#remove = database.prepare('DELETE FROM records WHERE id >= ? AND id <= ?')
  }

  /** One step: true when there may be more to remove. */
  step(appendedBefore: number): boolean {
    let left = recordsPerStep
    for (const { id } of this.#partitions.all() as { id: number }[]) {
      left -= this.#removeFront(id, appendedBefore, left)
      if (left <= 0) return true
    }
    if (left === recordsPerStep) return false
    this.#database.exec(`PRAGMA incremental_vacuum(${pagesPerStep})`)
    return true
  }

  #removeFront(partitionId: number, appendedBefore: number, max: number): number {
    const first = rowIdOf(partitionId, 0)
    const rows = this.#front.all(first, rowIdOf(partitionId + 1, 0), max) as { id: number; appended_at: number }[]
    // The clock may have jumped: only an unbroken run of old records at the front goes.
    const young = rows.findIndex((row) => row.appended_at >= appendedBefore)
    const old = young === -1 ? rows.length : young
    if (old > 0) this.#remove.run(first, (rows[old - 1] as { id: number }).id)
    return old
  }
}
