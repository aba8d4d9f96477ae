import { DatabaseSync } from 'node:sqlite'
import { join } from 'node:path'
import { messageOf } from '../base/errors.ts'
import { DirectoryLockedError } from './journal-errors.ts'

/**
 * Holds a data directory for one process. Node has no flock(2), but SQLite takes a POSIX record lock on its file, which
 * the kernel gives back when the process ends in whatever way; so there is no stale lock, and no pid to guess about.
 */
export class DirectoryLock {
  readonly #database: DatabaseSync

  private constructor(database: DatabaseSync) {
    this.#database = database
  }

  /** Throws a `DirectoryLockedError` when another process, or another lock of this one, holds the directory. */
  static take(directory: string): DirectoryLock {
    const path = join(directory, 'lock')
    const database = new DatabaseSync(path, { timeout: 0 })
    try {
      database.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE')
    } catch (error) {
      database.close()
      throw new DirectoryLockedError(`the data directory ${directory} can't be locked: ${messageOf(error)}`, {
        cause: error,
        hint: 'Another Outrigger may be running on it; give each its own journal.directory.',
      })
    }
    return new DirectoryLock(database)
  }

  release(): void {
    if (this.#database.isOpen) this.#database.close()
  }
}
