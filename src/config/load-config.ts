import type { ConfigFault } from './config-error.ts'
import { ConfigError, formatGiven } from './config-error.ts'
import type { ReadFile } from './credentials.ts'
import { readCredentials, unreadable } from './credentials.ts'
import { crossCheck } from './cross-checks.ts'
import { settleDefaults } from './dependent-defaults.ts'
import type { Environment, EnvironmentValue } from './environment.ts'
import { configFileVariable, readEnvironment, variableOf } from './environment.ts'
import type { InputData } from './input-data.ts'
import { copyData, fillEmptySections, isMapping, overlay, valueAt } from './input-data.ts'
import { placeOf, related } from './place.ts'
import { checkSchema } from './schema-check.ts'
import type { Config, SettledConfig } from './schema.ts'
import { configTree, settingsOf } from './settings-tree.ts'
import { Sources } from './sources.ts'
import { findWarnings } from './warnings.ts'
import type { YamlFile } from './yaml-file.ts'
import { readYaml } from './yaml-file.ts'

export interface LoadOptions {
  /** The YAML file. Without it, `OUTRIGGER_CONFIG` says where it is; without both there is none. */
  readonly file?: string | undefined
  readonly env: Environment
  readonly readFile: ReadFile
}

export interface LoadedConfig {
  readonly config: Config
  /** The file that was read, if any. */
  readonly file: string | undefined
  /** For each setting that is not left to its default, where it comes from: `outrigger.yaml:12` or a variable. */
  readonly sources: ReadonlyMap<string, string>
  /** What is allowed, but probably not meant, in full sentences. */
  readonly warnings: readonly string[]
}

/**
 * Reads file and environment, the environment beating the file, and resolves what they leave out. Binds and creates
 * nothing. Throws one `ConfigError` with every fault that it found.
 */
export async function loadConfig({ file: given, env, readFile }: LoadOptions): Promise<LoadedConfig> {
  const file = given ?? (env[configFileVariable] || undefined)
  const yaml = file === undefined ? undefined : await readConfigFile(file, given === undefined, readFile)
  const environment = readEnvironment(env)

  const data = isMapping(yaml?.data) ? (copyData(yaml.data) as InputData) : {}
  fillEmptySections(data, configTree)
  const contradictions = overlay(data, environment.values)
  const sources = new Sources(file, yaml, environment.values, data)
  const schema = checkSchema(data, sources)
  const faults = [...environment.faults, ...contradictions.map(contradictionFault), ...schema.faults]
  if (yaml && yaml.faults.length > 0) {
    // What seems to be missing, or not to fit, may well stand in the file that can't be read.
    throw new ConfigError(sources.inOrder([...yaml.faults, ...faults]))
  }

  const isSet = (path: string): boolean => sources.isSet(path)
  const config = settleDefaults(schema.parsed, isSet)
  const { faults: credentialFaults, ...read } = await readCredentials(config, readFile)
  faults.push(
    ...schema.missing,
    ...crossFaults(config, data, sources, schema.faulty),
    ...credentialFaults.map((fault) => ({ ...fault, source: sources.locate(placeOf(fault.path)) })),
  )
  if (faults.length > 0) throw new ConfigError(sources.inOrder(faults))

  const set = settingsOf(configTree).filter(({ path }) => isSet(path))
  return {
    config: { ...config, ...read },
    file,
    sources: new Map(set.map(({ path }) => [path, sources.locate(placeOf(path))])),
    warnings: findWarnings(config, isSet),
  }
}

async function readConfigFile(file: string, fromVariable: boolean, readFile: ReadFile): Promise<YamlFile> {
  const failed = (fault: ConfigFault): YamlFile => ({
    data: undefined,
    faults: [fault],
    find: () => ({ line: 1, depth: 0 }),
  })
  let text: string
  try {
    text = await readFile(file)
  } catch (error) {
    return failed({
      path: '',
      given: JSON.stringify(file),
      expected: 'a configuration file that can be read',
      source: fromVariable ? configFileVariable : '--config',
      hint: unreadable(error),
    })
  }
  const yaml = readYaml(text, file)
  if (yaml.faults.length > 0 || isMapping(yaml.data)) return yaml
  const given = Array.isArray(yaml.data) ? 'a list' : `a ${typeof yaml.data}`
  return failed({ path: '', given, expected: 'settings as "key: value"', source: `${file}:1` })
}

function contradictionFault({ node, variable }: EnvironmentValue): ConfigFault {
  const section = variableOf(node.path.slice(0, node.path.lastIndexOf('.')))
  return { path: node.path, expected: `${section} not to be false when this is set`, source: variable }
}

function crossFaults(
  config: SettledConfig,
  data: InputData,
  sources: Sources,
  faulty: readonly string[],
): ConfigFault[] {
  const secrets = new Set(settingsOf(configTree).flatMap(({ path, info }) => (info.secret ? [path] : [])))
  return crossCheck(config, (path) => sources.isSet(path))
    .filter(({ involves }) => !involves.some((path) => faulty.some((bad) => related(path, bad))))
    .map(({ path, expected, hint, because }) => {
      const value = valueAt(data, placeOf(path))
      const shown = value !== undefined && !secrets.has(path)
      return {
        path,
        expected,
        source: sources.locate(placeOf(because ?? path)),
        ...(shown ? { given: formatGiven(value) } : {}),
        ...(hint === undefined ? {} : { hint }),
      }
    })
}
