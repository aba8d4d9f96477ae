import { ConfigError, formatFault } from '../config/config-error.ts'
import type { LoadOptions } from '../config/load-config.ts'
import { loadConfig } from '../config/load-config.ts'

/** Where a sub-command prints; `process.stdout` and `process.stderr` fit. */
export interface TextOutput {
  write(text: string): unknown
}

export interface CheckConfigOptions extends LoadOptions {
  readonly out: TextOutput
  readonly err: TextOutput
}

/**
 * `outrigger config check [FILE]`: checks the file together with the environment, just as `run` would take them, and
 * prints that all is well, or every fault, one a line. Returns the exit code: 0, or 64.
 */
export async function checkConfig({ out, err, ...options }: CheckConfigOptions): Promise<number> {
  try {
    const { file, warnings } = await loadConfig(options)
    for (const warning of warnings) err.write(`warning: ${warning}\n`)
    out.write(`${file ?? 'The configuration (environment and defaults)'} is valid\n`)
    return 0
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    for (const fault of error.faults) err.write(`${formatFault(fault)}\n`)
    err.write(`${error.faults.length} ${error.faults.length === 1 ? 'fault' : 'faults'}\n`)
    return 64
  }
}
