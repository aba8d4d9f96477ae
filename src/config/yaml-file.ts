import type { Document, Node, Pair, YAMLError } from 'yaml'
import { isAlias, isCollection, isMap, isPair, isScalar, isSeq, LineCounter, parseDocument, visit } from 'yaml'
import type { ConfigFault } from './config-error.ts'
import type { Place } from './place.ts'

export interface YamlFile {
  /** The content as plain data: `{}` for an empty file, undefined when there are faults. */
  readonly data: unknown
  readonly faults: readonly ConfigFault[]
  /** The line of what stands at a place, or of what is nearest to it from above, and how many steps lead there. */
  find(place: Place): { readonly line: number; readonly depth: number }
}

const bytesMax = 1024 * 1024

/** Reads YAML 1.2. Duplicate keys, unknown tags and floods of aliases are faults. */
export function readYaml(text: string, file: string): YamlFile {
  if (text.length > bytesMax) {
    const fault = { path: '', expected: 'a configuration file of at most 1 MiB', source: file }
    return { data: undefined, faults: [fault], find: () => ({ line: 1, depth: 0 }) }
  }
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, stringKeys: true, logLevel: 'error' })
  const faultAt = (offset: number, expected: string): ConfigFault => {
    const { line, col } = lines.linePos(offset)
    return { path: '', expected, source: `${file}:${line}:${col}` }
  }
  const faults = [...document.errors, ...document.warnings].map((error) => faultAt(error.pos[0], expectedFor(error)))
  faults.push(
    ...deadAliases(document).map((offset) =>
      faultAt(offset, 'an anchor (&name) whose value ends before the alias (*name)'),
    ),
  )

  let data: unknown
  if (faults.length === 0) {
    try {
      data = document.toJS({ maxAliasCount: 50 }) ?? {}
    } catch (error) {
      if (!(error instanceof ReferenceError)) throw error
      faults.push({ path: '', expected: 'fewer aliases (*name) of large values', source: file })
    }
  }
  return {
    data,
    faults,
    find: (place) => {
      const { offset, depth } = findPlace(document, place)
      return { line: lines.linePos(offset).line, depth }
    },
  }
}

/** The offsets of aliases that stand for nothing, or for a value that they are part of. */
function deadAliases(document: Document): number[] {
  const offsets: number[] = []
  visit(document, {
    Alias(_key, alias, path) {
      const target = alias.resolve(document)
      if (!target || path.includes(target)) offsets.push(alias.range?.[0] ?? 0)
    },
  })
  return offsets
}

/** The offset of the deepest node on the way to a place, and how many steps of the way there are. */
function findPlace(document: Document, place: Place): { offset: number; depth: number } {
  let node: unknown = document.contents
  let offset = isCollection(node) ? (node.range?.[0] ?? 0) : 0
  let depth = 0
  for (const step of place) {
    if (isAlias(node)) node = node.resolve(document)
    if (isMap(node)) {
      const pair = node.items.find((item) => isPair(item) && isScalar(item.key) && item.key.value === step) as
        Pair<Node, Node | null> | undefined
      if (!pair) break
      offset = pair.key.range?.[0] ?? offset
      node = pair.value
    } else if (isSeq(node) && typeof step === 'number') {
      const item = node.items[step] as Node | undefined
      if (!item) break
      offset = item.range?.[0] ?? offset
      node = item
    } else {
      break
    }
    depth++
  }
  return { offset, depth }
}

/**
 * The library's own messages are not used: several quote the text at fault, which may be a password that should have
 * been put in quotes.
 */
function expectedFor(error: YAMLError): string {
  switch (error.code) {
    case 'DUPLICATE_KEY':
      return 'each key only once'
    case 'TAB_AS_INDENT':
      return 'spaces for indentation, not tabs'
    case 'BAD_INDENT':
      return 'indentation that fits the lines above'
    case 'MISSING_CHAR':
      return 'a closing quote, bracket, comma or colon before this point'
    case 'BLOCK_AS_IMPLICIT_KEY':
    case 'BLOCK_IN_FLOW':
    case 'MULTILINE_IMPLICIT_KEY':
      return 'one "key: value" a line, and quotes around a value that contains ": "'
    case 'BAD_SCALAR_START':
      return 'quotes around a value that starts with a special character'
    case 'BAD_DQ_ESCAPE':
      return 'a known escape after the backslash, or single quotes around the value'
    case 'TAG_RESOLVE_FAILED':
    case 'MULTIPLE_TAGS':
      return 'a value without a tag, and quotes around a value that starts with "!"'
    case 'NON_STRING_KEY':
      return 'a key that is a word'
    case 'MULTIPLE_DOCS':
      return 'one YAML document'
    case 'RESOURCE_EXHAUSTION':
      return 'fewer levels of nesting'
    default:
      return `valid YAML (${error.code.toLowerCase().replaceAll('_', ' ')})`
  }
}
