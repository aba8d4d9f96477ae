import type { ConfigFault } from './config-error.ts'
import type { EnvironmentValue } from './environment.ts'
import type { InputData } from './input-data.ts'
import { isMapping, valueAt } from './input-data.ts'
import type { Place } from './place.ts'
import { pathOf, placeOf } from './place.ts'
import type { YamlFile } from './yaml-file.ts'

/** Knows where each setting comes from. */
export class Sources {
  readonly #file: string
  readonly #yaml: YamlFile | undefined
  readonly #variables: ReadonlyMap<string, string>
  readonly #data: InputData

  /** `data` is what file and environment say together. */
  constructor(
    file: string | undefined,
    yaml: YamlFile | undefined,
    values: readonly EnvironmentValue[],
    data: InputData,
  ) {
    this.#file = file ?? ''
    this.#yaml = yaml
    this.#variables = new Map(values.map(({ node, variable }) => [node.path, variable]))
    this.#data = data
  }

  /** Whether somebody has set this setting, or anything in this section, as against leaving it to its default. */
  isSet(path: string): boolean {
    const value = valueAt(this.#data, placeOf(path))
    return value !== undefined && !(isMapping(value) && Object.keys(value).length === 0)
  }

  /**
   * `outrigger.yaml:12`, `OUTRIGGER_LOG_LEVEL`, or `defaults`. For what is missing, where its neighbours come from.
   */
  locate(place: Place): string {
    for (let length = place.length; length > 0; length--) {
      const variable = this.#variables.get(pathOf(place.slice(0, length)))
      if (variable !== undefined) return variable
    }
    const found = this.#yaml?.find(place) ?? { line: 0, depth: 0 }
    if (found.depth >= place.length - 1 && found.depth > 0) return `${this.#file}:${found.line}`
    const section = `${pathOf(place.slice(0, -1))}.`
    const neighbour = [...this.#variables].find(([path]) => path.startsWith(section))
    if (neighbour) return neighbour[1]
    if (this.#yaml && (found.depth > 0 || place.length === 1)) return `${this.#file}:${found.line || 1}`
    return 'defaults'
  }

  /** The faults in the order of the file's lines, and then what lies elsewhere. */
  inOrder(faults: readonly ConfigFault[]): ConfigFault[] {
    const line = ({ source }: ConfigFault): number =>
      this.#file !== '' && source.startsWith(`${this.#file}:`)
        ? Number.parseInt(source.slice(this.#file.length + 1), 10)
        : Number.MAX_SAFE_INTEGER
    return faults.toSorted((a, b) => line(a) - line(b))
  }
}
