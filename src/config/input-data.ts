import type { EnvironmentValue } from './environment.ts'
import type { Place } from './place.ts'
import type { SectionNode } from './settings-tree.ts'

/** The configuration as people wrote it, before the schema has seen it. */
export type InputData = Record<string, unknown>

/** A mapping, and neither a list nor null. */
export function isMapping(value: unknown): value is InputData {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A copy in which nothing is shared: with YAML aliases, one object can stand in several places. */
export function copyData(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(copyData)
  if (!isMapping(value)) return value
  // Unlike assignment, `fromEntries` makes a plain property of `__proto__`, which is then an unknown key.
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, copyData(item)]))
}

/** Makes `{}` of sections that are there but empty, as is left when everything in them is commented out. */
export function fillEmptySections(data: InputData, section: SectionNode): void {
  for (const [key, node] of section.children) {
    if (node.kind !== 'section' || !Object.hasOwn(data, key)) continue
    if (data[key] === null && !node.optional) data[key] = {}
    const child = data[key]
    if (isMapping(child)) fillEmptySections(child, node)
  }
}

/** Puts what the environment sets in place of what the file says. Returns what contradicts itself. */
export function overlay(data: InputData, values: readonly EnvironmentValue[]): EnvironmentValue[] {
  const switchedOff = new Map(values.filter(({ value }) => value === false).map((entry) => [entry.node.path, entry]))
  const contradictions: EnvironmentValue[] = []
  for (const entry of values) {
    const keys = entry.node.path.split('.')
    const parent = keys.slice(0, -1).join('.')
    if (switchedOff.has(parent)) {
      contradictions.push(entry)
      continue
    }
    const target = openSection(data, keys.slice(0, -1))
    const key = keys.at(-1) as string
    // `OUTRIGGER_KAFKA_TLS=true` keeps the details that the file gives.
    if (target && !(entry.value === true && isMapping(target[key]))) target[key] = entry.value
  }
  return contradictions
}

/** The mapping at the place, made when it is missing; undefined when something else stands there, which is a fault. */
function openSection(data: InputData, keys: readonly string[]): InputData | undefined {
  let target = data
  for (const key of keys) {
    const next = Object.hasOwn(target, key) ? target[key] : undefined
    if (isMapping(next)) {
      target = next
    } else if (next === undefined || next === null || typeof next === 'boolean') {
      const made: InputData = {}
      target[key] = made
      target = made
    } else {
      return undefined
    }
  }
  return target
}

/** What stands at a place, or undefined. */
export function valueAt(data: unknown, place: Place): unknown {
  let value = data
  for (const step of place) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined
    value = (value as InputData)[step]
  }
  return value
}

/** Puts a value at a place whose parents are there; undefined takes away what stands there. */
export function putAt(data: InputData, place: Place, value: unknown): void {
  const parent = valueAt(data, place.slice(0, -1))
  const key = place.at(-1)
  if (!isMapping(parent) || key === undefined) return
  if (value === undefined) delete parent[key]
  else parent[key] = value
}
