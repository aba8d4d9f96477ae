import { existsSync } from 'node:fs'
import { DatabaseSync, backup } from 'node:sqlite'

/** So many pages are copied at a time. */
const pagesPerStep = 512
const busyTimeoutMs = 10_000

/**
 * Copies an SQLite file into a new one, as it stands at one moment, while others may write to it: nobody is kept from
 * anything. False when there is none. The copy is on stable storage, its name is not (the directory is not synced).
 *
 * SQLite's backup begins anew whenever somebody else has written between two of its steps, so under load it might never
 * end. Within a transaction that reads, it sees one state throughout; the writer's log grows as long as that lasts.
 */
export async function copyDatabase(from: string, to: string): Promise<boolean> {
  if (!existsSync(from)) return false
  const database = new DatabaseSync(from, { readOnly: true, timeout: busyTimeoutMs })
  try {
    database.exec('BEGIN')
    // The state is fixed by the first look, not by BEGIN.
    database.prepare('SELECT count(*) FROM sqlite_schema').get()
    await backup(database, to, { rate: pagesPerStep })
    return true
  } finally {
    database.close()
  }
}
