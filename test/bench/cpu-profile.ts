import { readFile } from 'node:fs/promises'
import { SourceMap, type SourceMapPayload } from 'node:module'
import { fileURLToPath } from 'node:url'

/** V8's format: a tree of call frames, and which of its nodes was on top at each sample. */
export interface CpuProfile {
  readonly nodes: readonly ProfileNode[]
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

export interface ProfileNode {
  readonly id: number
  readonly children?: readonly number[]
  readonly callFrame: {
    readonly functionName: string
    readonly url: string
    readonly lineNumber: number
    readonly columnNumber: number
  }
}

/** By a file's URL, where what stands in it comes from. */
export type Sources = ReadonlyMap<string, SourceMap>

/** The source maps that lie beside the files of a profile. */
export async function sourcesOf({ nodes }: CpuProfile): Promise<Sources> {
  const urls = new Set(nodes.map(({ callFrame }) => callFrame.url).filter((url) => url.startsWith('file:')))
  const sources = new Map<string, SourceMap>()
  for (const url of urls) {
    const text = await readFile(`${fileURLToPath(url)}.map`, 'utf8').catch(() => null)
    if (text !== null) sources.set(url, new SourceMap(JSON.parse(text) as SourceMapPayload))
  }
  return sources
}

/** Where a function stands: `src/journal/journal.ts:12`, or null when no source map says so. */
export function placeOf({ callFrame }: Pick<ProfileNode, 'callFrame'>, sources: Sources): string | null {
  const entry = sources.get(callFrame.url)?.findEntry(callFrame.lineNumber, callFrame.columnNumber)
  if (!entry || !('originalSource' in entry)) return null
  return `${entry.originalSource.replace(/^(\.\.\/)+/, '')}:${entry.originalLine + 1}`
}
