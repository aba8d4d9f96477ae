import { createHash } from 'node:crypto'
import { access, mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { codeOf } from '../../src/base/errors.ts'

/** Where downloads are kept between runs: OUTRIGGER_STACK_CACHE, or `outrigger-stack` in the user's cache folder. */
function cacheDirectory(env: NodeJS.ProcessEnv = process.env): string {
  return env['OUTRIGGER_STACK_CACHE'] || join(env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'outrigger-stack')
}

/**
 * A folder of the cache, filled by `fill` when it isn't there yet. It gets its name only when it is whole, so that a
 * download that broke off is never taken for one that ended; of several runs at once one fills it, the others wait.
 */
export async function cachedFolder(
  name: string,
  fill: (directory: string) => Promise<void>,
  cache = cacheDirectory(),
): Promise<string> {
  const folder = join(cache, name)
  if (await exists(folder)) return folder
  return withCacheLock(
    name,
    async () => {
      if (await exists(folder)) return folder
      const partial = `${name}.partial-`
      // We hold the lock, so whoever began these is gone.
      for (const entry of await readdir(cache)) {
        if (entry.startsWith(partial)) await rm(join(cache, entry), { recursive: true, force: true })
      }
      const filling = await mkdtemp(join(cache, partial))
      try {
        await fill(filling)
        await rename(filling, folder)
      } catch (error) {
        await rm(filling, { recursive: true, force: true })
        throw error
      }
      return folder
    },
    cache,
  )
}

/** Runs `work` while no other process of this user does so under the same name. Ends with the process, whatever ends it. */
export async function withCacheLock<T>(name: string, work: () => Promise<T>, cache = cacheDirectory()): Promise<T> {
  await mkdir(cache, { recursive: true })
  // SQLite brings the one lock that is both portable and given back by the kernel when its holder dies.
  using lock = new DatabaseSync(join(cache, `${name}.lock`), { timeout: 0 })
  while (!tryLock(lock)) await sleep(100)
  return await work()
}

/** A short name for a file's content, to tell the downloads of different versions apart. */
export async function contentHash(file: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(file))
    .digest('hex')
    .slice(0, 12)
}

export async function exists(path: string): Promise<boolean> {
  try {
    await access(path)
    return true
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false
    throw error
  }
}

function tryLock(lock: DatabaseSync): boolean {
  const busy = 5
  try {
    lock.exec('BEGIN EXCLUSIVE')
    return true
  } catch (error) {
    if (error instanceof Error && 'errcode' in error && error.errcode === busy) return false
    throw error
  }
}
