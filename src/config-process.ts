import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Revealed } from './base/secret.ts'
import { concealSecrets, revealSecrets } from './base/secret.ts'
import type { DescribedConfig } from './config/describe-config.ts'
import type { Config } from './config/schema.ts'

/** A configuration that is in order. */
export interface LoadedForRun {
  readonly config: Config
  /** The same without its secrets, for people to read. */
  readonly described: DescribedConfig
  readonly warnings: readonly string[]
}

/** The first argument of the process that loads the configuration; not a command for people. */
export const loadConfigArgument = 'load-config'

/**
 * Reads the command line of `run` and loads its configuration in a process of its own that ends right after: the argument
 * parser, the schema library and the YAML parser are needed once, and in this process they would cost every pod some 10 MB
 * for as long as it runs. (A thread does not do: what it allocates is not given back.)
 *
 * `entry` is the program's main module; in the other process it runs the command line, where `run` calls `sendConfig`.
 * Resolves with an exit code when there is nothing to run: what is wrong, or the help, has been printed there.
 */
export function loadConfigApart(entry: URL, args: readonly string[]): Promise<LoadedForRun | number> {
  return new Promise((resolve, reject) => {
    // Secrets travel by the channel between the two, never by arguments or output.
    const child = fork(fileURLToPath(entry), [loadConfigArgument, ...args], { serialization: 'advanced' })
    let loaded: LoadedForRun | null = null
    let ended: { readonly code: number | null; readonly signal: string | null } | null = null
    // The end may be noticed before the last message is read; the channel closes after it.
    let isRead = false
    const settle = (): void => {
      if (ended === null || !isRead) return
      if (ended.code === null)
        reject(new Error(`the process that loads the configuration was ended by ${ended.signal}`))
      else resolve(ended.code === 0 && loaded !== null ? loaded : ended.code)
    }
    child.once('message', (answer) => {
      loaded = concealSecrets<LoadedForRun>(answer as Revealed<LoadedForRun>)
    })
    child.once('disconnect', () => {
      isRead = true
      settle()
    })
    child.once('error', reject)
    child.once('exit', (code, signal) => {
      ended = { code, signal }
      settle()
    })
  })
}

/** In that process: hands over what was loaded. `send` calls back when it has left. */
export function sendConfig(
  loaded: LoadedForRun,
  send: (message: object, sent: (error: Error | null) => void) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    send(revealSecrets(loaded), (error) => {
      if (error) reject(error)
      else resolve()
    })
  })
}
