import { chmod, mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative, resolve } from 'node:path'
import { composeCommand, ComposeRunner, dockerComposeAnswers } from './compose.ts'
import type { ServerRunner } from './server-node.ts'
import { SupervisedProcesses } from './supervised-processes.ts'

export interface ServerHomeOptions {
  /** Where data, certificates and logs go, and stay; default: a temporary directory that goes with the servers. */
  readonly directory?: string | undefined
  /** Variables of compose.yaml; used when the servers run in Docker. */
  readonly composeVariables: Readonly<Record<string, string | number>>
}

/** The folder and the processes or containers of one server or cluster, which all end together. */
export class ServerHome {
  readonly directory: string
  /** Whether servers run as containers, which see `directory` as `/stack`. */
  readonly inDocker: boolean
  readonly processes: SupervisedProcesses

  private constructor(directory: string, inDocker: boolean, processes: SupervisedProcesses) {
    this.directory = directory
    this.inDocker = inDocker
    this.processes = processes
  }

  static async open(options: ServerHomeOptions): Promise<ServerHome> {
    const directory = resolve(options.directory ?? (await mkdtemp(join(tmpdir(), 'outrigger-stack-'))))
    await mkdir(directory, { recursive: true })
    // The servers in containers are other users.
    await chmod(directory, 0o755)
    const inDocker = await runsInDocker()
    const atEnd: string[][] = []
    if (inDocker) {
      const variables = { STACK_DIRECTORY: directory, ...options.composeVariables }
      const lines = Object.entries(variables).map(([name, value]) => `${name}=${value}\n`)
      await writeFile(join(directory, 'compose.env'), lines.join(''))
      atEnd.push([...composeCommand(directory), 'down', '--volumes', '--timeout', '0'])
    }
    const removeDirectory = options.directory === undefined ? directory : null
    return new ServerHome(directory, inDocker, new SupervisedProcesses({ removeDirectory, atEnd }))
  }

  /** Makes a folder in the home, open to servers that run as other users. */
  async folder(name: string): Promise<string> {
    const folder = join(this.directory, name)
    await mkdir(folder, { recursive: true, mode: 0o755 })
    return folder
  }

  /** What runs the service `name` of compose.yaml. */
  containerRunner(name: string): ServerRunner {
    return new ComposeRunner(this.directory, name)
  }

  /** The path by which a server finds a file of the home. */
  seenByServer(path: string): string {
    return this.inDocker ? join('/stack', relative(this.directory, path)) : path
  }

  /** Kills all that runs here and removes the directory, if it is a temporary one. Idempotent. */
  close(): Promise<void> {
    return this.processes.close()
  }
}

async function runsInDocker(): Promise<boolean> {
  const wanted = process.env['OUTRIGGER_TEST_STACK'] ?? 'auto'
  switch (wanted) {
    case 'auto':
      return dockerComposeAnswers()
    case 'docker':
      return true
    case 'packages':
      return false
    default:
      throw new Error(`OUTRIGGER_TEST_STACK is ${wanted}, and must be auto, docker or packages`)
  }
}
