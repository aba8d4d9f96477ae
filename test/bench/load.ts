import { writeFile } from 'node:fs/promises'
import type { BenchRequest } from './bodies.ts'
import type { Workbench } from './workbench.ts'
import { WRK_MISSING, wrkArguments, wrkResult } from './wrk.ts'

/** Where a server under load listens. */
export interface Target {
  readonly port: number
  readonly socketPath: string
}

export type LoadGenerator = 'wrk' | 'node'

export interface Load {
  readonly via: 'tcp' | 'unix'
  readonly path: string
  /** They take turns. */
  readonly requests: readonly BenchRequest[]
  readonly connections: number
  readonly seconds: number
}

export interface LoadResult {
  readonly requests: number
  readonly seconds: number
  /** Time to answer, in milliseconds. */
  readonly p50Ms: number
  readonly p99Ms: number
  /** Known of our own generator alone. */
  readonly meanMs?: number
}

/**
 * Sends requests over keep-alive connections for some time, each connection the next one when the last is answered. A
 * generator that is part of what is measured would be no use, so it runs as a process of its own: `wrk`, or, over Unix
 * sockets and where `wrk` is missing, socket-load.ts. Any answer that is not a success fails.
 */
export async function applyLoad(
  bench: Workbench,
  wrk: string | typeof WRK_MISSING,
  target: Target,
  load: Load,
): Promise<LoadResult & { readonly generator: LoadGenerator }> {
  const timeoutMs = load.seconds * 1000 + 20_000
  if (load.via === 'tcp' && wrk !== WRK_MISSING) {
    const args = await wrkArguments(bench, target.port, load)
    return { ...wrkResult(await bench.run('wrk', wrk, args, timeoutMs)), generator: 'wrk' }
  }
  return { ...(await applySocketLoad(bench, { ...load, target })), generator: 'node' }
}

/** The same with our own generator. */
export async function applySocketLoad(bench: Workbench, load: SocketLoad): Promise<LoadResult> {
  const file = bench.path('load.json')
  await writeFile(file, JSON.stringify(load))
  const program = new URL('socket-load.ts', import.meta.url).pathname
  const printed = await bench.run('socket-load', process.execPath, [program, file], load.seconds * 1000 + 20_000)
  return JSON.parse(printed) as LoadResult
}

/** What socket-load.ts is told. */
export interface SocketLoad extends Load {
  readonly target: Target
  /**
   * So many requests a second, evenly, by all connections together; as fast as they are answered without it. A request that
   * had to wait for the answer to the one before is measured from when it was due.
   */
  readonly perSecond?: number
}
