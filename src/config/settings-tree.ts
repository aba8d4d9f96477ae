import * as z from 'zod'
import { configSchema } from './schema.ts'
import type { SettingInfo } from './setting.ts'
import { followedDefaults, listInfos, settingInfos } from './setting.ts'

/** One setting: a scalar, or a list of scalars. */
export interface SettingNode {
  readonly kind: 'setting'
  /** `publish.bodyBytesMax`. */
  readonly path: string
  readonly description: string
  /** Of the value, or of a list's items. */
  readonly info: SettingInfo
  /** For a list: what the list as a whole must be. */
  readonly listExpected?: string
  /** As people would write it; undefined when there is none. */
  readonly default: unknown
  /** For one that follows other settings: what it is without a value, in Markdown. */
  readonly followed?: string
  /** Neither a default nor optional: it must be given. */
  readonly required: boolean
}

/** A group of settings. */
export interface SectionNode {
  readonly kind: 'section'
  /** Empty for the root. */
  readonly path: string
  readonly description: string
  /** Whether it can be absent, which then means something. */
  readonly optional: boolean
  /** Whether `true` and `false` may stand for it. */
  readonly switchable: boolean
  readonly children: ReadonlyMap<string, SettingNode | SectionNode>
}

export type ConfigNode = SettingNode | SectionNode

/** The schema as a tree, for everything that walks the settings without parsing. */
export const configTree = readNode('', configSchema) as SectionNode

/** Every setting under a node, in the schema's order. */
export function settingsOf(node: ConfigNode): SettingNode[] {
  return node.kind === 'setting' ? [node] : [...node.children.values()].flatMap(settingsOf)
}

/** Every section under a node, itself first, in the schema's order. */
export function sectionsOf(node: ConfigNode): SectionNode[] {
  return node.kind === 'setting' ? [] : [node, ...[...node.children.values()].flatMap(sectionsOf)]
}

function readNode(path: string, outer: z.core.$ZodType): ConfigNode {
  let schema = outer
  let optional = false
  let switchable = false
  let fallback: unknown
  const followed = followedDefaults.get(outer)?.written
  let description = descriptionOf(outer)
  while (!settingInfos.has(schema) && !listInfos.has(schema)) {
    if (schema instanceof z.ZodOptional) {
      optional = true
      schema = schema.def.innerType
    } else if (schema instanceof z.ZodPrefault) {
      fallback = schema.def.defaultValue
      schema = schema.def.innerType
    } else if (schema instanceof z.ZodPipe && schema.def.in instanceof z.ZodTransform) {
      switchable = true
      schema = schema.def.out
    } else {
      break
    }
    description ??= descriptionOf(schema)
  }
  if (schema instanceof z.ZodObject) {
    const children = Object.entries(schema.shape as Record<string, z.core.$ZodType>).map(
      ([key, child]) => [key, readNode(path === '' ? key : `${path}.${key}`, child)] as const,
    )
    return { kind: 'section', path, description: description ?? '', optional, switchable, children: new Map(children) }
  }
  const listExpected = listInfos.get(schema)?.expected
  const info = settingInfos.get(schema instanceof z.ZodArray ? schema.def.element : schema)
  if (!info) throw new Error(`the schema of ${path} was not made by setting.ts`)
  return {
    kind: 'setting',
    path,
    description: description ?? '',
    info,
    ...(listExpected === undefined ? {} : { listExpected }),
    default: fallback,
    ...(followed === undefined ? {} : { followed }),
    required: fallback === undefined && !optional,
  }
}

function descriptionOf(schema: z.core.$ZodType): string | undefined {
  return z.globalRegistry.get(schema)?.description
}
