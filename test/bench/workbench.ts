import { mkdtemp, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { lastLines } from '../stack/command.ts'
import { reservePorts, type ReservedPorts } from '../stack/ports.ts'
import { SupervisedProcesses, type ProcessEnd, type SupervisedProcess } from '../stack/supervised-processes.ts'

/** Ports of one benchmark: what is measured, and an address at which nobody answers. */
const PORTS = 16

export interface Program {
  readonly process: SupervisedProcess
  readonly logFile: string
}

/**
 * The folder and the processes of one benchmark. A supervisor ends the processes and removes the folder when this
 * process ends, in whatever way it does.
 */
export class Workbench implements AsyncDisposable {
  readonly directory: string
  readonly #processes: SupervisedProcesses
  readonly #ports: ReservedPorts
  #nextPort = 0
  #nextName = 1

  private constructor(directory: string, processes: SupervisedProcesses, ports: ReservedPorts) {
    this.directory = directory
    this.#processes = processes
    this.#ports = ports
  }

  /** Makes a folder of its own inside `parent`. */
  static async open(parent: string): Promise<Workbench> {
    const ports = await reservePorts(PORTS)
    const directory = await mkdtemp(join(parent, 'outrigger-bench-'))
    return new Workbench(directory, new SupervisedProcesses({ removeDirectory: directory, atEnd: [] }), ports)
  }

  /** A port that nobody else takes as long as the benchmark lasts. */
  port(): number {
    const port = this.#ports.ports[this.#nextPort++]
    if (port === undefined) throw new RangeError(`the benchmark has only ${PORTS} ports`)
    return port
  }

  /** A path inside the folder that was not given before. */
  path(name: string): string {
    return join(this.directory, `${this.#nextName++}-${name}`)
  }

  /** Starts a program; what it prints goes to `logFile`. */
  async start(name: string, command: string, args: readonly string[]): Promise<Program> {
    const logFile = this.path(`${name}.log`)
    return { process: await this.#processes.spawn({ command, args, directory: this.directory, logFile }), logFile }
  }

  /** Starts a TypeScript program of this folder and resolves when it has printed a line that says `ready`. */
  async startReady(file: URL, args: readonly string[]): Promise<Program> {
    const program = await this.start('program', process.execPath, [file.pathname, ...args])
    const ended = program.process.ended.then(describeEnd)
    await until(`${file.pathname} to be ready`, 30_000, async () => {
      const end = await Promise.race([ended, Promise.resolve(null)])
      const log = await readFile(program.logFile, 'utf8')
      if (end !== null) throw new Error(`${file.pathname} ended with ${end}: ${lastLines(log)}`)
      return log.includes('ready')
    })
    return program
  }

  /** Runs a program to its end and gives what it printed; one that fails, or takes longer than `timeoutMs`, throws. */
  async run(name: string, command: string, args: readonly string[], timeoutMs: number): Promise<string> {
    const { process, logFile } = await this.start(name, command, args)
    const late = new AbortController()
    const end = await Promise.race([process.ended, sleep(timeoutMs, null, { signal: late.signal }).catch(() => null)])
    late.abort()
    if (end === null) await process.kill()
    const printed = await readFile(logFile, 'utf8')
    if (end?.code !== 0) {
      const how = end === null ? `did not end within ${timeoutMs} ms` : `ended with ${describeEnd(end)}`
      throw new Error(`${name} ${how}: ${lastLines(printed)}`)
    }
    return printed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#processes.close()
    await this.#ports.release()
  }
}

/** Resolves when `holds` gives true, asked again every `everyMs`; throws when it takes longer than `timeoutMs`. */
export async function until(
  what: string,
  timeoutMs: number,
  holds: () => Promise<boolean>,
  everyMs = 20,
): Promise<void> {
  const deadline = performance.now() + timeoutMs
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`waited for ${what} for ${timeoutMs} ms`)
    await sleep(everyMs)
  }
}

function describeEnd({ code, signal }: ProcessEnd): string {
  return signal ?? `exit code ${code}`
}
