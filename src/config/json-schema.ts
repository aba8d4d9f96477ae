import * as z from 'zod'
import { configSchema } from './schema.ts'
import { settingInfos } from './setting.ts'
import type { ConfigNode } from './settings-tree.ts'
import { configTree } from './settings-tree.ts'

type JsonSchema = z.core.JSONSchema.BaseSchema

/**
 * The JSON Schema (draft-07) of the configuration file as people write it, for editors. It is a little more lenient
 * than `loadConfig`, which alone knows ranges of sizes with units and how settings fit together.
 */
export function configJsonSchema(): JsonSchema {
  const schema = z.toJSONSchema(configSchema, {
    io: 'input',
    target: 'draft-07',
    // What a transform reads is described by its SettingInfo.
    unrepresentable: 'any',
    override: ({ zodSchema, jsonSchema }) => {
      const written = settingInfos.get(zodSchema)?.jsonSchema
      if (written) Object.assign(jsonSchema, written)
    },
  })
  describeNodes(schema, configTree)
  return { ...schema, title: 'Outrigger configuration', description: 'See docs/configuration.md.' }
}

/** Adds what zod does not know: titles, sections that may be empty, or switched by `true` and `false`. */
function describeNodes(schema: JsonSchema, node: ConfigNode): void {
  if (node.kind === 'setting') {
    schema.title = node.path
    return
  }
  for (const [key, child] of node.children) {
    const property = schema.properties?.[key]
    if (typeof property === 'object') describeNodes(property, child)
  }
  // The environment may give what the file does not.
  delete schema.required
  if (node.path === '') return
  if (node.switchable) {
    const { description, ...mapping } = { ...schema }
    for (const key of Object.keys(schema)) delete schema[key]
    Object.assign(schema, { description, anyOf: [{ type: 'boolean' }, mapping] })
  } else if (!node.optional) {
    schema.type = ['object', 'null'] as never
  }
  schema.title = node.path
}
