import { ConfigError } from '../../src/config/config-error.ts'
import type { LoadedConfig } from '../../src/config/load-config.ts'
import { loadConfig } from '../../src/config/load-config.ts'

export interface Given {
  /** The content of `outrigger.yaml`; without it there is no file. */
  readonly yaml?: string
  readonly env?: Record<string, string>
  /** Other files by path. */
  readonly files?: Record<string, string>
}

/** Loads a configuration from texts. */
export async function load({ yaml, env = {}, files = {} }: Given): Promise<LoadedConfig> {
  const all: Record<string, string> = { ...files, ...(yaml === undefined ? {} : { 'outrigger.yaml': yaml }) }
  return loadConfig({
    ...(yaml === undefined ? {} : { file: 'outrigger.yaml' }),
    env,
    async readFile(path) {
      const text = all[path]
      if (text === undefined) throw Object.assign(new Error(`ENOENT: ${path}`), { code: 'ENOENT' })
      return text
    },
  })
}

/** The faults of a configuration, one text each; empty when it is valid. */
export async function faultsOf(given: Given): Promise<string[]> {
  try {
    await load(given)
    return []
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.message
      .split('\n')
      .slice(1)
      .map((line) => line.trim())
  }
}
