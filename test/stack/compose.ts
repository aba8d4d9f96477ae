import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { messageOf } from '../../src/base/errors.ts'
import { run, tryRun, type CommandOptions } from './command.ts'
import { StackUnavailableError } from './errors.ts'
import type { ServerRunner } from './server-node.ts'

/** Whether there is a Docker engine that answers, and not just a client; and Compose. */
export async function dockerComposeAnswers(): Promise<boolean> {
  const timeoutMs = 20_000
  if ((await tryRun('docker', ['info', '--format', '{{.ServerVersion}}'], { timeoutMs })) === null) return false
  return (await tryRun('docker', ['compose', 'version'], { timeoutMs })) !== null
}

/** `docker compose` with what all its calls for one home's containers have in common. */
export function composeCommand(directory: string): string[] {
  const file = fileURLToPath(new URL('compose.yaml', import.meta.url))
  // The directory's name keeps the containers of several runs apart.
  const project = `test-${basename(directory).toLowerCase()}`.replaceAll(/[^a-z0-9_-]/g, '-')
  const options = ['--project-name', project, '--file', file, '--env-file', join(directory, 'compose.env')]
  return ['docker', 'compose', ...options]
}

/** A server as a service of compose.yaml. */
export class ComposeRunner implements ServerRunner {
  readonly #directory: string
  readonly #service: string

  constructor(directory: string, service: string) {
    this.#directory = directory
    this.#service = service
  }

  /** Starts the container again where it was killed, and so on its own data; creates it the first time. */
  async start(): Promise<{ ended: Promise<string> }> {
    try {
      await this.#compose(['up', '--detach', '--no-deps', '--no-recreate', '--quiet-pull', this.#service])
    } catch (error) {
      // The image can't be had, or the engine refuses; a server that ends at once shows below.
      throw new StackUnavailableError(`Docker can't start ${this.#service}: ${messageOf(error)}`, { cause: error })
    }
    const { promise: ended, resolve } = Promise.withResolvers<string>()
    // Only of interest while it starts, and so not waited for longer than a start may take. Prints the exit code.
    void this.#compose(['wait', this.#service], { timeoutMs: 180_000 }).then(
      ({ stdout }) => resolve(`exit code ${stdout.trim()}`),
      () => undefined,
    )
    return { ended }
  }

  async kill(): Promise<void> {
    const running = await this.#compose(['ps', '--quiet', '--status', 'running', this.#service])
    if (running.stdout.trim() !== '') await this.#compose(['kill', '--signal', 'SIGKILL', this.#service])
  }

  async log(): Promise<string> {
    const options = ['--no-color', '--no-log-prefix', '--tail', '50']
    const { stdout, stderr } = await this.#compose(['logs', ...options, this.#service])
    return `${stdout}${stderr}`
  }

  #compose(args: readonly string[], options: CommandOptions = {}): Promise<{ stdout: string; stderr: string }> {
    const [docker, ...common] = composeCommand(this.#directory)
    if (docker === undefined) throw new Error('unreachable: the compose command is never empty')
    return run(docker, [...common, ...args], options)
  }
}
