import type { Config } from './schema.ts'
import type { SectionNode } from './settings-tree.ts'
import { configTree } from './settings-tree.ts'

/** The configuration in the form in which people write it: `10MiB`, `30s`. */
export type DescribedConfig = {
  readonly [key: string]: string | number | boolean | readonly (string | number | boolean)[] | DescribedConfig
}

/**
 * The resolved configuration as JSON-able data for logs and `/status`. Secrets stand as `[secret]`, and what was read
 * from a file as the file's name. Without secrets, it is itself a valid configuration that means the same.
 */
export function describeConfig(config: Config): DescribedConfig {
  return describeSection(config, configTree)
}

function describeSection(values: object, section: SectionNode): DescribedConfig {
  const described: Record<string, DescribedConfig[string]> = {}
  for (const [key, node] of section.children) {
    const value: unknown = (values as Record<string, unknown>)[key]
    if (value === undefined || (values as Record<string, unknown>)[`${key}File`] !== undefined) continue
    if (node.kind === 'section') described[key] = describeSection(value as object, node)
    else if (Array.isArray(value)) described[key] = value.map((item: unknown) => node.info.format(item))
    else described[key] = node.info.format(value)
  }
  return described
}
