import type * as z from 'zod'
import type { ConfigFault } from './config-error.ts'
import { formatGiven } from './config-error.ts'
import type { InputData } from './input-data.ts'
import { copyData, putAt, valueAt } from './input-data.ts'
import { nearestName } from './nearest-name.ts'
import type { Place } from './place.ts'
import { pathOf, placeOf } from './place.ts'
import type { ParsedConfig } from './schema.ts'
import { configSchema } from './schema.ts'
import type { ConfigNode, SectionNode } from './settings-tree.ts'
import { configTree, sectionsOf, settingsOf } from './settings-tree.ts'
import type { Sources } from './sources.ts'

export interface SchemaCheck {
  /** The configuration with every faulty setting left to its default, so that the rest can be checked further. */
  readonly parsed: ParsedConfig
  /** What is wrong with what is given. */
  readonly faults: readonly ConfigFault[]
  /** What is not given and must be. */
  readonly missing: readonly ConfigFault[]
  /** The paths of the settings and sections at fault. */
  readonly faulty: readonly string[]
}

/** Holds the input against the schema, and turns what zod finds into faults in our own words. */
export function checkSchema(data: InputData, sources: Sources): SchemaCheck {
  const result = configSchema.safeParse(data)
  if (result.success) return { parsed: result.data, faults: [], missing: [], faulty: [] }

  const faults = new Map<string, ConfigFault>()
  const missing = new Map<string, ConfigFault>()
  const faulty = new Set<string>()
  const rest = copyData(data) as InputData
  for (const issue of result.error.issues) {
    for (const place of placesOf(issue)) {
      const path = pathOf(place)
      const value = valueAt(data, place)
      const { node, place: nodePlace } = nodeAt(place)
      const unknown = issue.code === 'unrecognized_keys'
      const found = unknown ? unknownKeyFault(place) : valueFault(node, place, value)
      const target = value === undefined ? missing : faults
      target.set(path, { path, ...found, source: sources.locate(place) })
      faulty.add(unknown ? path : node.path)
      putAt(
        rest,
        unknown ? place : nodePlace,
        !unknown && node.kind === 'setting' && node.required ? node.info.sample : undefined,
      )
    }
  }
  return {
    parsed: configSchema.parse(rest),
    faults: [...faults.values()],
    missing: [...missing.values()],
    faulty: [...faulty],
  }
}

function placesOf(issue: z.core.$ZodIssue): Place[] {
  const place = issue.path.map((step) => (typeof step === 'symbol' ? String(step) : step))
  return issue.code === 'unrecognized_keys' ? issue.keys.map((key) => [...place, key]) : [place]
}

/** The setting or section at a place, or the list whose item stands there. */
function nodeAt(place: Place): { node: ConfigNode; place: Place } {
  let node: ConfigNode = configTree
  let depth = 0
  for (const step of place) {
    const child: ConfigNode | undefined = node.kind === 'section' ? node.children.get(String(step)) : undefined
    if (!child) break
    node = child
    depth++
  }
  return { node, place: place.slice(0, depth) }
}

type Finding = Omit<ConfigFault, 'path' | 'source'>

function valueFault(node: ConfigNode, place: Place, value: unknown): Finding {
  if (node.kind === 'section') {
    const expected = node.switchable ? 'true, false or a mapping' : 'a mapping'
    // It may be a secret that should stand one level deeper.
    const hidden = typeof value === 'string' && settingsOf(node).some((setting) => setting.info.secret)
    const given = hidden ? 'a text' : formatGiven(value)
    return { expected, given, ...(value === null ? { hint: 'take the key out, or give it a value' } : {}) }
  }
  const { info } = node
  const isItem = typeof place.at(-1) === 'number'
  const isHidden = info.secret || info.hidesRefused === true
  const given = isHidden && value !== undefined ? {} : { given: formatGiven(value) }
  if (node.listExpected !== undefined && !isItem) {
    const scalar = typeof value === 'string' || typeof value === 'number'
    return { expected: node.listExpected, ...given, ...(scalar ? { hint: 'write it as a list, in brackets' } : {}) }
  }
  const hint = value === null && !isItem ? 'take the key out to get the default' : info.hint(value)
  return { expected: info.expected, ...given, ...(hint === undefined ? {} : { hint }) }
}

/** The value of an unknown key is not shown: the key may be a misspelt secret. */
function unknownKeyFault(place: Place): Finding {
  const { node } = nodeAt(place.slice(0, -1))
  const key = String(place.at(-1))
  const section = node as SectionNode
  const names = [...section.children.keys()]
  const near = nearestName(key, names)
  const elsewhere = near === undefined ? pathElsewhere(key) : undefined
  const meant = near === undefined ? elsewhere : pathOf([...place.slice(0, -1), near])
  const hint = meant === undefined ? `known here: ${names.join(', ')}` : `did you mean ${meant}?`
  return { expected: 'a known key', hint }
}

/** The setting in some other section that has this name, or nearly. */
function pathElsewhere(key: string): string | undefined {
  const nodes = [...settingsOf(configTree), ...sectionsOf(configTree).slice(1)]
  const whole = nodes.find(({ path }) => path.toLowerCase() === key.toLowerCase())
  if (whole) return `${placeOf(whole.path).join(': { ')}: …${' }'.repeat(placeOf(whole.path).length - 1)}`
  const lastOf = (path: string): string => path.slice(path.lastIndexOf('.') + 1)
  const near = nearestName(key, new Set(nodes.map(({ path }) => lastOf(path))))
  const matches = nodes.filter(({ path }) => lastOf(path) === near)
  return matches.length === 0 ? undefined : inWords(matches.map(({ path }) => path))
}

/** "a", "a or b", "a, b or c". */
function inWords(names: readonly string[]): string {
  return [names.slice(0, -1).join(', '), ...names.slice(-1)].filter((part) => part !== '').join(' or ')
}
