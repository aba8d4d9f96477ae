import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { programCommand, programEnvironment } from './program.ts'

export interface CommandResult {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface CommandOptions {
  /** Outrigger's environment variables; there are no others of it. */
  readonly settings?: Readonly<Record<string, string>>
  /** Where it runs. Default: wherever the tests do. */
  readonly directory?: string
  /** A file that its standard output goes to, in place of `stdout`. */
  readonly output?: string
}

/** Longer than any of these commands should take on a busy machine. */
const timeoutMs = 30_000

/** A sub-command of the built program that is running. */
export class RunningCommand implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #ended: Promise<CommandResult>
  #stdout = ''
  #stderr = ''

  constructor(args: readonly string[], options: CommandOptions = {}) {
    const [command, ...programArgs] = programCommand('built')
    const output = options.output === undefined ? null : openSync(options.output, 'w')
    this.#child = spawn(command, [...programArgs, ...args], {
      cwd: options.directory,
      env: { ...process.env, ...programEnvironment(options.settings ?? {}), NODE_OPTIONS: '' },
      stdio: ['ignore', output ?? 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    })
    if (output !== null) closeSync(output)
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text
    })
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text
    })
    this.#ended = once(this.#child, 'close').then(([code, signal]) => ({
      code: code as number | null,
      signal: signal as NodeJS.Signals | null,
      stdout: this.#stdout,
      stderr: this.#stderr,
    }))
    this.#ended.catch(() => {}) // whoever waits for it hears of it
  }

  /** What it has printed so far. */
  get stdout(): string {
    return this.#stdout
  }

  get stderr(): string {
    return this.#stderr
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name)
  }

  /** Its reader goes away, as `head` does. */
  closeOutput(): void {
    this.#child.stdout?.destroy()
  }

  ended(): Promise<CommandResult> {
    return this.#ended
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#ended
  }
}

/** Runs a sub-command of the built program to its end. */
export function runCommand(args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  return new RunningCommand(args, options).ended()
}

/** A folder that goes at the end of its block. */
export async function scratchFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'outrigger-e2e-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}
