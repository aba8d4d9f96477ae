import { spawn } from 'node:child_process'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A bug, put in on purpose: in each file, the text that must be there exactly once, and what takes its place. */
export interface Mutant {
  readonly name: string
  readonly edits: readonly { readonly file: string; readonly search: string; readonly replacement: string }[]
}

/** How a mutant was seen. */
export interface MutantEnd {
  /** The promise that it broke; empty when it broke none. */
  readonly violation: string
  /** How many it took, and which one it was. */
  readonly histories: number
  readonly seed: number
  readonly output: string
}

const root = join(import.meta.dirname, '..', '..')
/** What the simulation needs, beside node. */
const copied = ['src/base', 'src/message', 'src/journal', 'test/simulation', 'test/torture/random.ts', 'package.json']

/** Copies the journal and the simulation, puts the bug in, and simulates until a promise is broken. */
export async function simulateMutant(
  { name, edits }: Mutant,
  histories: number,
  signal: AbortSignal,
): Promise<MutantEnd> {
  const directory = await mkdtemp(join(tmpdir(), 'outrigger-mutant-'))
  try {
    for (const path of copied) await cp(join(root, path), join(directory, path), { recursive: true })
    for (const { file, search, replacement } of edits) {
      const path = join(directory, file)
      const pieces = (await readFile(path, 'utf8')).split(search)
      if (pieces.length !== 2)
        throw new Error(
          `the mutant "${name}" is stale: its text stands ${pieces.length - 1} times in ${file}\n${search}`,
        )
      await writeFile(path, pieces.join(replacement))
    }
    return await simulate(directory, histories, signal)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

async function simulate(directory: string, histories: number, signal: AbortSignal): Promise<MutantEnd> {
  const main = join(directory, 'test', 'simulation', 'main.ts')
  // Seeds of their own: those of the histories in the suite are known to be kept.
  const seeds = ['--seeds', String(histories), '--from', '1000000', '--no-shrink']
  const child = spawn(process.execPath, [main, ...seeds], { stdio: ['ignore', 'pipe', 'pipe'], signal })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text: Buffer) => (output += text.toString()))
  await new Promise<void>((resolve, reject) => {
    child.once('close', () => resolve())
    child.once('error', reject)
  })
  const told = /^Seed (\d+) broke a promise after (\d+) histories: (.*)$/m.exec(output)
  return { seed: Number(told?.[1]), histories: Number(told?.[2]), violation: told?.[3] ?? '', output }
}
