import { configJsonSchema } from '../config/json-schema.ts'
import type { TextOutput } from './config-check.ts'

/** `outrigger config schema`: prints the JSON Schema of the configuration file. Returns the exit code. */
export function printConfigSchema({ out }: { readonly out: TextOutput }): number {
  out.write(`${JSON.stringify(configJsonSchema(), undefined, 2)}\n`)
  return 0
}
