import type { ConfigFault } from './config-error.ts'
import { nearestName } from './nearest-name.ts'
import type { ConfigNode, SectionNode, SettingNode } from './settings-tree.ts'
import { configTree } from './settings-tree.ts'

export type Environment = Readonly<Record<string, string | undefined>>

const prefix = 'OUTRIGGER_'

/** Where the configuration file is, when the command line does not say. */
export const configFileVariable = 'OUTRIGGER_CONFIG'

/** For our own tests and their servers; not configuration. */
const foreignPrefixes = ['OUTRIGGER_TEST_', 'OUTRIGGER_STACK_']

/**
 * Kubernetes (and Docker, for links) tells every container about services: for one named `outrigger`,
 * `OUTRIGGER_SERVICE_HOST`, `OUTRIGGER_PORT=tcp://10.0.0.7:80`, `OUTRIGGER_PORT_80_TCP_ADDR` and more. Refusing these
 * would keep Outrigger from starting for the name of an unrelated object.
 */
const serviceVariable = /_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/
const serviceUrl = /^(tcp|udp|sctp):\/\//

/** `publish.bodyBytesMax` → `OUTRIGGER_PUBLISH_BODY_BYTES_MAX`. */
export function variableOf(path: string): string {
  return (
    prefix +
    path
      .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
      .replaceAll('.', '_')
      .toUpperCase()
  )
}

/** Every variable and what it sets: all settings, and the sections for which `true` and `false` may stand. */
export function configVariables(): Map<string, ConfigNode> {
  const variables = new Map<string, ConfigNode>()
  const add = (node: ConfigNode): void => {
    if (node.kind === 'setting' || node.switchable) variables.set(variableOf(node.path), node)
    if (node.kind === 'section') for (const child of node.children.values()) add(child)
  }
  add(configTree)
  return variables
}

/** A setting from the environment, in the form in which it would stand in the file. */
export interface EnvironmentValue {
  readonly node: ConfigNode
  readonly variable: string
  readonly value: unknown
}

/** Reads what the environment sets. Empty variables count as not set; unknown ones are faults. */
export function readEnvironment(env: Environment): { values: EnvironmentValue[]; faults: ConfigFault[] } {
  const variables = configVariables()
  const values: EnvironmentValue[] = []
  const faults: ConfigFault[] = []
  for (const [variable, text] of Object.entries(env)) {
    if (!variable.startsWith(prefix) || text === undefined || text === '' || variable === configFileVariable) continue
    const node = variables.get(variable)
    if (node) {
      values.push({ node, variable, value: node.kind === 'section' ? readSwitch(text) : readSetting(node, text) })
    } else if (!isForeign(variable, text)) {
      const near = nearestName(
        variable.slice(prefix.length),
        [...variables.keys()].map((name) => name.slice(prefix.length)),
      )
      const hint = near === undefined ? sectionHint(variable) : `did you mean ${prefix}${near}?`
      // Its value is not shown: it may be a misspelt secret.
      faults.push({ path: '', expected: 'the name of a setting', source: variable, ...(hint ? { hint } : {}) })
    }
  }
  // Sections first, so that `true` or `false` for one is in place when its settings come.
  values.sort((a, b) => a.node.path.length - b.node.path.length || a.node.path.localeCompare(b.node.path))
  return { values, faults }
}

function isForeign(variable: string, text: string): boolean {
  if (foreignPrefixes.some((foreign) => variable.startsWith(foreign))) return true
  return serviceVariable.test(variable) || (variable.endsWith('_PORT') && serviceUrl.test(text))
}

/** `OUTRIGGER_KAFKA_SASL` and the like name a section, which has no value of its own. */
function sectionHint(variable: string): string | undefined {
  const named = (node: SectionNode): SectionNode | undefined => {
    for (const child of node.children.values()) {
      if (child.kind !== 'section') continue
      if (variableOf(child.path) === variable) return child
      const deeper = named(child)
      if (deeper) return deeper
    }
    return undefined
  }
  const section = named(configTree)
  return (
    section && `set what is in it: ${[...section.children.values()].map((child) => variableOf(child.path)).join(', ')}`
  )
}

function readSwitch(text: string): unknown {
  return text === 'true' ? true : text === 'false' ? false : text
}

function readSetting(node: SettingNode, text: string): unknown {
  const scalar = (item: string): unknown => {
    if (node.info.kind === 'flag') return readSwitch(item)
    return node.info.kind === 'integer' && /^-?[0-9]{1,15}$/.test(item) ? Number(item) : item
  }
  return node.listExpected === undefined ? scalar(text) : text.split(',').map((item) => scalar(item.trim()))
}
